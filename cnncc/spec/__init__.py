"""The `.cnn` language: text to graph, with every mistake reported at its place.

Takes: the text of a `.cnn` file, `-D` params, a weight file or arrays.
Gives: a typed `Graph` with spans and weights; diagnostics; formatted text; flat canonical text.
May import: `cnncc.errors`, `cnncc.ir`, `cnncc.ops`.
Invariants: elaboration always ends, within limits on nesting, steps, nodes and sizes; users'
mistakes raise `SpecError` only; nothing is unpickled or executed; shape rules live in `cnncc.ops`.

A graph becomes text again in `write.py` (which reads it back and compares): one operation a line in
`flat.py`, as a person would write it in `recover.py`, with `items.py` (what is to be written),
`repeats.py` (blocks), `loops.py` and `chains.py` (lines); how a node is called, `operations.py`.

To add an operation of the language open `builtins.py` (one row); how any other operator is called,
`general.py` (its attributes) and `general_calls.py`; a message `catalogue.py` and the
place that finds it; a rule of the grammar `expressions.py` or `parser.py`, and
`tests/spec/grammar.lark`; a statement around the layers `model.py`; a weight format `weights.py`;
the look of messages `render.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncc.errors import Diagnostic, SpecError
from cnncc.ir.graph import Graph
from cnncc.spec import ast
from cnncc.spec.diagnostics import Reporter, error_index, explain
from cnncc.spec.flat import print_flat
from cnncc.spec.format import format_tokens, with_labels
from cnncc.spec.lexer import lex
from cnncc.spec.model import Elaborated, elaborate
from cnncc.spec.parser import parse
from cnncc.spec.project import Project
from cnncc.spec.recover import READABLE
from cnncc.spec.render import render_text, to_json
from cnncc.spec.values import Unfit
from cnncc.spec.weight_files import weights_bytes
from cnncc.spec.write import Written, write

__all__ = [
    "Loaded",
    "Written",
    "check",
    "error_index",
    "explain",
    "format_text",
    "load",
    "parse_text",
    "print_flat",
    "render_text",
    "to_json",
    "weights_bytes",
    "written",
]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A network and the warnings about its file."""

    graph: Graph
    diagnostics: tuple[Diagnostic, ...]


def parse_text(text: str, file: str = "<text>") -> tuple[ast.File, tuple[Diagnostic, ...]]:
    """The syntax tree of a text, and its syntax errors."""
    report = Reporter(file)
    tree = parse(text, report)
    return tree, report.sorted()


def load(
    path_or_text: str | Path,
    *,
    file: str | None = None,
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    want_arrays: bool = True,
) -> Loaded:
    """Read a network from a file, or from a text (anything with a line break in it).

    Args:
        path_or_text: the path of a `.cnn` file, or its text.
        file: the name of the text in messages; relative paths in it start from its folder.
        params: values of the file's params, as with `-D`.
        weights: a file or arrays by name, instead of the file's own `weights` path.
        want_arrays: false leaves zeros without memory in place of the weights; names and shapes
            of a weight file are checked all the same.

    Raises:
        SpecError: the file has mistakes; its `rendered` text shows all that were found.
    """
    run = _Run(path_or_text, file)
    made = run.elaborate(params, weights, want_arrays)
    if made is None or run.report.failed:
        raise run.error()
    return Loaded(made.graph, run.report.sorted())


def check(
    path: str | Path,
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
) -> tuple[Diagnostic, ...]:
    """All errors and warnings of a file; a missing file is one of them.

    A file of nothing but blocks, which others `use`, is no mistake here.
    """
    run = _Run(path, None)
    run.elaborate(params, weights, False, library_may_pass=True)
    return run.report.sorted()


def written(graph: Graph, weights: str, *, readable: bool = True) -> Written:
    """A typed network as a spec with weights, which elaborates to the very same network.

    Args:
        graph: as it was read, before passes.
        weights: the path of its weight file, as the spec shall name it.
        readable: chains, blocks and no defaults; else one operation a line, and everything written.

    Raises:
        UnsupportedError: the graph has operators that passes make, which the language cannot write.
    """
    return write(graph, weights, *(READABLE if readable else ()))


def format_text(text: str, *, file: str = "<text>", pin_names: bool = False) -> str:
    """The canonical text of a file.

    Args:
        text: the file's text.
        file: its name, from whose folder `use` and `file(...)` start.
        pin_names: write the automatic labels of layers with weights into the text. A layer that
            has several (in a loop) keeps none.

    Raises:
        SpecError: the text has syntax errors, or, with `pin_names`, any errors.
    """
    run = _Run(text, file)
    if pin_names:
        made = run.elaborate(None, None, False, bind_weights=False)
        if made is not None and not run.report.failed:
            labels = {key[1:]: label for key, label in made.pins.items() if key[0] == file}
            text = with_labels(text, lex(text, run.report), labels)
    else:
        parse(text, run.report)
    if run.report.failed:
        raise run.error()
    return format_tokens(lex(text, run.report), text)


class _Run:
    """One reading of one file: its name, text and reporter."""

    def __init__(self, path_or_text: str | Path, file: str | None) -> None:
        is_text = isinstance(path_or_text, str) and ("\n" in path_or_text or file is not None)
        self.file = file or ("<text>" if is_text else str(path_or_text))
        self.report = Reporter(self.file)
        self.texts: dict[str, str] = {}
        self.text: str | None = str(path_or_text) if is_text else None
        self.project: Project | None = None
        try:
            self.project = Project(self.file, self.texts)
            if self.text is None:
                if "\0" in self.file:
                    raise Unfit("E0505", "this is no path")
                self.text = self.project.read(Path(self.file), "E0505")
        except Unfit as wrong:
            self.report.error(wrong.code, wrong.message, None, help=wrong.help)
        if self.text is not None:
            self.texts[self.file] = self.text

    def elaborate(
        self,
        params: Mapping[str, object] | None,
        weights: str | Path | Mapping[str, Any] | None,
        want_arrays: bool,
        **switches: bool,
    ) -> Elaborated | None:
        if self.text is None or self.project is None:
            return None
        tree = parse(self.text, self.report)
        given = Path(weights) if isinstance(weights, str) else weights
        return elaborate(
            tree, self.report, self.project, params or {}, given, want_arrays, **switches
        )

    def error(self) -> SpecError:
        found = self.report.sorted()
        return SpecError(found, render_text(found, self.texts, self.report.dropped))
