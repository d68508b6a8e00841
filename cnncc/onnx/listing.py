"""What the importer takes, operator by operator: the table of rules beside ONNX's own schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onnx import defs

from cnncc.onnx import rules  # noqa: F401 - enters every rule into the table
from cnncc.onnx.table import Rule, rows

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Versions:
    """The life of an operator in ONNX.

    Attributes:
        opsets: those that defined or changed it; all later ones mean the same as the one before.
        removed: the opset that took it out, or None.
    """

    opsets: tuple[int, ...]
    removed: int | None

    def __str__(self) -> str:
        known = ", ".join(map(str, self.opsets))
        return known if self.removed is None else f"{known}; until {self.removed - 1}"


def operator_rows() -> list[Row]:
    """One row a rule: name, domain, opsets, what it is, which forms are refused."""
    known = _history()
    return [_row(rule, known.get((rule.domain, rule.op_type))) for rule in rows()]


def defined_names() -> list[str]:
    """ONNX's operators without a rule that ONNX defines by a function of others.

    Such a node is taken where each operator in its definition is.
    """
    taken = {rule.op_type for rule in rows() if not rule.domain}
    found = {s.name for s in defs.get_all_schemas() if not s.domain and not s.deprecated}
    return sorted(n for n in found - taken if _has_function(defs.get_schema(n)))


def refused_names() -> list[str]:
    """ONNX's operators that no rule takes and no function defines."""
    taken = {rule.op_type for rule in rows() if not rule.domain}
    found = {s.name for s in defs.get_all_schemas() if not s.domain and not s.deprecated}
    return sorted(found - taken - set(defined_names()))


def _has_function(schema: Any) -> bool:
    return bool(schema.has_function or schema.has_context_dependent_function)


def _history() -> dict[tuple[str, str], Versions]:
    opsets: dict[tuple[str, str], set[int]] = {}
    removed: dict[tuple[str, str], int] = {}
    for schema in defs.get_all_schemas_with_history():
        key = (schema.domain, schema.name)
        opsets.setdefault(key, set())
        if schema.deprecated:
            removed[key] = schema.since_version
        else:
            opsets[key].add(schema.since_version)
    return {key: Versions(tuple(sorted(found)), removed.get(key)) for key, found in opsets.items()}


def _row(rule: Rule, versions: Versions | None) -> Row:
    versions = versions or Versions((1,), None)  # of a domain without schemas
    inputs, attributes = _signature(rule, versions)
    return {
        "name": rule.op_type,
        "domain": rule.domain,
        "opsets": list(versions.opsets),
        "removed": versions.removed,
        "versions": str(versions),
        "summary": rule.summary,
        "limits": rule.limits,
        "inputs": inputs,
        "attributes": attributes,
    }


def _signature(rule: Rule, versions: Versions) -> tuple[list[str], list[str]]:
    """Names of the operands and attributes in the newest form; those left out at will with `?`."""
    if not defs.has(rule.op_type, rule.domain):
        return [], []
    schema = defs.get_schema(rule.op_type, versions.opsets[-1], rule.domain)
    kinds = defs.OpSchema.FormalParameterOption
    marks = {kinds.Optional: "?", kinds.Variadic: "..."}
    inputs = [f"{i.name}{marks.get(i.option, '')}" for i in schema.inputs]
    attributes = [f"{name}{'' if a.required else '?'}" for name, a in schema.attributes.items()]
    return inputs, sorted(attributes)
