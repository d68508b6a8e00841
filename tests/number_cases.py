"""Cases of the operators that compute: broadcast operands, functions, reductions, matrices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cnncc.ir.op import registered
from cnncc.ir.types import DType
from cnncc.ops import check
from cnncc.ops.arithmetic import ModAttrs
from cnncc.ops.bitwise import ShiftAttrs
from cnncc.ops.comparison import IsInfAttrs
from cnncc.ops.conversion import CastAttrs
from cnncc.ops.cumulative import CumulativeAttrs
from cnncc.ops.elementwise import Join
from cnncc.ops.matmul import TYPES as MATRICES
from cnncc.ops.piecewise import CeluAttrs, SeluAttrs, ShrinkAttrs, ThresholdedReluAttrs
from cnncc.ops.reduction import KINDS, ArgAttrs, ReduceAttrs
from cnncc.ops.unary import Function
from tests.move_cases import General, Rng, random_shape, random_values
from tests.op_makers import Choices

UNSIGNED = tuple(d for d in check.WHOLE if d.value.startswith("u"))
F32_OFTEN = 3  # times that f32 is drawn for each other type


def _type(ch: Choices, legal: Sequence[DType]) -> DType:
    return ch.pick((*legal, *[DType.F32] * F32_OFTEN)) if DType.F32 in legal else ch.pick(legal)


def narrowed(ch: Choices, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape that broadcasts to `shape`: axes of 1, leading ones left out."""
    kept = shape[ch.pick((0, 0, 0, len(shape) // 2, len(shape))) :]
    return tuple(1 if ch.pick((False, False, False, True)) else n for n in kept)


def _shapes(ch: Choices, count: int) -> list[tuple[int, ...]]:
    whole = random_shape(ch)
    return [narrowed(ch, whole) if ch.pick((False, True)) else whole for _ in range(count)]


def _join(legal: Sequence[DType], attrs: Callable[[Choices], Any] = lambda ch: None) -> General:
    """Two broadcast operands; now and then equal numbers, whole numbers, small divisors."""

    def make(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
        dtype = _type(ch, legal)
        a, b = (random_values(rng, dtype, shape) for shape in _shapes(ch, 2))
        if dtype.is_float and ch.pick((False, True)):
            a, b = (np.asarray(np.rint(2 * x), x.dtype) for x in (a, b))
        if a.shape == b.shape and ch.pick((False, False, True)):
            b = np.where(rng.random(b.shape) < 0.5, a, b)
        return [a, b], attrs(ch)

    return make


def _unary(
    legal: Sequence[DType],
    attrs: Callable[[Choices], Any] = lambda ch: None,
    domain: tuple[float, float] = (-50.0, 50.0),
) -> General:
    """One operand; mostly within the function's domain, with some far from 0."""

    def make(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
        x = random_values(rng, _type(ch, legal), random_shape(ch))
        if x.dtype.kind == "f":
            x = np.asarray(x * ch.pick((1.0, 1.0, 10.0, 1e-3)), x.dtype)
            if ch.pick((True, True, False)):
                x = np.asarray(np.clip(x, *domain), x.dtype)
        return [x], attrs(ch)

    return make


def _where(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    dtype = _type(ch, check.ANY)
    cond, a, b = _shapes(ch, 3)
    return [
        random_values(rng, DType.BOOL, cond),
        random_values(rng, dtype, a),
        random_values(rng, dtype, b),
    ], None


def _cast(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    source, to = _type(ch, tuple(DType)), _type(ch, tuple(DType))
    x = random_values(rng, source, random_shape(ch))
    if source.is_float:
        with np.errstate(over="ignore"):
            x = np.asarray(x * ch.pick((1.0, 100.0, 300.0, 1e4)), x.dtype)
    return [x], CastAttrs(to)


def _reduce(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    kind = ch.pick(KINDS)
    legal: Sequence[DType] = check.NUMBERS
    if kind == "mean":
        legal = (*check.FLOATS, DType.I64, DType.I32, DType.U32, DType.U64)
    elif kind != "sum" and kind != "prod":
        legal = check.ANY
    x = random_values(rng, _type(ch, legal), random_shape(ch))
    axes = tuple(axis for axis in range(x.ndim) if ch.pick((False, True)))
    if kind == "prod" and x.dtype.kind == "f":  # long products leave the range of f32
        x = np.asarray(np.where(rng.random(x.shape) < 0.9, np.sign(x), x), x.dtype)
    return [x], ReduceAttrs(kind, axes, ch.pick((False, True)))


def _arg(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, _type(ch, check.NUMBERS), random_shape(ch, 1))
    if x.dtype.kind == "f" and ch.pick((False, True)):
        x = np.asarray(np.rint(x), x.dtype)
    axis = ch.whole(0, x.ndim - 1)
    return [x], ArgAttrs(axis, ch.pick((False, True)), ch.pick((False, True)))


def _cumulative(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    x = random_values(rng, _type(ch, check.NUMBERS), random_shape(ch, 1))
    axis = ch.whole(0, x.ndim - 1)
    return [x], CumulativeAttrs(axis, ch.pick((False, True)), ch.pick((False, True)))


def _matmul(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    rows, steps, columns = (ch.pick((1, 2, 3, 5, 8, 17)) for _ in range(3))
    stack = tuple(ch.pick((1, 2, 3)) for _ in range(ch.pick((0, 0, 1, 2))))
    dtype = _type(ch, MATRICES)
    a = (*narrowed(ch, stack), rows, steps) if ch.pick((True, True, False)) else (steps,)
    b = (*narrowed(ch, stack), steps, columns) if ch.pick((True, True, False)) else (steps,)
    return [random_values(rng, dtype, a), random_values(rng, dtype, b)], None


def _shift(ch: Choices, rng: Rng) -> tuple[list[np.ndarray], Any]:
    legal = ch.pick((UNSIGNED, check.WHOLE))
    (a, b), attrs = _join(legal, lambda ch: ShiftAttrs(ch.pick((False, True))))(ch, rng)
    if ch.pick((True, True, False)):
        b = np.asarray(b % b.dtype.type(8 * b.dtype.itemsize))
    return [a, b], attrs


_DOMAINS = {
    "sqrt": (0.0, np.inf),
    "log": (0.0, np.inf),
    "asin": (-1.0, 1.0),
    "acos": (-1.0, 1.0),
    "acosh": (1.0, np.inf),
    "atanh": (-1.0, 1.0),
}
_ATTRS: dict[str, Callable[[Choices], Any]] = {
    "mod": lambda ch: ModAttrs(ch.pick((False, True))),
}

# Joins and functions say which types they take; what else they need stands above.
NUMBERS: dict[str, General] = {
    **{
        name: _join(op.legal, _ATTRS.get(name, lambda ch: None))
        for name, op in registered().items()
        if issubclass(op, Join) and name not in ("add", "mul")
    },
    **{
        name: _unary(op.legal, domain=_DOMAINS.get(name, (-50.0, 50.0)))
        for name, op in registered().items()
        if issubclass(op, Function)
    },
    "logical_not": _unary((DType.BOOL,)),
    "bit_not": _unary(check.WHOLE),
    "is_nan": _unary(check.FLOATS),
    "is_inf": _unary(
        check.FLOATS, lambda ch: IsInfAttrs(ch.pick((True, False)), ch.pick((True, False)))
    ),
    "copy": _unary(check.ANY),
    "shift": _shift,
    "where": _where,
    "cast": _cast,
    "reduce": _reduce,
    "arg_max": _arg,
    "arg_min": _arg,
    "cumsum": _cumulative,
    "cumprod": _cumulative,
    "matmul": _matmul,
    "selu": _unary((DType.F32,), lambda ch: SeluAttrs()),
    "celu": _unary((DType.F32,), lambda ch: CeluAttrs(ch.pick((1.0, 0.3, 2.5)))),
    "softsign": _unary((DType.F32,)),
    "thresholded_relu": _unary(
        (DType.F32,), lambda ch: ThresholdedReluAttrs(ch.pick((1.0, 0.0, -0.5)))
    ),
    "shrink": _unary(
        (DType.F32,), lambda ch: ShrinkAttrs(ch.pick((0.5, 0.0, 1.5)), ch.pick((0.0, 0.5, -1.0)))
    ),
}

GENERAL_NUMBERS: dict[str, General] = {name: _join(check.NUMBERS) for name in ("add", "mul")}
"""Operators that have cases on feature maps too, on any rank and type."""
