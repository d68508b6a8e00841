"""The loop nest of a filtered convolution: its work items and their arguments."""

from __future__ import annotations

from functools import partial

from cnncc.kernels.convolution.conv_depth import DepthTable
from cnncc.kernels.convolution.conv_tile import BlockSums, Pieces, piece_blocks
from cnncc.kernels.convolution.tile_loops import Cases
from cnncc.kernels.template import (
    Arg,
    Launch,
    OperandArg,
    Site,
    bias_arg,
    out_buffer,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import TileEpilogue
from cnncc.kernels.winograd.winograd_choice import WinogradChoice
from cnncc.kernels.winograd.winograd_filters import pack_transformed
from cnncc.kernels.winograd.winograd_inputs import InputTransform
from cnncc.kernels.winograd.winograd_outputs import OutputTransform
from cnncc.kernels.winograd.winograd_products import PlaneProducts
from cnncc.kernels.winograd.winograd_tiles import WinogradTiles
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class WinogradNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, choice: WinogradChoice) -> None:
        self.site, self.choice = site, choice
        self.tiles = WinogradTiles(site, choice)
        self.g = self.tiles.g
        self.depth = DepthTable(self.g.depth)
        pixels = choice.vertical.outputs * choice.horizontal.outputs
        self.epilogue = TileEpilogue(site, last=-1 if site.ends_in_pool else None, most=pixels)
        self.panels = self.g.out_blocks // self.tiles.vectors

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, choice, out = Builder(name), self.choice, self.tiles.out
        elems = self.g.attrs.groups * self.panels * self._panel_elems
        x = b.buffer("x", extent=self.tiles.source.elems)
        w = b.buffer("weights", extent=elems)
        weights = self.site.packed(elems, partial(pack_transformed, choice=choice))
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), weights]
        bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            bias = b.buffer("bias", extent=out.blocks * out.block)
            args.append(bias_arg(self.site, self.site.anchor.args[2], out))
        args += self.epilogue.declare(b)
        if not choice.expands:
            args += self.depth.declare(b)
        result, out_arg = out_buffer(b, self.site)
        inputs, inputs_arg = scratch_buffer(b, "inputs", choice.planes * self.tiles.plane)
        held = choice.planes * self.tiles.vectors * choice.block * self.site.lanes
        products, products_arg = scratch_buffer(b, "products", held)
        pieces, cut = self._declare_pieces(b)
        self.transform = InputTransform(self.tiles, x, inputs)
        self.multiply = PlaneProducts(self.tiles, self.depth, inputs, w, products, pieces)
        self.finish = OutputTransform(self.tiles, self.epilogue, products, bias, result)
        blocks = -(-choice.tiles // choice.block)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="item") as items:
            panel = b.irem(items.iv, self.panels)
            outer = b.idiv(items.iv, self.panels)
            block, group = b.irem(outer, blocks), b.idiv(outer, blocks)
            self._item(b, group, block, panel, b.compare("eq", items.iv, lo))
        every = (*args, out_arg, inputs_arg, products_arg, *cut)
        return [Launch(b.func, every, self.g.attrs.groups * blocks * self.panels)]

    @property
    def _panel_elems(self) -> int:
        """Numbers of a panel of filters."""
        if self.choice.expands:
            taps = self.g.kernel[0] * self.g.kernel[1]
            return self.g.in_blocks * self.site.lanes * taps * self.tiles.vectors * self.site.lanes
        depth = self.g.depth.channels * self.tiles.vectors * self.site.lanes
        return self.choice.planes * depth

    def _item(self, b: Builder, group: Index, block: Index, panel: Index, first: Value) -> None:
        size = self.choice.block
        full, last = divmod(self.choice.tiles, size)
        start = b.imul(block, size)
        count: Index = size
        cases: Cases = size, None
        if last:
            is_last = b.compare("eq", block, full)
            count, cases = b.select(is_last, last, size), (size, (is_last, last))
        # The inputs are still there when the item before was another panel of this block.
        fresh = b.select(first, 1, b.select(b.compare("eq", panel, 0), 1, 0))
        with b.when(b.compare("eq", fresh, 1)):
            self.transform.emit(b, group, start, count)
        whole_panel = b.iadd(b.imul(group, self.panels), panel)
        self.multiply.emit(b, whole_panel, count, cases)
        with b.loop(0, self.tiles.vectors, hint="v") as v:
            at = b.iadd(b.imul(whole_panel, self.tiles.vectors), v.iv)
            self.finish.emit(b, at, v.iv, start, count)

    def _declare_pieces(self, b: Builder) -> tuple[Pieces | BlockSums, list[Arg]]:
        """How sums over channels are cut, and the argument that this takes."""
        if self.choice.sums > 1:
            return BlockSums(turns=self.choice.sums > 2), []
        held = self.choice.tile.accumulators * self.site.lanes
        totals, arg = scratch_buffer(b, "totals", held)
        return Pieces(totals, piece_blocks(self.g.in_blocks, 4)), [arg]
