"""Random cases of operators and random graphs.

`op_case(name)` is a hypothesis strategy; `random_case(rng, name)` and `random_graph(rng, n_ops)`
draw from the same makers (`tests/op_makers.py`) with a NumPy generator, for long runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cnncc.ir.op import Trait, lookup
from cnncc.ir.types import DType, TensorType
from cnncc.ops.pool import pool_divisors
from tests.move_cases import GENERAL_MOVES, MOVES
from tests.number_cases import GENERAL_NUMBERS, NUMBERS
from tests.op_makers import (
    BATCHES,
    CHANNELS,
    EXTENTS,
    MAKERS,
    MAX_ELEMS,
    VECTORS_ONLY,
    Choices,
    DrawnChoices,
    RngChoices,
    takes_vectors,
)
from tests.random_graphs import random_feed, random_graph

__all__ = [
    "ANY_RANK",
    "GENERAL",
    "MAKERS",
    "Case",
    "general_case",
    "general_op_case",
    "make_case",
    "op_case",
    "random_case",
    "random_feed",
    "random_graph",
]


GENERAL = MOVES | NUMBERS
"""Operators whose operands may have any rank and type: makers of operands and attributes."""

ANY_RANK = GENERAL | GENERAL_MOVES | GENERAL_NUMBERS
"""The same, and those that have cases on feature maps too."""


@dataclass(frozen=True)
class Case:
    """One application of an operator.

    Attributes:
        op: its name.
        types: the operands' types, `[N,...]` with the batch of the arrays.
        attrs: its attributes.
        arrays: the operands in the types' dtypes.
        exact: whether every f32 evaluation, in any order, gives the reference's very bits.
    """

    op: str
    types: tuple[TensorType, ...]
    attrs: Any
    arrays: tuple[np.ndarray, ...]
    exact: bool

    def __repr__(self) -> str:
        types = ", ".join(map(str, self.types))
        return f"Case({self.op}({types}) {self.attrs}, exact={self.exact})"

    @property
    def operands(self) -> list[np.ndarray]:
        """The operands as references take them: floats in float64."""
        return [a.astype(np.float64) if a.dtype.kind == "f" else a for a in self.arrays]


def _first_type(ch: Choices, name: str) -> TensorType:
    batch = ch.pick(BATCHES)
    dtype = ch.pick((DType.F32, DType.U8)) if name == "normalize" else DType.F32
    if name in VECTORS_ONLY or (takes_vectors(name) and ch.pick((False, False, False, True))):
        return TensorType(dtype, (batch, ch.pick((*CHANNELS, 63, 65, 129))))
    channels, height, width = ch.pick(CHANNELS), ch.pick(EXTENTS), ch.pick(EXTENTS)
    while batch * channels * height * width > MAX_ELEMS:
        batch, height, width = 1, (height + 1) // 2, (width + 1) // 2
    return TensorType(dtype, (batch, channels, height, width))


INTEGER_EXACT = frozenset(
    {"conv2d", "conv2d_transpose", "dense", "max_pool2d", "global_max_pool", "scale", "prelu"}
    | {"relu", "add", "mul"}
)


def _exact(name: str, types: Sequence[TensorType], attrs: Any) -> bool:
    """Whether integers come out right to the last bit whatever the order of the sums."""
    op = lookup(name)
    if name == "fused":
        results: list[TensorType] = []
        for step in attrs.steps:
            found = [types[a] if a >= 0 else results[~a] for a in step.args]
            if not _exact(step.op, found, step.attrs):
                return False
            results.append(lookup(step.op).infer(found, step.attrs))
        return True
    if name == "avg_pool2d":
        counts = pool_divisors(op, types[0].shape, attrs)
        return bool(np.all(np.log2(counts) % 1 == 0))
    if name == "global_avg_pool":
        return math.log2(math.prod(types[0].shape[2:])) % 1 == 0
    if name == "upsample2d":
        return bool(attrs.mode == "nearest")
    if name == "leaky_relu":
        return bool(math.frexp(attrs.alpha)[0] == 0.5)
    return name in INTEGER_EXACT or name == "clip" or Trait.SHAPE_ONLY in op.traits


def _integers(rng: np.random.Generator, shape: tuple[int, ...], terms: int) -> np.ndarray:
    """Whole numbers up to 32, thinned so that sums of that many products stay below 2^24."""
    values = rng.integers(-32, 33, shape).astype(np.float32)
    density = min(1.0, 2**24 / (1024 * terms))
    return np.where(rng.random(shape) < density, values, np.float32(0))


def _fill(
    rng: np.random.Generator, name: str, types: Sequence[TensorType], attrs: Any, integers: bool
) -> tuple[np.ndarray, ...]:
    terms = lookup(name).terms(types, attrs)
    arrays = []
    for found in types:
        if found.dtype is DType.U8:
            array = rng.integers(0, 256, found.shape).astype(np.uint8)
        elif integers:
            array = _integers(rng, found.shape, terms)
        else:
            array = rng.normal(size=found.shape).astype(np.float32) * np.float32(2)
        arrays.append(array)
    if name == "fused" and integers and len(attrs.steps) > 2:
        # Products of products must stay small: later steps see sums of the first.
        arrays = [np.sign(a) * np.minimum(np.abs(a), 2) for a in arrays]
    if name == "batch_norm":
        arrays[4] = np.abs(arrays[4]) + np.float32(0.25)
    return tuple(arrays)


SPECIALS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1.4e-45, 1.1754942e-38, 1.1754944e-38, 1e-30)
SPECIALS_POINTWISE = (*SPECIALS, 3.4028235e38, -3.4028235e38, 88.72, -103.97, 1e30, -1e30)


def make_case(ch: Choices, seed: int, name: str, values: str = "float") -> Case:
    """A case of an operator; see `op_case`."""
    rng = np.random.default_rng(seed)
    if name in GENERAL:
        return general_case(ch, rng, name, values)
    first = _first_type(ch, name)
    others, attrs = MAKERS[name](ch, first)
    types = (first, *others)
    arrays = _fill(rng, name, types, attrs, values == "integers")
    if values == "special" and arrays[0].dtype.kind == "f":
        pool = SPECIALS_POINTWISE if Trait.POINTWISE in lookup(name).traits else SPECIALS
        flat = arrays[0].reshape(-1)
        for _ in range(min(3, flat.size)):
            flat[int(rng.integers(flat.size))] = rng.choice(pool)
    moved = Trait.SHAPE_ONLY in lookup(name).traits or name in ("relu", "max_pool2d", "clip")
    exact = _exact(name, types, attrs) and (values == "integers" or moved)
    return Case(name, types, attrs, arrays, exact)


def general_case(ch: Choices, rng: np.random.Generator, name: str, values: str = "special") -> Case:
    """A case of an operator on operands of any rank and type; with `special` NaN and infinities."""
    op = lookup(name)
    arrays, attrs = ANY_RANK[name](ch, rng)
    for array in arrays:
        if array.dtype.kind == "f" and values != "special":
            array[~np.isfinite(array)] = 0.5
    types = tuple(TensorType(DType.of(a.dtype), a.shape) for a in arrays)
    case = Case(name, types, op.Attrs() if attrs is None else attrs, tuple(arrays), True)
    with np.errstate(all="ignore"):
        result = op.reference(case.operands, case.attrs)
        exact = not op.rounding(case.operands, result, case.attrs).any()
    return replace(case, exact=exact)


def general_op_case(name: str, values: str = "special") -> st.SearchStrategy[Case]:
    """A strategy for cases on operands of any rank and type."""

    @st.composite
    def build(draw: Any) -> Case:
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        return general_case(DrawnChoices(draw), rng, name, values)

    return build()


def op_case(name: str, values: str = "float") -> st.SearchStrategy[Case]:
    """A strategy for cases of one operator, with shapes from the nasty lists.

    Args:
        name: the operator; a source has no cases.
        values: `float` (normal numbers), `integers` (small whole numbers: `Case.exact` tells where
            the result is then exact) or `special` (a few NaN, infinities, zeros and extremes in the
            first operand).
    """

    @st.composite
    def build(draw: Any) -> Case:
        return make_case(DrawnChoices(draw), draw(st.integers(0, 2**32 - 1)), name, values)

    return build()


def random_case(rng: np.random.Generator, name: str, values: str = "float") -> Case:
    """The same from a NumPy generator, for runs of thousands of cases."""
    return make_case(RngChoices(rng), int(rng.integers(2**32)), name, values)
