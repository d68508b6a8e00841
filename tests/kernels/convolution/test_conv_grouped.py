"""Groups of a few channels, several a block: shapes at every edge, NaN in its group, refusals."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.kernels.convolution.conv_grouped import ConvGrouped, groups_in_lanes, pack_groups
from cnncc.kernels.layout import Layout
from cnncc.llvm.asm_stats import spills_in_inner_loops
from cnncc.llvm.emit import emit_program
from cnncc.llvm.host import host_target
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.nodes import Program
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import TARGETS as ALL_TARGETS
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers, run
from tests.kernels.harness import TARGETS, each_target
from tests.kernels.native import Native

KERNEL = ConvGrouped()
WIDE = find("x86-64-v4")


def grouped(size: int, channels: int, x=(3, 5), kernel=(3, 3), stride=1, **more) -> Conv:
    pads = (kernel[0] // 2, kernel[1] // 2) * 2
    attrs = Conv2dAttrs((stride, stride), pads, groups=channels // size)
    return Conv((channels, *x), channels, kernel, attrs, **more)


def sizes(target):
    return [n for n in (2, 4, 8) if n < target.lanes()]


@pytest.mark.parametrize("x", [(1, 1), (1, 17), (7, 7), (3, 30)])
@pytest.mark.parametrize("channels", [8, 24, 40])
@each_target
def test_groups_of_every_size(x, channels, target):
    for size in sizes(target):
        run(KERNEL, grouped(size, channels, x), target)


@each_target
def test_geometry(target):
    run(KERNEL, grouped(2, 6, (5, 7), (1, 1)), target)
    run(KERNEL, grouped(2, 6, (5, 7), (2, 3), 2, bias=False, halo=(1, 0, 2, 1)), target)
    attrs = Conv2dAttrs(pads=(2, 0, 2, 4), dilations=(2, 2), groups=3)
    run(KERNEL, Conv((6, 4, 5), 6, (3, 3), attrs, out_halo=(0, 1, 1, 0)), target)


@each_target
def test_segments(target):
    parts = (2, 6, 10)
    run(KERNEL, grouped(2, 18, segments=parts, out_segments=parts), target)


@each_target
def test_epilogues(target):
    conv = grouped(2, 6, (3, 4), extras=(numbers(1, 6, 3, 4),), in_place=3)
    run(KERNEL, replace(conv, steps=chain(3, "add", "sigmoid")), target)
    run(KERNEL, replace(grouped(2, 6), steps=chain(3, "silu")), target)


@each_target
def test_whole_numbers_are_exact(target):
    run(KERNEL, grouped(2, 10, (5, 9), values="whole"), target)


@each_target
def test_a_nan_stays_in_its_group(target):
    result = run(KERNEL, grouped(2, 8, (3, 3), (1, 1), values="special"), target)
    bad = ~np.isfinite(result.reshape(4, 2, -1)).all(axis=(1, 2))
    assert 0 < bad.sum() < 4


@pytest.mark.native
@pytest.mark.parametrize("size", [2, 4, 8])
def test_machine_code(size):
    target = host_target()
    if size < target.lanes():
        for x in ((3, 5), (7, 29)):
            run(KERNEL, grouped(size, 40, x, values="special"), target, Native(target))


@pytest.mark.parametrize("name", sorted(ALL_TARGETS))
def test_tiles_stay_in_registers(name):
    target = find(name)
    for size in sizes(target):
        launch = KERNEL.lower(grouped(size, 4 * target.lanes(), (28, 28)).site(target))[0]
        text = emit_assembly(emit_program(Program([launch.func]), target), target)
        found = spills_in_inner_loops(text)["conv_grouped"]
        assert found <= 2, f"{name}: groups of {size} spill {found} registers"


def test_which_groups():
    assert groups_in_lanes((128,), 16, 4, 4)
    assert groups_in_lanes((8, 24), 16, 8, 8)
    assert not groups_in_lanes((128,), 16, 16, 16)  # whole blocks
    assert not groups_in_lanes((48,), 16, 24, 24)
    assert not groups_in_lanes((12,), 16, 3, 3)
    assert not groups_in_lanes((8,), 16, 1, 1)
    assert not groups_in_lanes((8,), 16, 2, 4)
    assert not groups_in_lanes((6, 6), 16, 4, 4)  # a group on both sides of a gap


def test_packed_groups():
    out = Layout(4, (2, 4), 1, 1)
    w = 1 + np.abs(numbers(6, 2, 1, 3))
    packed = pack_groups(w, out)
    assert packed.shape == (2, 1, 3, 2, 4)
    assert np.array_equal(packed[0, 0, :, 1, 1], w[1, 1, 0])
    assert np.array_equal(packed[1, 0, 2, 0], w[2:, 0, 0, 2])
    assert not packed[0, ..., 2:].any()


def test_refusals():
    conv = grouped(4, 32)
    site = conv.site(WIDE)
    assert KERNEL.refuses(site) == ""
    pool = MaxPool2dAttrs((2, 2), (2, 2))
    pooled = replace(conv, steps=chain(3, ("max_pool2d", pool)))
    assert "pool" in KERNEL.refuses(pooled.site(WIDE))
    assert "whole groups" in KERNEL.refuses(grouped(16, 32).site(WIDE))
    assert "equal segments" in KERNEL.refuses(replace(conv, segments=(16, 16)).site(WIDE))
    bare = replace(site, layouts=(site.blocked(0).with_halo((0, 0, 0, 0)), *site.layouts[1:]))
    assert "halo" in KERNEL.refuses(bare)
    for target in TARGETS:
        assert KERNEL.refuses(grouped(2, 6).site(target)) == ""
