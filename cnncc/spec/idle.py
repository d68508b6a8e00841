"""Blocks that nothing calls: their names are checked, though their shapes cannot be."""

from __future__ import annotations

from collections.abc import Iterator

from cnncc.spec import ast, suggest
from cnncc.spec.builtins import BUILTINS, arguments_of
from cnncc.spec.evaluate import ALL_WORDS, Evaluator
from cnncc.spec.functions import FUNCTIONS
from cnncc.spec.general_calls import is_general
from cnncc.spec.scopes import Env, Module, Paths, Scope


def check_block(block: ast.Block, module: Module, evaluator: Evaluator) -> None:
    """Report names in `block` that mean nothing, and arguments that an operation does not have."""
    env = Env(module, Scope(), Paths(), block.name)
    local = {formal.name for formal in block.formals} | {"in"}
    calls: list[ast.Call] = []
    words: set[int] = set()  # attributes of general operators: their words mean nothing elsewhere
    for node in _walk(block):
        if isinstance(node, ast.Call) and is_general(node, env):
            named = [arg.value for arg in node.args if arg.name]
            words.update(id(item) for value in named for item in _walk(value))
            continue
        if id(node) in words:
            continue
        if isinstance(node, ast.Assign | ast.Let):
            local.add(node.name)
        elif isinstance(node, ast.For):
            local.update(node.names)
        elif isinstance(node, ast.Call):
            calls.append(node)
    for call in calls:
        if call.module or call.name in local or call.name in module.blocks:
            continue
        if call.name in BUILTINS:
            _check_arguments(call, evaluator)
            continue
        known = call.name in FUNCTIONS or call.name in ALL_WORDS
        if not known and evaluator.lookup(call.name, env) is None:
            evaluator.unknown_name(call, env, "operation")


def _check_arguments(call: ast.Call, evaluator: Evaluator) -> None:
    row = BUILTINS[call.name]
    known = [spec.name for spec in arguments_of(row)]
    for arg in call.args:
        if arg.name and arg.name not in known:
            evaluator.report.error(
                "E0302",
                f"`{row.name}` has no argument `{arg.name[:40]}`",
                arg.at._replace(end=arg.at.column + len(arg.name)),
                help=suggest.argument(arg.name, row.name, known),
            )


def _walk(tree: ast.Tree) -> Iterator[ast.Tree]:
    todo: list[object] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, tuple):
            todo.extend(reversed(node))
        elif isinstance(node, ast.Tree):
            yield node
            todo.extend(
                getattr(node, name)
                for name in reversed(type(node).__dataclass_fields__)
                if name != "at"
            )
