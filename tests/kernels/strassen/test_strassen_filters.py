"""Sums of filters: with those of inputs they make the product of two matrices."""

from __future__ import annotations

import numpy as np

from cnncc.kernels.strassen.strassen_filters import halves, sums_of_filters


def test_the_seven_products_are_the_product():
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((6, 4)), rng.standard_normal((4, 2))
    a11, a12, a21, a22 = halves(a)
    s1, s3 = a21 + a22, a11 - a21
    left = [a11, a12, s1 - a11, s3, a22, s1, a12 - s1 + a11]
    p1, p2, p6, p7, minus_p4, p5, p3 = (
        x @ f for x, f in zip(left, sums_of_filters(*halves(b)), strict=True)
    )
    u2 = p1 + p6
    blocks = [[p1 + p2, u2 + p5 + p3], [u2 + p7 + minus_p4, u2 + p7 + p5]]
    np.testing.assert_allclose(np.block(blocks), a @ b, atol=1e-12)
