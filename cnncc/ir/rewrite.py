"""Passes, and the bounded fixpoint in which rewriting rules run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from cnncc.errors import InternalError, Span
from cnncc.ir.decisions import Decision, record
from cnncc.ir.graph import Graph


class Pass(Protocol):
    """One step of the pipeline: a frozen dataclass whose fields are its options.

    Attributes:
        name: in kebab case, as on the command line.
        needs: the level that the graph must have reached.
        gives: the level that it has afterwards.
    """

    @property
    def name(self) -> str:
        """The pass's name."""

    @property
    def needs(self) -> str:
        """The level before."""

    @property
    def gives(self) -> str:
        """The level after."""

    def run(self, graph: Graph) -> None:
        """Rewrite the graph in place and record decisions."""


Build = Callable[[Graph, int], int | None]
"""Given a graph and a node, adds what replaces the node and returns its id, or None to decline.

Whoever declines leaves the graph alone. The replacement may be a node that was there before, but
must not read the node that it replaces.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rewriting rule.

    Attributes:
        equation: what it does, such as `relu(relu(x)) = relu(x)`; its name in logs and decisions.
        build: matches and builds.
        anchors: operators it may replace; empty for any.
    """

    equation: str
    build: Build
    anchors: frozenset[str] = frozenset()


def rewrite(
    graph: Graph, rules: Sequence[Rule], *, by: str = "", max_rounds: int = 100
) -> dict[str, int]:
    """Apply rules until none fires; returns how often each equation did.

    A replaced node hands its name and places to its replacement and is swept away, with whatever
    nobody reads any more; what a rule adds without a place gets that of the node. Each
    application is recorded as a decision.

    Raises:
        InternalError: rules still fire after `max_rounds` sweeps of the graph.
    """
    fired = {rule.equation: 0 for rule in rules}
    for _ in range(max_rounds):
        if not _sweep_rules(graph, rules, by, fired):
            return {equation: count for equation, count in fired.items() if count}
    raise InternalError(f"rules of `{by}` do not come to rest: {fired}")


def _sweep_rules(graph: Graph, rules: Sequence[Rule], by: str, fired: dict[str, int]) -> bool:
    changed = False
    for node_id in graph.order():
        for rule in rules:
            if node_id not in graph:
                break
            if rule.anchors and graph[node_id].op not in rule.anchors:
                continue
            first = graph.next_id
            made = rule.build(graph, node_id)
            if made is None or made == node_id:
                continue
            for added in range(first, graph.next_id):
                if added in graph and graph[added].op != "constant" and not graph[added].spans:
                    graph[added].spans = graph[node_id].spans
            subject = graph[node_id].name or f"{graph[node_id].op}#{node_id}"
            replace(graph, node_id, made)
            record(graph, Decision(subject, "rewritten", rule.equation, by=by))
            fired[rule.equation] += 1
            changed = True
            break
    return changed


def replace(graph: Graph, old: int, new: int) -> None:
    """Let `new` stand for `old`: its uses, its place, and its name when `new` has none.

    `old` and everything that only it read is erased; inputs stay.
    """
    if graph.type_of(old) != graph.type_of(new):
        raise InternalError(
            f"`{graph[old].op}` of {graph[old].type} cannot be replaced by"
            f" `{graph[new].op}` of {graph[new].type}"
        )
    kept, gone = graph[new], graph[old]
    graph.replace_uses(old, new)
    if kept.op not in ("input", "constant"):
        kept.spans = merge_spans(kept.spans, gone.spans)
        if not kept.name:
            kept.name, gone.name = gone.name, ""
    erase_dead(graph, [old])


def merge_spans(*groups: Iterable[Span]) -> tuple[Span, ...]:
    """All places once, in order of first appearance."""
    return tuple(dict.fromkeys(span for group in groups for span in group))


def erase_dead(graph: Graph, roots: Sequence[int] | None = None) -> int:
    """Erase nodes that nothing reads, from `roots` (default: all) upwards; inputs stay.

    Arrays that no constant names any more are dropped. Returns the number of nodes erased.
    """
    pending = list(graph.order() if roots is None else roots)
    erased, weights = 0, False
    while pending:
        node_id = pending.pop()
        if node_id not in graph or graph[node_id].op == "input":
            continue
        if graph.users(node_id) or graph.is_output(node_id):
            continue
        operands, op = graph.operands(node_id), graph[node_id].op
        graph.erase(node_id)
        erased, weights = erased + 1, weights or op == "constant"
        pending.extend(operands)
    if weights:
        alive = graph.named_constants()
        for data in [key for key in graph.constants if key not in alive]:
            del graph.constants[data]
    return erased
