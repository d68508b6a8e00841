"""Scratch memory of a library: each task of the host has its own, and the header says how much."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from cnncc.export import export
from cnncc.llvm.host import host_target
from cnncc.llvm.program import compile_program, load_program
from cnncc.verification import native_engine, observe, random_inputs
from tests.export.programs import compiler, run
from tests.plan.scratch import POISON, check_traces, install, traced_plan

pytestmark = pytest.mark.native
STRICT = ("-Wall", "-Wextra", "-Werror", "-pedantic")
BEHIND = 4096  # bytes behind the workspace that nobody may touch
# The host's threads are all inside of the network at one time, for a barrier lets none go on alone.
HOST = r"""
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net.h"
#define MOST 3
#define BEHIND 4096
typedef struct { void (*task)(void *, int); void *arg; int number; pthread_barrier_t *all; } job;
static float x[NET_INPUT_input1_ELEMS], y[NET_OUTPUT_y0_ELEMS];
static unsigned char room[NET_WORKSPACE_BYTES_FOR(MOST) + NET_ALIGN + BEHIND];
static void *work(void *memory)
{
    job *own = memory;
    pthread_barrier_wait(own->all);
    own->task(own->arg, own->number);
    return NULL;
}
static void loop(void *host, int n, void (*task)(void *, int), void *arg)
{
    pthread_t threads[MOST];
    job jobs[MOST];
    pthread_barrier_t all;
    int i;
    if (n != *(int *)host) exit(3);
    pthread_barrier_init(&all, NULL, (unsigned)n);
    for (i = 0; i < n; i++) {
        jobs[i].task = task, jobs[i].arg = arg, jobs[i].number = i, jobs[i].all = &all;
        if (pthread_create(&threads[i], NULL, work, &jobs[i]) != 0) exit(4);
    }
    for (i = 0; i < n; i++) pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&all);
}
static int call(int threads, net_parallel_for with, void *out, size_t bytes, void *ws)
{
    net_io io;
    net_opts opts;
    memset(&io, 0, sizeof io);
    memset(&opts, 0, sizeof opts);
    io.struct_bytes = sizeof io, io.in_input1 = x, io.out_y0 = out, io.batch = 1;
    io.workspace = ws, io.workspace_bytes = bytes;
    opts.struct_bytes = sizeof opts, opts.threads = threads, opts.parallel_for = with;
    opts.host = &threads;
    return net_run_ex(&io, &opts);
}
int main(int argc, char **argv)
{
    unsigned char *ws = room + (NET_ALIGN - (size_t)room % NET_ALIGN) % NET_ALIGN;
    size_t at = NET_WORKSPACE_BYTES - NET_SCRATCH_BYTES, one = NET_WORKSPACE_BYTES;
    int threads = atoi(argv[1]), k;
    size_t bytes = NET_WORKSPACE_BYTES_FOR(threads);
    FILE *file = fopen(argv[2], "rb");
    if (argc != 3 || fread(x, 1, sizeof x, file) != sizeof x) return 2;
    memset(room, 0xA5, sizeof room);
    if (call(threads, loop, y, bytes - 1, ws) != NET_E_SIZE) return 10;
    if (call(threads + 1, loop, y, bytes, ws) != NET_E_SIZE) return 11;
    if (call(1024, NULL, y, one - 1, ws) != NET_E_SIZE) return 12;
    for (k = 0; k < (int)sizeof room; k++) if (room[k] != 0xA5) return 13;
    if (call(1024, NULL, y, one, ws) != NET_OK) return 14;
    if (call(1, loop, y, one, ws) != NET_OK || net_run(x, y, 1, ws, one) != NET_OK) return 15;
    if (net_run(x, y, 1, ws, one - 1) != NET_E_SIZE) return 16;
    /* The scratch of the last task is a part of the workspace; what lies behind is not. */
    if (call(threads, loop, ws + bytes - 4, bytes, ws) != NET_E_ARG) return 17;
    if (call(1, loop, ws + one, bytes, ws) != NET_OK) return 18;
    if (net_get_info()->workspace_bytes != one) return 19;
    if (net_get_info()->scratch_bytes != NET_SCRATCH_BYTES) return 20;
    if (net_get_info()->struct_bytes != sizeof(net_info)) return 21;
    if (NET_WORKSPACE_BYTES_FOR(1) != one) return 22;
    memset(room, 0xA5, sizeof room);
    if (call(threads, loop, y, bytes, ws) != NET_OK) return 23;
    fwrite(y, 1, sizeof y, stdout);
    fwrite(ws + at, 1, bytes + BEHIND - at, stdout);
    return 0;
}
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the host program, and the plan behind it."""
    gcc, folder = compiler("gcc"), tmp_path_factory.mktemp("scratch")
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        plan = traced_plan(host_target())
    face, blob = plan.interface, plan.weights
    export(folder, "net", plan.program, plan.target, face, blob, prefix="net")
    (folder / "host.c").write_text(HOST)
    command = [gcc, "-std=c99", *STRICT, "host.c", "libnet.a", "-pthread", "-o", "host"]
    run(command, folder)
    return folder, plan


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_tasks_of_a_host_share_nothing(built, threads, tmp_path):
    folder, plan = built
    inputs = random_inputs(plan.interface.inputs)
    (tmp_path / "x").write_bytes(b"".join(a.tobytes() for a in inputs.values()))
    command = [folder / "host", str(threads), tmp_path / "x"]
    data = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    size = plan.interface.outputs[0].size_bytes
    scratch = np.frombuffer(data[size:], np.uint32)
    assert scratch.nbytes == threads * plan.interface.scratch_bytes + BEHIND
    check_traces(plan, scratch, threads)
    assert (scratch[-BEHIND // 4 :] == POISON).all()
    library = load_program(compile_program(plan.program, plan.target, None), plan.target)
    values = observe(plan, native_engine(library, threads), inputs)
    ((_, output),) = plan.graph.outputs
    assert data[:size] == values[output].transpose(0, 2, 3, 1).tobytes()


def test_the_example_makes_room_for_its_threads(built, tmp_path):
    folder, _ = built
    gcc = compiler("gcc")
    flags = ["-std=c99", *STRICT, "-fopenmp", "-fsanitize=address"]
    command = [gcc, *flags, f"-I{folder}", folder / "main.c", folder / "libnet.a", "-o", "main"]
    try:
        run(command, tmp_path)
    except AssertionError:
        pytest.skip("this compiler has no OpenMP or no sanitizer")
    alone = run(["./main"], tmp_path)
    (tmp_path / "x").write_bytes(bytes(61 * 3 * 5 * 4))
    texts = [run(["./main", "x", str(n)], tmp_path) for n in (1, 2, 7)]
    assert len(set(texts)) == 1
    assert len(alone.splitlines()) == len(texts[0].splitlines()) == 61 * 3 * 5
    refused = "an argument is null, out of range"
    for wrong in ("0", "-1"):
        with pytest.raises(AssertionError, match=refused):
            run(["./main", "x", wrong], tmp_path)


def test_the_header_is_c89_and_cpp(built, tmp_path):
    folder, _ = built
    body = '#include "net.h"\nchar room[NET_WORKSPACE_BYTES_FOR(5)];\n'
    for name, tool, standard in (("a.c", "gcc", "c89"), ("b.cpp", "g++", "c++98")):
        (tmp_path / name).write_text(body)
        flags = [f"-std={standard}", *STRICT, f"-I{folder}"]
        run([compiler(tool), *flags, "-c", name, "-o", f"{name}.o"], tmp_path)
