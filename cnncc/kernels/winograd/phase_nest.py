"""The loop nest of a convolution over phases of its stride.

Lanes are neighbouring tiles while the input is transformed: lines of pixels are transformed
downwards as they lie, cut into every so manyth pixel, and transformed sideways; so three channels
fill vectors, and the products find each plane as `[channel and phase][tile]`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.kernels.convolution.conv_tile import Taps, Tile
from cnncc.kernels.convolution.filter_panels import pack_filters
from cnncc.kernels.convolution.reduction import emit_tile
from cnncc.kernels.convolution.tile_loops import for_each_tile
from cnncc.kernels.layout import DenseLayout, Layout
from cnncc.kernels.template import (
    Arg,
    Launch,
    OperandArg,
    PackedArg,
    Site,
    out_buffer,
    per_channel,
    scratch_buffer,
)
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.kernels.winograd.cook_toom import transform_tile_outputs
from cnncc.kernels.winograd.phase_choice import PhaseChoice, PhaseShape, least_factor
from cnncc.kernels.winograd.phase_ring import PoolRing
from cnncc.kernels.winograd.plane_rows import PlaneRows
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


class PhasesNest:
    """The loop nest of one site.

    Args:
        site: a convolution that `ConvPhases` does not refuse.
        shape: what it computes.
        choice: how.
    """

    def __init__(self, site: Site, shape: PhaseShape, choice: PhaseChoice) -> None:
        self.site, self.choice = site, choice
        self.tall, self.wide = choice.vertical, choice.horizontal
        self.shape, self.out = shape, site.blocked_out
        pads = site.anchor.attrs.pads
        self.rows = PlaneRows(
            _planes(site), self.tall.inputs, (pads[0], pads[1]), choice.width, site.lanes
        )
        pixels = self.tall.outputs * self.wide.outputs
        self.epilogue = TileEpilogue(site, last=-1 if site.ends_in_pool else None, most=pixels)
        self.lanes, self.vectors = site.lanes, choice.tile.vectors
        self.panels = self.shape.out_blocks // self.vectors
        self.phases = choice.channels * self.tall.stride  # lines of pixels that tiles begin with
        self.line = choice.row_groups * self.lanes  # every so manyth pixel of a line
        self.pitch = choice.tile_groups * self.lanes  # tiles of a row, in whole vectors
        self.plane = choice.depth * self.pitch
        self.ring = PoolRing(site, shape, choice) if site.ends_in_pool else None

    def launches(self, name: str) -> list[Launch]:
        """The function with its arguments."""
        b, choice = Builder(name), self.choice
        weights = pack_phases(self.site, choice)
        self.x = b.buffer("x", extent=self.rows.layout.elems)
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
        args += [out_arg, self.rows.declare(b)]
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
        self.rows.clear(b)
        if self.ring is not None:
            self.ring.clear(b, lo)
        with b.loop(lo, hi, hint="item") as items:
            self._item(b, items.iv, lo)
        return [Launch(b.func, tuple(args), choice.down)]

    def _item(self, b: Builder, item: Value, lo: Value) -> None:
        first = b.compare("eq", item, lo)
        if self.ring is None:
            self._tile_row(b, item, first)
            return
        # The item before left the rows that windows share in the ring, if this call computed it.
        anew = b.select(first, b.imax(b.isub(item, 1), 0), item)
        with b.loop(anew, b.iadd(item, 1), hint="tiles") as rows:
            first = b.compare("eq", rows.iv, b.imax(b.isub(lo, 1), 0))
            self._tile_row(b, rows.iv, first)
        self.ring.pool(b, item, self.result)

    def _tile_row(self, b: Builder, down: Value, first: Value) -> None:
        """The results of one row of tiles; the first of a call has none of its pixels yet."""
        start, known = b.imul(down, self.tall.advance), self.tall.inputs - self.tall.advance
        fresh = b.select(first, start, b.iadd(start, known))
        self.rows.fill(b, self.x, fresh, b.iadd(start, self.tall.inputs))
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
        with (
            b.loop(0, self.choice.channels, hint="ic") as channels,
            b.loop(0, tall.stride, hint="phase") as phases,
        ):
            y = b.iadd(b.imul(down, tall.advance), phases.iv)
            starts = [
                self.rows.row(b, channels.iv, b.iadd(y, k * tall.stride))
                for k in range(tall.core.inputs)
            ]
            number = b.iadd(b.imul(channels.iv, tall.stride), phases.iv)
            with b.loop(0, self.choice.row_groups, hint="group") as groups:
                x = b.imul(groups.iv, lanes * step)
                to = b.iadd(b.imul(number, step * self.line), b.imul(groups.iv, lanes))
                self._cut(b, [b.iadd(start, x) for start in starts], to)

    def _cut(self, b: Builder, sources: list[Index], to: Index) -> None:
        """Every so manyth pixel of so many vectors of each transformed line."""
        tall, step, lanes = self.tall.core, self.wide.advance, self.lanes
        for rows in tall.groups():
            made = []
            for v in range(step):
                seen = {
                    k: b.load(self.rows.buffer, sources[k], lanes, offset=v * lanes)
                    for k in tall.reads(rows)
                }
                made.append(tall.transform_inputs(b, rows, seen))
            for row, vectors in zip(rows, zip(*made, strict=True), strict=True):
                for first, value in enumerate(cut(b, vectors, lanes)):
                    offset = (row * self.phases * step + first) * self.line
                    b.store(self.lines, to, value, offset=offset)

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
                b.imul(lines.iv, wide.stride * self.pitch),
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
                        offset = column * self.plane + phase * self.pitch
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
            for_each_tile(b, self.shape.rows, self.shape.columns, size, (down, across), body)
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
            column_step=self.pitch,
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


def _planes(site: Site) -> DenseLayout | Layout:
    """Where the input lies."""
    found = site.layouts[site.anchor.args[0]]
    if not isinstance(found, DenseLayout | Layout):
        raise InternalError(f"{site.name}: the input lies in {found}")
    return found


def cut(b: Builder, vectors: Sequence[Value], lanes: int) -> list[Value]:
    """Of n vectors in a row, every n-th lane from the first on, from the second on, and so on.

    Factor by factor that takes few permutations: 18 for six vectors, not 30.
    """
    step = len(vectors)
    if step == 1:
        return list(vectors)
    factor = least_factor(step)
    groups = [vectors[k : k + factor] for k in range(0, step, factor)]
    made: list[Value] = [vectors[0]] * step
    for first in range(factor):
        line = [_every(b, group, lanes, first) for group in groups]
        made[first::factor] = cut(b, line, lanes)
    return made


def _every(b: Builder, vectors: Sequence[Value], lanes: int, first: int) -> Value:
    """Of at least two vectors in a row, every so manyth lane from `first` on: a vector."""
    places = [divmod(len(vectors) * t + first, lanes) for t in range(lanes)]
    picked = [lane + lanes * (v == 1) if v < 2 else t for t, (v, lane) in enumerate(places)]
    made = b.shuffle(vectors[0], vectors[1], picked)
    for number in range(2, len(vectors)):
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
