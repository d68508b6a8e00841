"""Which transforms strided convolutions of few channels get, and what they hold."""

from __future__ import annotations

import pytest

from cnncc.kernels.winograd.phase_choice import (
    MOST_CHANNELS,
    PhasedCookToom,
    PhaseShape,
    phase_choice,
)
from cnncc.targets import find
from tests.kernels.harness import each_target

WIDE = find("x86-64-v4")


def test_phases_of_the_usual_first_layer():
    choice = phase_choice(WIDE, PhaseShape(3, 112, 112, 4, (7, 7), (2, 2)))
    assert choice is not None
    assert (choice.vertical.outputs, choice.vertical.inputs, choice.vertical.advance) == (3, 12, 6)
    assert (choice.down, choice.across, choice.planes, choice.depth) == (38, 38, 36, 12)
    assert choice.halo((3, 3), 224, 224) == (3, 3, 7, 7)
    assert (choice.row_groups, choice.tile_groups, choice.width) == (3, 3, 288)
    assert str(choice).startswith("F(3x3, 4x4) over 2x2 phases, rows of 38 tiles")


def test_what_tiles_share_may_need_a_vector_more():
    choice = phase_choice(WIDE, PhaseShape(1, 3, 48, 1, (7, 7), (2, 2)))
    assert choice is not None
    assert (choice.across, choice.row_groups, choice.tile_groups) == (16, 2, 1)


@pytest.mark.parametrize(
    ("taps", "stride", "outputs"), [(5, 2, 4), (6, 2, 4), (11, 4, 4), (8, 2, 3)]
)
def test_taps_of_a_phase_choose_the_transform(taps, stride, outputs):
    way = PhasedCookToom(taps, stride)
    assert way.outputs == outputs
    assert way.inputs >= (outputs - 1) * stride + taps
    assert way.advance == outputs * stride


@pytest.mark.parametrize(
    "shape",
    [
        PhaseShape(MOST_CHANNELS + 1, 9, 9, 1, (7, 7), (2, 2)),
        PhaseShape(3, 9, 9, 1, (7, 7), (2, 1)),
        PhaseShape(3, 9, 9, 1, (3, 3), (2, 2)),
        PhaseShape(3, 9, 9, 1, (9, 9), (2, 2)),
    ],
    ids=str,
)
def test_shapes_without_a_transform(shape):
    assert phase_choice(WIDE, shape) is None


@each_target
def test_fewer_multiplications_than_the_definition(target):
    blocks = 64 // target.lanes()
    choice = phase_choice(target, PhaseShape(3, 112, 112, blocks, (7, 7), (2, 2)))
    assert choice is not None
    products = choice.planes * choice.depth * choice.down * choice.across
    assert products < 147 * 112 * 112 / 2.8
    assert choice.cycles > products * blocks / target.machine.fmas
    assert choice.tile.accumulators <= target.vector_registers
