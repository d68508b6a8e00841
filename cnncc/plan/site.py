"""From a node of the fused graph to the `Site` that kernels see."""

from __future__ import annotations

from cnncc.errors import InternalError, UnsupportedError
from cnncc.ir.graph import Graph
from cnncc.ir.types import TensorType
from cnncc.kernels.layout import AnyLayout, Layout
from cnncc.kernels.template import Site
from cnncc.ops.fused import Step
from cnncc.targets.target import Target

# The caller or the compiler provides these values.
_SOURCES = frozenset({"input", "constant"})


def dimensions(type_: TensorType) -> tuple[int, int, int]:
    """Channels, rows and columns of a feature map [1,C,H,W] or vector [1,K]."""
    if len(type_.shape) == 2 and type_.shape[0] == 1:
        return type_.shape[1], 1, 1
    if len(type_.shape) == 4 and type_.shape[0] == 1:
        return type_.shape[1], type_.shape[2], type_.shape[3]
    raise UnsupportedError(
        f"values of type {type_} have no layout", hint="feature maps and vectors do"
    )


def steps_of(graph: Graph, node_id: int) -> tuple[Step, ...]:
    """The steps of a node; one that is not fused has a single step."""
    node = graph[node_id]
    if node.op == "fused":
        steps: tuple[Step, ...] = node.attrs.steps
        return steps
    return (Step(node.op, node.attrs, tuple(range(len(graph.operands(node_id))))),)


def label(graph: Graph, node_id: int) -> str:
    """What messages call a node: its path, or its operator where it has none."""
    return graph[node_id].name or f"{graph[node_id].op}{node_id}"


def layout_of(graph: Graph, node_id: int) -> AnyLayout | None:
    """The layout noted on a value; constants have none."""
    layout: AnyLayout | None = graph[node_id].notes.get("layout")
    if layout is None and graph[node_id].op != "constant":
        raise InternalError(f"node {node_id} ({graph[node_id].op}) has no layout yet")
    return layout


def site_of(graph: Graph, node_id: int, target: Target, in_place: int | None = None) -> Site:
    """The site of a node whose layouts are chosen, with the way that tuning picked, if it did."""
    operands = graph.operands(node_id)
    node = graph[node_id]
    out = layout_of(graph, node_id)
    if out is None:
        raise InternalError(f"constant {node_id} is not computed")
    return Site(
        name=label(graph, node_id),
        steps=steps_of(graph, node_id),
        types=tuple(graph.type_of(o) for o in operands),
        result=graph.type_of(node_id),
        layouts=tuple(layout_of(graph, o) for o in operands),
        out=out,
        constants=tuple(graph.constant(o) for o in operands),
        target=target,
        in_place=in_place,
        pick=node.notes.get("pick", 0),
        means=_means_of(graph, node_id),
        network_bytes=4 * int(graph.meta.get("parameters", 0)),
    )


def _means_of(graph: Graph, node_id: int) -> Layout | None:
    """The layout of the means of a node's rows, where its kernel gives them too."""
    for user, _ in graph.users(node_id):
        notes = graph[user].notes
        if notes.get("made_by") == node_id:
            found: Layout = notes["layout"]
            return found
    return None


def joins_channels(step: Step) -> bool:
    """Whether a step is a concatenation whose operands are computed where they belong in it."""
    return step.op == "concat" and step.attrs.axis == 1


def is_computed(graph: Graph, node_id: int) -> bool:
    """Whether a node needs a loop nest: it is no source, no view, and not put together in place."""
    node = graph[node_id]
    if "picks" in node.notes or "made_by" in node.notes:
        return False
    joined = isinstance(node.notes.get("layout"), Layout)
    if node.op in _SOURCES or (joined and joins_channels(steps_of(graph, node_id)[0])):
        return False
    alias: tuple[int, int] | None = node.notes.get("alias")
    return alias is None or alias[0] not in graph.operands(node_id)
