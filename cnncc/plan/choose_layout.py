"""Layout choice: blocks and segments; copies where neighbours disagree; views.

Feature maps and vectors of CNN operators lie in blocks of as many channels as the target has lanes,
all else in row-major order (`choose_storage.py`). What is decided here is the rest:

* an input of few channels that only dense convolutions read has blocks of its own kind, or none
  (`choose_picture.py`);
* the halo of a value is the widest that any of its readers needs (`choose_halo.py`);
* operands of a concatenation are computed where they belong in its result, a slice at a block
  boundary and a flattened map are read where they are: `alias` notes, no copies;
* any other slice, a channel shuffle and what they are joined to have no memory at all: the
  convolutions behind them find each channel where it lies (`Picked` layouts, `picks` notes);
* a reshape of a row-major array is the same memory;
* `relayout` nodes stand between the two orders (`bridge.py`) and wherever segments do not match;
  a transpose between [1,H,W,C] and [1,C,H,W] is such a copy itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.kernels.convolution.conv_columns import ConvColumns, suits_columns
from cnncc.kernels.convolution.conv_depthwise import shares_lanes
from cnncc.kernels.convolution.conv_depthwise_transposed import lanes_stay
from cnncc.kernels.convolution.conv_gather import ConvGather, gathers
from cnncc.kernels.convolution.conv_geometry import groups_aligned
from cnncc.kernels.convolution.conv_grouped import groups_in_lanes
from cnncc.kernels.convolution.conv_planes import ConvPlanes, suits_planes
from cnncc.kernels.layout import (
    NO_HALO,
    FlatLayout,
    Layout,
    Picked,
    RowMajor,
)
from cnncc.ops.fused import Step
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.options import DEFAULTS, Options
from cnncc.plan.bridge import bridge, free_name
from cnncc.plan.choose_halo import Halos
from cnncc.plan.choose_picture import Pictures, caller_layout
from cnncc.plan.choose_storage import Storage, choose_storages
from cnncc.plan.site import dimensions, joins_channels, label, steps_of
from cnncc.targets.target import Target

Segments = tuple[int, ...]
Channel = tuple[int, int]  # a value and one of its channels
_LARGE_WINDOW = 5  # rows and columns
_KEEPS_SEGMENTS = frozenset(
    {*WINDOW_POOLS, "global_avg_pool", "global_max_pool", "upsample2d", "pad2d", "crop2d"}
)


@dataclass(frozen=True, slots=True)
class ChooseLayout:
    """Notes `layout` on every value and `alias` on values that lie in another's buffer.

    Attributes:
        target: gives the lanes of a block.
        options: optimisations that need no halo, and views that become copies, where they are off.
    """

    target: Target
    options: Options = DEFAULTS
    name: ClassVar[str] = "choose-layout"
    needs: ClassVar[str] = "fused"
    gives: ClassVar[str] = "fused"

    def run(self, graph: Graph) -> None:
        """Choose for the whole graph."""
        storages = choose_storages(graph)
        bridge(graph, storages)
        _Chooser(graph, self.target, self.options, storages).run()


def merge_segments(segments: Segments, block: int) -> Segments:
    """The same slots in fewer segments: one that fills its blocks joins the next."""
    merged: list[int] = []
    for size in segments:
        if merged and merged[-1] % block == 0:
            merged[-1] += size
        else:
            merged.append(size)
    return tuple(merged)


class _Chooser:
    """One run over one graph."""

    def __init__(
        self, graph: Graph, target: Target, options: Options, storages: dict[int, Storage]
    ) -> None:
        self.graph = graph
        self.target, self.options = target, options
        self.lanes = target.lanes()
        self.storages = storages
        self.pictures = Pictures(graph, target, options)
        self.segments: dict[int, Segments] = {}
        self.block: dict[int, int] = {}
        self.alias: dict[int, tuple[int, int]] = {}  # value -> (owner, block offset)
        self.picks: dict[int, list[Channel]] = {}  # value without memory -> where its channels are
        self.gathered: dict[int, int] = {}  # such a value -> its copy with memory

    def run(self) -> None:
        self.pictures.leave_out_copies()
        for node_id in self.graph.order():
            self._choose_segments(node_id)
        self._note_layouts()

    # -- segments, block by block ------------------------------------------------------------------

    def _choose_segments(self, node_id: int) -> None:
        node = self.graph[node_id]
        if node.op in ("input", "constant") or self._in_rows(node_id):
            return
        channels, _, _ = dimensions(self.graph.type_of(node_id))
        steps = steps_of(self.graph, node_id)
        anchor = steps[0]
        self.block[node_id] = self.lanes
        if self._has_no_memory(node_id, anchor):
            self._pick(node_id, anchor)
            return
        self._gather_operands(node_id)
        if anchor.op in ("normalize", "relayout", "transpose"):
            self.segments[node_id] = (channels,)
            self.block[node_id] = self.pictures.block(node_id, self.segments)
        elif anchor.op in ("conv2d", "conv2d_transpose"):
            self._choose_conv(node_id, anchor, channels)
        elif joins_channels(anchor):
            self._place_operands(node_id)
        elif anchor.op == "slice_channels":
            self._choose_slice(node_id)
        elif anchor.op in _KEEPS_SEGMENTS or Trait.POINTWISE in lookup(anchor.op).traits:
            self.segments[node_id] = self._first_value_segments(node_id, anchor, channels)
        else:
            self.segments[node_id] = (channels,)
            read_anywhere = anchor.op == "channel_shuffle"  # it picks channels one by one
            if not read_anywhere and not (
                anchor.op == "flatten" and self._flatten_in_place(node_id)
            ):
                for index, operand in enumerate(self.graph.operands(node_id)):
                    if operand in self.segments:
                        plain = dimensions(self.graph.type_of(operand))[0]
                        self._want_operand(node_id, index, (plain,))
        self._match_epilogue(node_id, steps)

    def _in_rows(self, node_id: int) -> bool:
        return self.storages.get(node_id) is Storage.ROWS

    def _choose_conv(self, node_id: int, anchor: Step, channels: int) -> None:
        source = self.graph.operands(node_id)[anchor.args[0]]
        groups = anchor.attrs.groups
        taken = dimensions(self.graph.type_of(source))[0]
        plain = self._epilogue_segments(node_id) or (channels,)
        if groups == 1:
            self.segments[node_id] = plain
            if self._suits_planes(node_id, anchor, source):
                self.block[node_id] = 1
                why = f"{channels} output channels would leave most of {self.lanes} lanes empty"
                against = (f"blocks of {self.lanes}", "predicted to take longer")
                self._record(node_id, "one channel a block", why, against)
            elif self._suits_columns(node_id, anchor, source):
                self.block[node_id] = 1
                why = (
                    f"{channels} channels would leave more of {self.lanes} lanes empty than columns"
                )
                against = (f"blocks of {self.lanes}", "more vectors")
                self._record(node_id, "one channel a block", why, against)
            return
        if groups == taken == channels and (
            anchor.op == "conv2d" or lanes_stay(anchor.attrs, channels)
        ):  # depthwise
            self.segments[node_id] = self.segments[source]
            return
        several = anchor.op == "conv2d" and groups == taken and self.block[source] == self.lanes
        if (
            several
            and self.segments[source] == (taken,)
            and shares_lanes(self.lanes, taken, channels)
        ):
            self.segments[node_id] = (channels,)
            return
        if anchor.op == "conv2d" and self.block[source] == self.lanes:
            sizes = taken // groups, channels // groups
            if groups_in_lanes(self.segments[source], self.lanes, *sizes):
                self.segments[node_id] = self.segments[source]
                return
        if not self._aligned(self.segments[source], groups):
            self._want_operand(node_id, anchor.args[0], (taken // groups,) * groups)
        self.segments[node_id] = (
            plain if self._aligned(plain, groups) else (channels // groups,) * groups
        )

    def _suits_planes(self, node_id: int, anchor: Step, source: int) -> bool:
        """Whether only copies read the result, which are as well off with planes of channels."""
        readers = [self.graph[user].op for user, _ in self.graph.users(node_id)]
        ends_in_pool = steps_of(self.graph, node_id)[-1].op in WINDOW_POOLS
        if not self.options.uses(ConvPlanes.switch) or set(readers) != {"relayout"}:
            return False
        if source not in self.segments or ends_in_pool or self._epilogue_values(node_id):
            return False
        w = self.graph.type_of(self.graph.operands(node_id)[anchor.args[1]]).shape
        taps, filters = float(w[2] * w[3]), w[0]
        if anchor.op == "conv2d_transpose":
            taps, filters = taps / (anchor.attrs.strides[0] * anchor.attrs.strides[1]), w[1]
        layout = Layout(self.block[source], self.segments[source], 1, 1)
        return suits_planes(self.target, layout, taps, filters)

    def _suits_columns(self, node_id: int, anchor: Step, source: int) -> bool:
        """Whether only convolutions of large windows read the result, from planes as well.

        Smaller windows are often computed by minimal filtering, which wants blocks.
        """
        steps = steps_of(self.graph, node_id)
        several = any(step.op == "conv2d" for step in steps[1:]) or self._epilogue_values(node_id)
        if not self.options.uses(ConvColumns.switch) or self.block.get(source) != 1 or several:
            return False
        users = self.graph.users(node_id)
        if not users or not all(
            self.pictures.is_dense_conv(u, k) and self._is_large(u) for u, k in users
        ):
            return False
        types = [self.graph.type_of(self.graph.operands(node_id)[a]) for a in anchor.args]
        shape = lookup(anchor.op).infer(types, anchor.attrs).shape
        return suits_columns(self.target, steps, (shape[2], shape[3]), shape[1])

    def _is_large(self, node_id: int) -> bool:
        step = steps_of(self.graph, node_id)[0]
        window = self.graph.type_of(self.graph.operands(node_id)[step.args[1]]).shape[2:]
        return min(window) >= _LARGE_WINDOW

    def _aligned(self, segments: Segments, groups: int) -> bool:
        return groups_aligned(Layout(self.lanes, segments, 1, 1), groups)

    def _epilogue_segments(self, node_id: int) -> Segments | None:
        """Segments of the first value that the epilogue reads: the convolution adapts to it."""
        for operand in self._epilogue_values(node_id):
            return self.segments[operand]
        return None

    def _epilogue_values(self, node_id: int) -> list[int]:
        operands = self.graph.operands(node_id)
        args = [a for s in steps_of(self.graph, node_id)[1:] for a in s.args if a >= 0]
        return [operands[a] for a in dict.fromkeys(args) if operands[a] in self.segments]

    def _first_value_segments(self, node_id: int, anchor: Step, channels: int) -> Segments:
        """Segments of the first value operand; the others are brought into line."""
        operands = self.graph.operands(node_id)
        values = [a for a in anchor.args if a >= 0 and operands[a] in self.segments]
        chosen = self.segments[operands[values[0]]] if values else (channels,)
        for a in values[1:]:
            self._want_operand(node_id, a, chosen)
        return chosen

    def _match_epilogue(self, node_id: int, steps: tuple[Step, ...]) -> None:
        operands = self.graph.operands(node_id)
        for index in dict.fromkeys(a for s in steps[1:] for a in s.args if a >= 0):
            if operands[index] in self.segments:
                self._want_operand(node_id, index, self.segments[node_id])

    def _want_operand(self, node_id: int, index: int, wanted: Segments) -> None:
        """Put a copy before an operand whose slots are not those of `wanted`."""
        operand = self.graph.operands(node_id)[index]
        have = merge_segments(self.segments[operand], self.lanes)
        if have == merge_segments(wanted, self.lanes) and self.block[operand] == self.lanes:
            return
        self._copy(node_id, index, wanted, "its channels lie in other blocks than the reader's")

    def _copy(self, node_id: int, index: int, wanted: Segments, reason: str) -> int:
        operand = self.graph.operands(node_id)[index]
        name = free_name(self.graph, f"{self.graph[operand].name or 'value'}.copy")
        spans = self.graph[operand].spans
        copy = add_typed(self.graph, "relayout", [operand], name=name, spans=spans)
        self.graph.set_operand(node_id, index, copy)
        self.segments[copy], self.block[copy] = wanted, self.lanes
        self._record(node_id, "copy before it", reason)
        return copy

    def _record(self, node_id: int, choice: str, why: str, *against: tuple[str, str]) -> None:
        decision = Decision(label(self.graph, node_id), choice, why, against, by="choose-layout")
        record(self.graph, decision)

    # -- channels where they lie -------------------------------------------------------------------

    def _has_no_memory(self, node_id: int, anchor: Step) -> bool:
        """Whether a value is but a choice of channels that lie in other buffers."""
        if not self.options.uses(ConvGather.switch) or not _moves_channels(anchor):
            return False
        operands = self.graph.operands(node_id)
        if anchor.op == "slice_channels":
            return operands[0] in self.picks or self._cut_at_blocks(node_id) is None
        if anchor.op == "channel_shuffle":
            return True
        if not any(self._cannot_place(node_id, index) for index in range(len(operands))):
            return False
        # Where someone wants it in one piece, some operands can be computed in that piece.
        users = self.graph.users(node_id)
        return all(self._reads_picks(user, index) for user, index in users)

    def _reads_picks(self, node_id: int, index: int) -> bool:
        """Whether a reader finds channels that lie anywhere."""
        if self._in_rows(node_id):
            return True  # it is a copy itself
        steps, operands = steps_of(self.graph, node_id), self.graph.operands(node_id)
        anchor = steps[0]
        if anchor.op == "conv2d":
            later = [a for s in steps[1:] for a in s.args]
            window = self.graph.type_of(operands[anchor.args[1]]).shape[2:]
            return anchor.args[0] == index and index not in later and gathers(steps, window)
        return anchor.op == "relayout" or _moves_channels(anchor)

    def _pick(self, node_id: int, anchor: Step) -> None:
        """Note where each channel of a value without memory lies."""
        found: list[Channel] = []
        for index, operand in enumerate(self.graph.operands(node_id)):
            if operand not in self.picks and self.block.get(operand) != self.lanes:
                channels, _, _ = dimensions(self.graph.type_of(operand))
                operand = self._copy(node_id, index, (channels,), "it lies in no blocks")
            channels, _, _ = dimensions(self.graph.type_of(operand))
            found += self.picks.get(operand) or [(operand, c) for c in range(channels)]
        if anchor.op == "slice_channels":
            found = found[anchor.attrs.start : anchor.attrs.stop]
        elif anchor.op == "channel_shuffle":
            each = len(found) // anchor.attrs.groups
            found = [c for first in range(each) for c in found[first::each]]
        self.picks[node_id] = found
        why = "readers find each channel where it lies"
        self._record(node_id, "no copy, no memory", why)

    def _gather_operands(self, node_id: int) -> None:
        """Put copies before a node whose operands have no memory, unless it reads such."""
        if joins_channels(steps_of(self.graph, node_id)[0]):
            return  # these are copied to where they belong
        for index, operand in enumerate(self.graph.operands(node_id)):
            if operand not in self.picks or self._reads_picks(node_id, index):
                continue
            if operand in self.gathered:
                self.graph.set_operand(node_id, index, self.gathered[operand])
            else:
                channels, _, _ = dimensions(self.graph.type_of(operand))
                why = "it reads whole blocks of channels"
                self.gathered[operand] = self._copy(node_id, index, (channels,), why)

    def _note_picks(self) -> None:
        for node_id, channels in self.picks.items():
            values = list(dict.fromkeys(value for value, _ in channels))
            layouts = [self.graph[value].notes["layout"] for value in values]
            part = {value: number for number, value in enumerate(values)}
            slots = [layout.channel_slots for layout in layouts]
            picks = tuple((part[v], int(slots[part[v]][c])) for v, c in channels)
            notes = self.graph[node_id].notes
            notes["layout"], notes["picks"] = Picked(tuple(layouts), picks), tuple(values)

    # -- views -------------------------------------------------------------------------------------

    def _place_operands(self, concat: int) -> None:
        """Let every operand be computed where it belongs in the result."""
        offset = 0
        segments: list[int] = []
        for index, operand in enumerate(self.graph.operands(concat)):
            reason = self._cannot_place(concat, index)
            if reason:
                own = self.segments.get(operand) or (dimensions(self.graph.type_of(operand))[0],)
                operand = self._copy(concat, index, own, f"operand {index}: {reason}")
            self.alias[operand] = (concat, offset)
            segments += self.segments[operand]
            offset += Layout(self.lanes, self.segments[operand], 1, 1).blocks
        self.segments[concat] = tuple(segments)
        why = "each operand is written straight into its blocks of the result"
        self._record(concat, "no copy", why)

    def _cannot_place(self, concat: int, index: int) -> str:
        """Why an operand of a concatenation cannot be computed in its result; empty if it can."""
        operand = self.graph.operands(concat)[index]
        node = self.graph[operand]
        if node.op in ("input", "constant"):
            return "it is not computed"
        if operand in self.alias:
            return "it already lies in another buffer"
        if operand in self.picks:
            return "its channels lie in several buffers"
        if operand in self.graph.operands(concat)[:index]:
            return "it occurs twice"
        if self.block[operand] != self.lanes:
            return "it is a narrow block"
        return ""

    def _choose_slice(self, node_id: int) -> None:
        """Read a slice where it is, if it begins and ends with blocks of its operand."""
        source, attrs = self.graph.operands(node_id)[0], self.graph[node_id].attrs
        first = self._cut_at_blocks(node_id)
        if first is None:
            self.segments[node_id] = (attrs.stop - attrs.start,)
            return
        self.segments[node_id] = _cut(self.segments[source], attrs.start, attrs.stop)
        self.alias[node_id] = (source, first)
        self._record(node_id, "no copy", "the slice begins and ends on block boundaries")

    def _cut_at_blocks(self, node_id: int) -> int | None:
        """The first block of a slice that is made of whole blocks of its operand, else None."""
        source, attrs = self.graph.operands(node_id)[0], self.graph[node_id].attrs
        if self.block.get(source) != self.lanes or source in self.picks:
            return None
        layout = Layout(self.lanes, self.segments[source], 1, 1)
        slots = layout.channel_slots[attrs.start : attrs.stop]
        first = int(slots[0])
        whole = layout.slot_channels[first : -(-(int(slots[-1]) + 1) // self.lanes) * self.lanes]
        alone = int((whole >= 0).sum()) == attrs.stop - attrs.start
        return first // self.lanes if first % self.lanes == 0 and alone else None

    def _flatten_in_place(self, node_id: int) -> bool:
        """Read the map as a vector where it lies, if only fully connected layers read it."""
        users = self.graph.users(node_id)
        readers = [(steps_of(self.graph, u), i) for u, i in users]
        source = self.graph.operands(node_id)[0]
        if self.graph[source].op == "input" or not users:
            return False
        if all(s[0].op == "dense" and s[0].args[0] == i for s, i in readers):
            self.alias[node_id] = (source, 0)
            why = "the weights of the layer behind it are permuted instead"
            self._record(node_id, "no copy", why)
            return True
        return False

    # -- layouts -----------------------------------------------------------------------------------

    def _owner(self, value: int) -> int:
        while value in self.alias:
            value = self.alias[value][0]
        return value

    def _note_layouts(self) -> None:
        owners = {value: self._owner(value) for value in self.segments}
        wanted = Halos(self.graph, self.target, self.options, self.block, owners)
        picked = [{self._owner(value) for value, _ in found} for found in self.picks.values()]
        halos = wanted.of_buffers(picked)
        for source in self.graph.inputs:
            node = self.graph[source]
            type_ = self.graph.type_of(source)
            if len(type_.shape) in (2, 4) and type_.shape[0] == 1:
                node.notes["layout"] = caller_layout(node.attrs.memory, type_)
            else:
                node.notes["layout"] = RowMajor(type_.dtype, type_.shape)
        for node_id in self.storages:
            if self._in_rows(node_id):
                self._note_rows(node_id)
        for node_id in self.graph.order():
            node = self.graph[node_id]
            if node_id not in self.segments or "layout" in node.notes:
                continue
            _, height, width = dimensions(self.graph.type_of(node_id))
            block = self.block[node_id]
            segments = merge_segments(self.segments[node_id], block)
            halo = halos.get(self._owner(node_id), NO_HALO)
            if node_id in self.alias:
                node.notes["alias"] = self.alias[node_id]
            elif any(halo):
                readers = wanted.readers.get(node_id, [])
                choice = (
                    f"halo of {halo[0]} above, {halo[1]} left, {halo[2]} below, {halo[3]} right"
                )
                against = ("cut windows at the edges", "would need code of its own for each edge")
                why = f"the windows of {', '.join(readers)} reach beyond the picture"
                self._record(node_id, choice, why, against)
            operands = self.graph.operands(node_id)
            owner, _ = self.alias.get(node_id, (None, 0))
            if node.op == "flatten" and owner == operands[0]:
                source = self.graph[operands[0]].notes["layout"]
                node.notes["layout"] = FlatLayout(source, node.attrs.order)
            else:
                node.notes["layout"] = Layout(block, segments, height, width, halo)
        self._note_picks()

    def _note_rows(self, node_id: int) -> None:
        """A row-major array; a reshape of one is the same memory."""
        node, type_ = self.graph[node_id], self.graph.type_of(node_id)
        node.notes["layout"] = RowMajor(type_.dtype, type_.shape)
        operands = self.graph.operands(node_id)
        if node.op == "reshape" and self.graph[operands[0]].op != "constant":
            node.notes["alias"] = (operands[0], 0)
            self._record(node_id, "no copy", "row-major order does not change with the shape")


def _moves_channels(step: Step) -> bool:
    """Whether a step only says which channels of its operands are which of its result."""
    return step.op in ("slice_channels", "channel_shuffle") or joins_channels(step)


def _cut(segments: Segments, start: int, stop: int) -> Segments:
    """The parts of segments that lie in channels [start, stop)."""
    cut, first = [], 0
    for size in segments:
        part = min(stop, first + size) - max(start, first)
        if part > 0:
            cut.append(part)
        first += size
    return tuple(cut)
