"""The arithmetic of predictions, on a record of a machine whose rates are easy to reckon with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnncc import driver
from cnncc.ir.types import DType
from cnncc.kernels.cost import (
    data_cycles,
    long_step_cycles,
    pace,
    places,
    predict,
    value_bytes,
    weight_pace,
)
from cnncc.kernels.layout import DenseLayout, Layout
from cnncc.loopir.build import Builder
from cnncc.plan.site import site_of
from cnncc.spec import load
from cnncc.targets import find

PLAIN = replace(
    find("x86-64-v3").machine,
    hertz=1e9,
    fmas=2.0,
    l2_bytes_per_cycle=32.0,
    l3_bytes_per_cycle=16.0,
    memory_bytes_per_cycle=4.0,
    l3_bytes=1 << 20,
    stage_cycles=100.0,
)
TARGET = replace(find("x86-64-v3"), machine=PLAIN)


TEXT = """\
cnncc 1
weights random
input x: 16x16x8
conv(1x1, filters=8) -> relu -> maxpool(3x3, stride=2, pad=1)
output y
"""


@pytest.fixture(scope="module")
def site():
    """A pool of 16x16x8 to 8x8x8."""
    loaded = load(TEXT, file="t")
    plan = driver.plan_model(
        driver.Model(loaded.graph, ()), TARGET, options=driver.Options(frozenset({"conv-pool"}))
    ).plan
    for stage in plan.stages:
        found = site_of(plan.graph, stage.node, TARGET)
        if isinstance(found.layouts[0], Layout) and isinstance(found.out, Layout):
            return found
    raise AssertionError("no stage from blocks to blocks")


def test_data_comes_at_the_pace_of_what_holds_it():
    assert pace(TARGET, 0) == 32
    assert pace(TARGET, TARGET.l2_bytes * 3 // 4 + 1) == 16
    assert pace(TARGET, (1 << 20) * 3 // 4 + 1) == 4


def test_weights_come_from_where_the_whole_network_fits(site):
    assert weight_pace(replace(site, network_bytes=1000)) == pytest.approx(0.6 * 32)
    assert weight_pace(replace(site, network_bytes=400_000)) == pytest.approx(0.6 * 16)
    assert weight_pace(replace(site, network_bytes=600_000)) == 4
    assert weight_pace(replace(site, network_bytes=100 << 20)) == 4


def test_operands_and_result_move_once_without_their_halo(site):
    read, written = value_bytes(site, 0), value_bytes(site, None)
    assert read == 16 * 16 * 8 * 4
    assert data_cycles(site) == pytest.approx((read + written) / 32)
    assert data_cycles(site, moved=3200.0) == pytest.approx(100)


def test_callers_arrays_are_as_far_away_as_weights(site):
    far = replace(site, network_bytes=100 << 20)
    caller = DenseLayout(DType.F32, 8, 16, 16, "chw")
    assert data_cycles(far) == data_cycles(site)
    moved = data_cycles(replace(far, layouts=(caller, *far.layouts[1:])))
    assert moved == pytest.approx(value_bytes(site, 0) / 4 + value_bytes(site, None) / 32)


def test_the_longer_of_computing_and_moving_hides_most_of_the_other(site):
    moving = data_cycles(site)
    computing = predict(site, 10 * moving, "", {}).seconds * 1e9
    assert computing == pytest.approx(10 * moving + 0.2 * moving + 100)
    reading = predict(site, moving / 10, "", {}).seconds * 1e9
    assert reading == pytest.approx(moving + 0.02 * moving + 100)


def test_bounds_know_neither_overhead_nor_overlap(site):
    made = predict(replace(site, network_bytes=100 << 20), 1e6, "", {}, fmas=800.0, weights=4000.0)
    assert made.bound.compute == pytest.approx(400e-9)
    assert made.bound.memory * 1e9 == pytest.approx(data_cycles(site) + 1000)
    assert made.seconds > max(made.bound.compute, made.bound.memory)


def test_places_are_those_of_the_units_that_multiply():
    b = Builder("f")
    x = b.const(1.0)
    b.fma(x, x, b.binary("div", x, b.binary("add", x, x)))
    b.binary("max", b.binary("mul", x, x), x)
    assert places(b.func.body) == 1 + 2 + 0 + 1 + 0


def block_site(first: str, second: str):
    """Convolutions of 16x16x24 to 16x16x32, and depthwise to 8x8x32, with steps behind each."""
    text = f"""\
cnncc 1
weights random
input x: 16x16x24
conv(1x1, filters=32) -> {first} -> conv(3x3, filters=32, groups=32, stride=2, pad=1) -> {second}
output y
"""
    graph = load(text, file="t").graph
    plan = driver.plan_model(driver.Model(graph, ()), TARGET).plan
    sites = [site_of(plan.graph, stage.node, TARGET) for stage in plan.stages]
    return next(s for s in sites if s.anchor.op == "conv2d")


def test_long_steps_take_their_time_at_the_size_of_their_own_convolution():
    quick = long_step_cycles(block_site("relu", "relu"))
    first, second = (long_step_cycles(block_site(*n)) for n in (("silu", "relu"), ("relu", "silu")))
    assert quick == 0
    assert first > 0
    assert first == 4 * second
    assert long_step_cycles(block_site("silu", "silu")) == first + second


def test_steps_behind_others_than_convolutions_are_counted_by_their_kernels(site):
    assert long_step_cycles(site) == 0
