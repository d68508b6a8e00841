"""Minimal filtering: the matrices give the convolution, the code gives the matrices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.kernels.winograd.cook_toom import CookToom, transform_places
from cnncc.loopir import interp
from cnncc.loopir.build import Builder

EVERY = [
    *(CookToom(*case) for case in ((1, 1), (3, 1), (2, 2), (4, 2), (2, 3), (4, 3), (2, 5), (4, 5))),
    *(CookToom(*case) for case in ((2, 7), (2, 3, 2), (4, 3, 2), (2, 5, 2), (2, 7, 2), (1, 1, 2))),
]
EVERY += [replace(f, expands=True) for f in EVERY]
EVERY.append(CookToom(4, 3).smaller(2))
each = pytest.mark.parametrize("f", EVERY, ids=str)


@each
def test_the_matrices_filter(f):
    rng = np.random.default_rng(1)
    d, g = rng.standard_normal(f.inputs), rng.standard_normal(f.taps)
    filters = CookToom(f.host, f.taps).filter_matrix[list(f.rows)] if f.host else f.filter_matrix
    y = f.output_matrix @ ((filters @ g) * (f.input_matrix @ d))
    wanted = np.convolve(d, g[::-1], "valid")[:: f.stride]
    np.testing.assert_allclose(y, wanted, rtol=0, atol=1e-13)


def test_a_smaller_transform_has_rows_of_the_larger_one():
    host = CookToom(4, 3)
    assert host.smaller(2).rows == (0, 1, 2, 5)
    assert list(host.lacks(2)) == [3, 4]
    assert host.rows == tuple(range(6))


def test_f23_is_the_textbooks():
    f = CookToom(2, 3)
    assert f.input_matrix.tolist() == [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    assert f.output_matrix.tolist() == [[1, 1, 1, 0], [0, 1, -1, 1]]


def test_points_that_are_not_known():
    with pytest.raises(InternalError, match=r"no points for F\(9, 3\)"):
        _ = CookToom(9, 3).points


@pytest.mark.parametrize("f", [f for f in EVERY if f.expands], ids=str)
def test_rows_of_filters_are_whole_numbers_of_scaled_taps(f):
    np.testing.assert_allclose(f.expansion * f.tap_scales, f.filter_matrix, atol=1e-15)
    factors = np.abs(f.expansion[f.expansion != 0.0])
    assert (np.log2(factors) == np.round(np.log2(factors))).all()


@each
def test_groups_hold_every_row_once(f):
    assert sorted(row for group in f.groups() for row in group) == list(range(f.products))


@each
def test_code_of_the_input_transform(f):
    def body(b, load):
        for group in f.groups():
            made = f.transform_inputs(b, group, {k: load(k) for k in f.reads(group)})
            yield from zip(group, made, strict=True)

    _judge(body, f.input_matrix)


@each
def test_code_of_the_output_transform(f):
    def body(b, load):
        values = [load(k) for k in range(f.products)]
        yield from enumerate(f.transform_outputs(b, values))

    _judge(body, f.output_matrix)


@pytest.mark.parametrize("f", [f for f in EVERY if f.expands], ids=str)
@pytest.mark.parametrize("single", [True, False], ids=["row by row", "together"])
def test_code_of_the_expansion_of_taps(f, single):
    def body(b, load):
        every = list(range(f.products))
        for rows in [[row] for row in every] if single else [every]:
            seen = np.flatnonzero(f.expansion[rows].any(axis=0)).tolist()
            yield from zip(rows, f.expand(b, rows, {k: load(k) for k in seen}), strict=True)

    _judge(body, f.expansion)


def _judge(body, matrix):
    lanes, (rows, columns) = 4, matrix.shape
    b = Builder("transform")
    x, y = b.buffer("x", extent=columns * lanes), b.buffer("y", extent=rows * lanes, writable=True)
    for row, value in body(b, lambda k: b.load(x, 0, lanes, offset=k * lanes)):
        b.store(y, 0, value, offset=row * lanes)
    given = np.random.default_rng(2).standard_normal((columns, lanes)).astype(np.float32)
    made = np.full(rows * lanes, np.nan, np.float32)
    interp.run(b.func, [given.reshape(-1), made])
    bound = 2.0**-22 * np.abs(matrix) @ np.abs(given)
    assert (np.abs(made.reshape(rows, lanes) - matrix @ given) <= bound).all()


def test_what_transforms_take_of_the_multiplying_units():
    """F(2,3) subtracts twice, with multiply-adds; F(4,3) takes its share once for each row."""
    assert transform_places(CookToom(2, 3), CookToom(2, 3)) == (2 * (4 + 4), 0)
    inputs, outputs = transform_places(CookToom(1, 1), CookToom(4, 3))
    assert transform_places(CookToom(4, 3), CookToom(4, 3)) == (12 * inputs, (6 + 4) * outputs)
    assert inputs > 0
    assert outputs > 0
