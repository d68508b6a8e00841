"""Odd functions that rise to 1 as polynomials of short intervals, for lookups in registers.

|x| + shift is a number whose exponent and first bits of mantissa name an interval: where the
function is steep they are short, and they grow with |x| as it becomes flat.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_MANTISSA_BITS = 3  # that name an interval
_DEGREE = 4
_COUNT = 32  # what two registers hold
LOW_BITS = 23 - _MANTISSA_BITS  # that do not


@dataclass(frozen=True, slots=True)
class Pieces:
    """The polynomials of a function.

    Attributes:
        shift: what is added to |x| before its bits are taken.
        top: from there on the function is 1 in f32.
        tables: of the powers of x less the beginning of its interval, highest power first, the
            factor in each interval; the low bits of its name are the place.
    """

    shift: float
    top: float
    tables: tuple[tuple[float, ...], ...]


def pieces_of(function: Callable[[float], float], shift: float, top: float) -> Pieces:
    """The polynomials of an odd function for 0 <= x <= `top`."""
    pieces = [[0.0] * (_DEGREE + 1)] * _COUNT
    first, last = (int(np.float32(x + shift).view(np.int32)) >> LOW_BITS for x in (0.0, top))
    for name in range(first, last + 1):
        edges = (np.array([name, name + 1], np.int32) << LOW_BITS).view(np.float32)
        low, high = (float(edge) - shift for edge in edges)
        pieces[name % _COUNT] = _piece(function, low, high)
    tables = zip(*(piece[::-1] for piece in pieces), strict=True)
    return Pieces(shift, top, tuple(tables))


def _piece(function: Callable[[float], float], low: float, high: float) -> list[float]:
    """The polynomial in r for f(low + r), lowest power first, through Chebyshev's points.

    In the first interval that of f(r)/r, times r: nothing is added to small numbers.
    """
    count = _DEGREE + (1 if low else 0)
    middle = (high - low) / 2
    points = [middle * (1 + math.cos(math.pi * (2 * k + 1) / (2 * count))) for k in range(count)]
    slopes = [function(low + r) / (1 if low else r) for r in points]
    for order in range(1, count):  # Newton's divided differences
        for k in range(count - 1, order - 1, -1):
            slopes[k] = (slopes[k] - slopes[k - 1]) / (points[k] - points[k - order])
    factors = [0.0] * count
    for slope, point in zip(reversed(slopes), reversed(points), strict=True):
        shifted = [0.0, *factors[:-1]]
        factors = [a - point * b for a, b in zip(shifted, factors, strict=True)]
        factors[0] += slope
    return factors if low else [0.0, *factors]
