"""What few channels and plain filters cost."""

from __future__ import annotations

from cnncc.kernels.winograd.winograd_candidates import winograd_choices
from cnncc.kernels.winograd.winograd_choice import WinogradShape
from cnncc.targets import find

WIDE = find("x86-64-v4")


def _shape(size: int, channels: int, kernel: tuple[int, int] = (3, 3), **more) -> WinogradShape:
    blocks = channels // WIDE.lanes()
    return WinogradShape(size, size, blocks, blocks, 1, kernel, **more)


def test_channels_that_fill_no_block_cost_nothing():
    whole, part = (
        winograd_choices(WIDE, WinogradShape(56, 56, 1, 1, 1, (3, 3), channels=count))
        for count in (0, 12)
    )
    assert part[0].cycles < whole[0].cycles


def test_filters_are_expanded_where_a_row_of_planes_stays_in_registers():
    """32 registers hold 3 or 4 tiles of 6 planes, their filters, and what they are made of."""
    for target, tiles in ((WIDE, 4), (find("aarch64"), 3)):
        expanded = [c for c in winograd_choices(target, _shape(7, 512)) if c.expands]
        assert max(c.tile.columns for c in expanded if c.horizontal.outputs == 4) == tiles
        for choice in expanded:
            held = choice.tile.columns * choice.horizontal.products
            assert held + choice.horizontal.products < target.vector_registers
    assert not any(c.expands for c in winograd_choices(find("x86-64-v3"), _shape(7, 512)))


def test_small_maps_with_many_filters_read_fewer_of_them():
    found = winograd_choices(WIDE, _shape(7, 512))
    assert found[0].expands
    assert found[0].filters == 9
    assert str(found[0]).startswith("F(4x4, 3x3) of plain filters, blocks of 4 tiles")
    transformed = next(choice for choice in found if not choice.expands)
    assert transformed.filters == transformed.planes < 36
