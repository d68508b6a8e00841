"""Errors and source positions: everything a user can be told went wrong.

Two sides, kept apart: `CnnccError` and its heirs say that the *user's* file, argument, machine or
data cannot be taken, and how to repair it; `InternalError` and its heirs say that *cnncc* is wrong.
The command line answers the first with exit code 1, the second with 3, neither with a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One step of a block expansion: `text` (such as `basic(64) as layer1.0`) at a place."""

    text: str
    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a source file: `[column, end_column)` on `line`, both counted from 1.

    `calls` lists the block calls that were being expanded, the outermost first, so that a message
    about a line inside a block can say which use of the block it is about.
    """

    file: str
    line: int
    column: int
    end_column: int
    calls: tuple[Frame, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that a diagnostic points at, with a few words."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message about a user's file, in the form in which every front end reports.

    Attributes:
        code: a stable code of the catalogue, such as `E0402`.
        severity: `error` stops the compilation, `warning` does not.
        message: one sentence, with the values found.
        span: where; `None` when no file has a line for it (a missing option, say).
        caption: the words under the caret.
        labels: other places that matter.
        notes: facts the reader needs.
        help: what to do.
    """

    code: str
    severity: Severity
    message: str
    span: Span | None
    caption: str = ""
    labels: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""


class CnnccError(Exception):
    """Base of everything a caller may want to catch: the input cannot be taken as it is.

    `hint` says what to do about it; `span` where it is, when there is a place.
    """

    def __init__(self, message: str, *, hint: str = "", span: Span | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.span = span

    def __str__(self) -> str:
        place = f"{self.span}: " if self.span else ""
        hint = f"\n  help: {self.hint}" if self.hint else ""
        return f"{place}{self.message}{hint}"


class SpecError(CnnccError):
    """A `.cnn` file has mistakes, or the weights do not fit it.

    `diagnostics` lists all that one run could find; `rendered` is the text that the command line
    would show, with source lines and carets.
    """

    def __init__(self, diagnostics: tuple[Diagnostic, ...], rendered: str = "") -> None:
        first = next((d for d in diagnostics if d.severity == "error"), diagnostics[0])
        super().__init__(f"{first.code}: {first.message}", hint=first.help, span=first.span)
        self.diagnostics = diagnostics
        self.rendered = rendered

    def __str__(self) -> str:
        return self.rendered or super().__str__()


class OnnxError(CnnccError):
    """An ONNX file is broken, larger than the limits, or asks for what is not safe.

    `place` is the file; `problems` lists all that one run could find.
    """

    def __init__(self, place: str, problems: tuple[str, ...], *, hint: str = "") -> None:
        separator = " " if len(problems) == 1 else "\n  "
        super().__init__(separator.join((f"{place}:", *problems)), hint=hint)
        self.place = place
        self.problems = problems


class TypeInferenceError(CnnccError):
    """The operands of an operator do not fit it (shape or element type)."""


class UnsupportedError(CnnccError):
    """A legal request that this version cannot serve; the message names the nearest that it can."""


class InputError(CnnccError):
    """An array or option of a call does not fit; the message shows expected and got."""


class TargetError(CnnccError):
    """A target is unknown, or this machine cannot run the code made for it."""


class ArtifactError(CnnccError):
    """A saved network, cache entry or output file cannot be read or written."""


class InternalError(Exception):
    """A mistake of cnncc itself. The message names the pass and the node, or the function."""


class VerifyError(InternalError):
    """A graph or loop nest breaks the invariants of its level."""


class EmitError(InternalError):
    """LLVM refused the code that was made."""
