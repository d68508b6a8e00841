"""Direct convolution on blocked layouts: any window, stride, dilation, padding; groups of whole blocks."""

from __future__ import annotations

from typing import ClassVar

from cnncc.kernels.conv_nest import ConvNest, for_each_tile, out_buffer, refuses_conv
from cnncc.kernels.conv_tile import Tile, TileChoice
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

CYCLES_PER_SECOND = 3.5e9  # nominal: only ratios between candidates matter


class ConvDirect(Kernel):
    """One work item is one tile of pixels for one panel of output channels.

    Panels are outermost: a panel's filters stay in L2 while the feature map passes by.
    """

    name: ClassVar[str] = "conv_direct"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})

    def refuses(self, site: Site) -> str:
        if site.steps[-1].op in ("max_pool2d", "avg_pool2d"):
            return "does not pool"
        return refuses_conv(site)

    def estimate(self, site: Site) -> Estimate:
        return tile_estimate(ConvNest(site).choice, site.anchor.attrs.groups)

    def lower(self, site: Site) -> list[Launch]:
        nest = ConvNest(site)
        tile, g = nest.choice.tile, nest.geometry
        b = Builder(self.name)
        args = nest.declare(b, tile.vectors)
        out, out_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        down, across = -(-g.rows // tile.rows), -(-g.columns // tile.columns)
        with b.loop(lo, hi, hint="item") as items:
            panel = b.idiv(items.iv, down * across)
            place = b.irem(items.iv, down * across)

            def body(part: Tile, y: Index, x: Index) -> None:
                base = nest.out.index(b, b.imul(panel, part.vectors), y, x)

                def store(row: int, column: int, values: list[Value]) -> None:
                    for v, value in enumerate(values):
                        b.store(out, base, value, offset=nest.out.offset(v, row, column))

                nest.tile(b, part, panel, y, x, store)

            where = (b.idiv(place, across), b.irem(place, across))
            for_each_tile(b, g.rows, g.columns, tile, where, body)
        return [Launch(b.func, (*args, out_arg), nest.panels * down * across)]


def tile_estimate(choice: TileChoice, groups: int) -> Estimate:
    """The model's time of a tiled convolution."""
    rejected = {f"cycles of {t}": c * groups for t, c in choice.rejected}
    return Estimate(
        seconds=choice.cycles * groups / CYCLES_PER_SECOND,
        choice=f"tile {choice.tile}",
        figures={"cycles": choice.cycles * groups, "utilisation": choice.utilisation} | rejected,
    )
