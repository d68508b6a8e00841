"""Convolutions of few output channels into planes: shapes at every edge, phases, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_planes import (
    ConvPlanes,
    gathered,
    input_vectors,
    last_block,
    plane_cycles,
    run_pixels,
    suits_planes,
    sum_lanes,
    turns,
)
from cnncc.kernels.layout import Layout
from cnncc.llvm.emit import walk
from cnncc.llvm.host import host_target
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Load
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.native import Native

KERNEL = ConvPlanes()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
WIDE = find("x86-64-v4")


def planes(x, filters, kernel=(3, 3), attrs=SAME, **more) -> Conv:
    return Conv(x, filters, kernel, attrs, out_block=1, **more)


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 16, 17, 33])
@pytest.mark.parametrize("filters", [1, 2, 5])
@each_target
def test_channels(channels, filters, target):
    run(KERNEL, planes((channels, 2, 5), filters), target)


def test_the_last_block_may_be_narrow():
    """On machines whose wide registers go through the multiply-add unit in two halves."""
    counts = (1, 8, 9, 16, 17, 24, 25, 56)
    layouts = [Layout(16, (n,), 1, 1) for n in counts]
    assert [last_block(WIDE, layout) for layout in layouts] == [8, 8, 0, 0, 8, 8, 0, 8]
    assert [input_vectors(WIDE, layout) for layout in layouts] == [0.5, 0.5, 1, 1, 1.5, 1.5, 2, 3.5]
    assert last_block(WIDE, Layout(16, (8, 16), 1, 1)) == 0
    assert last_block(WIDE, Layout(16, (16, 8), 1, 1)) == 8
    assert last_block(find("x86-64-v3"), Layout(8, (4,), 1, 1)) == 0


@pytest.mark.parametrize("segments", [(8,), (24,), (40,), (9, 3), (3, 16, 8)])
def test_narrow_last_blocks(segments):
    up = Conv2dTransposeAttrs((2, 2), (1, 1, 1, 1))
    for attrs in (SAME, up):
        for values in ("whole", "special"):
            conv = planes((sum(segments), 3, 19), 2, (3, 3), attrs, values=values)
            run(KERNEL, replace(conv, segments=segments), WIDE)


@pytest.mark.parametrize("columns", [1, 2, 7, 8, 15, 16, 17, 33])
@each_target
def test_widths_around_the_runs(columns, target):
    run(KERNEL, planes((5, 2, columns), 2), target)
    run(KERNEL, planes((5, 2, columns), 2, (1, 1), Conv2dAttrs(), out_halo=(1, 2, 0, 1)), target)


GEOMETRIES = {
    "stride 2": ((3, 7, 40), (3, 3), Conv2dAttrs((2, 2), (1, 1, 1, 1))),
    "strides differ": ((3, 7, 9), (3, 2), Conv2dAttrs((3, 1), (1, 0, 1, 1))),
    "dilation": ((3, 7, 9), (3, 2), Conv2dAttrs((1, 1), (2, 1, 2, 2), (2, 3))),
    "asymmetric padding": ((3, 4, 5), (3, 3), Conv2dAttrs((1, 2), (2, 0, 1, 3))),
    "a wide row of taps": ((3, 4, 37), (2, 11), Conv2dAttrs((1, 1), (0, 5, 1, 5))),
    "a wide row, strided": ((3, 3, 61), (1, 7), Conv2dAttrs((1, 2), (0, 9, 0, 9), (1, 3))),
    "a window wholly in padding": ((3, 1, 1), (3, 3), Conv2dAttrs((1, 1), (4, 4, 4, 4))),
}


@pytest.mark.parametrize("name", GEOMETRIES)
@each_target
def test_geometry(name, target):
    x, kernel, attrs = GEOMETRIES[name]
    run(KERNEL, planes(x, 3, kernel, attrs, bias=False, halo=(1, 0, 0, 2)), target)


PHASES = {
    "9x9 stride 2": ((9, 9), Conv2dTransposeAttrs((2, 2), (4, 4, 4, 4), output_pads=(1, 1))),
    "4x4 stride 2": ((4, 4), Conv2dTransposeAttrs((2, 2), (1, 1, 1, 1))),
    "2x2 stride 2": ((2, 2), Conv2dTransposeAttrs((2, 2))),
    "3x3 stride 3": ((3, 3), Conv2dTransposeAttrs((3, 3))),
    "5x5 stride 4": ((5, 5), Conv2dTransposeAttrs((4, 4), (1, 0, 0, 2))),
    "2x13 stride 2": ((2, 13), Conv2dTransposeAttrs((2, 2), (0, 6, 0, 6))),
    "stride beyond the kernel": ((1, 2), Conv2dTransposeAttrs((2, 3))),
    "strides differ": ((3, 3), Conv2dTransposeAttrs((1, 2), (1, 1, 1, 1))),
    "dilation": ((3, 3), Conv2dTransposeAttrs((2, 3), (1, 0, 1, 0), (1, 2))),
}


@pytest.mark.parametrize("name", PHASES)
@pytest.mark.parametrize("columns", [1, 3, 17])
def test_phases(name, columns):
    kernel, attrs = PHASES[name]
    for target in TARGETS:
        run(KERNEL, planes((5, 3, columns), 2, kernel, attrs), target)


def test_epilogues():
    for target in TARGETS:
        conv = planes((5, 3, 18), 3, extras=(numbers(3, seed=1),))
        run(KERNEL, replace(conv, steps=chain(3, "prelu", "sigmoid")), target)
        run(KERNEL, replace(planes((5, 3, 18), 3), steps=chain(3, "tanh")), target)


@each_target
def test_nan_and_infinities(target):
    result = run(KERNEL, planes((5, 4, 9), 2, values="special"), target)
    assert np.isnan(result).any()
    assert np.isfinite(result).any()


def test_whole_numbers_are_exact():
    conv = planes((19, 5, 21), 3, values="whole")
    for target in TARGETS:
        run(KERNEL, conv, target)


@pytest.mark.native
@settings(max_examples=15, deadline=None)
@given(st.data())
def test_machine_code(data):
    """Random shapes, compiled for this machine."""
    draw = data.draw
    size = (draw(st.integers(1, 40)), draw(st.integers(1, 6)), draw(st.integers(1, 40)))
    window = draw(st.sampled_from(((1, 1), (3, 3), (1, 5), (4, 2))))
    stride = draw(st.integers(1, 3))
    if draw(st.booleans()):
        attrs = Conv2dTransposeAttrs((stride, stride))
    else:
        attrs = Conv2dAttrs((stride, stride), (window[0] // 2, window[1] // 2) * 2)
    conv = planes(size, draw(st.integers(1, 6)), window, attrs)
    target = host_target()
    run(KERNEL, conv, target, Native(target))


@pytest.mark.parametrize("lanes", [2, 4, 8, 16])
def test_sums_of_lanes(lanes):
    b = Builder("sums")
    x, out = b.buffer("x", extent=lanes * lanes), b.buffer("out", extent=lanes, writable=True)
    rows = [b.load(x, 0, lanes, offset=i * lanes) for i in range(lanes)]
    b.store(out, 0, sum_lanes(b, rows))
    values = np.arange(lanes * lanes, dtype=np.float32)
    sums = np.zeros(lanes, np.float32)
    interp.run(b.func, [values, sums])
    assert np.array_equal(sums, values.reshape(lanes, lanes).sum(axis=1))


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 7))), min_size=8,
                max_size=8).filter(any))  # fmt: skip
def test_gathered_lanes(wanted):
    b = Builder("gather")
    x, out = b.buffer("x", extent=32), b.buffer("out", extent=8, writable=True)
    vectors = [b.load(x, 0, 8, offset=8 * i) for i in range(4)]
    b.store(out, 0, gathered(b, [None if w is None else (vectors[w[0]], w[1]) for w in wanted]))
    result = np.zeros(8, np.float32)
    interp.run(b.func, [np.arange(32, dtype=np.float32), result])
    for got, want in zip(result, wanted, strict=True):
        assert want is None or got == want[0] * 8 + want[1]


def test_when_it_suits():
    """One channel out of 56: always; many: never; narrow or few input channels: hardly."""
    deep, shallow = Layout(16, (56,), 1, 1), Layout(16, (2,), 1, 1)
    assert suits_planes(WIDE, deep, (9 / 2, 9 / 2), 1)
    assert suits_planes(WIDE, deep, (3, 3), 3)
    assert not suits_planes(WIDE, deep, (3, 3), 13)
    assert not suits_planes(WIDE, shallow, (3, 3), 8)
    assert not suits_planes(WIDE, Layout(3, (3,), 1, 1), (3, 3), 1)


def test_runs_fill_half_of_the_registers():
    assert [run_pixels(find(n)) for n in ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64")] == [
        8, 8, 16, 16,
    ]  # fmt: skip


def test_turns_leave_registers_for_a_run():
    """Filters of all taps of a turn lie in registers, beside the sums and what they meet."""
    for target in TARGETS:
        free = target.vector_registers - run_pixels(target)
        for taps in (1, 5, 9, 31):
            parts = turns(target, taps)
            assert [t for part in parts for t in part] == list(range(taps))
            assert all(1 <= len(part) <= free - 2 for part in parts)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(part) for part in turns(WIDE, 9)] == [9]
    assert [len(part) for part in turns(find("x86-64-v3"), 9)] == [4, 5]


def test_each_place_of_a_row_is_read_once():
    """16 pixels of 5 taps read 20 places with 5 filters; 1x1 windows share nothing."""
    for window, loads in ((5, 20 + 5), (1, 16 + 1)):
        site = planes((16, 1, 16), 1, (1, window), Conv2dAttrs(pads=(0, window // 2) * 2))
        func = KERNEL.lower(site.site(WIDE))[0].func
        wide = [s for s in walk(func.body) if isinstance(s, Load) and s.out.type.lanes == 16]
        assert len([s for s in wide if s.buffer.hint in ("x", "weights")]) == loads


def test_deeper_windows_cost_their_multiply_adds():
    """What a window of several columns reads is less than what it multiplies."""
    narrow, wide = (plane_cycles(WIDE, 25, 4, columns) for columns in (1, 5))
    assert narrow - wide == pytest.approx(25 * 4 / 16)
    assert plane_cycles(WIDE, 25, 4, 5, (2, 1)) == wide
    assert plane_cycles(WIDE, 4, 4, 2, (3, 1)) == plane_cycles(WIDE, 4, 4, 1)


def test_refusals():
    conv = planes((5, 4, 4), 3)
    site = conv.site(WIDE)
    assert KERNEL.refuses(site) == ""
    assert "planes" in KERNEL.refuses(replace(conv, out_block=None).site(WIDE))
    pool = MaxPool2dAttrs((2, 2), (2, 2))
    pooled = replace(conv, steps=chain(3, ("max_pool2d", pool))).site(WIDE)
    assert "pool" in KERNEL.refuses(pooled)
    narrow = replace(conv, x=(3, 4, 4), narrow=True).site(WIDE)
    assert "blocks must have 16" in KERNEL.refuses(narrow)
    residual = replace(conv, extras=(numbers(1, 3, 4, 4),), steps=chain(3, "add"))
    assert "besides constants" in KERNEL.refuses(residual.site(WIDE))
    grouped = planes((4, 4, 4), 4, attrs=Conv2dAttrs(pads=(1, 1, 1, 1), groups=2))
    assert "groups" in KERNEL.refuses(grouped.site(WIDE))
    bare = replace(site, layouts=(replace(site.blocked(0), halo=(0, 0, 0, 0)), *site.layouts[1:]))
    assert "halo" in KERNEL.refuses(bare)
    computed = replace(site, constants=(None,) * len(site.constants))
    assert "run time" in KERNEL.refuses(computed)
