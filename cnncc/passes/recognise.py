"""recognise: activations that a model spells out in pieces, as the operators that they are.

Exporters write x·(1 + erf(x/√2))/2 for a GELU, relu(x) - a·relu(-x) for a PReLU, and so on, with
products in any order. Each rule is an equation on real numbers; constants count as the ones of the
definition when they agree to f32 precision. One operator is one step of a loop nest, and its form
neither overflows nor cancels where the pieces would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, lookup
from cnncc.ir.rewrite import Rule, rewrite
from cnncc.ir.types import DType
from cnncc.passes.match import channel_vector, label, number, other_than, sole_user
from cnncc.passes.simplify import ACTIVATIONS

_SAME = 1e-6  # relative; constants of the file are rounded to f32, and some were divided first
_CUBIC = 0.044715
_ALL_ONE = 17.0  # softplus(x) = x in f32 from here on


def _near(found: float, wanted: float) -> bool:
    return abs(found - wanted) <= _SAME * abs(wanted)


@dataclass(frozen=True, slots=True)
class _Product:
    """Number · part · part ...; the parts are nodes of the graph, sorted."""

    number: float
    parts: tuple[int, ...]


def _product(graph: Graph, root: int) -> _Product:
    """What a node multiplies: through products, quotients by numbers, signs and whole powers."""
    factor, parts, pending = 1.0, list[int](), [root]
    while pending:
        node_id = pending.pop()
        op, operands = graph[node_id].op, graph.operands(node_id)
        inside = node_id == root or sole_user(graph, node_id) is not None
        second = number(graph, operands[1]) if len(operands) == 2 else None
        constant = number(graph, node_id)
        if constant is not None:
            factor *= constant
        elif op == "mul" and inside:
            pending.extend(operands)
        elif op == "neg" and inside:
            factor = -factor
            pending.append(operands[0])
        elif op == "div" and inside and second:
            factor /= second
            pending.append(operands[0])
        elif op == "pow" and inside and second in (2.0, 3.0):
            parts += [operands[0]] * int(second)
        else:
            parts.append(node_id)
    return _Product(factor, tuple(sorted(parts)))


def _plus(graph: Graph, node_id: int) -> tuple[int, float] | None:
    """(x, c) of a node x + c."""
    if graph[node_id].op != "add":
        return None
    for x, other in (graph.operands(node_id), graph.operands(node_id)[::-1]):
        c = number(graph, other)
        if c is not None:
            return x, c
    return None


def _is_of(graph: Graph, node_id: int, op: str, x: int) -> bool:
    return graph[node_id].op == op and graph.operands(node_id)[0] == x


def _in_type(graph: Graph, node_id: int, x: int) -> bool:
    """Whether x is f32 and of the node's type."""
    found = graph.type_of(x)
    return found.dtype is DType.F32 and found == graph.type_of(node_id)


# -- products of x and a gate ----------------------------------------------------------------------


def _gated(graph: Graph, node_id: int) -> int | None:
    """A product of a number, x and a gate: which one says which activation, and its number."""
    product = _product(graph, node_id)
    if len(product.parts) != 2:
        return None
    for x, gate in (product.parts, product.parts[::-1]):
        if not _in_type(graph, node_id, x):
            continue
        for wanted, op, attrs in _meaning(graph, x, gate):
            if _near(product.number, wanted):
                return add_typed(graph, op, (x,), attrs)
    return None


def _meaning(graph: Graph, x: int, gate: int) -> list[tuple[float, str, Any]]:
    """The activation x·gate: its number, operator and attributes."""
    node, operands = graph[gate], graph.operands(gate)
    if _is_of(graph, gate, "hard_sigmoid", x):
        line = node.attrs
        exact = _near(line.alpha, 1 / 6) and line.beta == 0.5
        return [(1.0, "hard_swish", None)] if exact else []
    if node.op == "clip" and (node.attrs.low, node.attrs.high) == (0.0, 6.0):
        return [(1 / 6, "hard_swish", None)] if _plus(graph, operands[0]) == (x, 3.0) else []
    if node.op == "tanh" and _is_of(graph, operands[0], "softplus", x):
        return [(1.0, "mish", None)]
    wave = _plus(graph, gate)
    if wave is None or wave[1] != 1.0:
        return []
    inner = graph.operands(wave[0])
    if graph[wave[0]].op == "erf":
        line = _product(graph, inner[0])
        exact = line.parts == (x,) and _near(line.number, math.sqrt(0.5))
        return [(0.5, "gelu", lookup("gelu").Attrs(False))] if exact else []
    if graph[wave[0]].op == "tanh" and _is_cubic(graph, inner[0], x):
        return [(0.5, "gelu", lookup("gelu").Attrs(True))]
    return []


def _is_cubic(graph: Graph, node_id: int, x: int) -> bool:
    """√(2/π)·(x + 0.044715·x³), with x before or within the bracket."""
    product = _product(graph, node_id)
    if not _near(product.number, math.sqrt(2 / math.pi)):
        return False
    if len(product.parts) == 1 and graph[product.parts[0]].op == "add":
        a, b = graph.operands(product.parts[0])
        cube = other_than((a, b), x)
        if cube is None:
            return False
        found = _product(graph, cube)
        return found.parts == (x, x, x) and _near(found.number, _CUBIC)
    bracket = other_than(product.parts, x)
    plus = None if bracket is None else _plus(graph, bracket)
    if plus is None or plus[1] != 1.0:
        return False
    found = _product(graph, plus[0])
    return found.parts == (x, x) and _near(found.number, _CUBIC)


# -- clipped lines ---------------------------------------------------------------------------------


def _extreme_as_clip(graph: Graph, node_id: int) -> int | None:
    for x, other in (graph.operands(node_id), graph.operands(node_id)[::-1]):
        bound = number(graph, other)
        if bound is not None and math.isfinite(bound) and _in_type(graph, node_id, x):
            above = graph[node_id].op == "minimum"
            bounds = (-math.inf, bound) if above else (bound, math.inf)
            return add_typed(graph, "clip", (x,), lookup("clip").Attrs(*bounds))
    return None


def _hard_sigmoid(graph: Graph, x: int, alpha: float, beta: float) -> int:
    """With a slope that was 1/6 before it was rounded."""
    alpha = 1 / 6 if _near(alpha, 1 / 6) else alpha
    beta = 0.5 if _near(beta, 0.5) else beta
    return add_typed(graph, "hard_sigmoid", (x,), lookup("hard_sigmoid").Attrs(alpha, beta))


def _clip_of_line(graph: Graph, node_id: int) -> int | None:
    attrs = graph[node_id].attrs
    line = _plus(graph, graph.operands(node_id)[0])
    if (attrs.low, attrs.high) != (0.0, 1.0) or line is None:
        return None
    slope = _product(graph, line[0])
    if len(slope.parts) != 1 or slope.number in (0.0, 1.0) or not _is_finite(slope.number, line[1]):
        return None
    if not _in_type(graph, node_id, slope.parts[0]):
        return None
    return _hard_sigmoid(graph, slope.parts[0], slope.number, line[1])


def _is_finite(*numbers: float) -> bool:
    return all(map(math.isfinite, numbers))


def _multiple_of_clip(graph: Graph, node_id: int) -> int | None:
    """c·clip(x + b, 0, 1/c)."""
    product = _product(graph, node_id)
    if len(product.parts) != 1 or graph[product.parts[0]].op != "clip":
        return None
    clip = product.parts[0]
    attrs, line = graph[clip].attrs, _plus(graph, graph.operands(clip)[0])
    if line is None or attrs.low != 0 or not _is_finite(product.number, line[1], attrs.high):
        return None
    if not _near(product.number * attrs.high, 1.0) or not _in_type(graph, node_id, line[0]):
        return None
    return _hard_sigmoid(graph, line[0], product.number, product.number * line[1])


# -- slopes ----------------------------------------------------------------------------------------


def _bent(graph: Graph, node_id: int, x: int, slope: Array) -> int | None:
    """leaky_relu for one slope, prelu for one a channel."""
    if not _in_type(graph, node_id, x) or not np.isfinite(slope).all():
        return None
    if slope.size == 1:
        attrs = lookup("leaky_relu").Attrs(float(slope.reshape(-1)[0]))
        return add_typed(graph, "leaky_relu", (x,), attrs)
    slopes = np.ascontiguousarray(slope, np.float32)
    data = f"{label(graph, node_id)}.slope"
    return add_typed(graph, "prelu", (x, add_constant(graph, data, slopes)))


def _times(graph: Graph, node_id: int) -> tuple[int, Array] | None:
    """(x, slope) of a node x·slope, with one constant for all, or [C] for one a channel."""
    if graph[node_id].op != "mul":
        return None
    for x, other in (graph.operands(node_id), graph.operands(node_id)[::-1]):
        if graph[x].op == "constant" or graph.type_of(x) != graph.type_of(node_id):
            continue
        slope = number(graph, other)
        if slope is not None:
            return x, np.asarray(slope)
        vector = channel_vector(graph, node_id, other)
        if vector is not None:
            return x, vector
    return None


def _largest_of_slopes(graph: Graph, node_id: int) -> int | None:
    for x, other in (graph.operands(node_id), graph.operands(node_id)[::-1]):
        line = _times(graph, other)
        if line is not None and line[0] == x and np.all((line[1] > 0) & (line[1] <= 1)):
            return _bent(graph, node_id, x, line[1])
    return None


def _chosen_slope(graph: Graph, node_id: int) -> int | None:
    test, then, otherwise = graph.operands(node_id)
    if graph[test].op in ("greater", "greater_equal"):
        x, scaled = then, otherwise
    elif graph[test].op in ("less", "less_equal"):
        x, scaled = otherwise, then
    else:
        return None
    compared, bound = graph.operands(test)
    line = _times(graph, scaled)
    if compared != x or number(graph, bound) != 0.0 or line is None or line[0] != x:
        return None
    return _bent(graph, node_id, x, line[1])


def _sum_of_relus(graph: Graph, node_id: int) -> int | None:
    """relu(x) - a·relu(-x), with the sign in any place."""
    operands = graph.operands(node_id)
    pairs = (operands,) if graph[node_id].op == "sub" else (operands, operands[::-1])
    for positive, rest in pairs:
        if graph[positive].op != "relu":
            continue
        x = graph.operands(positive)[0]
        sign = -1.0 if graph[node_id].op == "add" else 1.0
        if graph[rest].op == "neg":
            sign, rest = -sign, graph.operands(rest)[0]
        line = _times(graph, rest)
        if line is None:
            continue
        rest, slope = line
        if graph[rest].op == "neg":
            sign, rest = -sign, graph.operands(rest)[0]
        if graph[rest].op == "relu" and _is_minus(graph, graph.operands(rest)[0], x):
            return _bent(graph, node_id, x, sign * slope)
    return None


def _is_minus(graph: Graph, node_id: int, x: int) -> bool:
    found = _product(graph, node_id)
    return found.number == -1.0 and found.parts == (x,)


# -- softplus --------------------------------------------------------------------------------------


def _log_of_exp(graph: Graph, node_id: int) -> int | None:
    plus = _plus(graph, graph.operands(node_id)[0])
    if plus is None or plus[1] != 1.0 or graph[plus[0]].op != "exp":
        return None
    x = graph.operands(plus[0])[0]
    return add_typed(graph, "softplus", (x,)) if _in_type(graph, node_id, x) else None


def _linear_softplus(graph: Graph, node_id: int) -> int | None:
    """Some exporters leave the exponential out where it does not matter."""
    test, then, otherwise = graph.operands(node_id)
    if graph[test].op not in ("greater", "greater_equal"):
        return None
    compared, bound = graph.operands(test)
    least = number(graph, bound)
    if compared != then or least is None or least < _ALL_ONE:
        return None
    return otherwise if _is_of(graph, otherwise, "softplus", then) else None


# -- softmax ---------------------------------------------------------------------------------------


def _softmax(graph: Graph, node_id: int) -> int | None:
    """e^(x - max) / Σ e^(x - max) along one axis."""
    powers, total = graph.operands(node_id)
    if graph[powers].op != "exp" or graph[graph.operands(powers)[0]].op != "sub":
        return None
    x, largest = graph.operands(graph.operands(powers)[0])
    axis = _reduced_axis(graph, total, "sum", powers)
    if axis is None or _reduced_axis(graph, largest, "max", x) != axis:
        return None
    if not _in_type(graph, node_id, x):
        return None
    return add_typed(graph, "softmax", (x,), lookup("softmax").Attrs(axis))


def _reduced_axis(graph: Graph, node_id: int, kind: str, x: int) -> int | None:
    """The axis along which a node reduces x and which stays as 1."""
    node = graph[node_id]
    if node.op != "reduce" or graph.operands(node_id) != (x,) or node.attrs.kind != kind:
        return None
    alone = node.attrs.keepdims and len(node.attrs.axes) == 1
    return int(node.attrs.axes[0]) if alone else None


SOFTMAX = Rule("exp(x - max) / sum(exp(x - max)) = softmax(x)", _softmax, frozenset({"div"}))

RULES = (
    SOFTMAX,
    Rule("min(x, b) or max(x, a) = clip(x)", _extreme_as_clip, frozenset({"minimum", "maximum"})),
    Rule("c*clip(x + b, 0, 1/c) = hard_sigmoid(x)", _multiple_of_clip, frozenset({"mul", "div"})),
    Rule("clip(a*x + b, 0, 1) = hard_sigmoid(x)", _clip_of_line, frozenset({"clip"})),
    Rule("x*gate(x) = activation(x)", _gated, frozenset({"mul", "div"})),
    Rule("max(x, a*x) = leaky_relu(x)", _largest_of_slopes, frozenset({"maximum"})),
    Rule("where(x > 0, x, a*x) = prelu(x)", _chosen_slope, frozenset({"where"})),
    Rule("relu(x) - a*relu(-x) = prelu(x)", _sum_of_relus, frozenset({"add", "sub"})),
    Rule("log(exp(x) + 1) = softplus(x)", _log_of_exp, frozenset({"log"})),
    Rule("where(x > 20, x, softplus(x)) = softplus(x)", _linear_softplus, frozenset({"where"})),
)


@dataclass(frozen=True, slots=True)
class Recognise:
    """Apply `RULES`, and those of `simplify` on activations, until none fires."""

    name: ClassVar[str] = "recognise"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Rewrite `graph` to a fixpoint."""
        rewrite(graph, (*ACTIVATIONS, *RULES), by=self.name)
