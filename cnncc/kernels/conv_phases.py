"""Strided convolution of few channels by minimal filtering, its pool in the same loop nest.

A work item is one row of tiles. Lanes are neighbouring tiles while the input is transformed: lines
of pixels are transformed downwards as they lie, cut into every so manyth pixel, and transformed
sideways; so three channels fill vectors, and the products find each plane as
`[channel and phase][tile]`. What a pool reads of the rows above waits in a ring.

A NaN, an infinity or a number near overflow in an input reaches all results of the tiles that read
it, not only of the windows that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import F64, Array
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.conv_nest import (
    conv_geometry,
    for_each_tile,
    out_buffer,
    pack_filters,
    refuses_layouts,
)
from cnncc.kernels.conv_pool import HeldRows, pool_of, pool_row
from cnncc.kernels.conv_ring import ring_shape
from cnncc.kernels.conv_tile import Taps, Tile, choose_tile, emit_tile
from cnncc.kernels.conv_winograd import tile_rounding
from cnncc.kernels.cook_toom import transform_tile_outputs
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO, Halo, Layout
from cnncc.kernels.phase_choice import PhaseChoice, PhaseShape, phase_choice
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    per_channel,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets.target import Target


class ConvPhases(Kernel):
    """One work item is one row of tiles, for all output channels."""

    name: ClassVar[str] = "conv_phases"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        reason = refuses_layouts(site, NO_HALO)
        if reason:
            return reason
        attrs: Conv2dAttrs = site.anchor.attrs
        if attrs.groups != 1 or attrs.dilations != (1, 1):
            return "has groups or dilations"
        source = site.blocked(site.anchor.args[0])
        if source.block != 1:
            return "the input does not lie in planes"
        choice = phase_choice(site.target, phase_shape(site))
        if choice is None:
            return "no transform saves multiplications of such windows, strides and channels"
        if any(h < w for h, w in zip(source.halo, _halo(site, choice), strict=True)):
            return "the halo does not hold whole tiles"
        if site.ends_in_pool and not pool_of(site).is_max:
            return "of pools it computes maxima only"
        if not np.isfinite(site.constant(site.anchor.args[1])).all():
            return "a filter is not finite, and would spread over its tile"
        return ""

    def estimate(self, site: Site) -> Estimate:
        choice = _choice(site)
        filters = choice.planes * choice.depth * site.blocked_out.blocks
        return predict(
            site,
            choice.cycles,
            str(choice),
            {"error_bound_k": choice.rounding},
            fmas=filters * choice.down * choice.across,
            weights=filters * site.target.vector_bits / 8,
        )

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile, infinite where it meets numbers that are not finite."""
        choice = _choice(site)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return tile_rounding(choice, attrs, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return _PhasesNest(site, _choice(site)).launches(self.name)


def phase_shape(site: Site) -> PhaseShape:
    """What the choice depends on, of a site that is a convolution of blocks."""
    g = conv_geometry(site)
    return PhaseShape(g.in_blocks, g.rows, g.columns, g.out_blocks, g.kernel, g.attrs.strides)


def _choice(site: Site) -> PhaseChoice:
    choice = phase_choice(site.target, phase_shape(site))
    assert choice is not None
    return choice


def _halo(site: Site, choice: PhaseChoice) -> Halo:
    source, pads = site.blocked(site.anchor.args[0]), site.anchor.attrs.pads
    return choice.halo((pads[0], pads[1]), source.height, source.width)


class _PhasesNest:
    """The loop nest of one site."""

    def __init__(self, site: Site, choice: PhaseChoice) -> None:
        self.site, self.choice = site, choice
        self.tall, self.wide = choice.vertical, choice.horizontal
        self.g = conv_geometry(site)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        pixels = self.tall.outputs * self.wide.outputs
        self.epilogue = TileEpilogue(site, last=-1 if site.ends_in_pool else None, most=pixels)
        self.lanes, self.vectors = site.lanes, choice.tile.vectors
        self.panels = self.g.out_blocks // self.vectors
        self.phases = choice.channels * self.tall.stride  # lines of pixels that tiles begin with
        self.line = choice.row_groups * self.lanes  # every so manyth pixel of a line
        self.row = choice.tile_groups * self.lanes  # tiles of a row, in whole vectors
        self.plane = choice.depth * self.row
        self.ring = _Ring(site, self.tall.outputs, choice) if site.ends_in_pool else None

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, choice = Builder(name), self.choice
        weights = pack_phases(self.site, choice)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(self.site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(self.site.anchor.args) == 3:
            numbers = np.asarray(self.site.constant(self.site.anchor.args[2]), np.float32)
            bias = per_channel(numbers, self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        args += self.epilogue.declare(b)
        self.result, out_arg = out_buffer(b, self.site)
        args.append(out_arg)
        lines = self.tall.core.products * self.phases * self.wide.advance * self.line
        # The last vector of tiles may look for a neighbour behind the last line.
        self.lines, lines_arg = scratch_buffer(b, "lines", lines + self.lanes)
        self.inputs, inputs_arg = scratch_buffer(b, "inputs", choice.planes * self.plane)
        held = choice.planes * self.vectors * choice.across * self.lanes
        self.products, products_arg = scratch_buffer(b, "products", held)
        args += [lines_arg, inputs_arg, products_arg]
        if self.ring is not None:
            args.append(self.ring.declare(b))
        lo, hi = b.index_param("lo"), b.index_param("hi")
        if self.ring is not None:
            self.ring.clear(b, lo)
        with b.loop(lo, hi, hint="item") as items:
            self._item(b, items.iv, lo)
        return [Launch(b.func, tuple(args), choice.down)]

    def _item(self, b: Builder, item: Value, lo: Value) -> None:
        if self.ring is None:
            self._tile_row(b, item)
            return
        # The item before left the rows that windows share in the ring, if this call computed it.
        anew = b.select(b.compare("eq", item, lo), b.imax(b.isub(item, 1), 0), item)
        with b.loop(anew, b.iadd(item, 1), hint="tiles") as rows:
            self._tile_row(b, rows.iv)
        self.ring.pool(b, item, self.result)

    def _tile_row(self, b: Builder, down: Value) -> None:
        """The results of one row of tiles."""
        self._transform_downwards(b, down)
        self._transform_sideways(b)
        with b.loop(0, self.panels, hint="panel") as panels:
            with b.loop(0, self.choice.planes, hint="plane") as planes:
                self._multiply(b, panels.iv, planes.iv)
            with b.loop(0, self.vectors, hint="v") as v:
                self._transform_outputs(b, panels.iv, v.iv, down)
        if self.ring is not None:
            self.ring.close(b, down)

    # -- transforms --------------------------------------------------------------------------------

    def _transform_downwards(self, b: Builder, down: Value) -> None:
        """Lines of pixels, as `[row of planes][channel and phase][every so manyth][tile]`."""
        tall, step, lanes = self.tall, self.wide.advance, self.lanes
        top, left = self.g.attrs.pads[:2]
        with (
            b.loop(0, self.choice.channels, hint="ic") as channels,
            b.loop(0, tall.stride, hint="phase") as phases,
            b.loop(0, self.choice.row_groups, hint="group") as groups,
        ):
            y = b.iadd(b.imul(down, tall.advance), b.isub(phases.iv, top))
            x = b.isub(b.imul(groups.iv, lanes * step), left)
            source = self.source.index(b, channels.iv, y, x)
            number = b.iadd(b.imul(channels.iv, tall.stride), phases.iv)
            to = b.iadd(b.imul(number, step * self.line), b.imul(groups.iv, lanes))
            for rows in tall.core.groups():
                made = []
                for v in range(step):
                    seen = {
                        k: b.load(
                            self.x,
                            source,
                            lanes,
                            offset=self.source.offset(0, k * tall.stride, v * lanes),
                        )
                        for k in tall.core.reads(rows)
                    }
                    made.append(tall.core.transform_inputs(b, rows, seen))
                for row, vectors in zip(rows, zip(*made, strict=True), strict=True):
                    for first in range(step):
                        offset = (row * self.phases * step + first) * self.line
                        b.store(self.lines, to, every(b, vectors, lanes, first), offset=offset)

    def _transform_sideways(self, b: Builder) -> None:
        """Planes, as `[channel and phase][tile]`."""
        wide, step, lanes = self.wide, self.wide.advance, self.lanes
        with (
            b.loop(0, self.tall.core.products, hint="row") as rows,
            b.loop(0, self.phases, hint="line") as lines,
            b.loop(0, self.choice.tile_groups, hint="group") as groups,
        ):
            number = b.iadd(b.imul(rows.iv, self.phases), lines.iv)
            tile = b.imul(groups.iv, lanes)
            source = b.iadd(b.imul(number, step * self.line), tile)
            to = b.iadd(
                b.imul(rows.iv, wide.core.products * self.plane),
                b.imul(lines.iv, wide.stride * self.row),
                tile,
            )
            for phase in range(wide.stride):
                for group in wide.core.groups():
                    seen = {}
                    for k in wide.core.reads(group):
                        ahead, first = divmod(k * wide.stride + phase, step)
                        offset = first * self.line + ahead
                        seen[k] = b.load(self.lines, source, lanes, offset=offset)
                    made = wide.core.transform_inputs(b, group, seen)
                    for column, value in zip(group, made, strict=True):
                        offset = column * self.plane + phase * self.row
                        b.store(self.inputs, to, value, offset=offset)

    def _transform_outputs(self, b: Builder, panel: Value, vector: Value, down: Value) -> None:
        tall, wide, across = self.tall.core, self.wide.core, self.choice.across
        pitch = self.vectors * across * self.lanes  # from one plane of products to the next
        block = b.iadd(b.imul(panel, self.vectors), vector)
        bias = None
        if self.bias is not None:
            bias = b.load(self.bias, b.imul(block, self.lanes), self.lanes)
        with b.loop(0, across, hint="t") as tiles:
            at = b.imul(b.iadd(b.imul(vector, across), tiles.iv), self.lanes)
            pixels = transform_tile_outputs(
                b,
                tall,
                wide,
                lambda plane: b.load(self.products, at, self.lanes, offset=plane * pitch),
            )
            if bias is not None:
                pixels = [[b.binary("add", p, bias) for p in line] for line in pixels]
            self._store(b, block, down, tiles.iv, pixels)

    def _store(
        self, b: Builder, block: Index, down: Value, across: Value, pixels: list[list[Value]]
    ) -> None:
        """Finish the results of a tile: all of them for a pool, else those in the picture."""
        size = Tile(self.tall.outputs, self.wide.outputs, 1)

        def finished(part: Tile, y: Index, x: Index) -> dict[tuple[int, int], Value]:
            patch = Patch(part.rows, part.columns, 1)
            values = [pixels[i][k] for i, k in patch.pixels]
            made = self.epilogue.finish(b, values, patch, block, y, x)
            return dict(zip(patch.pixels, made, strict=True))

        def body(part: Tile, y: Index, x: Index) -> None:
            base = self.out.index(b, block, y, x)
            for (i, k), value in finished(part, y, x).items():
                b.store(self.result, base, value, offset=self.out.offset(0, i, k))

        if self.ring is None:
            for_each_tile(b, self.g.rows, self.g.columns, size, (down, across), body)
            return
        y, x = b.imul(down, size.rows), b.imul(across, size.columns)
        self.ring.store(b, block, y, x, finished(size, y, x))

    # -- products ----------------------------------------------------------------------------------

    def _multiply(self, b: Builder, panel: Value, plane: Value) -> None:
        """The products of one plane: tiles by channels and phases times those by outputs."""
        lanes, across, depth = self.lanes, self.choice.across, self.choice.depth
        matrix = b.iadd(b.imul(panel, self.choice.planes), plane)
        weights = b.imul(matrix, depth * self.vectors * lanes)
        taps = Taps(
            blocks=1,
            block=1,
            rows=1,
            columns=depth,
            row_step=1,
            column_step=self.row,
            pixel_row_step=1,
            pixel_column_step=1,
            plane_pitch=0,
            row_pitch=0,
        )
        zero = b.splat(b.const(0.0), lanes)

        def body(part: Tile, _: Index, first: Index) -> None:
            source = b.iadd(b.imul(plane, self.plane), first)
            start = [zero] * self.vectors
            sums = emit_tile(b, part, taps, lanes, (self.inputs, source), (self.w, weights), start)
            to = b.imul(b.iadd(b.imul(plane, self.vectors * across), first), lanes)
            for k in range(part.columns):
                for v in range(self.vectors):
                    offset = (v * across + k) * lanes
                    b.store(self.products, to, sums[k * self.vectors + v], offset=offset)

        with b.loop(0, -(-across // self.choice.tile.columns), hint="tile") as tiles:
            for_each_tile(b, 1, across, self.choice.tile, (0, tiles.iv), body)


class _Ring:
    """Rows of the convolution that a pool reads, as `[channel block][row][column]`.

    Rows and columns are counted from the padding above and left; what lies outside the picture
    never wins a maximum.
    """

    def __init__(self, site: Site, tile_rows: int, choice: PhaseChoice) -> None:
        self.choice, self.tile_rows = choice, tile_rows
        self.g, self.pool_behind = conv_geometry(site), pool_of(site)
        self.out, self.lanes = site.blocked_out, site.lanes
        attrs = self.pool_behind.step.attrs
        self.window, self.stride = attrs.window, attrs.strides
        size = (self.pool_behind.rows, self.pool_behind.columns)
        self.shape = ring_shape(self.g, attrs.window, attrs.strides, attrs.pads, size)
        # The last row of tiles may be followed by rows of padding.
        last = self.shape.reach - self.shape.top - (choice.down - 1) * tile_rows
        self.rows = self.window[0] - 1 + max(tile_rows, last)
        computed = choice.across * choice.horizontal.outputs
        self.pitch = (
            self.shape.left + max(computed, self.g.columns + self.shape.right)
        ) * self.lanes

    def declare(self, b: Builder) -> Arg:
        """Add the parameter; returns its argument."""
        self.buffer, arg = scratch_buffer(b, "ring", self.g.out_blocks * self.rows * self.pitch)
        return arg

    def clear(self, b: Builder, first: Value) -> None:
        """Padding on the left, and above where a call begins with the first item."""
        with b.loop(0, self.g.out_blocks * self.rows, hint="row") as rows:
            self._fill(b, b.imul(rows.iv, self.pitch), self.shape.left)
        if self.shape.top:
            with (
                b.when(b.compare("eq", first, 0)),
                b.loop(0, self.g.out_blocks, hint="block") as blocks,
            ):
                start = b.imul(blocks.iv, self.rows * self.pitch)
                self._fill(b, start, self.shape.top * self.pitch // self.lanes)

    def store(
        self, b: Builder, block: Index, y: Index, x: Index, pixels: dict[tuple[int, int], Value]
    ) -> None:
        """The results of a tile that begins at (y, x)."""
        column = b.imul(b.iadd(x, self.shape.left), self.lanes)
        starts = {
            row: b.iadd(self._row(b, block, b.iadd(y, row)), column)
            for row in dict.fromkeys(row for row, _ in pixels)
        }
        for (row, k), value in pixels.items():
            b.store(self.buffer, starts[row], value, offset=k * self.lanes)

    def close(self, b: Builder, down: Value) -> None:
        """What tiles of a row computed outside the picture, and padding below it."""
        y = b.imul(down, self.tile_rows)
        with b.loop(0, self.g.out_blocks, hint="block") as blocks:
            if self.shape.right:
                start = (self.shape.left + self.g.columns) * self.lanes
                with b.loop(y, b.iadd(y, self.tile_rows), hint="row") as rows:
                    row = self._row(b, blocks.iv, rows.iv)
                    self._fill(b, b.iadd(row, start), self.shape.right)
            end = self.shape.reach - self.shape.top
            if end > self.g.rows:
                last = b.compare("eq", down, self.choice.down - 1)
                with b.loop(self.g.rows, b.select(last, end, self.g.rows), hint="row") as rows:
                    row = self._row(b, blocks.iv, rows.iv)
                    self._fill(b, row, self.pitch // self.lanes)

    def pool(self, b: Builder, down: Value, result: Value) -> None:
        """The pooled rows whose last row of the convolution is one of this row of tiles."""
        ready = self._ready(b, b.iadd(down, 1))
        ready = b.select(b.compare("eq", down, self.choice.down - 1), self.pool_behind.rows, ready)
        before = b.select(b.compare("eq", down, 0), 0, self._ready(b, down))
        with (
            b.loop(before, ready, hint="oy") as pooled,
            b.loop(0, self.g.out_blocks, hint="block") as blocks,
        ):
            first = b.isub(b.imul(pooled.iv, self.stride[0]), self.shape.top)
            slots = [self._row(b, blocks.iv, b.iadd(first, i)) for i in range(self.window[0])]
            held = HeldRows(self.buffer, slots, self.lanes, 1, self.lanes)
            pool_row(b, self.pool_behind, held, (result, self.out, blocks.iv, pooled.iv))

    def _ready(self, b: Builder, down: Index) -> Index:
        """Pooled rows that are done with so many rows of tiles, all but the last of them."""
        known = self.shape.top - self.window[0] + self.stride[0]
        rows = b.imax(b.iadd(b.imul(down, self.tile_rows), known), 0)
        return b.imin(b.idiv(rows, self.stride[0]), self.pool_behind.rows)

    def _row(self, b: Builder, block: Index, y: Index) -> Index:
        """Where a row of the convolution begins, its padding included."""
        slot = b.irem(b.iadd(y, self.shape.top), self.rows)
        return b.imul(b.iadd(b.imul(block, self.rows), slot), self.pitch)

    def _fill(self, b: Builder, start: Index, pixels: int) -> None:
        if pixels == 0:
            return
        least = b.splat(b.const(float("-inf")), self.lanes)
        with b.loop(0, pixels * self.lanes, self.lanes, hint="i") as i:
            b.store(self.buffer, b.iadd(start, i.iv), least)


def every(b: Builder, vectors: Sequence[Value], lanes: int, first: int) -> Value:
    """Of so many vectors in a row, every so manyth lane from `first` on: a vector."""
    step = len(vectors)
    places = [divmod(step * t + first, lanes) for t in range(lanes)]
    if step == 1:
        return vectors[0]
    picked = [lane + lanes * (v == 1) if v < 2 else t for t, (v, lane) in enumerate(places)]
    made = b.shuffle(vectors[0], vectors[1], picked)
    for number in range(2, step):
        picked = [lanes + lane if v == number else t for t, (v, lane) in enumerate(places)]
        made = b.shuffle(made, vectors[number], picked)
    return made


def pack_phases(site: Site, choice: PhaseChoice) -> NDArray[np.float32]:
    """Filters [O,C,kh,kw] as `[panel][plane][channel and phase][vectors * lanes]`, transformed."""
    filters = np.asarray(site.constant(site.anchor.args[1]), np.float64)
    tall, wide = choice.vertical, choice.horizontal
    count, channels, height, width = filters.shape
    rows, columns = tall.core.taps * tall.stride, wide.core.taps * wide.stride
    whole = np.pad(filters, ((0, 0), (0, 0), (0, rows - height), (0, columns - width)))
    phases = whole.reshape(
        count, channels, tall.core.taps, tall.stride, wide.core.taps, wide.stride
    )
    made = np.einsum(
        "ia,ocasbt,jb->ocstij", tall.core.filter_matrix, phases, wide.core.filter_matrix
    )
    # As a convolution of one block whose channels are phases and whose taps are planes.
    slots = Layout(choice.depth, (choice.depth,), 1, 1)
    taps = made.reshape(count, choice.depth, tall.core.products, wide.core.products)
    packed = pack_filters(taps.astype(np.float32), slots, site.blocked_out, 1, choice.tile.vectors)
    return packed.reshape(-1)


def phases_halo(
    target: Target,
    attrs: Conv2dAttrs,
    types: Sequence[TensorType],
    result: TensorType,
) -> Halo | None:
    """The halo that the planes of an input need where this is predicted to be the quickest.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W] and filters [O,C,kh,kw].
        result: of the convolution.

    Returns:
        None where a convolution by definition is quicker, or the only way.
    """
    (_, channels, height, width), (filters, _, *kernel) = types[0].shape, types[1].shape
    if attrs.groups != 1 or attrs.dilations != (1, 1):
        return None
    rows, columns = result.shape[2:]
    outs = -(-filters // target.lanes())
    strides = (attrs.strides[0], attrs.strides[1])
    shape = PhaseShape(channels, rows, columns, outs, (kernel[0], kernel[1]), strides)
    choice = phase_choice(target, shape)
    if choice is None:
        return None
    direct = choose_tile(target, rows, columns, outs, channels * kernel[0] * kernel[1])
    if choice.cycles >= direct.cycles:
        return None
    return choice.halo((attrs.pads[0], attrs.pads[1]), height, width)
