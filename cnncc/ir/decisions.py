"""Decisions as data: what a pass chose, why, and what it turned down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cnncc.ir.graph import Graph

KEY = "decisions"


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice of one pass.

    Attributes:
        subject: the name of the node (or of the graph) that it is about.
        choice: what was chosen, in a few words.
        reason: why, in one sentence.
        rejected: pairs (alternative, reason against it).
        figures: the numbers that decided, with their units in their names.
        by: the pass.
    """

    subject: str
    choice: str
    reason: str
    rejected: tuple[tuple[str, str], ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    by: str = ""


def record(graph: Graph, decision: Decision) -> None:
    """Append a decision to the graph's list."""
    graph.meta.setdefault(KEY, []).append(decision)


def decisions(graph: Graph, subject: str | None = None) -> list[Decision]:
    """All decisions in order, or those about one subject."""
    found: list[Decision] = graph.meta.get(KEY, [])
    return [d for d in found if subject is None or d.subject == subject]
