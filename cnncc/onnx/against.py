"""onnxruntime as a second opinion on an imported model, tensor by tensor.

Its graph optimiser is off, and every tensor of the model is an output. Each node of the imported
graph is then judged alone: its float64 reference gets the operands that onnxruntime had, and must
give what onnxruntime made of them, within the rounding that the operator allows. So one wrong
node is named, and not those behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import Span
from cnncc.ir import interp
from cnncc.ir.graph import Graph
from cnncc.ir.op import F64, UNIT_ROUNDOFF, lookup, ulp
from cnncc.ir.tolerance import FLT_MAX, Mismatch, compare, tolerance

Array = NDArray[Any]

# What onnxruntime's own approximations may add to our bounds: so many units in the last place of
# any inexact result, and where a result is small because numbers cancel, an absolute error and
# multiples of u·|x|. Measured over [-100, 100] (version 1.31): sigmoid strays by 2^-22.5 and is 0
# below -18; elu and selu take 1 from e^x; gelu, silu and hard-swish multiply such errors by x.
_MORE_ULPS = 16.0
_FLOOR = {"sigmoid": 2.0**-22, "hard_sigmoid": 2.0**-22, "elu": 2.0**-22, "selu": 2.0**-22}
_OF_OPERAND = {"gelu": 4.0, "silu": 8.0, "hard_swish": 4.0}
_OF_PLACE = 4.0
_FOLDED = 2.0**-16  # of constants that onnxruntime computes and the importer has computed
_DRIFT = 1e-4  # relative L2 of an output, from rounding folded weights
_HALF = 2.0**13  # a rounding error in f16 relative to one in f32


@dataclass(frozen=True, slots=True)
class TensorCheck:
    """The judgement of one tensor that both know.

    Attributes:
        tensor: its name in the ONNX file.
        path: the node that computes it.
        op: its operator.
        max_error: the largest absolute difference.
        allowed: the bound where that is.
        mismatch: what differs; `actual` is onnxruntime's value, `expected` ours.
        spans: where the node stands in the source.
    """

    tensor: str
    path: str
    op: str
    max_error: float
    allowed: float
    mismatch: Mismatch | None
    spans: tuple[Span, ...]


def check_tensors(
    graph: Graph, inputs: Mapping[str, Array], tensors: Mapping[str, Array]
) -> Iterator[TensorCheck]:
    """Judge every tensor that both know, in order of execution.

    Args:
        graph: as imported, before any pass; `meta["tensors"]` says which ONNX tensor a node is
            and `meta["folded"]` which one a constant.
        inputs: an array for each input of the graph, by the graph's name.
        tensors: what `Peer.tensors` gave for them.
    """
    known: Mapping[str, str] = graph.meta["tensors"]
    folded: Mapping[str, str] = graph.meta["folded"]
    values: dict[int, Array] = {}
    errors: dict[int, F64] = {}
    for node_id, node in graph.nodes():
        shape = graph.type_of(node_id).shape
        if node.op == "input":
            values[node_id] = _wide(np.asarray(inputs[node.name]).reshape(shape))
            errors[node_id] = np.zeros(shape)
            continue
        operands = [values[o] for o in graph.operands(node_id)]
        constant = graph.constant(node_id)
        if constant is not None:
            value, bound = _wide(constant), np.zeros(shape)
        else:
            before = [errors[o] for o in graph.operands(node_id)]
            value, bound = _apply(node.op, node.attrs, operands, before)
        values[node_id], errors[node_id] = value, bound
        is_constant = node.op == "constant"
        tensor = folded.get(node.attrs.data) if is_constant else known.get(node.name)
        theirs = _of_shape(tensors.get(tensor), shape) if tensor else None
        if tensor is None or theirs is None or theirs.dtype.kind not in "biuf":
            continue
        # Whole numbers may be held in f32.
        wide = theirs.astype(np.float64) if value.dtype.kind == "f" else theirs
        values[node_id], errors[node_id] = wide, np.zeros(shape)
        is_open = _is_open(node.op, operands, value)
        with np.errstate(all="ignore"):
            theirs = np.where(is_open, value, theirs).astype(theirs.dtype)
        limit = _allowed(node.op, operands, value, bound, theirs)
        with np.errstate(all="ignore"):
            error = np.abs(theirs.astype(np.float64) - value.astype(np.float64))
        error = np.where(np.isfinite(error), error, 0.0)
        at = np.unravel_index(int(np.argmax(error)), shape)
        yield TensorCheck(
            tensor,
            node.name or tensor,
            node.op,
            float(error[at]),
            float(limit[at]),
            compare(theirs, value, limit),
            node.spans,
        )


@dataclass(frozen=True, slots=True)
class Drift:
    """How far an output lies from the imported graph's in float64, as relative L2.

    Attributes:
        output: its name.
        passes: the optimised graph, in float64 too: what rounding folded weights to f32 has moved.
        peer: onnxruntime, with all its roundings.
    """

    output: str
    passes: float
    peer: float

    @property
    def is_sound(self) -> bool:
        """Whether the passes have moved it no more than rounding does.

        Where both are much, the network magnifies rounding errors, or they have met a jump.
        """
        return self.passes <= _DRIFT or self.passes <= 2 * self.peer < float("inf")


def drifts(
    graph: Graph, planned: Graph, inputs: Mapping[str, Array], tensors: Mapping[str, Array]
) -> Iterator[Drift]:
    """What the passes have done to the outputs; they are the one step that no layer's check sees.

    Args:
        graph: as imported.
        planned: the same behind all passes.
        inputs: an array for each input of the graph, by the graph's name.
        tensors: what `Peer.tensors` gave for them.
    """
    feeds: dict[str | int, Array] = {
        n: np.asarray(inputs[str(graph[i].name)]).reshape(graph.type_of(i).shape)
        for n, i in enumerate(graph.inputs)
    }
    before, after = interp.run(graph, feeds), interp.run(planned, feeds)
    for (name, _), exact, moved in zip(graph.outputs, before, after, strict=True):
        theirs = _of_shape(tensors.get(name), exact.shape)
        if theirs is not None:
            yield Drift(name, relative_l2(moved, exact), relative_l2(theirs, exact))


def relative_l2(actual: Array, expected: Array) -> float:
    """The length of a difference relative to that of what is expected.

    NaN and infinities of the same class agree; others make it infinite.
    """
    got, want = actual.astype(np.float64), expected.astype(np.float64)
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True):
        return float("inf")
    length = float(np.linalg.norm(got[finite] - want[finite]))
    return (
        float("inf")
        if np.isnan(length)
        else length / max(float(np.linalg.norm(want[finite])), 1e-30)
    )


def _apply(op: str, attrs: Any, operands: list[Array], errors: list[F64]) -> tuple[Array, F64]:
    """A node's value and the bound on its error, given those of its operands."""
    rule = lookup(op)
    with np.errstate(all="ignore"):
        value = np.asarray(rule.reference(operands, attrs))
        bound = tolerance(op, attrs, operands, value)
        if any(error.any() for error in errors):
            bound = bound + np.asarray(rule.propagate(operands, errors, attrs), np.float64)
    return value, np.broadcast_to(np.where(np.isfinite(bound), bound, 0.0), value.shape)


def _is_open(op: str, operands: list[Array], value: Array) -> Array | bool:
    """Where onnxruntime's result says nothing about ours.

    ONNX leaves open which whole number a float becomes that none is near to. Its max pooling passes
    over NaN, which ours hands on, and gives the lowest number there is where all are NaN; from
    numbers of that size on, its kernels may overflow on the way. ArgMax passes over NaN, too.
    """
    if op in ("arg_max", "arg_min"):
        return bool(operands[0].dtype.kind == "f" and np.isnan(operands[0]).any())
    if op == "max_pool2d":
        return np.isnan(value)
    if value.dtype.kind == "f":
        return np.isfinite(value) & (np.abs(value) > FLT_MAX / 4)
    if op != "cast" or operands[0].dtype.kind != "f" or value.dtype.kind not in "iu":
        return False
    limits = np.iinfo(value.dtype)
    inside = (operands[0] > float(limits.min) - 1) & (operands[0] < float(limits.max) + 1)
    return np.asarray(~inside)


def _allowed(op: str, operands: list[Array], value: Array, bound: F64, theirs: Array) -> F64:
    """How far onnxruntime's value may lie from the reference on its own operands."""
    if theirs.dtype.kind != "f":
        return bound
    if op == "constant":  # computed at import, by any number of nodes, poles among them
        close = relative_l2(theirs, value) <= 2.0**-10
        return np.full(value.shape, np.inf if close else _FOLDED * _largest(value))
    more = _MORE_ULPS * ulp(value) + _FLOOR.get(op, 0.0)
    if op in _OF_OPERAND:
        more = more + _OF_OPERAND[op] * UNIT_ROUNDOFF * np.abs(operands[0])
    if op == "resample":  # it computes places in f32: their rounding times the slope
        largest = _largest(operands[0])
        more = more + _OF_PLACE * UNIT_ROUNDOFF * max(operands[0].shape) * largest
    inexact = np.where(bound > 0, bound + more, 0.0)
    if theirs.dtype == np.float16:
        return np.asarray(_HALF * (inexact + ulp(value)), np.float64)
    return np.asarray(inexact, np.float64)


def _largest(array: Array) -> float:
    """The largest finite absolute value."""
    size = np.abs(array, dtype=np.float64)
    return float(np.where(np.isfinite(size), size, 0.0).max(initial=0.0))


def _of_shape(theirs: Array | None, shape: tuple[int, ...]) -> Array | None:
    """Their tensor in our shape: the first sample of those that were repeated; else None."""
    if theirs is None or theirs.shape == shape:
        return theirs
    if theirs.ndim == len(shape) > 0 and shape[0] == 1 and theirs.shape[1:] == shape[1:]:
        return theirs[:1]
    return None


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
