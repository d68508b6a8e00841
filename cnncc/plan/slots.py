"""Which slots the channels of each value have, as far as it is decided.

A slot is a channel's place in the blocks of a buffer. All that chooses layouts writes here:
`choose_layout.py` block by block, `place_views.py` what lies in another's buffer and
`pick_channels.py` what has no memory at all.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cnncc.ir.build import add_typed
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.plan.bridge import free_name
from cnncc.plan.choose_storage import Storage
from cnncc.plan.site import label

Segments = tuple[int, ...]
Channel = tuple[int, int]  # a value and one of its channels


@dataclass(slots=True)
class Slots:
    """What is known of a graph's values while layouts are chosen.

    Attributes:
        graph: the graph; copies are added to it.
        lanes: f32 lanes of a block.
        storages: blocks or rows, by value.
        segments: runs of channels that begin with a block, by value in blocks.
        block: channels of a block, by the same values.
        alias: a value that lies in another's buffer -> (its owner, block offset).
        picks: a value without memory -> where its channels are.
    """

    graph: Graph
    lanes: int
    storages: dict[int, Storage]
    segments: dict[int, Segments] = field(default_factory=dict)
    block: dict[int, int] = field(default_factory=dict)
    alias: dict[int, tuple[int, int]] = field(default_factory=dict)
    picks: dict[int, list[Channel]] = field(default_factory=dict)

    def in_rows(self, node_id: int) -> bool:
        """Whether a value lies in row-major order."""
        return self.storages.get(node_id) is Storage.ROWS

    def owner(self, value: int) -> int:
        """The value whose buffer this one lies in; itself if it has its own."""
        while value in self.alias:
            value = self.alias[value][0]
        return value

    def want(self, node_id: int, index: int, wanted: Segments) -> None:
        """Put a copy before an operand whose slots are not those of `wanted`."""
        operand = self.graph.operands(node_id)[index]
        have = merge_segments(self.segments[operand], self.lanes)
        if have == merge_segments(wanted, self.lanes) and self.block[operand] == self.lanes:
            return
        self.copy(node_id, index, wanted, "its channels lie in other blocks than the reader's")

    def copy(self, node_id: int, index: int, wanted: Segments, reason: str) -> int:
        """Put a copy with these segments before an operand; gives the copy."""
        operand = self.graph.operands(node_id)[index]
        name = free_name(self.graph, f"{self.graph[operand].name or 'value'}.copy")
        spans = self.graph[operand].spans
        copy = add_typed(self.graph, "relayout", [operand], name=name, spans=spans)
        self.graph.set_operand(node_id, index, copy)
        self.segments[copy], self.block[copy] = wanted, self.lanes
        self.record(node_id, "copy before it", reason)
        return copy

    def record(self, node_id: int, choice: str, why: str, *against: tuple[str, str]) -> None:
        """Note a decision, its reason and what it beat."""
        decision = Decision(label(self.graph, node_id), choice, why, against, by="choose-layout")
        record(self.graph, decision)


def merge_segments(segments: Segments, block: int) -> Segments:
    """The same slots in fewer segments: one that fills its blocks joins the next."""
    merged: list[int] = []
    for size in segments:
        if merged and merged[-1] % block == 0:
            merged[-1] += size
        else:
            merged.append(size)
    return tuple(merged)
