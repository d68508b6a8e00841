"""The table of rules against ONNX's own schemas: no attribute is unknown, no row is silent."""

from __future__ import annotations

import ast
import functools
import inspect
import pkgutil
from importlib import import_module

import pytest
from onnx import defs

from cnncc.onnx import rules
from cnncc.onnx.table import Rule, rows

OLDEST = 6
ROWS = rows()


@functools.cache
def functions() -> dict[str, tuple[set[str], set[str]]]:
    """Words and names in each function and each table of the room."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for info in pkgutil.iter_modules(rules.__path__):
        tree = ast.parse(inspect.getsource(import_module(f"{rules.__name__}.{info.name}")))
        for part in tree.body:
            if isinstance(part, ast.FunctionDef):
                name, body = part.name, part.body
            elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                name, body = part.target.id, [ast.Expr(part.value)] if part.value else []
            elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
                name, body = part.targets[0].id, [ast.Expr(part.value)]
            else:
                continue
            nodes = list(ast.walk(ast.Module(list(body), [])))
            words = {n.value for n in nodes if isinstance(n, ast.Constant) and type(n.value) is str}
            names = {n.id for n in nodes if isinstance(n, ast.Name)}
            known = found.setdefault(name, (set(), set()))
            known[0].update(words)
            known[1].update(names)
    return found


def words_of(rule: Rule) -> set[str]:
    """Words that the rule's function, and those it calls, may ask a node for."""
    words: set[str] = set()
    pending, seen = [rule.convert.__name__], set[str]()
    while pending:
        name = pending.pop()
        if name in seen or name not in functions():
            continue
        seen.add(name)
        words |= functions()[name][0]
        pending.extend(functions()[name][1])
    return words


def attributes(rule: Rule) -> set[str]:
    """Attributes of the operator at every opset that is read."""
    schemas = [
        s
        for s in defs.get_all_schemas_with_history()
        if s.name == rule.op_type and s.domain == rule.domain
    ]
    assert schemas, "ONNX knows no such operator"
    first = max((s.since_version for s in schemas if s.since_version <= OLDEST), default=0)
    return {a for s in schemas if s.since_version >= first for a in s.attributes}


@pytest.mark.parametrize("rule", ROWS, ids=lambda r: f"{r.domain}:{r.op_type}".lstrip(":"))
def test_a_row_says_what_it_is(rule: Rule) -> None:
    assert rule.summary
    assert not rule.summary.endswith(".")
    assert rule.convert.__doc__


@pytest.mark.parametrize("rule", [r for r in ROWS if not r.domain], ids=lambda r: r.op_type)
def test_every_attribute_is_asked_for(rule: Rule) -> None:
    assert attributes(rule) <= words_of(rule)


@pytest.mark.parametrize("rule", [r for r in ROWS if r.domain], ids=lambda r: r.op_type)
def test_every_attribute_of_the_peer_is_asked_for(rule: Rule) -> None:
    state = pytest.importorskip("onnxruntime").capi.onnxruntime_pybind11_state
    schemas = [
        s
        for s in state.get_all_operator_schema()
        if (s.domain, s.name) == (rule.domain, rule.op_type)
    ]
    assert schemas, "the peer knows no such operator"
    assert {a for s in schemas for a in s.attributes} <= words_of(rule)
