"""Arguments of block calls: which parameter each belongs to, and how a note shows them."""

from __future__ import annotations

from cnncc.spec import ast
from cnncc.spec.arguments import name_place
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.scopes import Scope
from cnncc.spec.values import UNKNOWN, Tensor, Unknown, show


def match_arguments(
    report: Reporter, block: ast.Block, call: ast.Call
) -> dict[str, ast.Arg] | None:
    """Arguments by parameter; None if they do not fit (E0306, reported)."""
    names = [formal.name for formal in block.formals]
    matched: dict[str, ast.Arg] = {}
    wrong = ""
    place = name_place(call)
    bare = [arg for arg in call.args if not arg.name]
    if len(bare) > len(names):
        wrong = f"block `{block.name}` takes {len(names)}, got {len(bare)}"
    for index, arg in enumerate(call.args):
        name = arg.name or (names[index] if index < len(names) else "")
        if arg.name and arg.name not in names:
            wrong = f"block `{block.name}` has no parameter `{arg.name[:40]}`"
            place = arg.at
        elif name in matched:
            wrong = f"`{name}` of block `{block.name}` is given twice"
            place = arg.at
        matched[name] = arg
    needed = [f.name for f in block.formals if f.default is None and f.name not in matched]
    if needed and not wrong:
        wrong = f"block `{block.name}` needs `{needed[0]}`"
    if wrong:
        report.error("E0306", wrong, place, help=f"it is {_signature(block)}")
        return None
    return matched


def shown_arguments(block: ast.Block, scope: Scope, call: ast.Call) -> list[str]:
    """The arguments of a block call with their values, as a note shows them."""
    shown: list[str] = []
    for index, arg in enumerate(call.args):
        name = arg.name or block.formals[index].name
        value = scope.names[name][0] if name in scope.names else UNKNOWN
        text = "..." if isinstance(value, Unknown) else show(value)
        if isinstance(value, Tensor) and isinstance(arg.value, ast.Call):
            text = arg.value.title
        shown.append(f"{name}={text}" if arg.name else text)
    return shown


def _signature(block: ast.Block) -> str:
    parts: list[str] = []
    for formal in block.formals:
        kind = f": {formal.kind}" if formal.kind else ""
        parts.append(formal.name + kind + ("=..." if formal.default is not None else ""))
    return f"{block.name}({', '.join(parts)})"
