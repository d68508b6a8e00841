"""Transposition of row-major arrays: squares of vectors go through registers.

Axes that stay neighbours are one axis. If the result's last axis is then the operand's too, runs
are copied; a few planes are zipped, or unzipped; else a tile has vectors along the operand's last
axis before and along the result's behind.
"""

from __future__ import annotations

import math
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.rows.row_major import (
    Buffers,
    collapse,
    grain_of,
    pitches_of,
    refuses_layouts,
    row_estimate,
)
from cnncc.kernels.rows.row_transpose_loops import Walk, runs, tiles, unzips, zips
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Kind


class RowTranspose(Kernel):
    """One work item is a run or a piece of one; or a strip of tiles."""

    name: ClassVar[str] = "row_transpose"
    anchors: ClassVar[frozenset[str]] = frozenset({"transpose"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Everything lies in row-major order, and no step follows."""
        if len(site.steps) > 1:
            return "takes no steps behind the transposition"
        return refuses_layouts(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and the shuffles of each tile or the vectors of each run."""
        walk, lanes = _walk(site), site.lanes
        if walk.shape == "runs":
            vectors = site.result.elems / walk.dims[-1] * -(-walk.dims[-1] // lanes)
            return row_estimate(site, 4.0 * vectors, f"runs of {walk.dims[-1]}")
        if walk.shape != "tiles":
            return row_estimate(site, 6.0 * site.result.elems / lanes, walk.shape)
        ends = -(-walk.dims[-1] // lanes) * -(-walk.dims[walk.across] // lanes)
        tiles = site.result.elems / (walk.dims[-1] * walk.dims[walk.across]) * ends
        work = lanes * (2.0 + math.log2(lanes))
        return row_estimate(site, 2 * tiles * work, f"tiles of {lanes}x{lanes}")

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        walk = _walk(site)
        b = Builder("row_transpose")
        buffers = Buffers(b, site)
        source, out = buffers.operand(site.anchor.args[0]), buffers.result()
        lo, hi = b.index_param("lo"), b.index_param("hi")
        if site.result.dtype is DType.BOOL:
            # Bytes are shuffled as they are; truth values would become bits and bytes again.
            source = b.view(source, 0, site.result.elems, kind=Kind.U8)
            out = b.view(out, 0, site.result.elems, kind=Kind.U8)
        emit = {"runs": runs, "zips": zips, "unzips": unzips, "tiles": tiles}[walk.shape]
        work = emit(b, site.lanes, walk, (source, out), (lo, hi))
        return [Launch(b.func, tuple(buffers.args), work, grain_of(work, site.result.elems))]


def _walk(site: Site) -> Walk:
    perm = site.anchor.attrs.perm
    pitches = pitches_of(site.types[site.anchor.args[0]].shape)
    shape = site.result.shape
    dims, (source, out) = collapse(shape, tuple(pitches[p] for p in perm), pitches_of(shape))
    return Walk(dims, source, out)
