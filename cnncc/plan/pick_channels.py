"""Values that have no memory: their readers find each channel where it lies.

Slices within blocks, channel shuffles and what they are joined to only say which channel is which
(`Picked` layouts, `picks` notes).
"""

from __future__ import annotations

from cnncc.kernels.convolution.conv_gather import ConvGather, gathers
from cnncc.kernels.layout import Picked
from cnncc.ops.fused import Step
from cnncc.options import Options
from cnncc.plan.place_views import Views
from cnncc.plan.site import dimensions, joins_channels, steps_of
from cnncc.plan.slots import Channel, Slots


class Picks:
    """Notes where the channels of values without memory lie; copies for readers of whole blocks."""

    def __init__(self, slots: Slots, views: Views, options: Options) -> None:
        self.slots, self.graph, self.lanes = slots, slots.graph, slots.lanes
        self.block, self.views, self.options = slots.block, views, options
        self.gathered: dict[int, int] = {}  # a value without memory -> its copy with memory

    def has_no_memory(self, node_id: int, anchor: Step) -> bool:
        """Whether a value is but a choice of channels that lie in other buffers."""
        if not self.options.uses(ConvGather.switch) or not _moves_channels(anchor):
            return False
        operands = self.graph.operands(node_id)
        if anchor.op == "slice_channels":
            return operands[0] in self.slots.picks or self.views.cut_at_blocks(node_id) is None
        if anchor.op == "channel_shuffle":
            return True
        if not any(self.views.cannot_place(node_id, index) for index in range(len(operands))):
            return False
        # Where someone wants it in one piece, some operands can be computed in that piece.
        users = self.graph.users(node_id)
        return all(self._reads_picks(user, index) for user, index in users)

    def _reads_picks(self, node_id: int, index: int) -> bool:
        """Whether a reader finds channels that lie anywhere."""
        if self.slots.in_rows(node_id):
            return True  # it is a copy itself
        steps, operands = steps_of(self.graph, node_id), self.graph.operands(node_id)
        anchor = steps[0]
        if anchor.op == "conv2d":
            later = [a for s in steps[1:] for a in s.args]
            window = self.graph.type_of(operands[anchor.args[1]]).shape[2:]
            return anchor.args[0] == index and index not in later and gathers(steps, window)
        return anchor.op == "relayout" or _moves_channels(anchor)

    def pick(self, node_id: int, anchor: Step) -> None:
        """Note where each channel of a value without memory lies."""
        found: list[Channel] = []
        for index, operand in enumerate(self.graph.operands(node_id)):
            if operand not in self.slots.picks and self.block.get(operand) != self.lanes:
                channels, _, _ = dimensions(self.graph.type_of(operand))
                operand = self.slots.copy(node_id, index, (channels,), "it lies in no blocks")
            channels, _, _ = dimensions(self.graph.type_of(operand))
            found += self.slots.picks.get(operand) or [(operand, c) for c in range(channels)]
        if anchor.op == "slice_channels":
            found = found[anchor.attrs.start : anchor.attrs.stop]
        elif anchor.op == "channel_shuffle":
            each = len(found) // anchor.attrs.groups
            found = [c for first in range(each) for c in found[first::each]]
        self.slots.picks[node_id] = found
        why = "readers find each channel where it lies"
        self.slots.record(node_id, "no copy, no memory", why)

    def gather_operands(self, node_id: int) -> None:
        """Put copies before a node whose operands have no memory, unless it reads such."""
        if joins_channels(steps_of(self.graph, node_id)[0]):
            return  # these are copied to where they belong
        for index, operand in enumerate(self.graph.operands(node_id)):
            if operand not in self.slots.picks or self._reads_picks(node_id, index):
                continue
            if operand in self.gathered:
                self.graph.set_operand(node_id, index, self.gathered[operand])
            else:
                channels, _, _ = dimensions(self.graph.type_of(operand))
                why = "it reads whole blocks of channels"
                self.gathered[operand] = self.slots.copy(node_id, index, (channels,), why)

    def note(self) -> None:
        """Note the layouts of values without memory, once all others have theirs."""
        for node_id, channels in self.slots.picks.items():
            values = list(dict.fromkeys(value for value, _ in channels))
            layouts = [self.graph[value].notes["layout"] for value in values]
            part = {value: number for number, value in enumerate(values)}
            slots = [layout.channel_slots for layout in layouts]
            picks = tuple((part[v], int(slots[part[v]][c])) for v, c in channels)
            notes = self.graph[node_id].notes
            notes["layout"], notes["picks"] = Picked(tuple(layouts), picks), tuple(values)


def _moves_channels(step: Step) -> bool:
    """Whether a step only says which channels of its operands are which of its result."""
    return step.op in ("slice_channels", "channel_shuffle") or joins_channels(step)
