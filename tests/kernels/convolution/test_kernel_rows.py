"""Rows of a filter inside the map: their number and their bounds, for every geometry."""

from __future__ import annotations

from itertools import product

import pytest

from cnncc.kernels.convolution.kernel_rows import KernelRows
from cnncc.loopir.build import Builder

GEOMETRIES = [
    KernelRows(count, stride, dilation, pad, extent, results)
    for count, stride, dilation, pad, extent in product(
        (1, 3, 7), (1, 2, 3), (1, 2), (0, 1, 5), (1, 4, 9)
    )
    for results in (1, 5)
]


class Numbers(Builder):
    """Gives results of whole numbers at once."""

    def __init__(self):
        super().__init__("numbers")

    def isub(self, a, b):
        return a - b


def inside(rows: KernelRows, y: int) -> list[int]:
    found = range(rows.count)
    return [k for k in found if 0 <= y * rows.stride - rows.pad + k * rows.dilation < rows.extent]


@pytest.mark.parametrize("rows", GEOMETRIES, ids=str)
def test_bounds_are_the_rows_inside(rows):
    for y in range(rows.results):
        first, end = rows.bounds(Numbers(), y)
        if rows.share < 1:
            assert list(range(first, end)) == inside(rows, y)
        else:
            assert (first, end) == (0, rows.count)


@pytest.mark.parametrize("rows", GEOMETRIES, ids=str)
def test_share_counts_them(rows):
    total = sum(len(inside(rows, y)) for y in range(rows.results))
    share = total / (rows.results * rows.count)
    assert rows.share in (share, 1)
    assert rows.share == share or share > 0.9


def test_rows_without_padding_are_all_computed():
    assert KernelRows(3, 1, 1, 0, 9, 7).share == 1
    assert KernelRows(7, 1, 1, 3, 7, 7).share == 37 / 49
