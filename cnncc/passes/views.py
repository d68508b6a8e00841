"""Views: a value with its axes in another order or with one more axis of extent 1.

What an operator does in a view is the same operator with its axes renamed; `in_view` renames them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array, lookup
from cnncc.passes.match import is_pointwise

_NEW = -1


@dataclass(frozen=True, slots=True)
class View:
    """How a value is seen.

    Attributes:
        name: for the names of nodes.
        axes: for each axis of the view, the axis of the value that it is; -1 for a new one.
    """

    name: str
    axes: tuple[int, ...]

    @property
    def rank(self) -> int:
        """Axes of the value."""
        return max(self.axes) + 1

    def shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of the view."""
        return self.spread(shape, 1)

    def spread(self, numbers: Sequence[int], new: int) -> tuple[int, ...]:
        """One number an axis of the value as one an axis of the view."""
        return tuple(new if a == _NEW else numbers[a] for a in self.axes)

    def axis(self, axis: int) -> int:
        """The axis of the view that is an axis of the value."""
        return self.axes.index(axis)

    def array(self, array: Array) -> Array:
        """An operand that broadcasts to the value, as one that broadcasts to the view."""
        whole = array.reshape((1,) * (self.rank - array.ndim) + array.shape)
        turned = whole.transpose([a for a in self.axes if a != _NEW])
        return np.ascontiguousarray(turned.reshape(self.shape(whole.shape)))

    def add(self, graph: Graph, node_id: int) -> int:
        """A node that is the view of a value."""
        shape = self.shape(graph.type_of(node_id).shape)
        if _NEW in self.axes or self._keeps_order(graph.type_of(node_id).shape):
            return _reshaped(graph, node_id, shape)
        return add_typed(graph, "transpose", (node_id,), lookup("transpose").Attrs(self.axes))

    def add_back(self, graph: Graph, node_id: int, shape: tuple[int, ...]) -> int:
        """A node that is the value of that shape, from its view."""
        if _NEW in self.axes or self._keeps_order(shape):
            return _reshaped(graph, node_id, shape)
        perm = tuple(self.axis(a) for a in range(self.rank))
        return add_typed(graph, "transpose", (node_id,), lookup("transpose").Attrs(perm))

    def is_view(self, graph: Graph, node_id: int) -> bool:
        """Whether a node is the view of its operand."""
        return self._relates(graph, node_id, graph.operands(node_id)[:1], (node_id,), self.axes)

    def is_value(self, graph: Graph, node_id: int) -> bool:
        """Whether a node's operand is the view of it."""
        back = tuple(self.axes.index(a) for a in range(self.rank))
        return self._relates(graph, node_id, (node_id,), graph.operands(node_id)[:1], back)

    def _relates(
        self,
        graph: Graph,
        node_id: int,
        value: tuple[int, ...],
        view: tuple[int, ...],
        perm: tuple[int, ...],
    ) -> bool:
        if graph[node_id].op not in ("transpose", "reshape"):
            return False
        shape, seen = graph.type_of(value[0]).shape, graph.type_of(view[0]).shape
        if len(shape) != self.rank or self.shape(shape) != seen:
            return False
        if graph[node_id].op == "transpose":
            return bool(graph[node_id].attrs.perm == perm)
        return self._keeps_order(shape)

    def _keeps_order(self, shape: Sequence[int]) -> bool:
        """Whether no element moves: axes of more than one place stay in order."""
        wide = [a for a in self.axes if a != _NEW and shape[a] != 1]
        return wide == sorted(wide)


def _reshaped(graph: Graph, node_id: int, shape: tuple[int, ...]) -> int:
    free = graph.type_of(node_id).shape[:1] == shape[:1]
    sizes = (-1, *shape[1:]) if free else shape  # a leading -1 leaves the batch free
    return add_typed(graph, "reshape", (node_id,), lookup("reshape").Attrs(sizes))


MAPS = View("maps", (0, 3, 1, 2))
"""[N,H,W,C] as the map [N,C,H,W]."""

ROWS = (View("map", (0, 1, _NEW, 2)), View("map", (0, _NEW, 1, 2)), View("map", (0, 1, 2, _NEW)))
"""Three axes as the four of a map with one row or one column, as 1-D convolutions take them."""


def in_view(graph: Graph, view: View, node_id: int) -> Any:
    """The attributes of the operator that does in the view what a node does; None for none such."""
    node = graph[node_id]
    attrs, operands = node.attrs, graph.operands(node_id)
    if len(graph.type_of(node_id).shape) != view.rank:
        return None
    if is_pointwise(graph, node_id) and not lookup(node.op).per_channel:
        return attrs if all(_broadcasts(graph, view, o) for o in operands) else None
    computed = [o for o in operands if graph[o].op != "constant"]
    if not computed or len(graph.type_of(operands[0]).shape) != view.rank:
        return None
    match node.op:
        case "concat" | "softmax" | "resample":
            return replace(attrs, axis=view.axis(attrs.axis))
        case "slice":
            starts, steps, sizes = attrs.starts, attrs.steps, attrs.sizes
            return type(attrs)(view.spread(starts, 0), view.spread(steps, 1), view.spread(sizes, 1))
        case "pad":
            before, after = view.spread(attrs.before, 0), view.spread(attrs.after, 0)
            return replace(attrs, before=before, after=after)
        case "expand":
            return replace(attrs, shape=view.shape(attrs.shape))
        case "reduce" if attrs.keepdims and not _only_channels(graph, view, node_id):
            return replace(attrs, axes=tuple(sorted(view.axis(a) for a in attrs.axes)))
        case _:
            return None


def _broadcasts(graph: Graph, view: View, operand: int) -> bool:
    shape = graph.type_of(operand).shape
    return len(shape) == view.rank or graph[operand].op == "constant" or math.prod(shape) == 1


def _only_channels(graph: Graph, view: View, node_id: int) -> bool:
    """A reduction of each pixel: neighbours in memory are what it wants, and no blocks."""
    shape = graph.type_of(graph.operands(node_id)[0]).shape
    wide = [a for a in graph[node_id].attrs.axes if shape[a] != 1]
    return view is MAPS and wide == [3] and max(shape[1:3]) > 1
