"""Direct convolution on blocked layouts: any window, stride, dilation and padding.

Groups must consist of whole blocks.
"""

from __future__ import annotations

from typing import ClassVar

from cnncc.kernels.convolution.conv_geometry import conv_geometry, refuses_conv
from cnncc.kernels.convolution.conv_nest import (
    ConvNest,
    conv_place,
    conv_tile_choice,
    for_each_width,
    store_pixel,
)
from cnncc.kernels.convolution.conv_tile import MOST_FETCHING, Tile
from cnncc.kernels.convolution.gated_filters import GatedFilters
from cnncc.kernels.convolution.tile_choice import TileChoice
from cnncc.kernels.convolution.tile_loops import for_numbered_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.shares import each_panel, rows_pay
from cnncc.kernels.template import Estimate, Kernel, Launch, Site, out_buffer
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class ConvDirect(Kernel):
    """One work item is one tile of pixels for one panel of output channels.

    Panels are outermost: a panel's filters stay in L2 while the feature map passes by.
    """

    name: ClassVar[str] = "conv_direct"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    by_shape: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        if site.ends_in_pool:
            return "does not pool"
        return refuses_conv(site)

    def estimate(self, site: Site) -> Estimate:
        choice = conv_tile_choice(site, conv_geometry(site))
        return tile_estimate(site, choice, site.anchor.attrs.groups)

    def picks(self, site: Site) -> int:
        return 1 + len(conv_tile_choice(site, conv_geometry(site)).rejected)

    def lower(self, site: Site) -> list[Launch]:
        return [tiles_launch(self.name, site)]


def tiles_launch(name: str, site: Site, gate: int | None = None) -> Launch:
    """The loop nest over tiles, called `name`.

    With `gate`, an operand [1,C,1,1], the filters are those of the site times that.
    """
    return _Tiles(name, site, gate).launch()


class _Tiles:
    """Parameters of the function, and its loops."""

    def __init__(self, name: str, site: Site, gate: int | None) -> None:
        self.g = g = conv_geometry(site)
        self.tile = conv_tile_choice(site, g).tile
        self.nest = nest = ConvNest(site, self.tile.vectors)
        self.b = b = Builder(name)
        weights, self.elems = nest.panel_filters()
        self.args = nest.declare(b, weights, self.elems, self.tile)
        self.gated = None if gate is None else GatedFilters(b, nest, gate, self.elems)
        self.args += self.gated.args if self.gated else []
        self.out, out_arg = out_buffer(b, site)
        self.args.append(out_arg)
        # Networks have many convolutions that differ in depth only: they share one function.
        self.shared = g.attrs.groups == 1 and g.in_blocks > 1
        self.blocks: Index = b.index_param("in_blocks") if self.shared else g.in_blocks
        self.panel_elems: Index = b.index_param("panel_elems") if self.shared else self.elems

    def launch(self) -> Launch:
        """The function with its arguments."""
        b, nest, tile, g = self.b, self.nest, self.tile, self.g
        share = b.index_param("lo"), b.index_param("hi")
        tiles, filters = tile.count(g.rows, g.columns), 4.0 * nest.panels * self.elems
        # Tiles at the side are fewer and smaller than others: rows of tiles are not alike then.
        rows = not tile.side and rows_pay(filters, 4.0 * nest.source.elems, g.rows, tile.rows)
        # Of rows, half of a panel's tiles are sure to be in the share of each of two threads.
        sure = tiles if tiles > MOST_FETCHING or not rows else -(-tiles // 2)
        with each_panel(b, share, nest.panels, tiles, by_rows=rows) as (panel, first, end):
            if self.gated:
                self.gated.multiply(b, panel, self.panel_elems)
            with b.loop(first, end, hint="tile") as loop:
                ahead = (b.isub(loop.iv, first), sure) if rows else (loop.iv, tiles)
                self._tile(panel, loop.iv, ahead)
        depth = (g.in_blocks, self.elems) if self.shared else ()
        return Launch(b.func, (*self.args, *depth), nest.panels * tiles)

    def _tile(self, panel: Index, number: Index, ahead: tuple[Index, int]) -> None:
        b, nest, g = self.b, self.nest, self.g
        made = self.gated.panel if self.gated else None

        def body(part: Tile, y: Index, x: Index) -> None:
            base = nest.out.index(b, b.imul(panel, part.vectors), y, x)

            def store(row: int, column: Index, values: list[Value]) -> None:
                store_pixel(b, (self.out, base), nest.out, (row, column), values)

            place = conv_place(b, nest, g, panel, y, x, self.blocks)
            nest.tile(b, part, panel, place, store, self.panel_elems, ahead, made)

        def whole(tile: Tile) -> None:
            for_numbered_tile(b, g.rows, g.columns, tile, number, body)

        for_each_width(b, nest, self.tile, panel, whole)


def tile_estimate(site: Site, choice: TileChoice, groups: int) -> Estimate:
    """The model's time of a tiled convolution."""
    rejected = {f"cycles of {t}": c * groups for t, c in choice.rejected}
    cycles = choice.cycles * groups
    return predict(
        site,
        cycles,
        f"tile {choice.tile}",
        {"utilisation": choice.utilisation} | rejected,
        fmas=cycles * choice.utilisation * site.target.machine.fmas,
        weights=4.0 * site.types[site.anchor.args[1]].elems,
    )
