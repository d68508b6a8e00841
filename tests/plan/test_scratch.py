"""Scratch memory: a part of the workspace for each thread, and no byte of another's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc import driver, stages
from cnncc.abi import aligned
from cnncc.errors import VerifyError
from cnncc.kernels.template import Launch, ScratchArg, scratch_buffer
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.host import host_target
from cnncc.llvm.program import compile_program, load_program
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Kind
from cnncc.loopir.verify import verify
from cnncc.plan.lower import Plan
from cnncc.plan.verify import verify_launch
from cnncc.runtime.network import Network
from cnncc.targets import find
from cnncc.verification import Engine, interpreter_engine, native_engine, random_inputs
from tests.passes.nets import Net
from tests.plan.planning import check
from tests.plan.scratch import POISON, check_traces, install, traced, traced_plan

AVX2 = find("x86-64-v3")
_BEHIND = 4096  # words that nobody may touch


@pytest.fixture(autouse=True)
def _traced(monkeypatch):
    install(monkeypatch)


def run(plan: Plan, engine: Engine) -> np.ndarray:
    """The output, once the traces in scratch memory are as they should be."""
    face = plan.interface
    inputs = [random_inputs(face.inputs)[p.name].reshape(-1) for p in face.inputs]
    output = aligned(face.outputs[0].elems)
    size = face.workspace_for(engine.threads) // 4
    assert size == (face.workspace_bytes + engine.threads * face.scratch_bytes) // 4
    whole = aligned(size + _BEHIND)
    whole.view(np.uint32)[:] = POISON
    scratch = whole.view(np.uint32)[face.workspace_bytes // 4 :]

    def after(segment: int) -> None:
        if plan.stages[segment] == traced(plan):
            check_traces(plan, scratch, engine.threads)
        else:
            scratch[:] = POISON

    engine.run([*inputs, output, plan.weights, whole], after)
    return output


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_nothing_in_the_interpreter(threads):
    plan = traced_plan(AVX2)
    found = run(plan, interpreter_engine(plan.program, threads))
    assert found.tobytes() == run(plan, interpreter_engine(plan.program, 1)).tobytes()


@pytest.mark.native
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_nothing_as_machine_code(threads):
    plan = traced_plan(host_target())
    library = load_program(compile_program(plan.program, plan.target, None), plan.target)
    found = run(plan, native_engine(library, threads))
    np.testing.assert_allclose(found, run(plan, interpreter_engine(plan.program)), rtol=1e-5)


@pytest.mark.native
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_of_a_pool_share_nothing(threads, tmp_path, monkeypatch):
    """The network's own workspaces have room for exactly the threads that it has."""
    plan = traced_plan(host_target())
    compilation = driver.Compilation(driver.Model(plan.graph, ()), plan, (), 0.0)
    monkeypatch.setattr(driver, "summary_rows", lambda _: [])
    net = driver.build(compilation, threads=threads, cache=ObjectCache(tmp_path))
    face = plan.interface
    assert net.memory.workspace_bytes == face.workspace_bytes + threads * face.scratch_bytes
    x = random_inputs(face.inputs)[face.inputs[0].name][None]
    assert net._executable.new_workspace()._memory.nbytes == face.workspace_for(threads)
    wanted = net(x)
    (workspace,) = net._executable.free
    guarded = aligned(face.workspace_for(threads) // 4 + _BEHIND)
    workspace.pointers[len(net.inputs) + len(net.outputs) + 1] = guarded.ctypes.data
    scratch = guarded.view(np.uint32)[face.workspace_bytes // 4 :]
    for _ in range(50):
        guarded.view(np.uint32)[:] = POISON
        assert net(x).tobytes() == wanted.tobytes()
        assert (scratch[threads * face.scratch_bytes // 4 :] == POISON).all()
    saved = Network.from_bytes(net.to_bytes(), threads=2)
    assert saved.interface == face
    assert saved(x).tobytes() == wanted.tobytes()
    net.close()
    assert net.memory.workspace_bytes == face.workspace_for(threads)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_program_in_files_keeps_it(threads, tmp_path):
    plan = traced_plan(AVX2)
    path = tmp_path / "program.loops"
    stages.save_program(path, plan.program, plan.weights, plan.interface)
    lowered = stages.load_program(path)
    assert lowered.interface == plan.interface
    inputs = random_inputs(plan.interface.inputs)
    (found,) = stages.interpret(lowered, inputs, threads=threads).values()
    assert found.tobytes() == run(plan, interpreter_engine(plan.program)).tobytes()


def test_a_program_from_before_there_was_scratch_has_none(tmp_path):
    net = Net()
    plan = check(net.outputs(net.add("sigmoid", net.input(1, 8, 3, 3))), AVX2)
    path = tmp_path / "program.loops"
    stages.save_program(path, plan.program, plan.weights, plan.interface)
    with np.load(path.with_suffix(".npz")) as arrays:
        weights, text = arrays["weights"], str(arrays["interface"])
    old = text.replace(", scratch_bytes=0", "")
    assert old != text
    np.savez(path.with_suffix(".npz"), weights=weights, interface=np.array(old))
    assert stages.load_program(path).interface == plan.interface


def test_every_access_is_proven():
    plan = traced_plan(AVX2)
    assert verify(plan.program) == []


def test_a_workspace_for_fewer_threads_is_found_out():
    """The interpreter sees the end of the memory that it was given."""
    plan = traced_plan(AVX2)
    face = plan.interface
    buffers = [random_inputs(face.inputs)[p.name].reshape(-1) for p in face.inputs]
    buffers += [np.zeros(p.elems, np.float32) for p in face.outputs]
    small = np.zeros(face.workspace_for(2) // 4, np.float32)
    interp.run(plan.program, [*buffers, plan.weights, small], threads=2)
    with pytest.raises(interp.InterpError, match="out of bounds"):
        interp.run(plan.program, [*buffers, plan.weights, small], threads=3)


def test_the_largest_launch_decides():
    """Launches follow each other in the same memory."""
    net = Net()
    x = net.input(1, 61, 3, 5)
    plans = [check(net.outputs(net.add("lrn", x, size=n)), AVX2, threads=2) for n in (3, 5)]
    sizes = [plan.interface.scratch_bytes for plan in plans]
    assert sizes == [320, 320]  # 61 + 3 + 2 or 4 words
    assert traced_plan(AVX2).interface.scratch_bytes == 4 * (128 + 48)


def test_a_network_without_scratch_needs_none():
    net = Net()
    plan = check(net.outputs(net.add("sigmoid", net.input(1, 8, 3, 3))), AVX2)
    assert plan.interface.scratch_bytes == 0
    assert plan.interface.workspace_for(7) == plan.interface.workspace_bytes
    (arena,) = [p for p in plan.program.funcs[-1].params if p.hint == "arena"]
    assert arena.type.extent == plan.graph.meta["arena_elems"]


# -- what a launch must keep ---------------------------------------------------------------------


def launch(*, words=None, elems=20, kind=Kind.F32, stack=0, **buffer) -> Launch:
    b = Builder("f")
    if buffer:
        b.buffer("s", kind, elems, **buffer)
        arg = ScratchArg(elems)
    else:
        _, arg = scratch_buffer(b, "s", elems, kind)
    b.index_param("lo"), b.index_param("hi")
    if stack:
        b.alloc(stack)
    return Launch(b.func, (arg if words is None else ScratchArg(words),), 1)


def test_a_sound_launch():
    verify_launch("n", launch(stack=256))
    assert launch(elems=3, kind=Kind.U8).args == (ScratchArg(1),)
    assert launch(elems=3, kind=Kind.I64).args == (ScratchArg(6),)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (launch(words=19), r"n: `f`: 19 words of scratch for `s`: f32\[20\]"),
        (launch(words=39, kind=Kind.F64), "39 words of scratch"),
        (launch(writable=False), "no buffer of its own"),
        (launch(writable=True, unique=False), "no buffer of its own"),
        (launch(elems=None, words=9, writable=True), "9 words of scratch"),
        (launch(stack=257), "1028 bytes on the stack"),
        (replace(launch(), args=(7,)), "7 is no argument for `s`"),
        (replace(launch(), args=()), r"takes 3 arguments, not 0 \+ 2"),
    ],
)
def test_a_launch_that_breaks_its_word(bad, words):
    with pytest.raises(VerifyError, match=words):
        verify_launch("n", bad)
