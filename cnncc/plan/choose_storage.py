"""Storage choice: which values lie in blocks of channels, and which in row-major order.

Convolutions, pools and what belongs to them compute on blocked f32 feature maps and vectors. All
else (other ranks and element types, general moves, reductions, matrix products) computes on
row-major arrays. Pointwise operators and a few moves can do either: they follow their operands, so
that values are copied from one order to the other as seldom as possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.ir.types import DType
from cnncc.kernels import KERNELS
from cnncc.ops.channels import computes_on_maps, is_channel_shaped, is_map_or_vector
from cnncc.ops.fused import Step
from cnncc.plan.site import steps_of

TO_MAPS = (0, 3, 1, 2)
TO_PIXELS = (0, 2, 3, 1)

BLOCKED_ANCHORS = frozenset(a for k in KERNELS if not k.rows for a in k.anchors)
ROW_ANCHORS = frozenset(a for k in KERNELS if k.rows for a in k.anchors)


class Storage(Enum):
    """How the elements of a value lie in memory."""

    BLOCKED = "blocked"
    ROWS = "row-major"


def choose_storages(graph: Graph) -> dict[int, Storage]:
    """The storage of every computed value; inputs and constants have none."""
    chosen: dict[int, Storage] = {}
    order = graph.order()
    undecided = []
    for node_id in order:
        steps = steps_of(graph, node_id)
        if Trait.SOURCE in lookup(steps[0].op).traits and not graph.operands(node_id):
            continue
        if turns(graph, node_id) == TO_MAPS:
            if not _reads_blocks(graph, node_id, chosen):
                undecided.append(node_id)  # its readers decide: it is the copy that they need
                continue
            chosen[node_id] = Storage.ROWS
        elif not can_block(graph, node_id, steps):
            chosen[node_id] = Storage.ROWS
        elif not (_is_flexible(steps) and can_row(steps)):
            chosen[node_id] = Storage.BLOCKED
        else:
            undecided.append(node_id)
            storage = _like_operands(graph, node_id, chosen)
            if storage is not None:
                chosen[node_id] = storage
    for node_id in reversed(undecided):
        if node_id not in chosen:
            wanted = {chosen.get(user) for user, _ in graph.users(node_id)}
            blocked = Storage.BLOCKED in wanted or _reads_picture(graph, node_id)
            chosen[node_id] = Storage.BLOCKED if blocked else Storage.ROWS
    return chosen


def turns(graph: Graph, node_id: int) -> tuple[int, ...] | None:
    """The order of axes of a transpose between [1,H,W,C] and [1,C,H,W] in f32, else None.

    Such a one is the copy between a row-major array and blocks of channels, in either direction.
    """
    node, result = graph[node_id], graph.type_of(node_id)
    if node.op != "transpose" or not is_map_or_vector(result) or len(result.shape) != 4:
        return None
    if graph[graph.operands(node_id)[0]].op == "constant":
        return None
    perm: tuple[int, ...] = node.attrs.perm
    return perm if perm in (TO_MAPS, TO_PIXELS) else None


def _reads_blocks(graph: Graph, node_id: int, chosen: dict[int, Storage]) -> bool:
    """Whether the operand is no row-major array: computed in blocks, or a picture in hwc order."""
    operand = graph.operands(node_id)[0]
    return chosen.get(operand) is Storage.BLOCKED or _reads_picture(graph, node_id)


def _is_flexible(steps: Sequence[Step]) -> bool:
    """Whether either order serves: nothing but the order of the operands decides."""
    traits = lookup(steps[0].op).traits
    return Trait.POINTWISE in traits or Trait.SHAPE_ONLY in traits


def _reads_picture(graph: Graph, node_id: int) -> bool:
    """Whether a node reads an array in hwc order, which only blocked kernels bring into theirs."""
    sources = [graph[o] for o in graph.operands(node_id) if graph[o].op == "input"]
    return any(source.attrs.memory == "hwc" for source in sources)


def _like_operands(graph: Graph, node_id: int, chosen: dict[int, Storage]) -> Storage | None:
    """The storage of the largest operand; None when all come from outside."""
    known = [o for o in graph.operands(node_id) if o in chosen]
    if not known:
        return None
    return chosen[max(known, key=lambda o: (graph.type_of(o).elems, chosen[o] is Storage.BLOCKED))]


def can_row(steps: Sequence[Step]) -> bool:
    """Whether some row-major kernel may do the node."""
    if all(Trait.POINTWISE in lookup(s.op).traits for s in steps):
        return not any(lookup(s.op).per_channel for s in steps)
    return len(steps) == 1 and steps[0].op in ROW_ANCHORS


def can_block(graph: Graph, node_id: int, steps: Sequence[Step]) -> bool:
    """Whether some blocked kernel may do the node."""
    operands = graph.operands(node_id)
    result = graph.type_of(node_id)
    if not is_map_or_vector(result) or steps[0].op not in BLOCKED_ANCHORS:
        return False
    if all(Trait.POINTWISE in lookup(s.op).traits for s in steps):
        return all(_spreads(graph, node_id, s) for s in steps)
    taken = [operands[a] for a in steps[0].args if a >= 0]
    computed = [o for o in taken if graph[o].op != "constant"]
    if not all(is_map_or_vector(graph.type_of(o)) or graph[o].op == "input" for o in computed):
        return False
    if graph[node_id].op == "fused":  # its anchor was asked before it became one
        return True
    return computes_on_maps(graph, node_id) and _move_fits(graph, node_id, steps[0])


def _move_fits(graph: Graph, node_id: int, step: Step) -> bool:
    """Whether a general move is one that blocks can do at little cost."""
    shape = graph.type_of(graph.operands(node_id)[0]).shape if graph.operands(node_id) else ()
    match step.op:
        case "transpose":
            return False
        case "reshape":
            channels = (1, *shape[1:2])
            pixel = len(shape) in (2, 4) and all(n == 1 for n in shape[2:])
            return pixel and graph.type_of(node_id).shape[:2] == channels
        case "concat":
            constants = [o for o in graph.operands(node_id) if graph[o].op == "constant"]
            return step.attrs.axis == 1 or (step.attrs.axis in (2, 3) and not constants)
        case "softmax":
            return bool(step.attrs.axis == 1)
        case _:
            return True


def _spreads(graph: Graph, node_id: int, step: Step) -> bool:
    """Whether every operand of a pointwise step is read pixel by pixel or once a channel."""
    result = graph.type_of(node_id)
    for arg in step.args:
        if arg < 0:
            continue
        operand = graph.operands(node_id)[arg]
        found = graph.type_of(operand)
        if found.dtype is not DType.F32:
            return False
        if graph[operand].op == "constant":
            channels = is_channel_shaped(lookup(step.op), found.shape, result.shape)
            if not channels and found.shape != result.shape:
                return False
        elif found.shape != result.shape and found.shape != (*result.shape[:2], 1, 1):
            return False
    return True
