"""Running sums: both ends, both directions."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ops.cumulative import CumProd, CumSum, CumulativeAttrs
from tests.ops.element_numpy import evaluate


@pytest.mark.parametrize(
    ("exclusive", "reverse", "sums", "products"),
    [
        (False, False, [2, 5, 9], [2, 6, 24]),
        (True, False, [0, 2, 5], [1, 2, 6]),
        (False, True, [9, 7, 4], [24, 12, 4]),
        (True, True, [7, 4, 0], [12, 4, 1]),
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_values(
    exclusive: bool, reverse: bool, sums: list[int], products: list[int], axis: int
) -> None:
    x = np.array([[2, 3, 4]] * 2, np.int16)
    attrs = CumulativeAttrs(axis, exclusive, reverse)
    for op, expected in ((CumSum, sums), (CumProd, products)):
        wanted = np.array([expected] * 2)
        given = x if axis else np.ascontiguousarray(x.T)
        for made in (op.reference([given], attrs), evaluate(op, [given], attrs)):
            assert made.dtype == np.int16
            np.testing.assert_array_equal(made, wanted if axis else wanted.T)


def test_errors_add_up_along_the_axis() -> None:
    x, errors = np.array([1.0, -1.0, 1.0]), np.array([0.5, 0.25, 0.0])
    assert CumSum.propagate([x], [errors], CumulativeAttrs()).tolist() == [0.5, 0.75, 0.75]
    grown = CumProd.propagate([x], [errors], CumulativeAttrs())
    assert grown.tolist() == [0.5, 0.875, 0.875]
