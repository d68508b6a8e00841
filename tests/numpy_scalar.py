"""A `ScalarBuilder` on NumPy arrays, in any floating type: runs scalar rules without a compiler."""

from __future__ import annotations

from typing import Any

import numpy as np


class NumpyScalar:
    """Evaluates each step at once, rounding to `dtype`."""

    def __init__(self, dtype: type[np.floating[Any]] = np.float64) -> None:
        self.dtype = dtype

    def const(self, value: float) -> Any:
        return self.dtype(value)

    def add(self, a: Any, b: Any) -> Any:
        return a + b

    def sub(self, a: Any, b: Any) -> Any:
        return a - b

    def mul(self, a: Any, b: Any) -> Any:
        return a * b

    def div(self, a: Any, b: Any) -> Any:
        return a / b

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        return a * b + c

    def min(self, a: Any, b: Any) -> Any:
        return np.minimum(a, b)

    def max(self, a: Any, b: Any) -> Any:
        return np.maximum(a, b)

    def lt(self, a: Any, b: Any) -> Any:
        return a < b

    def gt(self, a: Any, b: Any) -> Any:
        return a > b

    def select(self, cond: Any, a: Any, b: Any) -> Any:
        return np.where(cond, a, b)

    def exp(self, a: Any) -> Any:
        return np.exp(a)

    def log(self, a: Any) -> Any:
        return np.log(a)

    def tanh(self, a: Any) -> Any:
        return np.tanh(a)

    def sigmoid(self, a: Any) -> Any:
        return self.dtype(1) / (self.dtype(1) + np.exp(-a))

    def sqrt(self, a: Any) -> Any:
        return np.sqrt(a)
