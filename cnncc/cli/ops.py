"""`cnncc ops`: the operations of the language, from the table that the compiler reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import click

from cnncc.cli.options import json_option, output_options
from cnncc.cli.screen import Column, screen

if TYPE_CHECKING:
    from cnncc.spec.general import Attribute
    from cnncc.spec.values import Argument

COLUMNS = (
    Column("name", "operation", style="bold"),
    Column("summary", "what it is"),
    Column("written", "arguments", style="dim"),
)
ONNX_COLUMNS = (
    Column("name", "operator", style="bold"),
    Column("versions", "opsets"),
    Column("summary", "what it is"),
    Column("limits", "limits", style="dim"),
)


@click.command()
@click.argument("name", required=False)
@click.option("--general", is_flag=True, help="List the general operators, of any rank and type.")
@click.option("--onnx", "of_onnx", is_flag=True, help="List the operators of ONNX files.")
@json_option
@output_options
def command(name: str | None, general: bool, of_onnx: bool, as_json: bool) -> None:
    """List the operations of the language, or the arguments of one.

    NAME may be a general operator too, with `op.` in front where an operation has its name; with
    --onnx, an operator of ONNX.
    """
    from cnncc.spec.builtins import BUILTINS

    if of_onnx:
        _of_onnx(name, as_json)
        return
    if general or (name is not None and name not in BUILTINS):
        rows = _general(name)
    else:
        rows = language_rows(name)
    if as_json:
        screen().json({"schema": "cnncc.ops/1", "ops": rows})
    elif name is None:
        screen().table(COLUMNS, [{**row, "written": written(row["arguments"])} for row in rows])
    else:
        _show(rows[0])


def _of_onnx(name: str | None, as_json: bool) -> None:
    """The table of ONNX operators, or the row of one; also those that ONNX defines by others."""
    from cnncc.onnx.installed import require

    require()
    from cnncc.onnx.listing import defined_names, operator_rows, refused_names

    rows = [row for row in operator_rows() if name in (None, row["name"])]
    defined = [each for each in defined_names() if name in (None, each)]
    if not rows and not defined:
        _no_onnx_operator(name or "", [row["name"] for row in operator_rows()], refused_names())
    if as_json:
        screen().json({"schema": "cnncc.onnx_ops/1", "ops": rows, "by_definition": defined})
    elif name is None:
        shown = [{**row, "name": _full_name(row)} for row in rows]
        screen().table(ONNX_COLUMNS, shown)
        screen().result(f"\nby ONNX's definition of them: {', '.join(defined)}")
    for row in rows if name is not None and not as_json else ():
        _show_onnx(row)
    if not rows and not as_json:
        screen().result(f"{name}: taken by ONNX's definition of it, where its parts are taken")


def _no_onnx_operator(name: str, known: list[str], refused: list[str]) -> NoReturn:
    import difflib

    if name in refused:
        raise click.BadParameter(f"`{name}` is not supported", param_hint="NAME")
    near = difflib.get_close_matches(name, [*known, *refused], n=1)
    hint = f"; did you mean `{near[0]}`?" if near else ""
    raise click.BadParameter(f"ONNX has no operator `{name}` here{hint}", param_hint="NAME")


def _full_name(row: dict[str, Any]) -> str:
    return f"{row['domain']}.{row['name']}" if row["domain"] else str(row["name"])


def _show_onnx(row: dict[str, Any]) -> None:
    out = screen().result
    out(f"{_full_name(row)}: {row['summary']}", bold=True)
    facts = {
        "opsets": row["versions"],
        "inputs": ", ".join(row["inputs"]),
        "attributes": ", ".join(row["attributes"]),
        "limits": row["limits"] or "none: every form is taken",
    }
    for what, text in facts.items():
        if text:
            out(f"  {what:<10} {text}")


def _general(name: str | None) -> list[dict[str, Any]]:
    """The general operators, or the one of that name."""
    from cnncc.spec.builtins import BUILTINS
    from cnncc.spec.general import PREFIX, find, names, title

    wanted = None if name is None else name.removeprefix(f"{PREFIX}.")
    if wanted is not None and find(wanted) is None:
        import difflib

        near = difflib.get_close_matches(wanted, [*BUILTINS, *names()], n=1)
        hint = f"; did you mean `{near[0]}`?" if near else ""
        raise click.BadParameter(f"there is no operation `{name}`{hint}", param_hint="NAME")
    return [_operator(each, title(each)) for each in names() if wanted in (None, each)]


def _operator(name: str, title: str) -> dict[str, Any]:
    from cnncc.ir.op import lookup
    from cnncc.spec.general import attribute_docs, attributes, summary

    op = lookup(name)
    docs = attribute_docs(op)
    return {
        "name": title,
        "summary": summary(op),
        "takes": ", ".join(op.operand_names) + (" ..." if op.arity[1] is None else ""),
        "arguments": [_attribute(each, docs.get(each.name, "")) for each in attributes(op)],
        "weights": [],
    }


def _attribute(attribute: Attribute, doc: str) -> dict[str, Any]:
    from cnncc.spec.general import MISSING, takes, text_of

    required = attribute.default is MISSING
    return {
        "name": attribute.name,
        "required": required,
        "default": None if required else text_of(attribute.default),
        "words": [],
        "doc": f"{doc.rstrip('.')} ({takes(attribute.hint)})".strip(),
    }


def language_rows(name: str | None = None) -> list[dict[str, Any]]:
    """The operations of the language, or the one of that name."""
    from cnncc.spec.builtins import BUILTINS

    return [
        {
            "name": row.name,
            "summary": row.summary,
            "takes": row.takes,
            "arguments": [_argument(argument) for argument in row.args],
            "weights": list(row.leaves),
        }
        for row in BUILTINS.values()
        if name in (None, row.name)
    ]


def _argument(argument: Argument) -> dict[str, Any]:
    from cnncc.spec.values import REQUIRED, Kind, show

    default = argument.default
    required = default is REQUIRED
    if required or default in (None, ""):
        shown = None
    elif argument.kind in (Kind.PAIR, Kind.EXTRA):
        shown = "x".join(map(str, default))
    else:
        shown = default if default in argument.words else show(default)
    return {
        "name": argument.name,
        "required": required,
        "default": shown,
        "words": list(argument.words),
        "doc": argument.doc,
    }


def written(arguments: list[dict[str, Any]]) -> str:
    """Arguments in one line: name, and `=` with the default where there is one."""
    return ", ".join(
        a["name"] if a["required"] else f"{a['name']}={a['default'] or ''}".rstrip("=")
        for a in arguments
    )


def _show(row: dict[str, Any]) -> None:
    out = screen().result
    out(f"{row['name']}: {row['summary']}", bold=True)
    for argument in row["arguments"]:
        default = f", {argument['default']} if not given" if argument["default"] else ""
        words = f" ({' | '.join(argument['words'])})" if argument["words"] else ""
        needed = ", required" if argument["required"] else default
        out(f"  {argument['name']:<10} {argument['doc']}{words}{needed}")
    if row["weights"]:
        out(f"  weights: {', '.join(row['weights'])}")
