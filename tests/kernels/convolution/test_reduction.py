"""The multiply-add loop stays in registers, and is little else than multiply-adds."""

from __future__ import annotations

import pytest

import cnncc.kernels.convolution.conv_direct as conv_direct
from cnncc.kernels.convolution.conv_tile import MOST_HALVED, BlockSums, Taps, Tile
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.convolution.tile_choice import TileChoice
from cnncc.llvm.asm_stats import functions, spills_in_inner_loops
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import TARGETS, find
from tests.kernels.conv_sites import Conv, chain

MOST_SPILLS = 2
TABLES = [
    pytest.param(target, *tile, id=f"{target.name}-{tile[0]}x{tile[1]}")
    for target in TARGETS.values()
    for tile in target.tiles
]


def assembly(
    monkeypatch,
    target,
    tile: Tile,
    size: int,
    stride: int,
    narrow: bool = False,
    filters: int | None = None,
) -> str:
    """The code of a direct convolution with this very tile."""
    lanes = target.lanes()
    x = (3 if narrow else 2 * lanes, stride * tile.rows * 2, stride * tile.columns * 2)
    attrs = Conv2dAttrs((stride, stride), (size // 2,) * 4)
    filters = filters or tile.vectors * lanes
    conv = Conv(x, filters, (size, size), attrs, narrow=narrow, steps=chain(3, "relu"))
    monkeypatch.setattr(conv_direct, "conv_tile_choice", lambda s, g: TileChoice(tile, 1, 1, ()))
    launch = conv_direct.ConvDirect().lower(conv.site(target))[0]
    return emit_assembly(emit_program(Program([launch.func]), target), target)


@pytest.mark.parametrize(("target", "pixels", "vectors"), TABLES)
def test_no_tile_of_the_tables_spills(monkeypatch, target, pixels, vectors):
    """At most two spills in any inner loop; a tile that breaks this must leave the table."""
    tile = Tile(1, pixels, vectors)
    for size, stride, narrow in ((3, 1, False), (1, 1, False), (3, 2, False), (7, 2, True)):
        text = assembly(monkeypatch, target, tile, size, stride, narrow)
        found = spills_in_inner_loops(text)["conv_direct"]
        what = f"{target.name}: tile {tile}, {size}x{size} stride {stride}"
        assert found <= MOST_SPILLS, f"{what} spills {found} registers; take it out of `tiles`"


@pytest.mark.parametrize("columns", [8, MOST_HALVED])
@pytest.mark.parametrize("size", [1, 3])
def test_no_tile_of_narrow_registers_spills(monkeypatch, size, columns):
    """A whole vector and a narrow one of each pixel are three narrow registers."""
    target = find("x86-64-v4")
    text = assembly(monkeypatch, target, Tile(1, columns, 2), size, 1, filters=24)
    assert spills_in_inner_loops(text)["conv_direct"] <= MOST_SPILLS
    inner = [loop for loop in functions(text)["conv_direct"].loops if loop.inner]
    most = max(inner, key=lambda loop: loop.counts.fmas).counts
    assert most.fmas % (3 * columns) == 0


@pytest.mark.parametrize("turns", [False, True])
def test_no_tile_with_sums_of_its_blocks_spills(turns):
    """Two or three registers for each element of the result, and no load that is not folded."""
    target = find("x86-64-v4")
    held = max(pixels for pixels, vectors in target.tiles if vectors == 1)
    lanes, tile = target.lanes(), Tile(1, held // (3 if turns else 2), 1)
    b = Builder("blocks")
    x, w = b.buffer("x", extent=1 << 20), b.buffer("w", extent=1 << 20)
    result = b.buffer("result", extent=tile.accumulators * lanes, writable=True)
    taps = Taps(4, lanes, 1, 1, 1, 1, 1, 1, plane_pitch=64 * lanes, row_pitch=0)
    start = [b.splat(b.const(0.0), lanes)]
    pieces = BlockSums(turns)
    for n, value in enumerate(
        emit_tile(b, tile, taps, lanes, (x, 0), (w, 0), start, pieces=pieces)
    ):
        b.store(result, 0, value, offset=n * lanes)
    text = emit_assembly(emit_program(Program([b.func]), target), target)
    assert spills_in_inner_loops(text)["blocks"] <= MOST_SPILLS
    inner = max(
        (s.counts for s in functions(text)["blocks"].loops if s.inner), key=lambda c: c.fmas
    )
    added = tile.accumulators if turns else 0
    assert inner.fmas >= (3 if turns else 4) * tile.accumulators
    assert inner.instructions <= inner.fmas + 2 * added + 4 + 10


@pytest.mark.parametrize("name", ["x86-64-v4", "x86-64-v3"])
def test_the_inner_loop_is_all_multiply_adds(monkeypatch, name):
    """Each turn: four channels times the tile, and little else."""
    target = find(name)
    pixels, vectors = target.tiles[0]
    text = assembly(monkeypatch, target, Tile(1, pixels, vectors), 3, 1)
    stats = functions(text)["conv_direct"]
    inner = max((s.counts for s in stats.loops if s.inner), key=lambda c: c.fmas)
    assert inner.fmas == 4 * pixels * vectors
    loads = 4 * (pixels + vectors)
    assert inner.instructions <= inner.fmas + loads + 10


def test_a_narrow_vector_saves_its_instructions(monkeypatch):
    """24 filters: half of the second vector's multiply-adds are of 256 bits, and none spills."""
    text = assembly(monkeypatch, find("x86-64-v4"), Tile(1, 14, 2), 3, 1, filters=24)
    assert spills_in_inner_loops(text)["conv_direct"] <= MOST_SPILLS
    inner = [line for line in text.splitlines() if "vfmadd" in line]
    assert sum("ymm" in line for line in inner) == sum("zmm" in line for line in inner)


def test_steps_behind_a_narrow_vector_are_as_narrow(monkeypatch):
    text = assembly(monkeypatch, find("x86-64-v4"), Tile(1, 14, 1, 8), 3, 1, filters=8)
    relus = [line for line in text.splitlines() if "vmaxps" in line or "vmaxnum" in line]
    assert relus
    assert not any("zmm" in line for line in relus)
