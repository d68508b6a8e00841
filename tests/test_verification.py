"""The judge of compiled code: it accepts what is right, and names the layer that is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc import driver
from cnncc.abi import ALIGNMENT, Port, aligned
from cnncc.errors import InputError
from cnncc.ir.types import DType
from cnncc.kernels import epilogue
from cnncc.kernels.convolution import conv_depthwise, conv_direct, conv_nest, conv_pool, dense
from cnncc.kernels.template import Launch
from cnncc.llvm.host import missing
from cnncc.llvm.program import compile_program, load_program
from cnncc.plan import lower
from cnncc.targets import find
from cnncc.verification import (
    check_layers,
    interpreter_engine,
    native_engine,
    observe,
    random_inputs,
    value_of,
)
from tests.passes.nets import Net

SAME = {"pads": (1, 1, 1, 1)}
SSE = find("x86-64")


def network():
    """A layer for each kernel with weights, each with a name of its own."""
    net = Net()
    x = net.input(1, 3, 8, 8)

    def weights(*shape):
        return net.param(*shape), net.param(shape[0])

    a = net.add("conv2d", x, *weights(8, 3, 3, 3), name="first", **SAME)
    r = net.add("tanh", a, name="squash")
    b = net.add("conv2d", r, *weights(8, 1, 3, 3), name="each", groups=8, **SAME)
    c = net.add("add", net.add("conv2d", b, *weights(8, 8, 1, 1), name="point"), r, name="sum")
    d = net.add("conv2d", c, *weights(6, 8, 3, 3), name="pooled", **SAME)
    p = net.pool(net.add("relu", d), 2, 2)
    f = net.add("flatten", p, name="flat")
    return net.outputs(net.add("dense", f, *weights(5, 96), name="last"))


def planned():
    return driver.plan_model(driver.Model(network(), ()), SSE).plan


def verdicts(plan, engine=None):
    engine = engine or interpreter_engine(plan.program)
    inputs = random_inputs(plan.interface.inputs)
    return list(check_layers(plan, engine, inputs))


def wrong(plan):
    return [layer.path for layer in verdicts(plan) if layer.mismatch is not None]


def test_sound_code_passes():
    plan = planned()
    layers = verdicts(plan)
    assert [x.path for x in layers] == [s.name for s in plan.stages]
    for layer in layers:
        assert layer.mismatch is None
        assert layer.max_error <= layer.allowed
    assert any(layer.max_error > 0 for layer in layers)
    spans = [layer.spans for layer in layers if layer.path == "first"]
    assert spans[0][0].file == "net.cnn"


# -- broken kernels: what is broken, and the layer that has to be named --------------------------


def dropped_tap(monkeypatch):
    """The last tap of 3x3 filters is lost when they are packed."""
    pack = conv_nest.pack_panels

    def broken(w, *rest):
        if w.shape[2:] == (3, 3):
            w = w.copy()
            w[:, :, 2, 2] = 0
        return pack(w, *rest)

    monkeypatch.setattr(conv_nest, "pack_panels", broken)


def swapped_channels(monkeypatch):
    pack = conv_nest.pack_panels
    monkeypatch.setattr(conv_nest, "pack_panels", lambda w, *rest: pack(w[:, ::-1].copy(), *rest))


def columns_of_one_tap(monkeypatch):
    """Every kernel column reads the same pixels: a stride that is forgotten."""
    place = conv_nest.conv_place

    def broken(*args):
        found = place(*args)
        return replace(found, taps=replace(found.taps, column_step=0))

    monkeypatch.setattr(conv_direct, "conv_place", broken)


def transposed_filter(monkeypatch):
    pack = conv_depthwise.pack_depthwise
    monkeypatch.setattr(
        conv_depthwise, "pack_depthwise", lambda w, out: pack(w.swapaxes(2, 3).copy(), out)
    )


def forgotten_pixel(monkeypatch):
    """A mean or maximum over all pixels of the window but the last."""
    combine = conv_pool.combine_window
    monkeypatch.setattr(
        conv_pool,
        "combine_window",
        lambda b, pool, values, lanes: combine(b, pool, values[:-1], lanes),
    )


def rotated_units(monkeypatch):
    pack = dense.pack_dense
    monkeypatch.setattr(dense, "pack_dense", lambda *a, **k: np.roll(pack(*a, **k), 1, axis=-1))


def skipped_residual(monkeypatch):
    apply = epilogue.Epilogue.apply

    def broken(self, b, value, **offsets):
        kept = self.steps
        self.steps = tuple(s for s in kept if s.op != "add")
        result = apply(self, b, value, **offsets)
        self.steps = kept
        return result

    monkeypatch.setattr(epilogue.Epilogue, "apply", broken)


def lost_work(monkeypatch):
    """The last work item of the first convolution is never done."""
    whole = conv_direct.ConvDirect.lower

    def broken(self, site):
        launches = whole(self, site)
        if site.name != "first":
            return launches
        return [Launch(x.func, x.args, x.work - 1, x.grain) for x in launches]

    monkeypatch.setattr(conv_direct.ConvDirect, "lower", broken)


def halo_left_alone(monkeypatch):
    """Nothing clears the halo: windows read what the arena held before."""
    fill = lower.fill_halo

    def broken(layout, lanes):
        launch = fill(layout, lanes)
        return Launch(launch.func, launch.args, 0, launch.grain)

    monkeypatch.setattr(lower, "fill_halo", broken)


BROKEN = {
    dropped_tap: ["first", "pooled"],
    swapped_channels: ["first", "point", "pooled"],
    columns_of_one_tap: ["first"],
    transposed_filter: ["each"],
    forgotten_pixel: ["pooled"],
    rotated_units: ["last"],
    skipped_residual: ["point"],
    lost_work: ["first"],
    halo_left_alone: ["first"],
}


@pytest.mark.parametrize("fault", BROKEN, ids=lambda f: f.__name__)
def test_the_broken_layer_is_named(monkeypatch, fault):
    """Only it: layers behind it are judged on the operands that they really got."""
    fault(monkeypatch)
    assert wrong(planned()) == BROKEN[fault]


# -- engines -------------------------------------------------------------------------------------


@pytest.mark.native
@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_machine_code_and_interpreter_agree(name):
    target = find(name)
    if missing(target):
        pytest.skip(f"this machine lacks {', '.join(missing(target))}")
    plan = driver.plan_model(driver.Model(network(), ()), target).plan
    library = load_program(compile_program(plan.program, target, None), target)
    inputs = random_inputs(plan.interface.inputs)
    mine = observe(plan, native_engine(library), inputs)
    theirs = observe(plan, interpreter_engine(plan.program), inputs)
    assert mine.keys() == theirs.keys()
    for layer in check_layers(plan, native_engine(library), inputs):
        assert layer.mismatch is None
    for threads in (2, 3):
        again = observe(plan, native_engine(library, threads), inputs)
        assert all(again[n].tobytes() == value.tobytes() for n, value in mine.items())
    for node_id, value in mine.items():
        np.testing.assert_allclose(value, theirs[node_id], rtol=1e-4, atol=1e-4)


@pytest.mark.native
def test_what_goes_wrong_after_a_segment_is_raised():
    """Not swallowed by the foreign function in between."""
    if missing(SSE):
        pytest.skip("not an x86 machine")
    plan = planned()
    library = load_program(compile_program(plan.program, SSE, None), SSE)
    buffers = [aligned(p.elems, p.dtype.numpy) for p in plan.interface.inputs]
    buffers += [aligned(p.elems, p.dtype.numpy) for p in plan.interface.outputs]
    buffers += [plan.weights, aligned(plan.interface.workspace_for(1) // 4, np.dtype(np.float32))]
    for buffer in buffers[:-2]:
        buffer[:] = 0

    def after(segment):
        if segment == 1:
            raise ZeroDivisionError("in the callback")

    with pytest.raises(ZeroDivisionError, match="in the callback"):
        native_engine(library).run(buffers, after)


# -- arguments -----------------------------------------------------------------------------------


def test_wrong_inputs():
    plan = planned()
    engine = interpreter_engine(plan.program)
    name = plan.interface.inputs[0].name
    with pytest.raises(InputError, match="is missing"):
        observe(plan, engine, {})
    for array in (np.zeros((8, 8, 4), np.float32), np.zeros((8, 8, 3), np.float64)):
        with pytest.raises(InputError, match=r"expected f32\[8, 8, 3\]"):
            observe(plan, engine, {name: array})


def test_memory_is_aligned():
    for elems in (1, 3, 1000):
        for dtype in (np.float32, np.uint8):
            array = aligned(elems, np.dtype(dtype))
            assert array.shape == (elems,)
            assert array.ctypes.data % ALIGNMENT == 0


def test_inputs_are_random_but_the_same_for_a_seed():
    ports = planned().interface.inputs
    first, again, other = (random_inputs(ports, seed) for seed in (1, 1, 2))
    name = ports[0].name
    assert first[name].shape == ports[0].shape
    assert np.array_equal(first[name], again[name])
    assert not np.array_equal(first[name], other[name])


@pytest.mark.parametrize("dtype", list(DType), ids=str)
def test_inputs_of_every_type(dtype):
    values = random_inputs([Port("x", dtype, (100,))], 1)["x"]
    assert values.dtype == dtype.numpy
    if dtype.is_float:
        assert values.min() < 0 < values.max()
    elif dtype is DType.BOOL:
        assert 0 < values.sum() < 100
    else:
        info = np.iinfo(dtype.numpy)
        spread = (int(values.max()) - int(values.min())) / (int(info.max) - int(info.min))
        assert spread > 0.9


def test_values_of_joins_and_views_are_put_together():
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    view = net.add("slice_channels", joined, start=3, stop=8)
    plan = driver.plan_model(
        driver.Model(net.outputs(net.conv(view, 2, 3), net.add("tanh", joined)), ()), SSE
    ).plan
    values = observe(plan, interpreter_engine(plan.program), random_inputs(plan.interface.inputs))
    for node_id, node in plan.graph.nodes():
        if node.op == "concat":
            parts = [value_of(plan.graph, o, values) for o in plan.graph.operands(node_id)]
            whole = value_of(plan.graph, node_id, values)
            assert np.array_equal(whole, np.concatenate(parts, axis=1))
