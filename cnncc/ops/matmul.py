"""The product of matrices, and of stacks of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, ElementBuilder, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check
from cnncc.ops.elementwise import Numeric, real, widened

TYPES = (DType.F64, DType.F32, DType.I64, DType.I32, DType.U64, DType.U32)


class MatMul(Numeric):
    """y[.., i, j] = Σ a[.., i, k]·b[.., k, j], with leading axes that broadcast.

    A vector on the left is a row, one on the right a column, and the axis that it lacks is missing
    from the result. Whole numbers wrap around.
    """

    name = "matmul"
    arity = (2, 2)
    traits = frozenset({Trait.ANCHOR, Trait.ELEMENT})
    operand_names = ("a", "b")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The leading axes, rows of a, columns of b."""
        check.arity(MatMul, types)
        dtype = check.one_type(MatMul, types, TYPES)
        if any(not t.shape for t in types):
            raise TypeInferenceError(
                f"`matmul` wants vectors or matrices, got {check.listed(types)}"
            )
        a, b = as_matrices(types[0].shape, types[1].shape)
        if a[-1] != b[-2]:
            raise TypeInferenceError(
                f"`matmul` wants as many columns of `a` as rows of `b`, got {check.listed(types)}"
            )
        stacks = [TensorType(dtype, shape[:-2]) for shape in (a, b)]
        shape = list(check.broadcast(MatMul, stacks))
        shape += [a[-2]] * (len(types[0].shape) > 1) + [b[-1]] * (len(types[1].shape) > 1)
        if len(shape) > check.MAX_RANK:
            raise TypeInferenceError(f"`matmul` makes ranks up to 8, got {check.listed(types)}")
        return check.result(MatMul, dtype, shape)

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The definition."""
        return np.asarray(np.matmul(*map(widened, arrays)))

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """A multiply-add for each row, column and step."""
        read = sum(t.size_bytes for t in types)
        return Cost(result.elems * types[0].shape[-1], 0, read + result.size_bytes)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """The columns of a."""
        return types[0].shape[-1]

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Any,
    ) -> Any:
        """One loop over the columns of a."""
        left, right = (t.shape for t in types)
        columns = len(right) > 1
        rows = len(left) > 1
        stack = index[: len(index) - rows - columns]
        row = [index[len(stack)]] if rows else []
        column = [index[-1]] if columns else []

        def step(k: Any, carried: list[Any]) -> list[Any]:
            x = b.load(0, [*_own(stack, left[:-2]), *row, k])
            y = b.load(1, [*_own(stack, right[:-2]), k, *column])
            if result.dtype.is_float:
                return [b.fma(x, y, carried[0])]
            return [b.add(b.mul(x, y), carried[0])]

        return b.loop(left[-1], [b.const(0, result.dtype)], step)[0]

    @classmethod
    @np.errstate(all="ignore")
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """|a|·eb + ea·|b| + ea·eb, products of matrices."""
        a, b = (np.abs(real(x)) for x in arrays)
        moved = np.matmul(a, errors[1]) + np.matmul(errors[0], b + errors[1])
        return np.asarray(moved, np.float64)


def as_matrices(
    left: tuple[int, ...], right: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Both shapes with the axes that vectors lack: a row on the left, a column on the right."""
    return left if left[1:] else (1, *left), right if right[1:] else (*right, 1)


def _own(stack: Sequence[Any], extents: tuple[int, ...]) -> list[Any]:
    """The places on an operand's own leading axes."""
    own = stack[len(stack) - len(extents) :]
    return [0 if extent == 1 else place for place, extent in zip(own, extents, strict=True)]
