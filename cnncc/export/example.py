"""A commented C program, and a CMake project, that use an exported network."""

from __future__ import annotations

from string import Template

from cnncc.abi import Interface
from cnncc.export.header import CPort, c_ports
from cnncc.export.names import c_string, printable
from cnncc.ir.types import DType

MARK = "/* Written by cnncc"
_MAX_LABELS = 20_000
_MAIN = Template("""\
$mark for the network $model; change it as you like.
 *
 *   cc -std=c99 main.c $stem.o -o main          (or with lib$stem.a)
 *   ./main [FILE [THREADS]]
 *
 * FILE holds one sample of every input, one behind the other, as raw values in
 * the byte order of this machine. Without it the inputs are a ramp. The outputs
 * are printed, a value a line. Compiled with -fopenmp, THREADS threads share the
 * work.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "$stem.h"

/* Inputs and outputs of one sample. */
$arrays

$labels\
/* Optional: how the network may use your threads. Tasks never wait for others. */
static void parallel_for(void *host, int n, void (*task)(void *arg, int i),
                         void *arg)
{
    int i;
    (void)host;
#ifdef _OPENMP
#pragma omp parallel for num_threads(n) schedule(static, 1)
#endif
    for (i = 0; i < n; i++) {
        task(arg, i);
    }
}

static void fill(FILE *file, void *data, size_t size, const char *name)
{
    if (fread(data, 1, size, file) != size) {
        fprintf(stderr, "the file ends before input %s is full\\n", name);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    size_t bytes = ${upper}_WORKSPACE_BYTES_FOR(threads > 0 ? threads : 1);
    unsigned char *storage;
    uintptr_t beyond;
    ${prefix}_io io;
    ${prefix}_opts opts;
    ${prefix}_status status;
    size_t i;

    if (${prefix}_abi_version() != ${upper}_ABI_VERSION) {
        fprintf(stderr, "header and library do not belong together\\n");
        return 2;
    }

    /* The workspace: yours, of the exact size, and one for each call in flight. On
     * one thread WORKSPACE_BYTES are enough, and may lie in a static array. */
    storage = (unsigned char *)malloc(bytes + ${upper}_ALIGN);
    if (storage == NULL) {
        fprintf(stderr, "there is not enough memory\\n");
        return 2;
    }
    beyond = (uintptr_t)storage % ${upper}_ALIGN;

    if (argc > 1) {
        FILE *file = fopen(argv[1], "rb");
        if (file == NULL) {
            perror(argv[1]);
            return 2;
        }
$fills
        fclose(file);
    } else {
$ramps
    }

    memset(&io, 0, sizeof io);
    io.struct_bytes = sizeof io;
$fields
    io.batch = 1;
    io.workspace = storage + (${upper}_ALIGN - beyond) % ${upper}_ALIGN;
    io.workspace_bytes = bytes;
    memset(&opts, 0, sizeof opts);
    opts.struct_bytes = sizeof opts;
    opts.threads = threads;
    opts.parallel_for = parallel_for;

    /* On one thread this is the same as ${prefix}_run(...). */
    status = ${prefix}_run_ex(&io, &opts);
    if (status != ${upper}_OK) {
        fprintf(stderr, "%s\\n", ${prefix}_strerror(status));
        return 1;
    }
$prints
    free(storage);
    return 0;
}
""")
_CMAKE = Template("""\
# Written by cnncc. Use it with add_subdirectory(), then link the target `$prefix`.
cmake_minimum_required(VERSION 3.13)
project($prefix C)

add_library($prefix STATIC IMPORTED GLOBAL)
set_target_properties($prefix PROPERTIES
  IMPORTED_LOCATION "$${CMAKE_CURRENT_SOURCE_DIR}/lib$stem.a"
  INTERFACE_INCLUDE_DIRECTORIES "$${CMAKE_CURRENT_SOURCE_DIR}")

if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  add_executable(${prefix}_main main.c)
  target_link_libraries(${prefix}_main PRIVATE $prefix)
endif()
""")
_WIDE = {"%.9g": "double", "%.17g": "double", "%ld": "long", "%lu": "unsigned long"}


def main_text(prefix: str, stem: str, interface: Interface) -> str:
    """`main.c`: fills the inputs from a file or with a ramp, runs, prints every output."""
    inputs, outputs = c_ports(prefix, interface)
    ports = (*inputs, *outputs)
    return _MAIN.substitute(
        mark=MARK,
        model=printable(interface.name),
        stem=stem,
        prefix=prefix,
        upper=prefix.upper(),
        arrays="\n".join(f"static {p.c_type} {p.field}[{p.macro}_ELEMS];" for p in ports),
        labels="".join(_label_table(p) for p in outputs if _is_labelled(p)),
        fills="\n".join(
            f"        fill(file, {p.field}, sizeof {p.field}, {c_string(p.port.name)});"
            for p in inputs
        ),
        ramps="\n".join(_ramp(p) for p in inputs),
        fields="\n".join(f"    io.{p.field} = {p.field};" for p in ports),
        prints="\n".join(_print(p, titled=len(outputs) > 1) for p in outputs),
    )


def cmake_text(prefix: str, stem: str) -> str:
    """`CMakeLists.txt`: the library as an imported target, and the example."""
    return _CMAKE.substitute(prefix=prefix, stem=stem)


def _is_labelled(item: CPort) -> bool:
    return len(item.port.labels) == item.port.elems <= _MAX_LABELS


def _label_table(item: CPort) -> str:
    rows = "".join(f"    {c_string(label)},\n" for label in item.port.labels)
    name = f"labels_{item.field}[{item.macro}_ELEMS]"
    return f"static const char *const {name} = {{\n{rows}}};\n\n"


def _ramp(item: CPort) -> str:
    match item.port.dtype:
        case DType.F32 | DType.F64:
            value = "((float)(i % 251) / 251.0f)"
        case DType.I8 | DType.BOOL:
            value = "(i % 2)"
        case _:
            value = "(i % 251)"
    return (
        f"        for (i = 0; i < {item.macro}_ELEMS; i++) {{\n"
        f"            {item.field}[i] = ({item.c_type}){value};\n"
        "        }"
    )


def _print(item: CPort, *, titled: bool) -> str:
    """A loop that prints an output so that reading the text gives the same bits."""
    form = {DType.F32: "%.9g", DType.F64: "%.17g", DType.U64: "%lu"}.get(item.port.dtype, "%ld")
    args = f"({_WIDE[form]}){item.field}[i]"
    if _is_labelled(item):
        form, args = f"{form} %s", f"{args}, labels_{item.field}[i]"
    title = f'    printf("# %s\\n", {c_string(item.port.name)});\n' if titled else ""
    return (
        f"{title}    for (i = 0; i < {item.macro}_ELEMS; i++) {{\n"
        f'        printf("{form}\\n", {args});\n'
        "    }"
    )
