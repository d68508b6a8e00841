"""Clearing a buffer's halo: the zeros that windows read beyond the edge of a picture.

Not a kernel of any operator: the plan launches it next to the first kernel that writes into a
buffer with a halo, because the arena may have held something else there before.
"""

from __future__ import annotations

from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Launch, ResultArg
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value


def fill_halo(layout: Layout, lanes: int) -> Launch:
    """One work item clears the halo of one channel block; the picture itself is not touched."""
    top, left, _, right = layout.halo
    b = Builder("fill_halo")
    out = b.buffer("out", extent=layout.elems, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    with b.loop(lo, hi, hint="block") as blocks:
        start = b.imul(blocks.iv, layout.plane_pitch)
        _clear(b, out, start, top * layout.row_pitch + left * layout.block, lanes)
        gap = (right + left) * layout.block  # the end of one row and the beginning of the next
        if gap:
            with b.loop(0, layout.height - 1, hint="row") as rows:
                row = b.imul(rows.iv, layout.row_pitch)
                first = b.iadd(start, row, layout.origin + layout.width * layout.block)
                _clear(b, out, first, gap, lanes)
        end = layout.origin + (layout.height - 1) * layout.row_pitch + layout.width * layout.block
        _clear(b, out, b.iadd(start, end), layout.plane_pitch - end, lanes)
    halo_elems = layout.elems - layout.blocks * layout.height * layout.width * layout.block
    grain = max(1, _SMALL_ELEMS * layout.blocks // max(halo_elems, 1))
    return Launch(b.func, (ResultArg(),), layout.blocks, grain)


_SMALL_ELEMS = 8192  # elements that one thread clears sooner than two


def _clear(b: Builder, out: Value, start: Index, count: int, lanes: int) -> None:
    """Zeros in `count` elements from `start` on."""
    whole = count - count % lanes
    if whole:
        zeros = b.splat(b.const(0.0), lanes)
        with b.loop(0, whole, lanes, hint="i") as i:
            b.store(out, b.iadd(start, i.iv), zeros)
    if whole < count:
        zero = b.const(0.0)
        with b.loop(whole, count, hint="i") as i:
            b.store(out, b.iadd(start, i.iv), zero)
