"""The inputs of a block of tiles, transformed into scratch memory."""

from __future__ import annotations

from cnncc.kernels.winograd.winograd_regions import Region
from cnncc.kernels.winograd.winograd_tiles import WinogradTiles
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class InputTransform:
    """Planes `[plane][block][tile][lanes]` of the inputs of a block of tiles.

    Attributes:
        tiles: where they lie.
        x: input buffer.
        inputs: scratch memory.
    """

    def __init__(self, tiles: WinogradTiles, x: Value, inputs: Value) -> None:
        self.tiles, self.x, self.inputs = tiles, x, inputs

    def emit(self, b: Builder, group: Index, start: Index, count: Index) -> None:
        """Transform `count` tiles of a group of channels from number `start` on."""
        for region, tiles in self.tiles.regions(count):
            self._region(b, group, start, tiles, region)

    def _region(self, b: Builder, group: Index, start: Index, count: Index, region: Region) -> None:
        g, choice = self.tiles.g, self.tiles.choice
        picture, lanes = self.tiles.source, self.tiles.site.lanes
        large, broad = choice.vertical, choice.horizontal
        tall, wide = region.vertical, region.horizontal
        (top, left), (dy, dx) = g.attrs.pads[:2], choice.dilations
        with (
            b.loop(0, g.in_blocks, hint="icb") as blocks,
            b.loop(0, count, hint="t") as tiles,
        ):
            at = self.tiles.place(b, region, self.tiles.number(b, start, tiles.iv))
            source = picture.index(
                b,
                b.iadd(b.imul(group, g.in_blocks), blocks.iv),
                b.isub(b.iadd(at.row, b.imul(at.down, large.outputs * large.stride * dy)), top),
                b.isub(
                    b.iadd(at.column, b.imul(at.across, broad.outputs * broad.stride * dx)), left
                ),
            )
            first = b.iadd(b.imul(blocks.iv, choice.block), region.first)
            to = b.imul(b.iadd(first, tiles.iv), lanes)
            for rows in tall.groups():
                columns = []
                for k in range(wide.inputs):
                    seen = {
                        i: b.load(self.x, source, lanes, offset=picture.offset(0, i * dy, k * dx))
                        for i in tall.reads(rows)
                    }
                    columns.append(tall.transform_inputs(b, rows, seen))
                for place, row in enumerate(rows):
                    for group_of in wide.groups():
                        seen = {k: columns[k][place] for k in wide.reads(group_of)}
                        made = wide.transform_inputs(b, group_of, seen)
                        for k, value in zip(group_of, made, strict=True):
                            plane = region.plane(row * wide.products + k, broad.products)
                            b.store(self.inputs, to, value, offset=plane * self.tiles.plane)
