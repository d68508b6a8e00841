"""Vectors joined to one number, always in the same order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Type, Value

Join = Callable[[Value, Value], Value]


def joined(join: Join, values: Sequence[Value]) -> Value:
    """Neighbours joined in pairs until one is left."""
    left = list(values)
    while len(left) > 1:
        pairs = [join(a, b) for a, b in zip(left[::2], left[1::2], strict=False)]
        left = pairs + left[len(pairs) * 2 :]
    return left[0]


def across_lanes(b: Builder, join: Join, values: Sequence[Value]) -> Value:
    """All lanes of all vectors as one scalar: halves of a vector are joined, then theirs."""
    value = joined(join, values)
    lanes = value.type.lanes if isinstance(value.type, Type) else 1
    while lanes > 2:
        lanes //= 2
        low = b.shuffle(value, value, range(lanes))
        value = join(low, b.shuffle(value, value, range(lanes, 2 * lanes)))
    return join(b.extract(value, 0), b.extract(value, 1)) if lanes == 2 else value
