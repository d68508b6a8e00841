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
    g = conv_geometry(site)
    tile = conv_tile_choice(site, g).tile
    nest = ConvNest(site, tile.vectors)
    b = Builder(name)
    weights, elems = nest.panel_filters()
    args = nest.declare(b, weights, elems, tile)
    gated = None if gate is None else GatedFilters(b, nest, gate, elems)
    args += gated.args if gated else []
    out, out_arg = out_buffer(b, site)
    # Networks have many convolutions that differ in depth only: they share one function.
    shared = g.attrs.groups == 1 and g.in_blocks > 1
    blocks = b.index_param("in_blocks") if shared else g.in_blocks
    panel_elems = b.index_param("panel_elems") if shared else elems
    lo, hi = b.index_param("lo"), b.index_param("hi")
    tiles = tile.count(g.rows, g.columns)
    # Tiles at the side are fewer and smaller than others: rows of tiles are not alike then.
    by_rows = not tile.side and rows_pay(
        4.0 * nest.panels * elems, 4.0 * nest.source.elems, g.rows, tile.rows
    )
    # Of rows, half of a panel's tiles are sure to be in the share of each of two threads.
    sure = tiles if tiles > MOST_FETCHING or not by_rows else -(-tiles // 2)
    ways = each_panel(b, (lo, hi), nest.panels, tiles, by_rows=by_rows)
    with ways as (panel, first, end):
        if gated:
            gated.multiply(b, panel, panel_elems)
        with b.loop(first, end, hint="tile") as loop:
            number, made = loop.iv, gated.panel if gated else None
            ahead = (b.isub(number, first), sure) if by_rows else (number, tiles)

            def body(part: Tile, y: Index, x: Index) -> None:
                base = nest.out.index(b, b.imul(panel, part.vectors), y, x)

                def store(row: int, column: Index, values: list[Value]) -> None:
                    store_pixel(b, (out, base), nest.out, (row, column), values)

                place = conv_place(b, nest, g, panel, y, x, blocks)
                nest.tile(b, part, panel, place, store, panel_elems, ahead, made)

            def whole(tile: Tile) -> None:
                for_numbered_tile(b, g.rows, g.columns, tile, number, body)

            for_each_width(b, nest, tile, panel, whole)
    depth = (g.in_blocks, elems) if shared else ()
    return Launch(b.func, (*args, out_arg, *depth), nest.panels * tiles)


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
