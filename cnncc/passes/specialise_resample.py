"""The rules of `specialise` on interpolation: tables of taps that are those of `upsample2d`."""

from __future__ import annotations

import numpy as np

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import F64, Array
from cnncc.ir.rewrite import Rule
from cnncc.ops.channels import is_map_or_vector
from cnncc.ops.resize import Upsample2dAttrs, bilinear_taps
from cnncc.passes.match import beyond, producer

_EXACT = 1e-6  # of weights that were computed in f32


def _matrix(indices: Array, weights: Array, n: int) -> F64:
    """What each of n pixels counts in each pixel of the result: taps as a matrix [outputs, n]."""
    matrix = np.zeros((len(indices), n))
    rows = np.arange(len(indices))[:, None]
    np.add.at(matrix, (rows, np.clip(indices, 0, n - 1)), weights.astype(np.float64))
    return matrix


def _upsampling(n: int, factor: int, mode: str) -> F64:
    """The same matrix for one axis of `upsample2d`."""
    if mode == "nearest":
        places = np.repeat(np.arange(n), factor)[:, None]
        return _matrix(places, np.ones(places.shape), n)
    low, high, weight = bilinear_taps(n, factor)
    second = np.asarray(weight)[:, None]
    return _matrix(np.stack([low, high], 1), np.hstack([1 - second, second]), n)


def _resample_to_upsample(graph: Graph, node_id: int) -> int | None:
    """Along H or W by a whole factor, nearest or between pixel centres."""
    x, *taps = graph.operands(node_id)
    found, axis = graph.type_of(x), graph[node_id].attrs.axis
    indices, weights = (graph.constant(t) for t in taps)
    if indices is None or weights is None or axis < 2 or len(found.shape) != 4:
        return None
    n = found.shape[axis]
    factor, rest = divmod(len(indices), n)
    if rest or not factor or not is_map_or_vector(found) or not np.isfinite(weights).all():
        return None
    matrix = _matrix(indices, weights, n)
    for mode in ("nearest", "bilinear"):
        if np.allclose(matrix, _upsampling(n, factor, mode), rtol=0, atol=_EXACT):
            factors = (factor, 1) if axis == 2 else (1, factor)
            return add_typed(graph, "upsample2d", (x,), Upsample2dAttrs(factors, mode))
    return None


def _upsample_both_axes(graph: Graph, node_id: int) -> int | None:
    """Repeated pixels may be repeated again; interpolation along one axis, then along the other."""
    inner = producer(graph, node_id, "upsample2d")
    if inner is None:
        return None
    first, second = graph[inner].attrs, graph[node_id].attrs
    apart = all(1 in pair for pair in zip(first.factors, second.factors, strict=True))
    if first.mode != second.mode or not (apart or first.mode == "nearest"):
        return None
    high, wide = (a * b for a, b in zip(first.factors, second.factors, strict=True))
    return beyond(graph, inner, "upsample2d", Upsample2dAttrs((high, wide), first.mode))


RESAMPLING = (
    Rule(
        "resample(x, whole factor) = upsample2d(x)", _resample_to_upsample, frozenset({"resample"})
    ),
    Rule(
        "upsample2d(upsample2d(x)) = upsample2d(x)", _upsample_both_axes, frozenset({"upsample2d"})
    ),
)
