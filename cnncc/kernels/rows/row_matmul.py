"""Matrix products of row-major f32 arrays: tiles of the result in registers, or dot products.

A tile is some rows times some vectors of columns; each turn of its loop takes four of the summands.
A constant right-hand side is packed into panels as wide as a tile. Where the result has a single
column, rows are multiplied with it as vectors, and the lanes of the sums are added at the end.
"""

from __future__ import annotations

import math
from typing import ClassVar

from cnncc.ir.types import DType
from cnncc.kernels.cost import fma_per_cycle, predict, vector_cycles
from cnncc.kernels.rows.row_major import refuses_layouts, row_estimate
from cnncc.kernels.rows.row_matmul_loops import Dots, Tiles
from cnncc.kernels.rows.row_matmul_tile import cycles_of, product_of, tile_of
from cnncc.kernels.rows.row_steps import RowSteps, refuses_steps
from cnncc.kernels.template import Estimate, Kernel, Launch, Site


class RowMatmul(Kernel):
    """One work item is a tile of the result, or a few dot products."""

    name: ClassVar[str] = "row_matmul"
    anchors: ClassVar[frozenset[str]] = frozenset({"matmul"})
    rows: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Both sides are f32, in row-major order; steps behind are pointwise."""
        if any(site.types[a].dtype is not DType.F32 for a in site.anchor.args):
            return "multiplies f32 matrices only"
        if site.in_place in site.anchor.args:
            return "the result must not lie over a factor"
        return refuses_layouts(site) or refuses_steps(site)

    def estimate(self, site: Site) -> Estimate:
        """The tiles' own model, or the rows' way from memory; and the memory traffic."""
        p = product_of(site)
        if p.columns == 1:
            vectors = math.prod(p.batch) * p.rows * p.terms / site.lanes
            return row_estimate(site, 2.0 * vectors + 20.0 * p.rows, "dot products")
        rows, vectors_ = tile_of(site.target, p)
        cycles = math.prod(p.batch) * cycles_of(site.target, p, rows, vectors_)
        ideal = math.prod(p.batch) * p.rows * p.columns * p.terms / site.lanes
        use = ideal / fma_per_cycle(site.target) / cycles
        steps = vector_cycles(site, RowSteps(site).operations)
        words = f"tile {rows}x{vectors_}"
        weights = 4.0 * sum(a.size for a in site.constants if a is not None)
        return predict(
            site, cycles + steps, words, {"utilisation": use}, fmas=ideal, weights=weights
        )

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        loops = Dots if product_of(site).columns == 1 else Tiles
        return [loops(site).launch()]
