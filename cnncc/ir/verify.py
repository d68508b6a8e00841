"""What a graph must be at each level; a breach is a mistake of the pass that ran last."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from cnncc.errors import TypeInferenceError, VerifyError
from cnncc.ir.build import infer
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup, registered

LEVELS = ("parsed", "typed", "canonical", "fused", "planned")
"""Levels in order; each keeps the promises of those before it."""

NOTHING = frozenset({Trait.POINTWISE, Trait.SHAPE_ONLY})
"""Traits of the operators that hand on their operand."""


def verify(
    graph: Graph,
    level: str = "typed",
    *,
    spans: bool = False,
    notes: Collection[str] = (),
) -> None:
    """Check the invariants of a level.

    `parsed`: known operators, attributes of their class, arities, operands in consecutive order, no
    cycle, outputs and constants that exist, unique names. `typed`: every type is what its rule
    gives. `canonical`: nothing unused, nothing that does nothing (dropout, identity). `fused`:
    fused nodes are allowed. `planned`: every node that computes carries the `notes` of the plan.

    Args:
        graph: what to check; it is not changed.
        level: one of `LEVELS`.
        spans: whether every node but constants must know its place in a source file.
        notes: keys that every computing node must have at level `planned`.

    Raises:
        VerifyError: with the node and what is wrong with it.
    """
    reached = LEVELS.index(level)
    _check_structure(graph, reached)
    checks: list[Callable[[Graph], None]] = [_check_types, _check_canonical]
    for check in checks[:reached]:
        check(graph)
    for node_id, node in graph.nodes():
        if spans and node.op != "constant" and not node.spans:
            raise VerifyError(f"{_word(graph, node_id)} does not know its place in the source")
        if level == "planned" and node.op not in ("input", "constant"):
            missing = [key for key in notes if key not in node.notes]
            if missing:
                raise VerifyError(f"{_word(graph, node_id)} lacks the notes {missing}")


def _word(graph: Graph, node_id: int) -> str:
    node = graph[node_id]
    return f"node {node_id} (`{node.op}`{f' {node.name}' if node.name else ''})"


def _check_structure(graph: Graph, reached: int) -> None:
    operators = registered()
    order = graph.order()
    names: dict[str, int] = {}
    for node_id in order:
        node, word = graph[node_id], _word(graph, node_id)
        op = operators.get(node.op)
        if op is None:
            raise VerifyError(f"{word}: no such operator")
        if node.op == "fused" and reached < LEVELS.index("fused"):
            raise VerifyError(f"{word}: fused nodes exist from level `fused` on")
        if type(node.attrs) is not op.Attrs:
            found = type(node.attrs).__name__
            raise VerifyError(f"{word}: attributes are {found}, not {op.Attrs.__name__}")
        count, (least, most) = len(graph.operands(node_id)), op.arity
        if count < least or (most is not None and count > most):
            raise VerifyError(f"{word} has {count} operands")
        if graph.operand_indices(node_id) != list(range(count)):
            raise VerifyError(f"{word} has operands at {graph.operand_indices(node_id)}")
        if node.name and names.setdefault(node.name, node_id) != node_id:
            raise VerifyError(f"{word} has the name of node {names[node.name]}")
        data: Any = getattr(node.attrs, "data", None)
        if node.op == "constant" and data not in graph.constants:
            raise VerifyError(f"{word}: no array is called `{data}`")
    _check_ends(graph, order)


def _check_ends(graph: Graph, order: list[int]) -> None:
    declared = [i for i in order if graph[i].op == "input"]
    if sorted(graph.inputs) != sorted(declared):
        raise VerifyError(f"the graph lists inputs {graph.inputs}, its nodes are {declared}")
    if not graph.outputs:
        raise VerifyError("the graph has no outputs")
    seen = set()
    for name, out in graph.outputs:
        if out not in graph:
            raise VerifyError(f"output `{name}` is node {out}, which does not exist")
        if name in seen:
            raise VerifyError(f"two outputs are called `{name}`")
        seen.add(name)


def _check_types(graph: Graph) -> None:
    for node_id, node in graph.nodes():
        if node.type is None:
            raise VerifyError(f"{_word(graph, node_id)} has no type")
        try:
            found = infer(graph, node.op, graph.operands(node_id), node.attrs)
        except TypeInferenceError as error:
            raise VerifyError(f"{_word(graph, node_id)}: {error.message}") from error
        if found != node.type:
            raise VerifyError(
                f"{_word(graph, node_id)} is typed {node.type}, its rule gives {found}"
            )


def _check_canonical(graph: Graph) -> None:
    read = {node.attrs.data for _, node in graph.nodes() if node.op == "constant"}
    unread = [key for key in graph.constants if key not in read]
    if unread:
        raise VerifyError(f"arrays {unread} are read by no node")
    for node_id, node in graph.nodes():
        if lookup(node.op).traits >= NOTHING:
            raise VerifyError(f"{_word(graph, node_id)} does nothing and should be gone")
        if node.op != "input" and not graph.users(node_id) and not graph.is_output(node_id):
            raise VerifyError(f"{_word(graph, node_id)} is read by nobody")
