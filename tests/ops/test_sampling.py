"""Sampling on grids: centres, edges, borders, error bounds, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.ops.grid_taps import GridSampleAttrs
from cnncc.ops.sampling import GridSample
from tests.ops.element_numpy import evaluate


def corners(mode: str, padding: str, align: bool, *places: float) -> list[float]:
    """Samples of one row 1, 2, 4 at places along it."""
    x = np.array([[[[1, 2, 4]]]], np.float32)
    grid = np.array([[[[place, 0] for place in places]]], np.float32)
    attrs = GridSampleAttrs(mode, padding, align)
    made = evaluate(GridSample, [x, grid], attrs)[0, 0, 0]
    assert np.allclose(made, GridSample.reference([x, grid], attrs)[0, 0, 0], atol=1e-6)
    return made.tolist()


def test_the_ends_are_centres_or_edges() -> None:
    assert corners("linear", "zeros", True, -1, 0, 1, 0.5) == [1, 2, 4, 3]
    assert corners("linear", "zeros", False, -1, 0, 1) == [0.5, 2, 2]
    assert corners("linear", "border", False, -1, 0, 1) == [1, 2, 4]


def test_halves_go_to_the_even_pixel() -> None:
    assert corners("nearest", "zeros", True, -0.5, 0.5) == [1, 4]


def test_what_lies_beyond_the_edges() -> None:
    assert corners("nearest", "zeros", True, -2, 2, 30) == [0, 0, 0]
    assert corners("nearest", "border", True, -2, 2, 30) == [1, 4, 4]
    assert corners("nearest", "reflection", True, -2, 2, 3, 4) == [2, 2, 1, 2]
    assert corners("nearest", "reflection", False, -1.6, 1.6, 7 / 3) == [1, 4, 2]


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("align", [False, True])
def test_wild_coordinates_read_nothing_outside(mode: str, padding: str, align: bool) -> None:
    """`NumpyElement.load` fails on such a place."""
    wild = [np.nan, np.inf, -np.inf, 1e9, -1e9, 3e38, -3e38, 2**31, -(2**31)]
    for width in (1, 2, 3):
        x = np.ones((1, 1, 1, width), np.float32)
        grid = np.array([[[[a, b] for a in wild for b in (0, a)]]], np.float32)
        with np.errstate(all="ignore"):
            evaluate(GridSample, [x, grid], GridSampleAttrs(mode, padding, align))


def test_the_bound_is_small_but_at_jumps() -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    grid = np.array([[[[0.1, 0.2], [0.0, 0.3]]]])
    for mode, jumps in (("linear", 0), ("nearest", 1)):
        attrs = GridSampleAttrs(mode)
        bound = GridSample.rounding([x, grid], GridSample.reference([x, grid], attrs), attrs)
        assert bound.max() < 1e-4 or jumps
        assert np.count_nonzero(bound > 0.5) == jumps, "0 lies between two pixels"


MAP, GRID = f32(1, 2, 4, 4), f32(1, 3, 3, 2)
REFUSED: list[tuple[str, list[TensorType], Any, str]] = [
    ("grid_sample", [MAP, f32(2, 3, 3, 2)], GridSampleAttrs(), "a map [N,C,H,W] and a grid"),
    ("grid_sample", [MAP, f32(1, 3, 3, 3)], GridSampleAttrs(), "a map [N,C,H,W] and a grid"),
    ("grid_sample", [f32(1, 2), f32(1, 2)], GridSampleAttrs(), "a map [N,C,H,W] and a grid"),
    ("grid_sample", [MAP, GRID], GridSampleAttrs("bilinear"), "nearest, linear, cubic"),
    ("grid_sample", [MAP, GRID], GridSampleAttrs("linear", "wrap"), "zeros, border, reflection"),
    (
        "grid_sample",
        [f32(1, 1, 2, 2, 2), f32(1, 1, 1, 1, 3)],
        GridSampleAttrs("cubic"),
        "along two axes only",
    ),
    (
        "grid_sample",
        [MAP, TensorType(DType.F64, (1, 3, 3, 2))],
        GridSampleAttrs(),
        "computes in f32",
    ),
]


@pytest.mark.parametrize(("name", "types", "attrs", "words"), REFUSED)
def test_refused(name: str, types: list[TensorType], attrs: Any, words: str) -> None:
    with pytest.raises(TypeInferenceError) as caught:
        lookup(name).infer(types, attrs)
    assert words in caught.value.message
