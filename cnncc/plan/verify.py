"""What code generation takes for granted of a planned graph, checked before it does.

Machine code checks no address. So whatever the notes promise about memory is looked at here once
more, without the passes' own bookkeeping: layouts fit their values, views lie in what they are
views of, kernels can do what they were chosen for, buffers that live at the same time are apart,
and what is written over is not read again. A breach is a mistake of the pass that wrote the note,
or of the person who edited a dump. Launches are looked at when they are lowered: whether arguments
fit the parameters, scratch memory holds what is declared, and the stack is spared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cnncc.abi import ALIGNMENT
from cnncc.errors import VerifyError
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked, RowMajor
from cnncc.kernels.template import MOST_STACK_BYTES, Launch, ScratchArg
from cnncc.loopir.nodes import Alloc, BufferType, For, If, Stmt, Value, sub_bodies
from cnncc.plan.choose_kernel import kernel_named, refusal
from cnncc.plan.plan_memory import lies_in_arena, replaceable
from cnncc.plan.site import dimensions, is_computed, joins_channels, site_of, steps_of
from cnncc.targets.target import Target

_ALIGN_ELEMS = ALIGNMENT // 4


def verify_plan(graph: Graph, target: Target) -> None:
    """Check every note of a graph at level `planned`.

    Raises:
        VerifyError: with the node and what is wrong with its notes.
    """
    verify_layouts(graph)
    for node_id, _ in graph.nodes():
        if is_computed(graph, node_id):
            _check_kernel(graph, node_id, target)
    _Memory(graph).check()


def verify_layouts(graph: Graph) -> None:
    """Check the notes that `choose-layout` leaves, which the passes behind it rely on.

    Raises:
        VerifyError: with the node and what is wrong with its notes.
    """
    for node_id, node in graph.nodes():
        if node.op != "constant":
            _check_layout(graph, node_id)
    for node_id, node in graph.nodes():
        if "alias" in node.notes:
            _check_view(graph, node_id)


def _fail(graph: Graph, node_id: int, message: str) -> VerifyError:
    node = graph[node_id]
    return VerifyError(f"node {node_id} (`{node.op}` {node.name}): {message}")


def _counts(numbers: Iterable[Any], least: int) -> bool:
    return all(type(n) is int and n >= least for n in numbers)


# -- layouts ---------------------------------------------------------------------------------------


def _check_layout(graph: Graph, node_id: int) -> None:
    """The layout is whole and has room for exactly the value's elements."""
    layout, type_ = graph[node_id].notes.get("layout"), graph.type_of(node_id)
    if isinstance(layout, RowMajor):
        if (layout.dtype, layout.shape) != (type_.dtype, type_.shape):
            raise _fail(graph, node_id, f"a value of {type_} does not lie in {layout}")
        return
    if isinstance(layout, Picked) != ("picks" in graph[node_id].notes):
        raise _fail(graph, node_id, f"{layout} and `picks` belong together")
    if isinstance(layout, Picked):
        _check_picked(graph, node_id, layout)
        return
    shape = dimensions(type_)
    outside = graph[node_id].op == "input" or graph.is_output(node_id)
    if outside != isinstance(layout, DenseLayout):
        raise _fail(graph, node_id, f"lies in {layout}: caller's arrays are dense, no others")
    if isinstance(layout, FlatLayout):
        _check_flat(graph, node_id, layout)
    elif isinstance(layout, DenseLayout):
        sound = isinstance(layout.dtype, DType) and layout.memory in ("hwc", "chw")
        if not sound or (layout.channels, layout.height, layout.width) != shape:
            raise _fail(graph, node_id, f"a value of {shape} does not lie in {layout}")
    elif not isinstance(layout, Layout) or not _is_whole(layout):
        raise _fail(graph, node_id, f"{layout} is no layout")
    elif (layout.channels, layout.height, layout.width) != shape:
        raise _fail(graph, node_id, f"a value of {shape} does not lie in {layout}")


def _check_picked(graph: Graph, node_id: int, layout: Picked) -> None:
    """Every channel is picked from where the operands' channels lie."""
    values = graph[node_id].notes["picks"]
    if len(values) != len(layout.parts) or len(values) != len(layout.starts):
        raise _fail(graph, node_id, f"{layout} is picked out of {len(values)} values")
    first = layout.parts[0]
    for value, part in zip(values, layout.parts, strict=True):
        alike = (part.block, part.height, part.width, part.halo)
        sound = alike == (first.block, first.height, first.width, first.halo)
        if value not in graph or graph[value].notes.get("layout") != part or not sound:
            raise _fail(graph, node_id, f"{layout} is not where node {value} lies")
    expected = [c for o in graph.operands(node_id) for c in _channels(graph, o)]
    step = steps_of(graph, node_id)[0]
    if step.op == "slice_channels":
        expected = expected[step.attrs.start : step.attrs.stop]
    elif step.op == "channel_shuffle":
        order = np.arange(len(expected)).reshape(step.attrs.groups, -1).T.reshape(-1)
        expected = [expected[c] for c in order]
    elif not joins_channels(step):
        raise _fail(graph, node_id, "only moves of whole channels are picked")
    if [(values[part], slot) for part, slot in layout.picks] != expected:
        raise _fail(graph, node_id, f"{layout} has other channels than its operands")


def _channels(graph: Graph, value: int) -> list[tuple[int, int]]:
    """For each channel the value that has it in memory and its slot there."""
    notes = graph[value].notes
    layout = notes.get("layout")
    if isinstance(layout, Picked) and len(notes.get("picks", ())) == len(layout.parts):
        return [(notes["picks"][part], slot) for part, slot in layout.picks]
    return [(value, int(slot)) for slot in getattr(layout, "channel_slots", ())]


def _is_whole(layout: Layout) -> bool:
    if not isinstance(layout.segments, tuple) or not isinstance(layout.halo, tuple):
        return False
    sizes = (layout.block, layout.height, layout.width, *layout.segments)
    complete = len(layout.segments) > 0 and len(layout.halo) == 4
    return complete and _counts(sizes, 1) and _counts(layout.halo, 0)


def _check_flat(graph: Graph, node_id: int, layout: FlatLayout) -> None:
    node = graph[node_id]
    source = graph[graph.operands(node_id)[0]].notes.get("layout") if node.op == "flatten" else None
    if "alias" not in node.notes or layout.source != source or layout.order != node.attrs.order:
        raise _fail(graph, node_id, f"{layout} is not how its operand lies: {source}")


# -- views -----------------------------------------------------------------------------------------


def _check_view(graph: Graph, node_id: int) -> None:
    """A view's channels are those that its owner has at that place."""
    alias = graph[node_id].notes["alias"]
    sound = isinstance(alias, tuple) and len(alias) == 2 and _counts(alias, 0)
    if not sound or alias[0] not in graph or alias[0] == node_id:
        raise _fail(graph, node_id, f"cannot be a view at {alias}")
    owner, first = alias
    layout, outer = graph[node_id].notes["layout"], graph[owner].notes.get("layout")
    if isinstance(layout, FlatLayout):
        if owner != graph.operands(node_id)[0] or first:
            raise _fail(graph, node_id, "a flattened map lies where the map lies")
        return
    if isinstance(layout, RowMajor):
        reshaped = graph[node_id].op == "reshape" and graph.operands(node_id) == (owner,)
        if not reshaped or first or not _is_row_major(outer):
            raise _fail(graph, node_id, f"no view of {outer}")
        return
    if not isinstance(outer, Layout) or not isinstance(layout, Layout):
        raise _fail(graph, node_id, f"no view of {outer}")
    same = [(p.block, p.height, p.width, p.halo) for p in (layout, outer)]
    inside = outer.slot_channels[first * outer.block :][: layout.blocks * layout.block]
    start = _first_channel(graph, node_id, owner)
    expected = np.where(layout.slot_channels >= 0, layout.slot_channels + start, -1)
    if same[0] != same[1] or not np.array_equal(inside, expected):
        raise _fail(graph, node_id, f"{layout} is not what {outer} has from block {first} on")


def _is_row_major(layout: object) -> bool:
    """Whether memory is in the order of the value's axes; a vector's is in any case."""
    if isinstance(layout, DenseLayout):
        return layout.memory == "chw" or (layout.height, layout.width) == (1, 1)
    return isinstance(layout, RowMajor)


def _first_channel(graph: Graph, node_id: int, owner: int) -> int:
    """The channel of the owner that is the first of a slice, or of an operand of a join."""
    if owner in graph.operands(node_id) and graph[node_id].op == "slice_channels":
        start: int = graph[node_id].attrs.start
        return start
    parts = graph.operands(owner)
    if node_id not in parts or not joins_channels(steps_of(graph, owner)[0]):
        raise _fail(graph, node_id, f"is neither a slice nor a part of node {owner}")
    return sum(dimensions(graph.type_of(p))[0] for p in parts[: parts.index(node_id)])


# -- kernels ---------------------------------------------------------------------------------------


def _check_kernel(graph: Graph, node_id: int, target: Target) -> None:
    """The kernel exists and can do the node with the layouts that it got."""
    name = str(graph[node_id].notes.get("kernel"))
    site = site_of(graph, node_id, target)
    kernel = kernel_named(name)
    if site.anchor.op not in kernel.anchors:
        raise _fail(graph, node_id, f"the kernel `{name}` does not compute `{site.anchor.op}`")
    reason = refusal(kernel, site)
    if reason:
        raise _fail(graph, node_id, f"the kernel `{name}` {reason}")
    if not (isinstance(site.pick, int) and 0 <= site.pick < kernel.picks(replace(site, pick=0))):
        raise _fail(graph, node_id, f"the kernel `{name}` has no way number {site.pick}")


# -- launches --------------------------------------------------------------------------------------


def verify_launch(name: str, launch: Launch) -> None:
    """Check what a kernel made of the node `name` against the rules of `Launch`.

    Raises:
        VerifyError: with the node, the function and what is wrong with it.
    """
    func = launch.func
    place = f"{name}: `{func.name}`"
    if len(func.params) != len(launch.args) + 2:
        raise VerifyError(f"{place} takes {len(func.params)} arguments, not {len(launch.args)} + 2")
    for arg, param in zip(launch.args, func.params, strict=False):
        if isinstance(arg, int) == isinstance(param.type, BufferType):
            raise VerifyError(f"{place}: {arg} is no argument for `{param.hint}`")
        if isinstance(arg, ScratchArg):
            _check_scratch(place, arg, param)
    stack = _stack_bytes(func.body)
    if stack > MOST_STACK_BYTES:
        raise VerifyError(
            f"{place} has {stack} bytes on the stack: more than {MOST_STACK_BYTES} are scratch"
        )


def _check_scratch(place: str, arg: ScratchArg, param: Value) -> None:
    type_ = param.type
    if not isinstance(type_, BufferType) or not (type_.writable and type_.unique):
        raise VerifyError(f"{place}: scratch `{param.hint}` is no buffer of its own: {type_}")
    needed = -(-(type_.extent or 0) * type_.kind.size_bytes // 4)
    if type_.extent is None or needed > arg.words:
        raise VerifyError(f"{place}: {arg.words} words of scratch for `{param.hint}`: {type_}")


def _stack_bytes(body: Sequence[Stmt]) -> int:
    """Bytes that a function takes of its caller's stack."""
    total = 0
    for stmt in body:
        if isinstance(stmt, Alloc) and isinstance(stmt.out.type, BufferType):
            total += (stmt.out.type.extent or 0) * stmt.out.type.kind.size_bytes
        elif isinstance(stmt, For | If):
            total += sum(map(_stack_bytes, sub_bodies(stmt)))
    return total


# -- memory ----------------------------------------------------------------------------------------


class _Memory:
    """Who lies where in the arena and how long, from the notes alone."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.step = {n: s for s, n in enumerate(graph.order())}
        self.inside = [
            n for n, node in graph.nodes() if node.op != "constant" and lies_in_arena(graph, n)
        ]
        self.roots: dict[int, int] = {}
        self.buffer: dict[int, list[int]] = {}  # its root -> all values in it
        self.picking: dict[int, list[int]] = {}  # value -> values picked out of it and others
        for node_id, node in graph.nodes():
            for value in node.notes.get("picks", ()):
                self.picking.setdefault(value, []).append(node_id)

    def check(self) -> None:
        """Places, ends of the arena, lives."""
        self._check_places()
        for value in self.inside:
            self.buffer.setdefault(self._root(value), []).append(value)
        for value in self.inside:
            if "in_place" in self.graph[value].notes:
                self._check_overwritten(value)
        self._check_apart()
        self._check_picks()

    def _check_picks(self) -> None:
        """Values that are picked out of several buffers know where these lie."""
        for node_id, node in self.graph.nodes():
            if "picks" in node.notes:
                places = [self.graph[value].notes.get("place", -1) for value in node.notes["picks"]]
                starts = tuple(place - min(places) for place in places)
                if min(places) < 0 or node.notes["layout"].starts != starts:
                    raise _fail(self.graph, node_id, f"does not begin at {starts}")

    def _check_places(self) -> None:
        arena = self.graph.meta.get("arena_elems")
        if type(arena) is not int or arena < 0 or arena % _ALIGN_ELEMS:
            raise VerifyError(f"the arena has {arena} elements, no multiple of {_ALIGN_ELEMS}")
        for value in self.inside:
            notes = self.graph[value].notes
            place = notes.get("place")
            if type(place) is not int or not 0 <= place <= arena - notes["layout"].words:
                raise _fail(self.graph, value, f"place {place} is not in the arena of {arena}")
            below = self._below(value)
            if below is None and place % _ALIGN_ELEMS:
                raise _fail(self.graph, value, f"place {place} is not aligned")
            if below is not None:
                other, offset = below
                if self.graph[other].notes.get("place") != place - offset:
                    raise _fail(self.graph, value, f"does not lie in the buffer of node {other}")

    def _below(self, value: int) -> tuple[int, int] | None:
        """The value whose buffer this one shares, and how many elements behind its start."""
        notes, operands = self.graph[value].notes, self.graph.operands(value)
        if "alias" in notes:
            owner, blocks = notes["alias"]
            layout = notes["layout"]
            return owner, blocks * layout.plane_pitch if isinstance(layout, Layout) else 0
        if "in_place" not in notes:
            return None
        index = notes["in_place"]
        if index not in replaceable(self.graph, value):
            raise _fail(self.graph, value, f"cannot be written over operand {index}")
        if self.graph[operands[index]].notes.get("layout") != notes["layout"]:
            raise _fail(self.graph, value, f"does not lie like operand {index}")
        return operands[index], 0

    def _root(self, value: int) -> int:
        """The value that has a place of its own, in which this one lies."""
        path: list[int] = []
        while value not in self.roots and (below := self._below(value)) is not None:
            if value in path:
                raise _fail(self.graph, value, "is a view of itself")
            path.append(value)
            value = below[0]
        root = self.roots.get(value, value)
        self.roots.update(dict.fromkeys([*path, value], root))
        return root

    def _last_read(self, value: int) -> int:
        readers = [value, *self.picking.get(value, ())]
        reads = [self.step[user] for reader in readers for user, _ in self.graph.users(reader)]
        return max([self.step[value], *reads])

    def _check_overwritten(self, value: int) -> None:
        """Nothing else in the buffer is read after `value` was written into it."""
        for other in self.buffer[self._root(value)]:
            earlier = self.step[other] < self.step[value]
            if earlier and self._last_read(other) > self.step[value]:
                raise _fail(self.graph, value, f"is written over node {other}, which is read later")

    def _check_apart(self) -> None:
        """Buffers that live at the same time share no element."""
        lives = []
        for root, values in self.buffer.items():
            start = self.graph[root].notes["place"]
            first = min(self.step[self.graph[v].notes.get("made_by", v)] for v in values)
            last = max(map(self._last_read, values))
            lives.append((start, start + self.graph[root].notes["layout"].words, first, last, root))
        lives.sort()
        for number, (_, end, first, last, root) in enumerate(lives):
            for start, _, other_first, other_last, other in lives[number + 1 :]:
                if start >= end:
                    break
                if first <= other_last and other_first <= last:
                    raise _fail(
                        self.graph, root, f"shares memory with node {other}, while it lives"
                    )
