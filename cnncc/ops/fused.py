"""The fused operator: an anchor and the pointwise steps (and pool) that run in its loop nest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.op import F64, Array, Cost, Op, Trait, lookup
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.ops import check
from cnncc.ops.pool import WINDOW_POOLS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step:
    """One operator inside a fused node.

    Attributes:
        op: its name.
        attrs: its attributes.
        args: where its operands come from: k >= 0 is operand k of the fused node, ~k is the result
            of step k.
    """

    op: str
    attrs: Any
    args: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class FusedAttrs:
    """The steps in order of execution; the last one gives the result.

    Attributes:
        steps: an anchor or a pointwise operator, then pointwise operators, and convolutions of what
            the step before them gives; the last one may be a pool.
    """

    steps: tuple[Step, ...]


def _gather(step: Step, operands: Sequence[T], results: Sequence[T]) -> list[T]:
    for arg in step.args:
        if arg >= len(operands) or ~arg >= len(results):
            raise InternalError(f"fused step `{step.op}` reads {arg}, which does not exist yet")
    return [operands[a] if a >= 0 else results[~a] for a in step.args]


def _run(
    steps: Sequence[Step], operands: Sequence[T], apply: Callable[[Step, list[T]], T]
) -> Iterator[tuple[Step, list[T], T]]:
    """Each step with its operands and its result."""
    results: list[T] = []
    for step in steps:
        gathered = _gather(step, operands, results)
        results.append(apply(step, gathered))
        yield step, gathered, results[-1]


def _infer_step(step: Step, types: list[TensorType]) -> TensorType:
    return lookup(step.op).infer(types, step.attrs)


def _reference_step(step: Step, arrays: list[Array]) -> Array:
    return lookup(step.op).reference(arrays, step.attrs)


class Fused(Op):
    """Several operators in one loop nest: the composition of its steps."""

    name = "fused"
    Attrs = FusedAttrs
    arity = (1, None)
    traits = frozenset({Trait.ANCHOR})
    records = (Step,)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: FusedAttrs) -> TensorType:
        """The type of the last step."""
        check.arity(Fused, types)
        if not attrs.steps:
            raise InternalError("a fused node has no steps")
        for index, step in enumerate(attrs.steps):
            Fused._check_step(index, step, len(attrs.steps))
        return [result for _, _, result in _run(attrs.steps, types, _infer_step)][-1]

    @staticmethod
    def _check_step(index: int, step: Step, count: int) -> None:
        traits = lookup(step.op).traits
        pool = step.op in WINDOW_POOLS
        conv = step.op == "conv2d" and step.args[0] == ~(index - 1) and min(step.args[1:]) >= 0
        legal = Trait.POINTWISE in traits or index == 0 or conv or (pool and index == count - 1)
        if not legal or Trait.SOURCE in traits or step.op == Fused.name:
            raise InternalError(f"`{step.op}` cannot be step {index} of a fused node")

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: FusedAttrs) -> Array:
        """The references of the steps, one after the other."""
        return [result for _, _, result in _run(attrs.steps, arrays, _reference_step)][-1]

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: FusedAttrs) -> Cost:
        """The steps' arithmetic; only the group's own operands and result move."""
        macs = flops = 0
        for step, operands, made in _run(attrs.steps, types, _infer_step):
            part = lookup(step.op).cost(operands, made, step.attrs)
            macs, flops = macs + part.macs, flops + part.flops
        return Cost(macs, flops, sum(t.size_bytes for t in types) + result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: FusedAttrs) -> int:
        """The longest sum among the steps."""
        return max(
            lookup(step.op).terms(operands, step.attrs)
            for step, operands, _ in _run(attrs.steps, types, _infer_step)
        )

    @classmethod
    def rounding(
        cls,
        arrays: Sequence[Array],
        result: Array,
        attrs: FusedAttrs,
        algorithm: Rounding | None = None,
    ) -> F64:
        """Each step's own rounding, and what it makes of the errors before it (rule E).

        `algorithm` adds to the rounding of single steps; what it excuses stays infinite.
        """
        exact = [np.zeros(np.shape(a)) for a in arrays]
        errors: list[F64] = []
        spoilt: list[F64] = []  # not 0 where a step was reached by what `algorithm` lets spread
        sound = [np.zeros(np.shape(a)) for a in arrays]
        for step, operands, made in _run(attrs.steps, arrays, _reference_step):
            op, incoming = lookup(step.op), _gather(step, exact, errors)
            bound = op.rounding(operands, made, step.attrs)
            if any(arg < 0 for arg in step.args):
                bound = bound + op.propagate(operands, incoming, step.attrs)
            # Infinite results are judged by their class and carry no error further.
            bound = np.where(np.isfinite(bound), bound, np.zeros(made.shape))
            reached = np.zeros(made.shape)
            added = algorithm(step.op, step.attrs, operands) if algorithm is not None else None
            if added is not None:
                bound = bound + np.where(np.isposinf(added), 0.0, added)
                reached = reached + np.isposinf(added)
            if algorithm is not None and any(arg < 0 for arg in step.args):
                before = _gather(step, sound, spoilt)
                reached = reached + (op.propagate(operands, before, step.attrs) != 0)
            errors.append(bound)
            spoilt.append(np.where(reached != 0, 1.0, 0.0))
        return np.where(spoilt[-1] != 0, np.inf, errors[-1])

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: FusedAttrs) -> F64:
        """The errors of the operands through each step in turn."""
        made: list[F64] = []
        for step, operands, result in _run(attrs.steps, arrays, _reference_step):
            incoming = _gather(step, errors, made)
            bound = lookup(step.op).propagate(operands, incoming, step.attrs)
            made.append(np.broadcast_to(bound, result.shape))
        return made[-1]
