"""The table of ONNX operators: one row and one function each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncc.errors import InternalError
from cnncc.onnx.call import Call

Results = int | Sequence[int | None]
"""Graph ids of a node's outputs: one id for the first, or one for each (None: not given)."""

Convert = Callable[[Call], Results]


@dataclass(frozen=True, slots=True)
class Rule:
    """How one ONNX operator becomes nodes of the graph.

    Attributes:
        op_type: ONNX's name.
        domain: "" for ONNX's own operators, or `com.microsoft`.
        summary: what it is, for the table.
        limits: which forms are refused; empty when all are taken.
        convert: the function.
    """

    op_type: str
    domain: str
    summary: str
    limits: str
    convert: Convert


_RULES: dict[tuple[str, str], Rule] = {}


def rule(
    *op_types: str, summary: str, limits: str = "", domain: str = ""
) -> Callable[[Convert], Convert]:
    """Enter a function as the rule of some operators: the table row is the decorator."""

    def enter(convert: Convert) -> Convert:
        for op_type in op_types:
            key = (domain, op_type)
            if key in _RULES:
                raise InternalError(f"two rules for `{op_type}`")
            _RULES[key] = Rule(op_type, domain, summary, limits, convert)
        return convert

    return enter


def lookup(domain: str, op_type: str) -> Rule | None:
    """The rule of an operator, or None."""
    return _RULES.get(("" if domain == "ai.onnx" else domain, op_type))


def rows() -> list[Rule]:
    """All rules, ONNX's own operators first, in alphabetical order."""
    return [_RULES[key] for key in sorted(_RULES)]
