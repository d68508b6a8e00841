"""How results of compiled code are judged against the float64 reference (reliability, section 5).

Each operator states its own error bound (`Op.accuracy`, `Op.rounding`, `Op.propagate`): rule A is
a bound of 0, B that of sums, D ulps, E the composition inside a fused node. Here is how they judge:
NaN and infinities by class before the finite part (F), and no judgement from vacuous results (G).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.ir.op import F64, Array, lookup

FLT_MAX = float(np.finfo(np.float32).max)
VACUOUS_SHARE = 0.7


Rounding = Callable[[str, Any, Sequence[Array]], F64 | None]
"""What an algorithm adds to an operator's own rule: from name, attributes and operands of one
application a bound for each element of its result, infinite where the algorithm lets numbers spread
that are not finite; None where it computes by the definition."""


def tolerance(
    op: str,
    attrs: Any,
    arrays: Sequence[Array],
    result: Array,
    algorithm: Rounding | None = None,
) -> F64:
    """The largest error that each element of one application's f32 result may have.

    Args:
        op: the operator's name; `fused` composes the bounds of its steps.
        attrs: its attributes.
        arrays: the operands that the compiled code really got, in float64 (or integers).
        result: the reference's result on them.
        algorithm: what the kernel adds to it, if it does not compute by the definition. The bound
            is infinite where it excuses a result that should be finite.
    """
    with np.errstate(all="ignore"):
        if op == "fused" and algorithm is not None:
            bound = lookup(op).rounding(arrays, result, attrs, algorithm)  # type: ignore[call-arg]
            return np.asarray(bound, np.float64)
        bound = np.asarray(lookup(op).rounding(arrays, result, attrs), np.float64)
        bound = np.where(np.isfinite(bound), bound, 0.0)
        added = algorithm(op, attrs, arrays) if algorithm is not None else None
    return bound if added is None else bound + added


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The worst element that fails.

    Attributes:
        kind: `shape`, `class` (NaN or infinity against something else) or `value`.
        index: its place.
        actual: what the compiled code gave.
        expected: the reference.
        tolerance: the bound there.
        count: how many elements fail.
        total: how many there are.
    """

    kind: str
    index: tuple[int, ...]
    actual: float
    expected: float
    tolerance: float
    count: int
    total: int

    def __str__(self) -> str:
        place = ",".join(map(str, self.index))
        return (
            f"{self.kind} differs at [{place}]: {self.actual!r} instead of {self.expected!r}"
            f" (allowed {self.tolerance:.3g}); {self.count} of {self.total} elements fail"
        )


def compare(actual: Array, expected: Array, bound: Array | float) -> Mismatch | None:
    """Judge f32 results by the float64 reference; None when all elements agree.

    Where the reference comes within its bound of the largest f32 number, infinity of its sign is as
    good as a number; where the bound is infinite, anything is.
    """
    if actual.shape != expected.shape:
        return Mismatch("shape", (), float("nan"), float("nan"), 0.0, actual.size, expected.size)
    got, want = actual.astype(np.float64), expected.astype(np.float64)
    limit = np.broadcast_to(np.asarray(bound, np.float64), want.shape)
    overflow = (np.abs(want) + limit >= FLT_MAX) & ~np.isnan(want)
    saturated = overflow & (np.sign(got) == np.sign(want)) & (np.abs(got) + limit >= FLT_MAX)
    special = ~np.isfinite(got) | ~np.isfinite(want)
    same_class = (np.isnan(got) & np.isnan(want)) | (got == want) | saturated
    wrong_class = special & ~same_class & ~np.isposinf(limit)
    if wrong_class.any():
        return _worst("class", got, want, limit, wrong_class, wrong_class * 1.0)
    with np.errstate(all="ignore"):
        error = np.where(special | saturated, 0.0, np.abs(got - want))
        wrong = error > limit
        if not wrong.any():
            return None
        severity = np.where(wrong, error / np.maximum(limit, 2.0**-149), 0.0)
    return _worst("value", got, want, limit, wrong, severity)


def _worst(kind: str, got: F64, want: F64, limit: F64, wrong: Array, severity: Array) -> Mismatch:
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(severity)), got.shape))
    values = (float(got[index]), float(want[index]), float(limit[index]))
    return Mismatch(kind, index, *values, int(np.count_nonzero(wrong)), int(got.size))


def vacuity(expected: Array) -> str | None:
    """Why a reference result proves nothing, or None: over 70 % of it is one value, or all is NaN.

    Results of fewer than 4 elements are never called vacuous.
    """
    if expected.size < 4:
        return None
    numbers = expected[~np.isnan(expected)] if expected.dtype.kind == "f" else expected.ravel()
    if numbers.size == 0:
        return "every element is NaN"
    values, counts = np.unique(numbers, return_counts=True)
    most = int(np.argmax(counts))
    share = float(counts[most]) / expected.size
    if share > VACUOUS_SHARE:
        return f"{share:.0%} of the elements are {values[most]}"
    return None
