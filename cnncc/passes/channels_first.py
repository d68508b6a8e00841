"""channels-first: compute on maps [N,C,H,W] what stands between transposes, and drop those.

Graphs made for [N,H,W,C] turn every map round before each convolution and back behind it. What
stands between two such turns (activations, sums, joins, borders, reductions) does the same on the
map as it is, with its axes renamed. A *region* is a largest connected part of such operators; it is
renamed as a whole where that turns fewer elements than before. A turn of an input or of a result
costs nothing: it is the copy into blocks or out of them that is made in any case.

Likewise three axes [N,C,W] become the four of a map with one row, as 1-D convolutions have them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.rewrite import Rule, erase_dead, merge_spans, rewrite
from cnncc.ir.types import DType
from cnncc.passes.match import free_name, label, producer
from cnncc.passes.recognise import SOFTMAX
from cnncc.passes.simplify_moves import MOVES
from cnncc.passes.views import MAPS, ROWS, View, in_view

_MOST_ROUNDS = 100


@dataclass(slots=True)
class _Region:
    """Connected nodes that a view takes together.

    Attributes:
        members: in topological order.
        removed: elements that are not turned any more.
        added: elements that are turned instead.
    """

    members: list[int]
    removed: int = 0
    added: int = 0


@dataclass(frozen=True, slots=True)
class ChannelsFirst:
    """Rename regions until none gains, with the equations on moves in between."""

    name: ClassVar[str] = "channels-first"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"

    def run(self, graph: Graph) -> None:
        """Rewrite `graph` to a fixpoint."""
        if not any(node.op in ("transpose", "reshape") for _, node in graph.nodes()):
            return
        for _ in range(_MOST_ROUNDS):
            rewrite(graph, RULES, by=self.name)
            if not any(self._rename(graph, view) for view in (*ROWS, MAPS)):
                return
        raise InternalError(f"`{self.name}` does not come to rest")

    def _rename(self, graph: Graph, view: View) -> bool:
        """Rename the regions that gain; they share no node."""
        gaining = [r for r in _regions(graph, view) if _gains(graph, view, r)]
        for region in gaining:
            subject = label(graph, region.members[0])
            figures = {
                "operators": len(region.members),
                "elements_not_turned": region.removed,
                "elements_turned": region.added,
            }
            _Renaming(graph, view, region.members).run()
            choice = f"axes renamed to those of {view.name}"
            reason = "between two turns the operators do the same on what is not turned"
            record(graph, Decision(subject, choice, reason, (), figures, self.name))
        return bool(gaining)


# -- regions ---------------------------------------------------------------------------------------


def _is_taken(graph: Graph, view: View, node_id: int) -> bool:
    return in_view(graph, view, node_id) is not None or _is_layer(graph, view, node_id)


def _is_layer(graph: Graph, view: View, node_id: int) -> bool:
    """A product of every pixel's channels with a constant matrix: a convolution of one pixel."""
    if view is not MAPS or graph[node_id].op != "matmul":
        return False
    x, w = graph.operands(node_id)
    weights = graph.constant(w)
    floats = graph.type_of(node_id).dtype is DType.F32
    return floats and weights is not None and weights.ndim == 2 and _rank(graph, x) == view.rank


def _rank(graph: Graph, node_id: int) -> int:
    return len(graph.type_of(node_id).shape)


def _regions(graph: Graph, view: View) -> list[_Region]:
    """Connected parts of the nodes that the view takes."""
    first: dict[int, int] = {}  # node -> an earlier one of its region

    def root(node_id: int) -> int:
        while first[node_id] != node_id:
            first[node_id] = first[first[node_id]]
            node_id = first[node_id]
        return node_id

    for node_id, node in graph.nodes():
        if node.op in ("input", "constant") or not _is_taken(graph, view, node_id):
            continue
        first[node_id] = node_id
        for operand in graph.operands(node_id):
            if operand in first:
                a, b = sorted((root(operand), root(node_id)))
                first[b] = a
    regions: dict[int, _Region] = {}
    for node_id in graph.order():
        if node_id in first:
            regions.setdefault(root(node_id), _Region([])).members.append(node_id)
    return list(regions.values())


def _gains(graph: Graph, view: View, region: _Region) -> bool:
    """Whether fewer elements are turned, or as many, further out."""
    inside = set(region.members)
    turns_on = False
    for operand in _entries(graph, view, region.members, inside):
        size = graph.type_of(operand).elems
        if view.is_value(graph, operand):
            alone = all(user in inside for user, _ in graph.users(operand))
            region.removed += size if alone and not graph.is_output(operand) else 0
            continue
        turns_on |= view.is_view(graph, operand)
        region.added += _cost_of_entry(graph, view, operand, inside)
    for member in region.members:
        users = [u for u in dict.fromkeys(u for u, _ in graph.users(member)) if u not in inside]
        views = [u for u in users if view.is_view(graph, u)]
        turns_on |= any(view.is_value(graph, u) for u in users)
        region.removed += sum(graph.type_of(u).elems for u in views)
        others = [u for u in users if u not in views and not _absorbs(graph, u)]
        wide = graph.type_of(member)
        if others or (graph.is_output(member) and wide.dtype is not DType.F32):
            region.added += wide.elems
    if not region.removed or region.removed < region.added:
        return False
    return region.removed > region.added or not turns_on


def _entries(graph: Graph, view: View, members: Iterable[int], inside: set[int]) -> list[int]:
    """Computed operands from outside that have the axes of the value."""
    operands = (o for m in members for o in graph.operands(m) if o not in inside)
    return [
        o
        for o in dict.fromkeys(operands)
        if graph[o].op != "constant" and _rank(graph, o) == view.rank
    ]


def _cost_of_entry(graph: Graph, view: View, operand: int, inside: set[int]) -> int:
    """Elements that are turned for a region: none of an input, or of what is turned for others."""
    type_ = graph.type_of(operand)
    if type_.elems == 1:
        return 0
    if graph[operand].op == "input":
        return 0 if type_.dtype is DType.F32 else 2 * type_.elems  # of bytes by a copy of its own
    shared = any(u not in inside and view.is_view(graph, u) for u, _ in graph.users(operand))
    return 0 if shared else type_.elems


def _absorbs(graph: Graph, user: int) -> bool:
    """Whether a reader takes values in any order of axes at no cost."""
    node = graph[user]
    if node.op == "transpose":
        return True
    if node.op == "reduce":
        return not node.attrs.keepdims and len(node.attrs.axes) >= 2
    if node.op != "reshape" or graph.is_output(user):
        return False
    return all(graph[u].op in ("dense", "matmul") and i == 0 for u, i in graph.users(user))


class _Renaming:
    """Adds a region once more in its view, and lets that stand for the old one."""

    def __init__(self, graph: Graph, view: View, members: list[int]) -> None:
        self.graph = graph
        self.view = view
        self.members = members
        self.made: dict[int, int] = {}
        self.spare: list[int] = []  # views that readers took before
        self.taken = {node.name for _, node in graph.nodes()}

    def run(self) -> None:
        """Build, connect, sweep."""
        for member in self.members:
            self.made[member] = self._build(member)
        for member in self.members:
            self._connect(member)
        erase_dead(self.graph, [*self.members, *self.spare])

    def _build(self, member: int) -> int:
        graph, node = self.graph, self.graph[member]
        x, *rest = graph.operands(member)
        weights = graph.constant(rest[0]) if node.op == "matmul" else None
        if weights is not None:
            filters = np.ascontiguousarray(weights.T)[:, :, None, None]
            rest = [add_constant(graph, f"{label(graph, member)}.weight", filters)]
            return add_typed(graph, "conv2d", (self._operand(member, x), *rest), spans=node.spans)
        attrs = in_view(graph, self.view, member)
        if node.op != "resample":
            rest = [self._operand(member, o) for o in rest]
        return add_typed(graph, node.op, (self._operand(member, x), *rest), attrs, spans=node.spans)

    def _operand(self, member: int, operand: int) -> int:
        graph, view = self.graph, self.view
        if operand in self.made:
            return self.made[operand]
        array = graph.constant(operand)
        if array is not None:
            data = f"{graph[operand].attrs.data}.{view.name}"
            made = operand if array.size == 1 else add_constant(graph, data, view.array(array))
        elif _rank(graph, operand) != view.rank:
            made = operand  # one number
        elif view.is_value(graph, operand):
            made = graph.operands(operand)[0]
        else:
            made = self._turned(member, operand)
        self.made[operand] = made
        return made

    def _turned(self, member: int, operand: int) -> int:
        """The view of a value from outside: one that is there already, or a new one."""
        for user, _ in self.graph.users(operand):
            if self.view.is_view(self.graph, user):
                return user
        made = self.view.add(self.graph, operand)
        self.graph[made].spans = self.graph[operand].spans or self.graph[member].spans
        return made

    def _connect(self, member: int) -> None:
        """Readers of the old node get the new one, or the value made from it."""
        graph, view, made = self.graph, self.view, self.made[member]
        old = graph[member]
        name, old.name = old.name, ""
        for user in self._readers(member):
            if view.is_view(graph, user):
                graph[made].spans = merge_spans(graph[made].spans, graph[user].spans)
                graph[made].name = graph[made].name or graph[user].name
                graph[user].name = ""
                graph.replace_uses(user, made)
                self.spare.append(user)
        rest = self._readers(member)
        if rest or graph.is_output(member):
            back = view.add_back(graph, made, graph.type_of(member).shape)
            graph[back].spans, graph[back].name = old.spans, name
            name = free_name(self.taken, f"{name}.{view.name}") if name else ""
            for user, index in graph.users(member):
                if user in rest:
                    graph.set_operand(user, index, back)
            graph.outputs = [(n, back if out == member else out) for n, out in graph.outputs]
            graph.version += 1
        graph[made].name = graph[made].name or name

    def _readers(self, member: int) -> list[int]:
        """Nodes outside that read an old node, but for views that are spare now."""
        left = {*self.members, *self.spare}
        users = dict.fromkeys(u for u, _ in self.graph.users(member))
        return [user for user in users if user not in left]


# -- equations -------------------------------------------------------------------------------------


def _reduce_of_transpose(graph: Graph, node_id: int) -> int | None:
    """Where the axes that stay are in order in x as well."""
    turn = producer(graph, node_id, "transpose")
    attrs = graph[node_id].attrs
    if turn is None or attrs.keepdims:
        return None
    perm = graph[turn].attrs.perm
    left = [p for a, p in enumerate(perm) if a not in attrs.axes]
    if left != sorted(left):
        return None
    axes = tuple(sorted(perm[a] for a in attrs.axes))
    made = lookup("reduce").Attrs(attrs.kind, axes, False)
    return add_typed(graph, "reduce", graph.operands(turn), made, spans=graph[turn].spans)


def _shuffle_of_pixels(graph: Graph, node_id: int) -> int | None:
    """reshape(transpose(reshape(x[N,H,W,C]))) that takes channels from groups in turn."""
    turn = producer(graph, node_id, "transpose")
    split = producer(graph, turn, "reshape") if turn is not None else None
    if turn is None or split is None or graph[turn].attrs.perm != (0, 1, 2, 4, 3):
        return None
    x = graph.operands(split)[0]
    found, apart = graph.type_of(x), graph.type_of(split).shape
    same = found == graph.type_of(node_id) and len(found.shape) == 4
    if not same or apart[:3] != found.shape[:3] or found.dtype is not DType.F32:
        return None
    attrs = lookup("channel_shuffle").Attrs(apart[3])
    mixed = add_typed(graph, "channel_shuffle", (MAPS.add(graph, x),), attrs)
    return MAPS.add_back(graph, mixed, found.shape)


def _row_of_turned(graph: Graph, node_id: int) -> int | None:
    """reshape(transpose(x[N,W,C])) to a map of one row: the row first, then the turn of maps."""
    turn = producer(graph, node_id, "transpose")
    if turn is None or graph[turn].attrs.perm != (0, 2, 1):
        return None
    n, c, w = graph.type_of(turn).shape
    if graph.type_of(node_id).shape != (n, c, 1, w):
        return None
    attrs = lookup("reshape").Attrs((-1, 1, w, c))
    row = add_typed(graph, "reshape", graph.operands(turn), attrs, spans=graph[turn].spans)
    return MAPS.add(graph, row)


def _turned_row(graph: Graph, node_id: int) -> int | None:
    """transpose(reshape(x[N,C,1,W])) to [N,W,C]: the turn of maps first."""
    flat = producer(graph, node_id, "reshape")
    if flat is None or graph[node_id].attrs.perm != (0, 2, 1):
        return None
    x, (n, c, w) = graph.operands(flat)[0], graph.type_of(flat).shape
    if graph.type_of(x).shape != (n, c, 1, w):
        return None
    pixels = MAPS.add_back(graph, x, (n, 1, w, c))
    return add_typed(graph, "reshape", (pixels,), lookup("reshape").Attrs((-1, w, c)))


RULES = (
    *MOVES,
    SOFTMAX,
    Rule("reduce(transpose(x)) = reduce(x)", _reduce_of_transpose, frozenset({"reduce"})),
    Rule(
        "reshape(transpose(reshape(x))) = transpose(channel_shuffle(transpose(x)))",
        _shuffle_of_pixels,
        frozenset({"reshape"}),
    ),
    Rule("row(transpose(x)) = transpose(row(x))", _row_of_turned, frozenset({"reshape"})),
    Rule("transpose(row(x)) = row(transpose(x))", _turned_row, frozenset({"transpose"})),
)
