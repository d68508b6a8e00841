"""Registers and blocks of tiles."""

from __future__ import annotations

from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.targets import find
from tests.kernels.harness import each_target

WIDE = find("x86-64-v4")


def _shape(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more) -> WinogradShape:
    blocks = channels // WIDE.lanes()
    return WinogradShape(size, size, blocks, blocks, 1, kernel, **more)


def test_few_channels_are_summed_by_turns_where_errors_are_magnified():
    for channels, sums in ((32, 3), (64, 3), (80, 2), (256, 2)):
        for choice in winograd_choices(WIDE, _shape(56, channels)):
            large = min(choice.vertical.outputs, choice.horizontal.outputs) == 4
            assert choice.sums == (1 if choice.expands else sums if large else 2)
            assert not (large and choice.expands and sums == 3)
            assert choice.expands or choice.tile.vectors == 1
            assert choice.sums * choice.tile.accumulators <= WIDE.vector_registers
    narrow = winograd_choices(find("x86-64-v3"), WinogradShape(56, 56, 4, 4, 1, (3, 3)))
    assert {choice.sums for choice in narrow} == {1}  # few registers, and splats take one
    shallow = winograd_choices(WIDE, _shape(56, 16))
    assert {choice.sums for choice in shallow} == {1}


@each_target
def test_blocks_of_tiles_are_of_like_size(target):
    for size in (5, 14, 27, 56):
        for choice in winograd_choices(target, WinogradShape(size, size, 4, 4, 1, (3, 3))):
            blocks = -(-choice.tiles // choice.block)
            assert choice.block * blocks - choice.tiles < blocks
            assert choice.tile.accumulators <= target.vector_registers
