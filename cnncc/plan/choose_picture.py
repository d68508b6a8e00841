"""How pictures of few channels lie, as only dense convolutions read them.

All channels of a pixel may lie in one narrow block, or each channel in a plane of its own where the
readers compute faster from those; where they find their rows in the caller's array, a picture has
no copy at all.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph
from cnncc.ir.types import TensorType
from cnncc.kernels.layout import NARROW, DenseLayout
from cnncc.kernels.winograd.conv_phases import ConvPhases, phases_pay, refuses_phases
from cnncc.kernels.winograd.plane_rows import refuses_planes
from cnncc.options import Options
from cnncc.plan.site import dimensions, label, steps_of
from cnncc.targets.target import Target

_BY = "choose-layout"


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures of a graph.

    Attributes:
        graph: storages are chosen.
        target: the machine.
        options: optimisations that are left out.
    """

    graph: Graph
    target: Target
    options: Options

    def leave_out_copies(self) -> None:
        """Erase copies of the caller's arrays whose readers all find their rows in these."""
        for node_id in list(self.graph.order()):
            self._leave_out_copy(node_id)

    def _leave_out_copy(self, node_id: int) -> None:
        if self.graph[node_id].op != "relayout" or self.graph.is_output(node_id):
            return
        source = self.graph.operands(node_id)[0]
        node, type_ = self.graph[source], self.graph.type_of(source)
        planes = node.op == "input" and len(type_.shape) == 4 and type_.shape[0] == 1
        if not planes or refuses_planes(caller_layout(node.attrs.memory, type_)):
            return
        if self.phases_pay(node_id):
            why = "its readers frame rows of pixels as they read them"
            self._record(source, "no copy", why)
            self.graph.replace_uses(node_id, source)
            self.graph.erase(node_id)

    def block(self, node_id: int, blocked: Container[int]) -> int:
        """Channels of a block of a value that comes from outside or from rows.

        Args:
            node_id: what brings it into blocks.
            blocked: values that lie in blocks of a whole vector.
        """
        channels, _, _ = dimensions(self.graph.type_of(node_id))
        lanes = self.target.lanes()
        if not self._is_narrow(node_id, channels, blocked):
            return lanes
        why = f"{channels} channels would leave most of {lanes} lanes empty"
        against = (f"blocks of {lanes}", "the convolution would multiply the padding")
        self._record(node_id, f"blocks of {channels} channels", why, against)
        if channels == 1 or not self.phases_pay(node_id):
            return channels
        why = "vectors hold neighbouring pixels while phases of the stride are transformed"
        against = ("all channels of a pixel together", "predicted to take longer")
        self._record(node_id, "one channel a block", why, against)
        return 1

    def _is_narrow(self, node_id: int, channels: int, blocked: Container[int]) -> bool:
        """Whether the value is an input picture that only dense convolutions read."""
        if channels > NARROW or channels >= self.target.lanes():
            return False
        if self.graph.operands(node_id)[0] in blocked:
            return False
        users = self.graph.users(node_id)
        return bool(users) and all(self.is_dense_conv(user, index) for user, index in users)

    def phases_pay(self, node_id: int) -> bool:
        """Whether all readers of a picture are quickest over phases of their strides."""
        users = self.graph.users(node_id)
        if not users or not self.options.uses(ConvPhases.switch):
            return False
        return all(self.is_dense_conv(u, k) and self._computes_phases(u) for u, k in users)

    def _computes_phases(self, node_id: int) -> bool:
        steps, operands = steps_of(self.graph, node_id), self.graph.operands(node_id)
        conv = steps[0]
        types = [self.graph.type_of(operands[a]) for a in conv.args]
        filters = self.graph.constant(operands[conv.args[1]])
        if filters is None or refuses_phases(self.target, conv.attrs, types, filters, steps[-1]):
            return False
        return phases_pay(self.target, conv.attrs, types)

    def is_dense_conv(self, user: int, index: int) -> bool:
        """Whether a reader is a convolution of one group whose input alone the value is."""
        step = steps_of(self.graph, user)[0]
        if step.op != "conv2d" or step.attrs.groups != 1:
            return False
        later = [a for s in steps_of(self.graph, user)[1:] for a in s.args]
        return step.args[0] == index and index not in later

    def _record(self, node_id: int, choice: str, why: str, *against: tuple[str, str]) -> None:
        record(self.graph, Decision(label(self.graph, node_id), choice, why, against, by=_BY))


def caller_layout(memory: str, type_: TensorType) -> DenseLayout:
    """How a caller's picture or vector of one sample lies."""
    return DenseLayout(type_.dtype, *dimensions(type_), memory)
