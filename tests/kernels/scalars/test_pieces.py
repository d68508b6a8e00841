"""Polynomials of intervals: how near, how many, and what holds at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cnncc.kernels.scalars.pieces import LOW_BITS, pieces_of

FUNCTIONS = {"tanh": (math.tanh, 0.75, 9.2), "erf": (math.erf, 0.5, 3.95)}


def evaluated(name: str, x: np.ndarray) -> np.ndarray:
    """The pieces in f64, with their factors rounded to f32."""
    pieces = pieces_of(*FUNCTIONS[name])
    bits = (x + pieces.shift).astype(np.float32).view(np.int32) >> LOW_BITS
    edge = (bits << LOW_BITS).view(np.float32).astype(np.float64) - pieces.shift
    result = np.zeros(x.shape)
    for table in pieces.tables:
        result = result * (x - edge) + np.float32(table).astype(np.float64)[bits % 32]
    return result


@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_as_near_as_f32_can_tell(name):
    x = np.concatenate([np.linspace(2**-20, FUNCTIONS[name][2], 100_001), 2.0 ** np.arange(-99, 2)])
    exact = np.array([FUNCTIONS[name][0](float(v)) for v in x])
    assert np.abs(evaluated(name, x) / exact - 1).max() < 8e-8
    assert evaluated(name, np.array([FUNCTIONS[name][2]])) <= 1 + 2**-25


@pytest.mark.parametrize("name", FUNCTIONS)
def test_zero_stays_and_no_two_intervals_share_a_place(name):
    function, shift, top = FUNCTIONS[name]
    pieces = pieces_of(function, shift, top)
    assert evaluated(name, np.zeros(1)) == 0
    first, last = (int(np.float32(v + shift).view(np.int32)) >> LOW_BITS for v in (0, top))
    assert last - first < 32
    constants = pieces.tables[-1]
    assert all(constants[k % 32] > 0 for k in range(first + 1, last + 1))
    assert {len(table) for table in pieces.tables} == {32}
