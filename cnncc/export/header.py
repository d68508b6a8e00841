"""The C header of an exported network: C89 without extensions, and C++."""

from __future__ import annotations

from dataclasses import dataclass
from string import Template

from cnncc.abi import ALIGNMENT, Interface, Port
from cnncc.export.names import identifiers, printable
from cnncc.ir.types import DType
from cnncc.llvm.c_api import (
    ABI_VERSION,
    DIGEST_CHARS,
    FEATURE_CHARS,
    MAX_THREADS,
    NAME_CHARS,
    STATUS,
)
from cnncc.targets import Target

C_TYPES = {
    DType.F64: "double",
    DType.F32: "float",
    DType.F16: "unsigned short",
    DType.I64: "long",
    DType.I32: "int",
    DType.I16: "short",
    DType.I8: "signed char",
    DType.U64: "unsigned long",
    DType.U32: "unsigned int",
    DType.U16: "unsigned short",
    DType.U8: "unsigned char",
    DType.BOOL: "unsigned char",
}  # of the data models that all targets have: 16, 32 and 64 bits in short, int and long
_MEANINGS = {DType.F16: ", the bits of IEEE 754 binary16", DType.BOOL: ", 0 or 1"}


_HEADER = Template("""\
/* The network $model, compiled by cnncc for
 * $triple; CPU features needed:
 * $features.
 *
 * The library has no writable data, allocates nothing and calls nothing: any
 * number of threads may run it at one time, each with its own workspace.
 */
#ifndef ${upper}_CNNCC_H
#define ${upper}_CNNCC_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ${upper}_ABI_VERSION $abi_version

/* Memory that one call in flight needs on the calling thread; it must start at a
 * multiple of ALIGN. */
#define ${upper}_WORKSPACE_BYTES $workspace
#define ${upper}_ALIGN $align
/* Of it, what each task has for itself; and what a call in flight needs that
 * parallel_for splits into so many tasks, 1 or more. */
#define ${upper}_SCRATCH_BYTES $scratch
#define ${upper}_WORKSPACE_BYTES_FOR(threads) \
    ((size_t)${upper}_WORKSPACE_BYTES \
     + ((size_t)(threads) - 1) * (size_t)${upper}_SCRATCH_BYTES)
/* Stack that a call needs below its caller's frame, at most; each task as well.
 * What is large lies in the workspace. */
#define ${upper}_STACK_BYTES $stack

$ports
/* ARG: null, out of range, or memory that overlaps an output or the workspace.
 * ALIGN: a pointer is not aligned.  SIZE: the workspace is too small, perhaps for
 * so many tasks.
 * CPU: this CPU lacks a feature.  ABI: built with another header. */
typedef enum ${prefix}_status {
    ${upper}_OK = 0$codes
} ${prefix}_status;

/* The host's own threads, optional: calls task(arg, i) once for every i from 0
 * to n - 1, in any order and on any threads, and returns when all are through.
 * It must return: neither longjmp nor a C++ exception may leave it. */
typedef void (*${prefix}_parallel_for)(
    void *host, int n, void (*task)(void *arg, int i), void *arg);

/* What to run. Inputs and outputs hold batch samples each, one behind the other.
 * Inputs are raw: scale, mean and std of the model are compiled in. */
typedef struct ${prefix}_io {
    size_t struct_bytes; /* sizeof(${prefix}_io) */
$fields
    size_t batch;
    void *workspace;
    size_t workspace_bytes; /* at least ${upper}_WORKSPACE_BYTES_FOR(threads) */
} ${prefix}_io;

/* How to run it. */
typedef struct ${prefix}_opts {
    size_t struct_bytes; /* sizeof(${prefix}_opts) */
    int threads; /* tasks to split the work into, 1 to $max_threads; all give the same bits */
    ${prefix}_parallel_for parallel_for; /* NULL: all on the calling thread */
    void *host; /* handed on to parallel_for */
} ${prefix}_opts;

/* What the library is. Texts end in a zero. */
typedef struct ${prefix}_info {
    size_t struct_bytes;
    unsigned abi_version;
    unsigned align;
    unsigned inputs;
    unsigned outputs;
    size_t workspace_bytes; /* of a call on the calling thread */
    size_t weights_bytes;
    size_t parameters;
    size_t macs;
    char model[$name_chars];
    char cnncc_version[$name_chars];
    char target[$name_chars];
    char cpu_features[$feature_chars];
    char digest[$digest_chars]; /* SHA-256 of code and weights */
    size_t scratch_bytes; /* workspace of each task beyond the first */
} ${prefix}_info;

/* Runs batch samples on the calling thread. */
${prefix}_status ${prefix}_run(
$params    size_t batch,
    void *workspace,
    size_t workspace_bytes);

/* The same with records, and on the host's threads; opts may be NULL. */
${prefix}_status ${prefix}_run_ex(const ${prefix}_io *io, const ${prefix}_opts *opts);

/* These may be called on any CPU of the architecture. */
const ${prefix}_info *${prefix}_get_info(void);
const char *${prefix}_strerror(${prefix}_status status);
/* ${upper}_ABI_VERSION of the header that the library belongs to. */
unsigned ${prefix}_abi_version(void);

#ifdef __cplusplus
}
#endif

#endif /* ${upper}_CNNCC_H */
""")


@dataclass(frozen=True, slots=True)
class CPort:
    """A port with its C names.

    Attributes:
        port: the port.
        macro: what its macros begin with.
        field: its name as a parameter and in `P_io`.
        c_type: type of its elements.
    """

    port: Port
    macro: str
    field: str
    c_type: str


def c_ports(prefix: str, interface: Interface) -> tuple[list[CPort], list[CPort]]:
    """Inputs and outputs with their C names."""
    found = []
    for side, short, ports in (
        ("INPUT", "in", interface.inputs),
        ("OUTPUT", "out", interface.outputs),
    ):
        named = zip(ports, identifiers(p.name for p in ports), strict=True)
        found.append(
            [
                CPort(p, f"{prefix.upper()}_{side}_{name}", f"{short}_{name}", C_TYPES[p.dtype])
                for p, name in named
            ]
        )
    return found[0], found[1]


def header_text(prefix: str, interface: Interface, target: Target, stack: int) -> str:
    """The header `NAME.h`; `stack` is what a call needs of it, in bytes."""
    inputs, outputs = c_ports(prefix, interface)
    params = [f"const {port.c_type} *{port.field}" for port in inputs]
    params += [f"{port.c_type} *{port.field}" for port in outputs]
    return _HEADER.substitute(
        prefix=prefix,
        upper=prefix.upper(),
        model=printable(interface.name),
        triple=target.triple,
        features=", ".join(target.requires) or "none beyond the architecture's own",
        abi_version=ABI_VERSION,
        workspace=_size(interface.workspace_for(1)),
        scratch=_size(interface.scratch_bytes),
        align=ALIGNMENT,
        stack=_size(stack),
        ports="\n".join(
            [_port_macros(p, "Input") for p in inputs]
            + [_port_macros(p, "Output") for p in outputs]
        ),
        codes="".join(f",\n    {prefix.upper()}_E_{n} = {c}" for n, c in STATUS.items() if c),
        fields="\n".join(f"    {param};" for param in params),
        params="".join(f"    {param},\n" for param in params),
        max_threads=MAX_THREADS,
        name_chars=NAME_CHARS,
        feature_chars=FEATURE_CHARS,
        digest_chars=DIGEST_CHARS,
    )


def _size(count: int) -> str:
    return f"{count}u" if count < 1 << 32 else f"{count}ul"


def _port_macros(item: CPort, side: str) -> str:
    port = item.port
    bits = _MEANINGS.get(port.dtype, "")
    order = f", in the order {', '.join(port.memory)}" if port.memory else ""
    colours = f", channels {port.format}" if port.format else ""
    rows = f"; how many rows of it are filled tells output {port.rows}" if port.rows else ""
    shape = "][".join(map(str, port.shape)) or "1"
    lines = [
        f"/* {side} {printable(port.name)}: one sample is {item.c_type} [{shape}]{bits}"
        f"{printable(order)}{printable(colours)}{printable(rows, 120)}. */",
        f"#define {item.macro}_ELEMS {_size(port.elems)}",
        f"#define {item.macro}_BYTES {_size(port.size_bytes)}",
        f"#define {item.macro}_DIMS {len(port.shape)}",
        *(f"#define {item.macro}_DIM{n} {size}" for n, size in enumerate(port.shape)),
    ]
    return "\n".join(lines) + "\n"
