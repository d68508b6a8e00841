"""Layout choice: blocks and segments; copies where neighbours disagree; views.

Feature maps and vectors of CNN operators lie in blocks of as many channels as the target has lanes,
all else in row-major order (`choose_storage.py`). What is decided here is the rest:

* an input of few channels that only dense convolutions read has blocks of its own kind, or none
  (`choose_picture.py`);
* the halo of a value is the widest that any of its readers needs (`choose_halo.py`);
* operands of a concatenation are computed where they belong in its result, a slice at a block
  boundary and a flattened map are read where they are: `alias` notes, no copies (`place_views.py`);
* any other slice, a channel shuffle and what they are joined to have no memory at all: the
  convolutions behind them find each channel where it lies (`pick_channels.py`);
* a reshape of a row-major array is the same memory;
* `relayout` nodes stand between the two orders (`bridge.py`) and wherever segments do not match;
  a transpose between [1,H,W,C] and [1,C,H,W] is such a copy itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.kernels.convolution.conv_columns import ConvColumns, suits_columns
from cnncc.kernels.convolution.conv_depthwise import shares_lanes
from cnncc.kernels.convolution.conv_depthwise_transposed import lanes_stay
from cnncc.kernels.convolution.conv_geometry import groups_aligned
from cnncc.kernels.convolution.conv_grouped import groups_in_lanes
from cnncc.kernels.convolution.conv_planes import ConvPlanes, suits_planes
from cnncc.kernels.layout import (
    NO_HALO,
    FlatLayout,
    Layout,
    RowMajor,
)
from cnncc.ops.fused import Step
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.options import DEFAULTS, Options
from cnncc.plan.bridge import bridge
from cnncc.plan.choose_halo import Halos
from cnncc.plan.choose_picture import Pictures, caller_layout
from cnncc.plan.choose_storage import Storage, choose_storages
from cnncc.plan.pick_channels import Picks
from cnncc.plan.place_views import Views
from cnncc.plan.site import dimensions, joins_channels, steps_of
from cnncc.plan.slots import Segments, Slots, merge_segments
from cnncc.targets.target import Target

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


class _Chooser:
    """One run over one graph."""

    def __init__(
        self, graph: Graph, target: Target, options: Options, storages: dict[int, Storage]
    ) -> None:
        self.graph, self.target, self.options = graph, target, options
        self.slots = Slots(graph, target.lanes(), storages)
        self.lanes = self.slots.lanes
        self.segments, self.block = self.slots.segments, self.slots.block
        self.views = Views(self.slots)
        self.picks = Picks(self.slots, self.views, options)
        self.pictures = Pictures(graph, target, options)

    def run(self) -> None:
        self.pictures.leave_out_copies()
        for node_id in self.graph.order():
            self._choose_segments(node_id)
        self._note_layouts()

    # -- segments, block by block ------------------------------------------------------------------

    def _choose_segments(self, node_id: int) -> None:
        node = self.graph[node_id]
        if node.op in ("input", "constant") or self.slots.in_rows(node_id):
            return
        channels, _, _ = dimensions(self.graph.type_of(node_id))
        steps = steps_of(self.graph, node_id)
        anchor = steps[0]
        self.block[node_id] = self.lanes
        if self.picks.has_no_memory(node_id, anchor):
            self.picks.pick(node_id, anchor)
            return
        self.picks.gather_operands(node_id)
        if anchor.op in ("normalize", "relayout", "transpose"):
            self.segments[node_id] = (channels,)
            self.block[node_id] = self.pictures.block(node_id, self.segments)
        elif anchor.op in ("conv2d", "conv2d_transpose"):
            self._choose_conv(node_id, anchor, channels)
        elif joins_channels(anchor):
            self.views.place_operands(node_id)
        elif anchor.op == "slice_channels":
            self.views.choose_slice(node_id)
        elif anchor.op in _KEEPS_SEGMENTS or Trait.POINTWISE in lookup(anchor.op).traits:
            self.segments[node_id] = self._first_value_segments(node_id, anchor, channels)
        else:
            self.segments[node_id] = (channels,)
            read_anywhere = anchor.op == "channel_shuffle"  # it picks channels one by one
            if not read_anywhere and not (
                anchor.op == "flatten" and self.views.flatten_in_place(node_id)
            ):
                for index, operand in enumerate(self.graph.operands(node_id)):
                    if operand in self.segments:
                        plain = dimensions(self.graph.type_of(operand))[0]
                        self.slots.want(node_id, index, (plain,))
        self._match_epilogue(node_id, steps)

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
                self.slots.record(node_id, "one channel a block", why, against)
            elif self._suits_columns(node_id, anchor, source):
                self.block[node_id] = 1
                why = (
                    f"{channels} channels would leave more of {self.lanes} lanes empty than columns"
                )
                against = (f"blocks of {self.lanes}", "more vectors")
                self.slots.record(node_id, "one channel a block", why, against)
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
            self.slots.want(node_id, anchor.args[0], (taken // groups,) * groups)
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
        taps, filters = (float(w[2]), float(w[3])), w[0]
        if anchor.op == "conv2d_transpose":
            strides = anchor.attrs.strides
            taps, filters = (taps[0] / strides[0], taps[1] / strides[1]), w[1]
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
            self.slots.want(node_id, a, chosen)
        return chosen

    def _match_epilogue(self, node_id: int, steps: tuple[Step, ...]) -> None:
        operands = self.graph.operands(node_id)
        for index in dict.fromkeys(a for s in steps[1:] for a in s.args if a >= 0):
            if operands[index] in self.segments:
                self.slots.want(node_id, index, self.segments[node_id])

    # -- channels where they lie -------------------------------------------------------------------

    # -- views -------------------------------------------------------------------------------------

    # -- layouts -----------------------------------------------------------------------------------

    def _note_layouts(self) -> None:
        owners = {value: self.slots.owner(value) for value in self.segments}
        wanted = Halos(self.graph, self.target, self.options, self.block, owners)
        picked = [
            {self.slots.owner(value) for value, _ in found} for found in self.slots.picks.values()
        ]
        halos = wanted.of_buffers(picked)
        for source in self.graph.inputs:
            node = self.graph[source]
            type_ = self.graph.type_of(source)
            if len(type_.shape) in (2, 4) and type_.shape[0] == 1:
                node.notes["layout"] = caller_layout(node.attrs.memory, type_)
            else:
                node.notes["layout"] = RowMajor(type_.dtype, type_.shape)
        for node_id in self.slots.storages:
            if self.slots.in_rows(node_id):
                self._note_rows(node_id)
        for node_id in self.graph.order():
            node = self.graph[node_id]
            if node_id not in self.segments or "layout" in node.notes:
                continue
            _, height, width = dimensions(self.graph.type_of(node_id))
            block = self.block[node_id]
            segments = merge_segments(self.segments[node_id], block)
            halo = halos.get(self.slots.owner(node_id), NO_HALO)
            if node_id in self.slots.alias:
                node.notes["alias"] = self.slots.alias[node_id]
            elif any(halo):
                readers = wanted.readers.get(node_id, [])
                choice = (
                    f"halo of {halo[0]} above, {halo[1]} left, {halo[2]} below, {halo[3]} right"
                )
                against = ("cut windows at the edges", "would need code of its own for each edge")
                why = f"the windows of {', '.join(readers)} reach beyond the picture"
                self.slots.record(node_id, choice, why, against)
            operands = self.graph.operands(node_id)
            owner, _ = self.slots.alias.get(node_id, (None, 0))
            if node.op == "flatten" and owner == operands[0]:
                source = self.graph[operands[0]].notes["layout"]
                node.notes["layout"] = FlatLayout(source, node.attrs.order)
            else:
                node.notes["layout"] = Layout(block, segments, height, width, halo)
        self.picks.note()

    def _note_rows(self, node_id: int) -> None:
        """A row-major array; a reshape of one is the same memory."""
        node, type_ = self.graph[node_id], self.graph.type_of(node_id)
        node.notes["layout"] = RowMajor(type_.dtype, type_.shape)
        operands = self.graph.operands(node_id)
        if node.op == "reshape" and self.graph[operands[0]].op != "constant":
            node.notes["alias"] = (operands[0], 0)
            self.slots.record(node_id, "no copy", "row-major order does not change with the shape")
