"""Re-layouts between dense arrays and blocks: every pair of sides, on every vector width."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cnncc import ops  # noqa: F401 - registers the operators
from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, Layout
from cnncc.kernels.movement import Cells, movement
from cnncc.kernels.moves.copy_nest import CopyNest
from cnncc.kernels.moves.relayout import Relayout
from cnncc.ops.source import NormalizeAttrs
from cnncc.targets import find
from tests.kernels.harness import TARGETS, blocked, check, dense, each_target, make_site

SHAPES = ((3, 9, 17), (1, 5, 16), (4, 3, 33), (17, 2, 19), (33, 1, 1), (16, 4, 5), (5, 7, 1))
HALO = (1, 2, 3, 1)


def numbers(shape, dtype=DType.F32, seed=0):
    rng = np.random.default_rng(seed)
    if dtype in (DType.F16, DType.F32):
        return rng.standard_normal((1, *shape)).astype(dtype.numpy)
    low = 0 if dtype is DType.U8 else -100
    return rng.integers(low, 120, (1, *shape)).astype(dtype.numpy)


@each_target
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("memory", ["hwc", "chw"])
def test_dense_to_blocked_and_back(target, shape, memory):
    x = numbers(shape)
    for block, halo in ((target.lanes(), (0, 0, 0, 0)), (shape[0], HALO), (target.lanes(), HALO)):
        inner = blocked(x.shape, block, halo=halo)
        outer = dense(x.shape, memory)
        for source, out in ((outer, inner), (inner, outer)):
            site = make_site("relayout", NoAttrs(), [x], [source], out, target)
            np.testing.assert_array_equal(check(Relayout(), site, [x]), x[:])


@pytest.mark.parametrize("dtype", [DType.U8, DType.I8, DType.I32, DType.F16, DType.F32], ids=str)
@pytest.mark.parametrize("memory", ["hwc", "chw"])
@pytest.mark.parametrize(
    "shape", [(3, 7, 17), (1, 5, 21), (2, 2, 16), (4, 2, 35), (4, 9, 3), (19, 3, 17)], ids=str
)
def test_normalize(dtype, memory, shape):
    x = numbers(shape, dtype)
    channels = shape[0]
    mean = tuple(0.1 * c + 0.3 for c in range(channels))
    std = tuple(0.2 + 0.05 * c for c in range(channels))
    attrs = NormalizeAttrs(1 / 255, mean, std)
    for target, narrow in itertools.product(TARGETS, (False, True)):
        out = blocked(x.shape, channels if narrow else target.lanes(), halo=HALO)
        site = make_site("normalize", attrs, [x], [dense(x.shape, memory, dtype)], out, target)
        check(Relayout(), site, [x], vacuous=False)


def test_normalize_keeps_padding_lanes_zero_beside_infinity():
    x = np.full((1, 3, 2, 20), np.inf, np.float32)
    attrs = NormalizeAttrs(1.0, (0.0, 1.0, 2.0), (1.0, 1.0, 1.0))
    for target, memory in itertools.product(TARGETS, ("hwc", "chw")):
        out = blocked(x.shape, target.lanes())
        site = make_site("normalize", attrs, [x], [dense(x.shape, memory)], out, target)
        check(Relayout(), site, [x])


@each_target
@pytest.mark.parametrize(
    ("source", "out"),
    [((37,), (5, 32)), ((5, 32), (37,)), ((16, 21), (37,)), ((7, 7, 23), (20, 17)), ((37,), (37,))],
)
def test_blocked_to_blocked(target, source, out):
    x = numbers((37, 3, 5))
    lanes = target.lanes()
    for blocks in ((lanes, lanes), (lanes, 37), (37, lanes), (4, 2)):
        layouts = (
            blocked(x.shape, blocks[0], segments=source, halo=HALO),
            blocked(x.shape, blocks[1], segments=out, halo=(0, 0, 1, 1)),
        )
        site = make_site("relayout", NoAttrs(), [x], layouts[:1], layouts[1], target)
        check(Relayout(), site, [x])


def test_vectors():
    x = numbers((37,))
    for target in TARGETS:
        inner = blocked(x.shape, target.lanes())
        for source, out in ((inner, dense(x.shape, "chw")), (dense(x.shape, "hwc"), inner)):
            site = make_site("relayout", NoAttrs(), [x], [source], out, target)
            check(Relayout(), site, [x])


@pytest.mark.parametrize(
    ("source", "out", "shape"),
    [
        (DenseLayout(DType.U8, 3, 224, 224, "hwc"), Layout(3, (3,), 224, 224, HALO), "runs"),
        (DenseLayout(DType.F32, 3, 224, 224, "chw"), Layout(16, (3,), 224, 224), "transpose"),
        (Layout(16, (64,), 56, 56, HALO), Layout(16, (64,), 56, 56), "runs"),
        (Layout(16, (1000,), 1, 1), DenseLayout(DType.F32, 1000, 1, 1, "chw"), "lanes"),
        (Layout(16, (64,), 56, 56), DenseLayout(DType.F32, 64, 56, 56, "chw"), "transpose"),
        (Layout(16, (64,), 56, 56), DenseLayout(DType.F32, 64, 56, 56, "hwc"), "lanes"),
        (DenseLayout(DType.U8, 3, 224, 224, "chw"), Layout(3, (3,), 224, 224), "interleave"),
        (DenseLayout(DType.U8, 3, 9, 9, "chw"), Layout(3, (3,), 9, 9), "interleave"),
        (DenseLayout(DType.U8, 3, 9, 9, "chw"), Layout(3, (3,), 9, 9, HALO), "scalars"),
    ],
)
def test_shape_of_loops(source, out, shape):
    nest = CopyNest(movement(Cells.of(source), Cells.of(out)), find("avx512").lanes())
    assert nest.shape == shape


def test_refusals():
    x = numbers((3, 4, 5))
    target = TARGETS[0]
    wide = make_site(
        "relayout",
        NoAttrs(),
        [x.astype(np.int64)],
        [dense(x.shape, "hwc", DType.I64)],
        blocked(x.shape, 4),
        target,
    )
    assert "i64" in Relayout().refuses(wide)
    both = make_site("relayout", NoAttrs(), [x], [dense(x.shape)], dense(x.shape), target)
    assert "blocked" in Relayout().refuses(both)
    steep = NormalizeAttrs(1e30, (0.0,) * 3, (1e-30,) * 3)
    site = make_site("normalize", steep, [x], [dense(x.shape)], blocked(x.shape, 4), target)
    assert "too large" in Relayout().refuses(site)


@each_target
@pytest.mark.parametrize("shape", [(19, 7, 7), (33, 13, 13), (16, 3, 6)], ids=str)
def test_short_rows_are_moved_together(target, shape):
    """Rows shorter than a vector, on both sides one behind the other."""
    x = numbers(shape)
    inner, outer = blocked(x.shape, target.lanes()), dense(x.shape, "chw")
    for source, out in ((outer, inner), (inner, outer)):
        move = movement(Cells.of(source), Cells.of(out))
        assert CopyNest(move, target.lanes()).shape != "scalars"
        site = make_site("relayout", NoAttrs(), [x], [source], out, target)
        np.testing.assert_array_equal(check(Relayout(), site, [x]), x[:])


def test_rows_with_a_halo_between_stay_apart():
    x = numbers((19, 7, 7))
    inner, outer = blocked(x.shape, 16, halo=HALO), dense(x.shape, "chw")
    move = movement(Cells.of(inner), Cells.of(outer))
    assert move.in_one_row() is None
    assert CopyNest(move, 16).shape == "scalars"
