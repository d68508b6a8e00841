"""Lowering: one program, the same every time; halos, ports, weights, shares of the work."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.abi import ALIGNMENT, aligned
from cnncc.errors import InternalError
from cnncc.ir.types import DType
from cnncc.loopir import interp
from cnncc.loopir.nodes import MAIN, Barrier, Call, Func, If, Program
from cnncc.loopir.text import print_program
from cnncc.loopir.verify import verify
from cnncc.plan.lower import _Blob, lower
from cnncc.targets import find
from cnncc.verification import interpreter_engine, observe, random_inputs
from tests.passes.nets import Net, random_net
from tests.plan.planning import SSE, check, placed, plan_of

SAME = {"pads": (1, 1, 1, 1)}


def small():
    net = Net()
    x = net.conv(net.input(1, 3, 6, 6), 5, 3, **SAME)
    y = net.add("add", net.conv(net.add("relu", x), 5, 3, **SAME), x)
    return net.outputs(net.dense(net.add("flatten", net.pool(y, 2, 2)), 3), y)


def test_a_barrier_between_stages_and_none_elsewhere():
    plan = plan_of(small())
    main = plan.program.funcs[-1]
    assert main.name == MAIN
    barriers = sum(isinstance(s, Barrier) for s in main.body)
    assert barriers == len(plan.stages) - 1
    calls = [s.callee for s in main.body if isinstance(s, Call)]
    assert calls == [name for s in plan.stages for name in s.functions]
    assert not any(isinstance(s, If) for s in main.body)
    assert {f.name for f in plan.program.funcs[:-1]} == set(calls)


def test_tiny_networks_stay_on_one_thread():
    assert plan_of(small()).interface.most_threads == 1
    net = Net()
    large = net.outputs(net.conv(net.input(1, 64, 28, 28), 64, 3, **SAME))
    assert plan_of(large).interface.most_threads == 0


def test_the_program_verifies():
    for seed in range(5):
        verify(plan_of(random_net(seed)).program)


def test_the_same_text_every_time():
    """Nothing depends on hashes, addresses or what was planned before."""
    first = plan_of(small())
    plan_of(random_net(3))
    second = plan_of(small())
    assert print_program(first.program) == print_program(second.program)
    assert first.weights.tobytes() == second.weights.tobytes()
    assert first.interface == second.interface


def test_equal_loop_nests_are_one_function():
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4, 3, **SAME)
    for _ in range(6):
        x = net.conv(x, 4, 3, **SAME)
    plan = plan_of(net.outputs(x))
    convolutions = [s.functions[0] for s in plan.stages[1:-1]]
    assert len(convolutions) == 7
    assert len(set(convolutions)) <= 2


def test_equal_weights_are_stored_once():
    net = Net()
    x = net.input(1, 4, 5, 5)
    w, b = net.param(4, 4, 1, 1), net.param(4)
    once = plan_of(net.outputs(net.add("conv2d", x, w, b)))
    net = Net()
    x = net.input(1, 4, 5, 5)
    w, b = net.param(4, 4, 1, 1), net.param(4)
    y = net.add("tanh", net.add("conv2d", x, w, b))
    twice = plan_of(net.outputs(net.add("conv2d", net.add("conv2d", y, w, b), w, b)))
    assert twice.weights.size == once.weights.size
    assert once.weights.ctypes.data % ALIGNMENT == 0


def test_the_halo_is_cleared_in_the_stage_of_the_first_write():
    net = Net()
    x = net.add("tanh", net.input(1, 4, 5, 5))
    joined = net.add("concat", net.conv(x, 4, 1), net.conv(x, 8, 1))
    plan = check(net.outputs(net.conv(joined, 2, 3, **SAME)))
    filling = [s.name for s in plan.stages if any("fill_halo" in f for f in s.functions)]
    assert len(filling) == 1
    first = next(s for s in plan.stages if s.functions[0].startswith("conv_direct"))
    assert filling == [first.name]


def test_halos_are_cleared_anew_where_buffers_are_reused():
    """An arena full of NaN, every part of it used over and over."""
    net = Net()
    x = net.conv(net.input(1, 3, 6, 6), 4, 3, **SAME)
    for size, pad in ((3, 1), (5, 2), (3, 1), (1, 0)):
        x = net.conv(net.add("tanh", x), 4, size, pads=(pad,) * 4)
    plan = check(net.outputs(x))
    inputs = random_inputs(plan.interface.inputs)
    results = [observe(plan, interpreter_engine(plan.program), inputs) for _ in range(2)]
    for node_id, value in results[0].items():
        assert value.tobytes() == results[1][node_id].tobytes()


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_shares_of_threads_make_the_whole(threads):
    plan = plan_of(small())
    inputs = random_inputs(plan.interface.inputs)
    alone = observe(plan, interpreter_engine(plan.program), inputs)
    shared = observe(plan, interpreter_engine(plan.program, threads), inputs)
    for node_id, value in alone.items():
        assert value.tobytes() == shared[node_id].tobytes()


def run_with_two_threads(program, plan, order):
    """The first output, with the threads of each segment in that order."""
    face = plan.interface
    buffers = [random_inputs(face.inputs)[p.name].reshape(-1) for p in face.inputs]
    buffers += [np.full(p.elems, np.nan, np.float32) for p in face.outputs]
    arena = np.full(face.workspace_for(2) // 4, np.nan, np.float32)
    interp.run(program, [*buffers, plan.weights, arena], name=MAIN, threads=2, order=order)
    return buffers[len(face.inputs)]


def test_threads_meet_only_at_barriers():
    """Between two barriers the order of threads is free; without one it is not."""
    plan = plan_of(small())
    forward = run_with_two_threads(plan.program, plan, "forward")
    assert np.isfinite(forward).all()
    assert np.array_equal(run_with_two_threads(plan.program, plan, "reversed"), forward)
    main = plan.program.funcs[-1]
    differs = 0
    for number in [i for i, s in enumerate(main.body) if isinstance(s, Barrier)]:
        body = main.body[:number] + main.body[number + 1 :]
        racy = Program([*plan.program.funcs[:-1], Func(MAIN, main.params, body)])
        with np.errstate(all="ignore"):
            results = [run_with_two_threads(racy, plan, o) for o in ("forward", "reversed")]
        differs += not np.array_equal(*results)
    assert differs >= 3  # little work runs on the first thread alone and needs none


def test_interface():
    net = Net()
    x = net.add("input", name="photo", dtype=DType.U8, shape=(1, 3, 4, 5), format="rgb")
    y = net.add("normalize", x, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)
    z = net.add("flatten", y)
    graph = net.outputs(y, net.dense(z, 7))
    graph.meta |= {"labels": {"y1": tuple("abcdefg")}, "top": {"y1": 3}}
    plan = plan_of(graph)
    face = plan.interface
    (port,) = face.inputs
    assert (port.name, port.dtype, port.shape, port.format) == ("photo", DType.U8, (4, 5, 3), "rgb")
    assert [p.shape for p in face.outputs] == [(4, 5, 3), (7,)]
    assert [p.memory for p in face.outputs] == ["hwc", ""]
    assert face.outputs[1].labels == tuple("abcdefg")
    assert face.outputs[1].top == 3
    assert face.parameters == 60 * 7 + 7
    assert face.macs == 60 * 7
    assert face.workspace_bytes == plan.graph.meta["arena_elems"] * 4
    assert face.weights_bytes == plan.weights.nbytes
    hints = [p.hint for p in plan.program.funcs[-1].params]
    assert hints[2:] == ["output_y1", "weights", "arena", "thread", "threads"]


def test_a_plan_without_places_is_our_own_bug():
    graph = placed(small())
    for _, node in graph.nodes():
        node.notes.pop("place", None)
    with pytest.raises((InternalError, KeyError)):
        lower(graph, SSE)


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("seed", range(30, 34))
def test_random_networks(name, seed):
    check(random_net(seed), find(name))


def test_constants_lie_once_and_stay_when_the_memory_grows():
    blob = _Blob(aligned(16))
    rng = np.random.default_rng(5)
    arrays = [rng.standard_normal(n).astype(np.float32) for n in (3, 100, 16, 700, 1)]
    arrays.append(np.arange(7, dtype=np.int8))
    places = [blob.place(array) for array in arrays]
    elems = blob.elems
    assert [blob.place(array.copy()) for array in arrays] == places
    assert blob.elems == elems
    zeros = [np.zeros(2, np.float32), -np.zeros(2, np.float32)]  # equal, but of other bits
    assert blob.place(zeros[0]) != blob.place(zeros[1])
    packed = blob.array()
    assert packed.size == blob.elems
    assert packed.ctypes.data % ALIGNMENT == 0
    used = np.zeros(packed.nbytes, bool)
    for array, start in zip(arrays, places, strict=True):
        assert start * 4 % ALIGNMENT == 0
        place = slice(start * 4, start * 4 + array.nbytes)
        assert packed.view(np.uint8)[place].tobytes() == array.tobytes()
        used[place] = True
    assert not packed.view(np.uint8)[: elems * 4][~used[: elems * 4]].any()
