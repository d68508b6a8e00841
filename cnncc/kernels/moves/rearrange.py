"""Operators that move elements between blocked values: join, cut, mix, reshape, repeat, border."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from cnncc.ir.types import DType
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import DenseLayout, Layout
from cnncc.kernels.movement import Cells, Movement, movement
from cnncc.kernels.moves.copy_nest import CopyNest
from cnncc.kernels.template import (
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    ResultArg,
    Site,
)
from cnncc.loopir.build import Builder


class Rearrange(Kernel):
    """Separable movements, one launch each; work items are rows of channel blocks where it can be.

    A concatenation has exactly one launch an operand, in order, so that a plan can leave out those
    of operands that were computed where they belong.
    """

    name: ClassVar[str] = "rearrange"
    anchors: ClassVar[frozenset[str]] = frozenset(
        {"concat", "slice_channels", "crop2d", "pad2d", "channel_shuffle", "upsample2d"}
        | {"flatten", "reshape", "transpose"}
    )

    def refuses(self, site: Site) -> str:
        """Values lie in blocks; nothing runs behind; numbers stay what they are."""
        if len(site.steps) > 1:
            return "has no epilogue"
        if not isinstance(site.out, Layout):
            return "needs a blocked result"
        if not all(isinstance(site.layouts[a], Layout) for a in site.anchor.args):
            return "needs blocked operands"
        if site.anchor.op == "upsample2d" and site.anchor.attrs.mode != "nearest":
            return "repeats pixels, does not interpolate"
        if site.anchor.op == "concat" and not 1 <= site.anchor.attrs.axis <= 3:
            return f"joins samples (axis {site.anchor.attrs.axis})"
        if site.anchor.op == "transpose" and site.anchor.attrs.perm[0] != 0:
            return "moves the batch axis"
        return _refuses_vector(site) if site.anchor.op in ("flatten", "reshape") else ""

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic and the cycles that the shapes of the loops cost."""
        nests = [CopyNest(move, site.lanes) for _, move in movements(site)]
        figures = {"elements": float(sum(n.move.dest.size for n in nests))}
        choice = ", ".join(dict.fromkeys(n.shape for n in nests))
        return predict(site, sum(n.cycles for n in nests), choice, figures)

    def lower(self, site: Site) -> list[Launch]:
        """One launch a movement, and one for what nothing is moved to."""
        launches = [
            CopyNest(move, site.lanes).launch(site.anchor.op, OperandArg(operand))
            for operand, move in movements(site)
        ]
        if site.anchor.op == "pad2d":
            launches.append(_border(site))
        if _is_flat(site) and site.blocked_out.has_padding_lanes:
            launches.append(_tail(site.blocked_out))
        return launches


def movements(site: Site) -> list[tuple[int, Movement]]:
    """What the anchor moves: pairs of an operand and its movement into the result."""
    first = site.anchor.args[0]
    if site.anchor.op == "concat":
        return _concat(site)
    if site.anchor.op in ("flatten", "reshape"):
        return [(first, _reshape(site))]
    source, dest = Cells.of(site.blocked(first)), Cells.of(site.blocked_out)
    picked = _PICKS[site.anchor.op](site, source)
    if site.anchor.op == "pad2d":
        top, left, _, _ = site.anchor.attrs.pads
        dest = dest.pick(row=_from(top, source.row), column=_from(left, source.column))
    return [(first, movement(picked, dest))]


def _from(start: int, axis: np.ndarray[tuple[int], np.dtype[np.int64]]) -> slice:
    return slice(start, start + len(axis))


def _slice(site: Site, x: Cells) -> Cells:
    return x.pick(channel=slice(site.anchor.attrs.start, site.anchor.attrs.stop))


def _crop(site: Site, x: Cells) -> Cells:
    top, left, bottom, right = site.anchor.attrs.pads
    return x.pick(row=slice(top, len(x.row) - bottom), column=slice(left, len(x.column) - right))


def _pad(site: Site, x: Cells) -> Cells:
    return x


def _shuffle(site: Site, x: Cells) -> Cells:
    groups = site.anchor.attrs.groups
    order = np.arange(len(x.channel)).reshape(groups, -1).T.reshape(-1)
    return x.pick(channel=order)


def _repeat(site: Site, x: Cells) -> Cells:
    rows, columns = site.anchor.attrs.factors
    return x.pick(
        row=np.repeat(np.arange(len(x.row)), rows),
        column=np.repeat(np.arange(len(x.column)), columns),
    )


def _transpose(site: Site, x: Cells) -> Cells:
    axes = (x.channel, x.row, x.column)
    perm = [p - 1 for p in site.anchor.attrs.perm[1:]] if len(site.result.shape) == 4 else [0, 1, 2]
    channel, row, column = (axes[p] for p in perm)
    return Cells(channel, row, column, x.layout, channelled=perm[0] == 0)


_PICKS: dict[str, Callable[[Site, Cells], Cells]] = {
    "slice_channels": _slice,
    "crop2d": _crop,
    "pad2d": _pad,
    "channel_shuffle": _shuffle,
    "upsample2d": _repeat,
    "transpose": _transpose,
}


def _concat(site: Site) -> list[tuple[int, Movement]]:
    out = site.blocked_out
    axis, dest = site.anchor.attrs.axis, Cells.of(out)
    slots = [*out.channel_slots, out.blocks * out.block]
    pairs = []
    start = 0
    for operand in site.anchor.args:
        source = Cells.of(site.blocked(operand))
        sides = (source.channel, source.row, source.column)
        place = _from(start, sides[axis - 1])
        where = {1: "channel", 2: "row", 3: "column"}[axis]
        filled = (int(slots[place.start]), int(slots[place.stop])) if axis == 1 else None
        pairs.append((operand, movement(source, dest.pick(**{where: place}), filled)))
        start = place.stop
    return pairs


# -- reshapes ------------------------------------------------------------------------------------


def _is_flat(site: Site) -> bool:
    """Whether a feature map becomes a vector, element after element."""
    return site.anchor.op in ("flatten", "reshape") and len(site.result.shape) == 2


def _is_vector(layout: Layout) -> bool:
    return len(layout.segments) == 1 and (layout.height, layout.width) == (1, 1)


def _refuses_vector(site: Site) -> str:
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    if len(site.result.shape) not in (2, 4):
        return f"the result has {len(site.result.shape)} axes"
    for shape, layout in ((site.result.shape, out), (site.types[0].shape, source)):
        if len(shape) == 2 and (any(layout.halo) or not _is_vector(layout)):
            return "needs vectors of one segment and without halo"
    return ""


def _reshape(site: Site) -> Movement:
    """One side is read as a dense array where the other is a vector; else element by element."""
    source, out = site.blocked(site.anchor.args[0]), site.blocked_out
    order = site.anchor.attrs.order if site.anchor.op == "flatten" else "chw"
    if len(site.result.shape) == 2:
        flat = DenseLayout(DType.F32, source.channels, source.height, source.width, order)
        return movement(Cells.of(source), Cells.of(flat))
    if _is_vector(source) and not any(source.halo):
        flat = DenseLayout(DType.F32, out.channels, out.height, out.width, "chw")
        return movement(Cells.of(flat), Cells.of(out))
    return _element_by_element(source, out)


def _element_by_element(source: Layout, out: Layout) -> Movement:
    """Row-major order on both sides; every element of the result is a channel of its own."""
    sides = [Cells.of(source), Cells.of(out)]
    places = [(c.channel[:, None, None] + c.row[:, None] + c.column).reshape(-1, 1) for c in sides]
    pixels = (sides[1].row[:, None] + sides[1].column).reshape(-1)
    spare = np.flatnonzero(out.slot_channels < 0)
    block, lane = np.divmod(spare, out.block)
    padding = (block * out.plane_pitch + lane + out.origin)[:, None] + pixels
    nothing = np.full((padding.size, 1), -1, np.int64)
    come = np.concatenate([places[0], nothing])
    to = np.concatenate([places[1], padding.reshape(-1, 1)])
    one = np.zeros(1, np.int64)
    cells = Cells(come[:, 0], one, one, source), Cells(to[:, 0], one, one, out)
    return Movement(come, to, np.maximum(come, -1), cells, np.zeros(come.shape, bool))


# -- what nothing is moved to ----------------------------------------------------------------------


def _border(site: Site) -> Launch:
    """The border of a `pad2d`; one work item is one row of one block."""
    out, (top, left, _, _) = site.blocked_out, site.anchor.attrs.pads
    source = site.blocked(site.anchor.args[0])
    lanes = site.lanes if out.block % site.lanes == 0 else 1
    value = np.float32(site.anchor.attrs.value)
    values = np.where(out.slot_channels >= 0, value, np.float32(0)).astype(np.float32)
    b = Builder("border")
    table = b.buffer("values", extent=values.size)
    result = b.buffer("out", extent=out.elems, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    with b.loop(lo, hi, hint="item") as items:
        block, row = b.idiv(items.iv, out.height), b.irem(items.iv, out.height)
        below = b.compare("ge", row, top)
        inside = b.binary("and", below, b.compare("lt", row, top + source.height))
        spans = (
            (0, b.select(inside, left, out.width)),
            (b.select(inside, left + source.width, out.width), out.width),
        )
        for lane in range(0, out.block, lanes):
            vector = b.load(table, b.imul(block, out.block), lanes, offset=lane)
            for begin, end in spans:
                with b.loop(begin, end, hint="x") as columns:
                    at = out.index(b, block, row, columns.iv)
                    b.store(result, at, vector, offset=lane)
    return Launch(b.func, (PackedArg(values), ResultArg()), out.blocks * out.height)


def _tail(out: Layout) -> Launch:
    """Zeros in the padding lanes of a vector."""
    b = Builder("vector_tail")
    result = b.buffer("out", extent=out.elems, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    zero = b.const(0.0)
    with b.loop(lo, hi, hint="slot") as slots:
        b.store(result, slots.iv, zero, offset=out.channels)
    spare = out.elems - out.channels
    return Launch(b.func, (ResultArg(),), spare, spare)
