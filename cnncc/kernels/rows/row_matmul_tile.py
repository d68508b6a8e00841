"""Shapes of a matrix product, and the register tile that it is computed in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cnncc.kernels.cost import tile_cycles
from cnncc.kernels.rows.row_major import Shape, pitches_of
from cnncc.kernels.template import Site
from cnncc.targets.target import Target


@dataclass(frozen=True)
class Product:
    """Shapes of a product as [batch, rows, terms] times [batch, terms, columns].

    Attributes:
        left: shape of the left operand.
        right: shape of the right operand.
    """

    left: Shape
    right: Shape

    @cached_property
    def rows(self) -> int:
        """Rows of the result."""
        return self.left[-2] if len(self.left) > 1 else 1

    @cached_property
    def terms(self) -> int:
        """Products that each element adds up."""
        return self.left[-1]

    @cached_property
    def columns(self) -> int:
        """Columns of the result."""
        return self.right[-1] if len(self.right) > 1 else 1

    @cached_property
    def batch(self) -> Shape:
        """Leading axes of the result."""
        return np.broadcast_shapes(self.left[:-2], self.right[:-2])

    def pitches(self, shape: Shape) -> Shape:
        """Elements from one matrix of an operand to the next, along each axis of the batch."""
        own = shape[:-2]
        found = [p if n > 1 else 0 for n, p in zip(own, pitches_of(shape), strict=False)]
        return (*(0,) * (len(self.batch) - len(own)), *found)


def product_of(site: Site) -> Product:
    """The shapes of a site's anchor; matrices that share a right side are one of many rows."""
    left, right = (site.types[a].shape for a in site.anchor.args)
    if len(left) > 2 and math.prod(right[:-2]) == 1:
        return Product((math.prod(left[:-1]), left[-1]), right[-2:])
    return Product(left, right)


def tile_of(target: Target, p: Product) -> tuple[int, int]:
    """Rows and vectors of the tile with the fewest predicted cycles."""
    most = max(r * v for r, v in target.tiles)
    wide = [(1, v) for v in (8, 4) if v < most]
    options = [
        (r, v)
        for rows, v in (*target.tiles, *wide)
        for r in {min(rows, p.rows), -(-p.rows // -(-p.rows // rows))}
    ]
    needed = -(-p.columns // target.lanes())
    fitting = [o for o in options if o[1] <= needed] or options
    return min(fitting, key=lambda o: (cycles_of(target, p, *o), -o[0] * o[1]))


def cycles_of(target: Target, p: Product, rows: int, vectors: int) -> float:
    """Predicted cycles of one matrix of the batch."""
    needed = -(-p.columns // target.lanes())
    total = 0.0
    for height, down in ((rows, p.rows // rows), (p.rows % rows, int(p.rows % rows > 0))):
        for width, across in ((vectors, needed // vectors), (needed % vectors, 1)):
            if height and width:
                total += down * across * tile_cycles(target, height, width, p.terms)
    return total
