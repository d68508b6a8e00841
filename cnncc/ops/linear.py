"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


@np.errstate(all="ignore")
def linear_errors(op: type[Op], arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
    """How errors of x, w and b pass through a sum of products: ex·(|w| + ew) + |x|·ew + eb."""
    x, w = np.abs(arrays[0]), np.abs(arrays[1])
    bound = op.reference([errors[0], w + errors[1]], attrs)
    if np.any(errors[1]):
        bound = bound + op.reference([x, errors[1]], attrs)
    if len(errors) == 3:
        bound = bound + errors[2].reshape((1, -1) + (1,) * (bound.ndim - 2))
    return np.asarray(bound, np.float64)


class Dense(Op):
    """Fully connected layer: y[n,o] = b[o] + Σ x[n,k]·w[o,k]. x [N,K], w [O,K], b [O]."""

    name = "dense"
    arity = (2, 3)
    traits = frozenset({Trait.ANCHOR})
    operand_names = ("x", "w", "b")
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """[N,O]."""
        check.arity(Dense, types)
        check.floats(Dense, types)
        check.rank(Dense, types[0], 2)
        check.rank(Dense, types[1], 2, "w")
        if types[1].shape[1] != types[0].shape[1]:
            raise TypeInferenceError(
                f"`dense` wants w [O,{types[0].shape[1]}] for x {types[0]}, got {types[1]}"
            )
        units = types[1].shape[0]
        if len(types) == 3:
            check.vector(Dense, types[2], units, "b")
        return check.result(Dense, DType.F32, (types[0].shape[0], units))

    @staticmethod
    @np.errstate(all="ignore")
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """x·wᵀ + b."""
        y = arrays[0].astype(np.float64) @ arrays[1].astype(np.float64).T
        return np.asarray(y + arrays[2] if len(arrays) == 3 else y)

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """K multiply-adds a result, and an addition for the bias."""
        moved = sum(t.size_bytes for t in types) + result.size_bytes
        bias = result.elems if len(types) == 3 else 0
        return Cost(result.elems * types[0].shape[1], bias, moved)

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """K products and the bias."""
        return types[0].shape[1] + 1

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The errors of x through |w|, and those of w and b."""
        return linear_errors(cls, arrays, errors, attrs)
