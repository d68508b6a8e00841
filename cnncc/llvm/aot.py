"""A whole program as one relocatable object, for programs that know nothing of Python.

C interface (`P` is the prefix; inputs and outputs in declared order, one pointer each):

    int           P_run(const T *in0, ..., T *out0, ..., size_t batch, void *workspace,
                        size_t bytes);
    int           P_run_ex(const P_io *io, const P_opts *opts);
    const P_info *P_get_info(void);
    const char   *P_strerror(int status);
    unsigned      P_abi_version(void);
    typedef void (*P_parallel_for)(void *host, int n, void (*task)(void *arg, int i), void *arg);

Running gives 0, or a negative code of `STATUS`. The object has no writable data, calls nothing, and
shows these symbols only. The records are described in `c_api`; the host's loop in `P_opts` may be
null, which means one thread. Weights lie in a read-only section of their own. The CPU is asked
before the first vector instruction.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

from cnncc.abi import ALIGNMENT, Interface, Port
from cnncc.errors import EmitError
from cnncc.llvm.c_api import (
    ABI_VERSION,
    MAX_THREADS,
    STATUS,
    Identity,
    all_apart_function,
    apart_function,
    attributes,
    info_function,
    run_ex_function,
    strerror_function,
)
from cnncc.llvm.cpu_check import cpu_check_function
from cnncc.llvm.elf import fill_section
from cnncc.llvm.emit import module_text
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.parallel import kernel_functions, main_functions
from cnncc.llvm.types import symbol
from cnncc.loopir.nodes import Program
from cnncc.targets import Target

WEIGHTS_SECTION = ".rodata.cnncc.weights"
_MAX_BATCH = 1 << 31


def emit_library(
    program: Program,
    target: Target,
    interface: Interface,
    weights: bytes,
    *,
    prefix: str,
    identity: Identity,
) -> bytes:
    """The object of a compiled network.

    Args:
        program: functions and `main`, whose buffers are inputs, outputs, weights, arena.
        target: what the code is made for.
        interface: sizes of samples, weights and workspace.
        weights: the packed weights; they end up in the object.
        prefix: what the C names begin with; a C identifier.
        identity: what the network says about itself.

    Raises:
        EmitError: program and interface do not fit each other, or LLVM refuses the code.
    """
    text = library_text(program, target, interface, prefix=prefix, identity=identity)
    if len(weights) != interface.weights_bytes:
        raise EmitError(f"{interface.weights_bytes} bytes of weights wanted, got {len(weights)}")
    image = emit_object(text, target)
    return fill_section(image, WEIGHTS_SECTION, weights) if weights else image


def library_text(
    program: Program, target: Target, interface: Interface, *, prefix: str, identity: Identity
) -> str:
    """The module of a library, with zeros in place of the weights.

    Raises:
        EmitError: as `emit_library`.
    """
    main = program.funcs[-1]
    ports = (*interface.inputs, *interface.outputs)
    if not (prefix.isascii() and prefix.isidentifier()):
        raise EmitError(f"`{prefix}` is no C identifier")
    if len(main.params) != len(ports) + 4:
        raise EmitError(
            f"`{main.name}` has {len(main.params)} parameters; the interface has {len(ports)} ports"
        )
    _check_assembler(target)
    return module_text(
        [
            _weights(interface),
            *kernel_functions(program, target, linkage="internal"),
            *main_functions(main, target, linkage="internal", pool=False),
            cpu_check_function("cpu_fits", target),
            _batch(main.name, interface, target),
            apart_function(target),
            all_apart_function(interface, target),
            _run(prefix, len(ports), target),
            run_ex_function(prefix, interface, target),
            info_function(prefix, interface, target, identity),
            strerror_function(prefix, target),
            f"define i32 {symbol(f'{prefix}_abi_version')}() {attributes(target)} {{\n"
            f"entry:\n  ret i32 {ABI_VERSION}\n}}",
        ],
        target,
    )


def _check_assembler(target: Target) -> None:
    """LLVM ends the process when it meets inline assembly of a machine that it cannot assemble."""
    foreign = platform.machine().lower() not in ("x86_64", "amd64")
    if foreign and target.requires and target.triple.startswith("x86_64"):
        raise EmitError(f"libraries for `{target.name}` can only be written on an x86-64 machine")


def _weights(interface: Interface) -> str:
    if interface.weights_bytes == 0:
        return "@weights = internal constant i8 0"
    return (
        "@weights = internal externally_initialized constant "
        f"[{interface.weights_bytes} x i8] zeroinitializer, "
        f'section "{WEIGHTS_SECTION}", align {ALIGNMENT}'
    )


def _run(prefix: str, ports: int, target: Target) -> str:
    """`P_run`: its pointers become an array, the rest is `batch`'s."""
    pointers = [f"ptr %io{n}" for n in range(ports)]
    params = ", ".join([*pointers, "i64 %batch", "ptr %workspace", "i64 %bytes"])
    lines = [f"  %io = alloca [{max(ports, 1)} x ptr], align 8"]
    for number, pointer in enumerate(pointers):
        lines.append(f"  %at{number} = getelementptr ptr, ptr %io, i64 {number}")
        lines.append(f"  store {pointer}, ptr %at{number}, align 8")
    args = "ptr %io, i64 %batch, ptr %workspace, i64 %bytes, i32 1, ptr null, ptr null"
    body = "\n".join([*lines, f"  %status = call i32 @batch({args})", "  ret i32 %status"])
    name = symbol(f"{prefix}_run")
    return f"define i32 {name}({params}) {attributes(target)} {{\nentry:\n{body}\n}}"


def _batch(main: str, interface: Interface, target: Target) -> str:
    """Check everything, then run sample after sample."""
    ports = (*interface.inputs, *interface.outputs)
    lines = [f"  %buffers = alloca [{len(ports) + 2} x ptr], align 8", *_checks(interface)]
    for number, port in enumerate(ports):
        lines += _port(number, port)
    lines += [f"port{len(ports)}:", *_overlaps(len(ports))]
    lines += _constant_buffers(len(ports))
    lines += _samples(main, ports)
    for code in ("ARG", "ALIGN", "SIZE", "CPU"):
        lines += [f"bad.{code.lower()}:", f"  ret i32 {STATUS[code]}"]
    params = "ptr %io, i64 %batch, ptr %workspace, i64 %bytes, i32 %threads, ptr %loop, ptr %host"
    body = "\n".join(lines)
    return f"define internal i32 @batch({params}) {attributes(target)} {{\nentry:\n{body}\n}}"


def _port(number: int, port: Port) -> list[str]:
    """Read the pointer of an input or output, and refuse null and bad alignment."""
    return [
        f"port{number}:",
        f"  %at{number} = getelementptr ptr, ptr %io, i64 {number}",
        f"  %io{number} = load ptr, ptr %at{number}, align 8",
        f"  %null{number} = icmp eq ptr %io{number}, null",
        f"  br i1 %null{number}, label %bad.arg, label %set{number}",
        f"set{number}:",
        f"  %slot{number} = getelementptr ptr, ptr %buffers, i64 {number}",
        f"  store ptr %io{number}, ptr %slot{number}, align 8",
        *_misaligned(f"{number}", f"%io{number}", port.dtype.size_bytes, f"port{number + 1}"),
    ]


def _overlaps(ports: int) -> list[str]:
    """Refuse memory that is written and used otherwise too, by the pointers in `%buffers`."""
    return [
        f"  %last.at = getelementptr ptr, ptr %buffers, i64 {ports}",
        "  store ptr %workspace, ptr %last.at, align 8",
        "  %all.apart = call i1 @all_apart(ptr %buffers, i64 %batch, i64 %need)",
        "  br i1 %all.apart, label %apart, label %bad.arg",
    ]


def _constant_buffers(ports: int) -> list[str]:
    return [
        "apart:",
        f"  %weights.at = getelementptr ptr, ptr %buffers, i64 {ports}",
        "  store ptr @weights, ptr %weights.at, align 8",
        f"  %arena.at = getelementptr ptr, ptr %buffers, i64 {ports + 1}",
        "  store ptr %workspace, ptr %arena.at, align 8",
        "  %none = icmp eq i64 %batch, 0",
        "  br i1 %none, label %done, label %sample",
    ]


def _samples(main: str, ports: Sequence[Port]) -> list[str]:
    """The loop over the batch, which moves inputs and outputs on by a sample."""
    lines = ["sample:", "  %n = phi i64 [ 0, %apart ], [ %next, %ran ]"]
    for number, port in enumerate(ports):
        lines += [
            f"  %step{number} = mul i64 %n, {port.size_bytes}",
            f"  %here{number} = getelementptr i8, ptr %io{number}, i64 %step{number}",
            f"  store ptr %here{number}, ptr %slot{number}, align 8",
        ]
    forkjoin = symbol(f"{main}_forkjoin")
    return [
        *lines,
        "  br i1 %single, label %serial, label %parallel",
        "serial:",
        f"  call void {symbol(f'{main}_serial')}(ptr %buffers)",
        "  br label %ran",
        "parallel:",
        f"  call void {forkjoin}(ptr %buffers, i32 %threads, ptr %loop, ptr %host)",
        "  br label %ran",
        "ran:",
        "  %next = add i64 %n, 1",
        "  %more = icmp ult i64 %next, %batch",
        "  br i1 %more, label %sample, label %done",
        "done:",
        f"  ret i32 {STATUS['OK']}",
    ]


def _checks(interface: Interface) -> list[str]:
    """CPU, number of samples and threads, and the workspace: `%need` bytes for all tasks."""
    return [
        '  %fits = call i32 @"cpu_fits"()',
        "  %can = icmp ne i32 %fits, 0",
        "  br i1 %can, label %counts, label %bad.cpu",
        "counts:",
        "  %alone = icmp eq ptr %loop, null",
        "  %one = icmp eq i32 %threads, 1",
        "  %single = or i1 %alone, %one",
        f"  %few = icmp ult i64 %batch, {_MAX_BATCH}",
        "  %less = sub i32 %threads, 1",
        f"  %threads.ok = icmp ult i32 %less, {MAX_THREADS}",
        "  %counts.ok = and i1 %few, %threads.ok",
        "  br i1 %counts.ok, label %space, label %bad.arg",
        "space:",
        "  %many = zext i32 %threads to i64",
        "  %tasks = select i1 %single, i64 1, i64 %many",
        f"  %scratch = mul i64 %tasks, {interface.scratch_bytes}",
        f"  %need = add i64 %scratch, {interface.workspace_bytes}",
        "  %enough = icmp uge i64 %bytes, %need",
        "  br i1 %enough, label %placed, label %bad.size",
        "placed:",
        "  %nowhere = icmp eq ptr %workspace, null",
        "  %needed = icmp ne i64 %need, 0",
        "  %lacks = and i1 %nowhere, %needed",
        "  br i1 %lacks, label %bad.arg, label %aligned",
        "aligned:",
        *_misaligned(".ws", "%workspace", ALIGNMENT, "port0"),
    ]


def _misaligned(tag: str, pointer: str, align: int, following: str) -> list[str]:
    return [
        f"  %bits{tag} = ptrtoint ptr {pointer} to i64",
        f"  %low{tag} = and i64 %bits{tag}, {align - 1}",
        f"  %off{tag} = icmp ne i64 %low{tag}, 0",
        f"  br i1 %off{tag}, label %bad.align, label %{following}",
    ]
