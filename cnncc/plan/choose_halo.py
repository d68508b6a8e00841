"""Halos: how many zero pixels lie around a feature map, so that windows need no code for edges."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.kernels.convolution.conv_geometry import conv_halo
from cnncc.kernels.convolution.conv_transposed import transposed_halo
from cnncc.kernels.layout import NO_HALO, Halo
from cnncc.kernels.winograd.conv_long_rows import long_rows_halo
from cnncc.kernels.winograd.conv_winograd import ConvWinograd, winograd_halo
from cnncc.kernels.zones.conv_zones import zones_pay
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.options import Options
from cnncc.plan.choose_picture import Pictures
from cnncc.plan.site import label, steps_of
from cnncc.targets.target import Target


@dataclass(frozen=True, slots=True)
class Halos:
    """What readers of blocked values want around them.

    Attributes:
        graph: blocks are chosen.
        target: the machine.
        options: optimisations that need no halo where they are off.
        block: channels of a block of each blocked value.
        owner: the value in whose buffer each of those lies that have memory.
        readers: for each buffer the names of nodes whose windows reach beyond the edge of a value
            in it, once `of_buffers` has looked.
    """

    graph: Graph
    target: Target
    options: Options
    block: Mapping[int, int]
    owner: Mapping[int, int]
    readers: dict[int, list[str]] = field(default_factory=dict)

    def of_buffers(self, picked: Collection[set[int]]) -> dict[int, Halo]:
        """The halo of each buffer: the widest that any reader of any value in it needs.

        Args:
            picked: buffers that some value is picked out of: rows have one pitch there, so these
                have one halo.
        """
        halos: dict[int, Halo] = {}
        for node_id in self.graph.order():
            for index, operand in enumerate(self.graph.operands(node_id)):
                if operand in self.owner:
                    owner, needed = self.owner[operand], self._needed(node_id, index)
                    halos[owner] = widest(halos.get(owner, NO_HALO), needed)
                    if any(needed):
                        self.readers.setdefault(owner, []).append(label(self.graph, node_id))
        _even_out(halos, picked)
        return halos

    def _needed(self, node_id: int, index: int) -> Halo:
        """Zero pixels that a node may read beyond the edge of one of its operands."""
        step = steps_of(self.graph, node_id)[0]
        if step.op not in ("conv2d", "conv2d_transpose") or step.args[0] != index:
            return NO_HALO
        operands = self.graph.operands(node_id)
        types = [self.graph.type_of(operands[a]) for a in step.args]
        result = lookup(step.op).infer(types, step.attrs)
        steps = steps_of(self.graph, node_id)
        last = steps[-1]
        alone = last.op not in WINDOW_POOLS and all(s.op != "conv2d" for s in steps[1:])
        blocks = {self.block.get(value) for value in (operands[index], node_id)}
        blocked = blocks == {self.target.lanes()}
        if alone and blocked and zones_pay(self.target, step.attrs, types, result):
            return NO_HALO  # only taps that see the picture are multiplied
        if step.op == "conv2d_transpose":
            return transposed_halo(step.attrs, types[0], types[1], result)
        need = conv_halo(step.attrs, types[0], types[1], result)
        if not self.options.uses(ConvWinograd.switch):
            return need
        pictures = Pictures(self.graph, self.target, self.options)
        if self.block[operands[index]] == 1 and pictures.phases_pay(operands[index]):
            return NO_HALO  # rows are framed as they are read
        window = last.attrs.window if last.op in WINDOW_POOLS else (1, 1)
        tiles = winograd_halo(self.target, step.attrs, types, result, (window[0], window[1]))
        rows = long_rows_halo(self.target, step.attrs, types, result) if alone else NO_HALO
        return widest(need, tiles, rows)


def _even_out(halos: dict[int, Halo], groups: Collection[set[int]]) -> None:
    """One halo for all buffers of a group; groups may share buffers."""
    pending = True
    while pending:
        pending = False
        for owners in groups:
            every = [halos.get(owner, NO_HALO) for owner in owners]
            if len(set(every)) > 1:
                halos.update(dict.fromkeys(owners, widest(*every)))
                pending = True


def widest(*halos: Halo) -> Halo:
    """The halo that holds all of these."""
    top, left, bottom, right = map(max, zip(*halos, strict=True))
    return top, left, bottom, right
