from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cnncc.abi import Interface, Port
from cnncc.errors import EmitError
from cnncc.ir.types import DType
from cnncc.llvm.aot import WEIGHTS_SECTION, emit_library, library_text
from cnncc.llvm.c_api import Identity
from cnncc.llvm.elf import sections, symbols, undefined_symbols
from cnncc.llvm.host import host_target, missing
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.targets import TARGETS, Target, find
from tests.llvm.native import RUNNABLE

SIZE = 37
PORT = Port("x", DType.F32, (SIZE,))
INTERFACE = Interface("net", (PORT,), (PORT,), 4 * SIZE, 4 * SIZE, SIZE, SIZE, "any")
IDENTITY = Identity("net", "0", "0" * 64)
SHOWN = {f"t_{name}" for name in ("run", "run_ex", "get_info", "strerror", "abi_version")}
WEIGHTS = np.linspace(-2, 2, SIZE).astype("f")

MAIN_C = """
#include <stddef.h>
#include <stdio.h>
#include <string.h>
typedef void (*loop_t)(void *, int, void (*)(void *, int), void *);
int t_run(const float *, float *, size_t, void *, size_t);
struct io { size_t bytes; const float *x; float *y; size_t batch; void *ws; size_t ws_bytes; };
struct opts { size_t bytes; int threads; loop_t loop; void *host; };
int t_run_ex(const struct io *, const struct opts *);
unsigned t_abi_version(void);
const char *t_strerror(int);
static int t_run_parallel(const float *x, float *y, size_t batch, void *ws, size_t bytes,
                          int threads, loop_t loop, void *host) {
  struct io io = {sizeof io, x, y, batch, ws, bytes};
  struct opts opts = {sizeof opts, threads, loop, host};
  return t_run_ex(&io, &opts);
}
static int calls;
static void loop(void *host, int n, void (*task)(void *, int), void *arg) {
  int i;
  calls += *(int *)host;
  for (i = n - 1; i >= 0; i--) task(arg, i);
}
static _Alignas(64) char ws[4096];
int main(void) {
  float x[2 * 37], y[2 * 37], z[2 * 37];
  int i, ten = 10;
  for (i = 0; i < 2 * 37; i++) x[i] = (float)i;
  printf("%u %d", t_abi_version(), t_run(x, y, 2, ws, sizeof ws));
  printf(" %d", t_run_parallel(x, z, 2, ws, 4 * 37, 3, loop, &ten));
  printf(" %d %d", calls, memcmp(y, z, sizeof y));
  printf(" %d", t_run(NULL, y, 1, ws, sizeof ws));
  printf(" %d", t_run(x, y, 1, NULL, sizeof ws));
  printf(" %d", t_run(x, y, (size_t)-1, ws, sizeof ws));
  printf(" %d", t_run(x, y, 1, ws + 4, sizeof ws - 4));
  printf(" %d", t_run((float *)((char *)x + 1), y, 1, ws, sizeof ws));
  printf(" %d", t_run(x, y, 1, ws, 4 * 37 - 1));
  printf(" %d", t_run_parallel(x, y, 1, ws, sizeof ws, 0, loop, &ten));
  printf(" %d", t_run(x, y, 0, ws, sizeof ws));
  printf(" %d %d", t_run(x, x + 36, 1, ws, sizeof ws), t_run((float *)ws, y, 1, ws, sizeof ws));
  printf(" %d %d", t_run(x, x + 37, 1, ws, sizeof ws), t_run(x, (float *)(ws + 64), 1, ws, 4 * 37));
  printf(" %d %d", t_run_ex(NULL, NULL), t_run_ex((struct io *)&(size_t){8}, NULL));
  {
    struct io io = {sizeof io, x, y, 1, ws, sizeof ws};
    printf(" %d %d", t_run_ex(&io, (struct opts *)&(size_t){8}), t_run_ex(&io, NULL));
  }
  printf(" %s/%s/%s\\n", t_strerror(0), t_strerror(-3), t_strerror(7));
  for (i = 0; i < 2 * 37; i++) x[i] = (float)i;
  t_run(x, y, 2, ws, sizeof ws);
  fwrite(y, sizeof y, 1, stdout);
  return 0;
}
"""


def program() -> Program:
    """The arena gets x*w; the output is the arena backwards plus x."""
    first = Builder("scale")
    x, w = first.buffer("x"), first.buffer("w")
    arena = first.buffer("arena", writable=True)
    lo, hi = first.index_param("lo"), first.index_param("hi")
    with first.loop(lo, hi) as loop:
        first.store(
            arena, loop.iv, first.binary("mul", first.load(x, loop.iv), first.load(w, loop.iv))
        )
    second = Builder("turn")
    x, arena = second.buffer("x"), second.buffer("arena")
    y = second.buffer("y", writable=True)
    lo, hi = second.index_param("lo"), second.index_param("hi")
    with second.loop(lo, hi) as loop:
        back = second.load(arena, second.isub(SIZE - 1, loop.iv))
        second.store(y, loop.iv, second.binary("add", back, second.load(x, loop.iv)))
    m = Builder("main")
    x, y = m.buffer("x"), m.buffer("y", writable=True)
    w, arena = m.buffer("w"), m.buffer("arena", writable=True)
    thread, threads = m.index_param("thread"), m.index_param("threads")
    lo, hi = (m.idiv(m.imul(m.iadd(thread, n), SIZE), threads) for n in (0, 1))
    m.call("scale", [x, w, arena, lo, hi])
    m.barrier()
    m.call("turn", [x, arena, y, lo, hi])
    return Program([first.func, second.func, m.func])


def library(target: Target) -> bytes:
    return emit_library(
        program(), target, INTERFACE, WEIGHTS.tobytes(), prefix="t", identity=IDENTITY
    )


@pytest.fixture
def cc() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("there is no C compiler here")
    return found


@pytest.mark.native
@pytest.mark.parametrize("target", RUNNABLE, ids=lambda t: t.name)
def test_a_c_program_runs_it(target: Target, tmp_path: Path, cc: str) -> None:
    (tmp_path / "net.o").write_bytes(library(target))
    (tmp_path / "main.c").write_text(MAIN_C)
    subprocess.run(
        [cc, "-std=c11", "-Wall", "-Werror", "main.c", "net.o", "-o", "main"],
        cwd=tmp_path,
        check=True,
    )
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    line, _, data = done.stdout.partition(b"\n")
    assert line == (
        b"2 0 0 40 0 -1 -1 -1 -2 -2 -3 -1 0 -1 -1 0 -1 -1 -5 -5 0 "
        b"success/the workspace is too small/unknown status"
    )
    x = np.arange(2 * SIZE, dtype="f").reshape(2, SIZE)
    want = (x * WEIGHTS)[:, ::-1] + x
    np.testing.assert_array_equal(np.frombuffer(data, "f").reshape(2, SIZE), want)


def test_a_shared_library_is_clean(tmp_path: Path, cc: str) -> None:
    (tmp_path / "net.o").write_bytes(library(host_target()))
    subprocess.run([cc, "-shared", "-Wl,-z,text", "net.o", "-o", "n.so"], cwd=tmp_path, check=True)
    if shutil.which("readelf") is None:
        pytest.skip("there is no readelf here")
    text = subprocess.run(
        ["readelf", "-lWd", "--dyn-syms", "n.so"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "TEXTREL" not in text
    assert "RWE" not in text
    shown = {w[-1] for line in text.splitlines() if (w := line.split())[3:5] == ["FUNC", "GLOBAL"]}
    assert shown == SHOWN


@pytest.mark.parametrize("target", [host_target(), *TARGETS.values()], ids=lambda t: t.name)
def test_the_object_needs_nothing_writes_nothing_and_shows_five_names(target: Target) -> None:
    if target.requires and platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the check of an x86-64 CPU is assembled on x86-64 only")
    image = library(target)
    assert undefined_symbols(image) == set()
    shown = {s.name for s in symbols(image) if not s.local}
    assert shown == SHOWN
    by_name = {s.name: s for s in sections(image)}
    assert not [s for s in by_name.values() if s.flags & 1 and s.size]
    weights = by_name[WEIGHTS_SECTION]
    assert image[weights.offset :][: weights.size] == WEIGHTS.tobytes()
    assert weights.align == 64
    assert image == library(target)


@pytest.mark.native
def test_a_cpu_that_lacks_a_feature_is_refused(tmp_path: Path, cc: str) -> None:
    """A feature that no machine of today has together with the rest stands for a lesser CPU."""
    lacking = next(
        (
            dataclasses.replace(find("x86-64"), name="dream", requires=(feature,))
            for feature in ("avx512vp2intersect", "avx512fp16", "avx512f", "avx2")
            if missing(dataclasses.replace(find("x86-64"), requires=(feature,))) == [feature]
        ),
        None,
    )
    if lacking is None:
        pytest.skip("this machine has every feature, or is no x86-64")
    (tmp_path / "net.o").write_bytes(library(lacking))
    (tmp_path / "main.c").write_text(MAIN_C)
    subprocess.run([cc, "main.c", "net.o", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    assert done.stdout.startswith(b"2 -4 -4 0 ")


def test_no_vector_instruction_before_the_check() -> None:
    target = find("x86-64-v4")
    text = emit_assembly(
        library_text(program(), target, INTERFACE, prefix="t", identity=IDENTITY), target
    )
    for name in ("cpu_fits", "batch"):
        body = text[text.index(f"\n{name}:") :]
        body = body[: body.index(".Lfunc_end")]
        assert "cpuid" in body or name == "batch"
        assert "ymm" not in body
        assert "zmm" not in body
        assert not [line for line in body.splitlines() if line.startswith("\tv")]


def test_what_does_not_fit_is_refused() -> None:
    target = find("x86-64-v2")
    with pytest.raises(EmitError, match="identifier"):
        library_text(program(), target, INTERFACE, prefix="a b", identity=IDENTITY)
    with pytest.raises(EmitError, match="148 bytes"):
        emit_library(program(), target, INTERFACE, b"short", prefix="t", identity=IDENTITY)
    with pytest.raises(EmitError, match="ports"):
        library_text(
            program(),
            target,
            dataclasses.replace(INTERFACE, inputs=(PORT, PORT)),
            prefix="t",
            identity=IDENTITY,
        )
    strange = dataclasses.replace(target, requires=("avx1024",))
    with pytest.raises(EmitError, match="avx1024"):
        library_text(program(), strange, INTERFACE, prefix="t", identity=IDENTITY)


def test_many_ports_are_compared_in_a_loop() -> None:
    """Pairs grow with the square of the ports: written out, LLVM's recursion ends the process."""
    many = 400
    m = Builder("main")
    for number in range(many):
        m.buffer(f"p{number}", writable=number > 0)
    m.buffer("w"), m.buffer("arena", writable=True)
    m.index_param("thread"), m.index_param("threads")
    interface = dataclasses.replace(INTERFACE, outputs=(PORT,) * (many - 1), weights_bytes=0)
    made = emit_library(
        Program([m.func]), find("x86-64"), interface, b"", prefix="t", identity=IDENTITY
    )
    assert len(made) < 400 * many
