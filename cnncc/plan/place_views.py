"""Values that lie in another's buffer: operands of joins, slices at block boundaries, flat maps."""

from __future__ import annotations

from cnncc.kernels.layout import Layout
from cnncc.plan.site import dimensions, steps_of
from cnncc.plan.slots import Segments, Slots


class Views:
    """Notes `alias` where a value can be written or read in place of a copy."""

    def __init__(self, slots: Slots) -> None:
        self.slots, self.graph, self.lanes = slots, slots.graph, slots.lanes
        self.segments, self.block = slots.segments, slots.block

    def place_operands(self, concat: int) -> None:
        """Let every operand be computed where it belongs in the result."""
        offset = 0
        segments: list[int] = []
        for index, operand in enumerate(self.graph.operands(concat)):
            reason = self.cannot_place(concat, index)
            if reason:
                own = self.segments.get(operand) or (dimensions(self.graph.type_of(operand))[0],)
                operand = self.slots.copy(concat, index, own, f"operand {index}: {reason}")
            self.slots.alias[operand] = (concat, offset)
            segments += self.segments[operand]
            offset += Layout(self.lanes, self.segments[operand], 1, 1).blocks
        self.segments[concat] = tuple(segments)
        why = "each operand is written straight into its blocks of the result"
        self.slots.record(concat, "no copy", why)

    def cannot_place(self, concat: int, index: int) -> str:
        """Why an operand of a concatenation cannot be computed in its result; empty if it can."""
        operand = self.graph.operands(concat)[index]
        node = self.graph[operand]
        if node.op in ("input", "constant"):
            return "it is not computed"
        if operand in self.slots.alias:
            return "it already lies in another buffer"
        if operand in self.slots.picks:
            return "its channels lie in several buffers"
        if operand in self.graph.operands(concat)[:index]:
            return "it occurs twice"
        if self.block[operand] != self.lanes:
            return "it is a narrow block"
        return ""

    def choose_slice(self, node_id: int) -> None:
        """Read a slice where it is, if it begins and ends with blocks of its operand."""
        source, attrs = self.graph.operands(node_id)[0], self.graph[node_id].attrs
        first = self.cut_at_blocks(node_id)
        if first is None:
            self.segments[node_id] = (attrs.stop - attrs.start,)
            return
        self.segments[node_id] = _cut(self.segments[source], attrs.start, attrs.stop)
        self.slots.alias[node_id] = (source, first)
        self.slots.record(node_id, "no copy", "the slice begins and ends on block boundaries")

    def cut_at_blocks(self, node_id: int) -> int | None:
        """The first block of a slice that is made of whole blocks of its operand, else None."""
        source, attrs = self.graph.operands(node_id)[0], self.graph[node_id].attrs
        if self.block.get(source) != self.lanes or source in self.slots.picks:
            return None
        layout = Layout(self.lanes, self.segments[source], 1, 1)
        slots = layout.channel_slots[attrs.start : attrs.stop]
        first = int(slots[0])
        whole = layout.slot_channels[first : -(-(int(slots[-1]) + 1) // self.lanes) * self.lanes]
        alone = int((whole >= 0).sum()) == attrs.stop - attrs.start
        return first // self.lanes if first % self.lanes == 0 and alone else None

    def flatten_in_place(self, node_id: int) -> bool:
        """Read the map as a vector where it lies, if only fully connected layers read it."""
        users = self.graph.users(node_id)
        readers = [(steps_of(self.graph, u), i) for u, i in users]
        source = self.graph.operands(node_id)[0]
        if self.graph[source].op == "input" or not users:
            return False
        if all(s[0].op == "dense" and s[0].args[0] == i for s, i in readers):
            self.slots.alias[node_id] = (source, 0)
            why = "the weights of the layer behind it are permuted instead"
            self.slots.record(node_id, "no copy", why)
            return True
        return False


def _cut(segments: Segments, start: int, stop: int) -> Segments:
    """The parts of segments that lie in channels [start, stop)."""
    cut, first = [], 0
    for size in segments:
        part = min(stop, first + size) - max(start, first)
        if part > 0:
            cut.append(part)
        first += size
    return tuple(cut)
