"""Writes docs/operators.md from the tables that the compiler reads. `--check` compares instead."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import onnx

from cnncc.cli.ops import language_rows, written
from cnncc.onnx.listing import defined_names, operator_rows, refused_names

PAGE = Path(__file__).resolve().parent / "operators.md"
MICROSOFT = "com.microsoft"
HEAD = f"""\
# Operators

Made from the compiler's own tables by `make docs`, with `onnx` {onnx.__version__}; do not edit.
The same tables on the command line: `cnncc ops`, `cnncc ops --general`, `cnncc ops --onnx`, each
with a name for one operator.

"""
ONNX = """\
## ONNX

What a node of an ONNX file may be, from opset 6 on. *Opsets* are those that defined the operator or
changed its meaning; each is read with its own. Anything outside of the limits is refused by name,
with all other such nodes of the file, before anything runs. [onnx.md](onnx.md) says how to compile
a model, [conformance.md](conformance.md) what ONNX's own tests say.

"""
DEFINED = """\
ONNX itself defines these by functions of others; a node is taken where every operator in its
definition is: {names}.

"""
REFUSED = """\
Not supported: {names}.
"""


def page() -> str:
    """The whole page."""
    return "".join([HEAD, language(), standard(), microsoft(), rest()])


def language() -> str:
    """Operations of the `.cnn` language."""
    rows = []
    for row in language_rows():
        arguments = written(row["arguments"])
        rows.append([f"`{row['name']}`", row["summary"], f"`{arguments}`" if arguments else ""])
    intro = "[language.md](language.md) says how they are written.\n"
    found = table(("operation", "what it is", "arguments"), rows)
    return f"## The language\n\n{intro}\n{found}\n"


def standard() -> str:
    """ONNX's own operators."""
    return ONNX + operator_table(row for row in operator_rows() if not row["domain"]) + "\n"


def microsoft() -> str:
    """Those of the other domain that quantised models use."""
    found = operator_table(row for row in operator_rows() if row["domain"] == MICROSOFT)
    return f"Of the domain `{MICROSOFT}`, for quantised models:\n\n{found}\n"


def rest() -> str:
    """Operators without a rule."""
    return DEFINED.format(names=listed(defined_names())) + REFUSED.format(
        names=listed(refused_names())
    )


def operator_table(rows: Iterable[dict[str, Any]]) -> str:
    """A table of ONNX operators."""
    return table(
        ("operator", "opsets", "what it is", "limits"),
        ([f"`{r['name']}`", r["versions"], r["summary"], r["limits"]] for r in rows),
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    lines = [list(head), ["---"] * len(head), *rows]
    escaped = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def listed(names: Sequence[str]) -> str:
    """Names as code."""
    return ", ".join(f"`{name}`" for name in names)


def main(arguments: Sequence[str]) -> int:
    """Write the page, or with `--check` tell whether it is up to date."""
    made = page()
    if "--check" in arguments:
        return 0 if PAGE.read_text(encoding="utf-8") == made else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
