"""What pairs of rows get: registers, whole pooling windows, cycles."""

from __future__ import annotations

from dataclasses import replace

from cnncc.kernels.winograd.row_pairs_choice import RowPairsShape, row_pairs_choice
from cnncc.targets import find

WIDE = find("x86-64-v4")


def test_the_choice():
    """As many products as registers hold, in whole pooling windows."""
    shape = RowPairsShape(6, 10, 10, 1, (5, 5), (2, 2))
    choice = row_pairs_choice(WIDE, shape)
    assert choice is not None
    assert (choice.down, choice.across, choice.together) == (5, 10, 4)
    assert 9000 < choice.cycles < 15000
    assert row_pairs_choice(WIDE, replace(shape, kernel=(4, 5))) is None
    assert row_pairs_choice(WIDE, replace(shape, window=(2, 5))) is None
    narrow = row_pairs_choice(find("x86-64-v3"), shape)
    assert narrow is not None
    assert narrow.together == 2


def test_few_registers_hold_one_window_and_no_wide_one():
    shape = RowPairsShape(2, 10, 9, 1, (7, 3), (1, 1))
    assert [row_pairs_choice(find(name), shape).together for name in ("x86-64", "x86-64-v4")] == [
        1,
        3,
    ]
    assert row_pairs_choice(find("x86-64"), replace(shape, window=(2, 2))) is None


def test_what_pairs_of_rows_read():
    choice = row_pairs_choice(WIDE, RowPairsShape(2, 9, 11, 1, (5, 5), (1, 1)))
    assert choice is not None
    assert choice.extents == (14, 15)
    assert str(choice) == "F(2x1, 5x5), 4 columns at once"
