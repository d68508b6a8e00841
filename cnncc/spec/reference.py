"""The tables of the language's documents, written from the tables that the elaborator uses."""

from __future__ import annotations

from collections.abc import Iterable

from cnncc.spec.builtins import BUILTINS, Builtin, arguments_of
from cnncc.spec.functions import FUNCTIONS
from cnncc.spec.model import FILE_PROPS, INPUT_PROPS, OUTPUT_PROPS, RANDOM_PROPS, TYPED_PROPS
from cnncc.spec.values import REQUIRED, Argument, Kind, Size, literal

_TAKES = {
    "map": "feature map",
    "vector": "vector",
    "any": "feature map or vector",
    "many": "two results",
}


def tables() -> dict[str, str]:
    """The Markdown tables of `docs/language.md` by the name of their place in it."""
    return {
        "operations": _operations(BUILTINS.values()),
        "arguments": _arguments(BUILTINS.values()),
        "functions": "\n".join(f"- `{function.usage}`" for function in FUNCTIONS.values()),
        "input": _props(INPUT_PROPS),
        "typed": _props(TYPED_PROPS),
        "output": _props(OUTPUT_PROPS),
        "weights": _props(FILE_PROPS),
        "random": _props(RANDOM_PROPS),
    }


def _operations(rows: Iterable[Builtin]) -> str:
    lines = ["| operation | what it does | works on | weights |", "|---|---|---|---|"]
    for row in rows:
        takes = "two or more results" if row.name == "concat" else _TAKES[row.takes]
        leaves = ", ".join(f"`{leaf}`" for leaf in row.leaves)
        lines.append(f"| `{_usage(row)}` | {row.summary} | {takes} | {leaves} |")
    return "\n".join(lines)


def _usage(row: Builtin) -> str:
    if row.takes == "many":
        return f"{row.name}(a, b)"
    needed = [arg for arg in row.args if arg.default is REQUIRED]
    shown = [_sample(arg, row.bare and arg is row.args[0]) for arg in needed]
    return f"{row.name}({', '.join(shown)})" if shown else row.name


def _sample(arg: Argument, bare: bool) -> str:
    values = {
        "window": "3x3",
        "filters": "16",
        "units": "10",
        "factors": "2",
        "size": "5",
        "groups": "4",
    }
    value = values.get(arg.name, {"high": "6", "low": "0", "stop": "8"}.get(arg.name, "1"))
    return value if bare else f"{arg.name}={value}"


def _arguments(rows: Iterable[Builtin]) -> str:
    lines = ["| operation | argument | takes | default | meaning |", "|---|---|---|---|---|"]
    for row in rows:
        for arg in arguments_of(row):
            if arg.name == "from":
                continue
            bare = " (bare)" if row.bare and arg is row.args[0] else ""
            cells = (f"`{arg.name}`{bare}", _takes(arg), _default(arg), arg.doc)
            lines.append(f"| `{row.name}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def _props(props: Iterable[Argument]) -> str:
    lines = ["| property | takes | default | meaning |", "|---|---|---|---|"]
    lines += [f"| `{p.name}` | {_takes(p)} | {_default(p)} | {p.doc} |" for p in props]
    return "\n".join(lines)


def _takes(arg: Argument) -> str:
    words = ", ".join(f"`{word}`" for word in arg.words)
    if arg.kind is Kind.WORD:
        return words
    return f"{arg.kind.value}, or {words}" if words else arg.kind.value


def _default(arg: Argument) -> str:
    if arg.default is REQUIRED:
        return "required"
    if arg.default is None or arg.default == () or (arg.default == "" and arg.words):
        return ""
    if isinstance(arg.default, tuple):
        return f"`{literal(Size(arg.default))}`"
    if arg.words:
        return f"`{arg.default}`"
    return f"`{literal(arg.default)}`"
