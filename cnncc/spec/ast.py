"""The syntax tree: frozen records, equal when they say the same, wherever they stand.

Chains of operators and of `else if` are flat tuples, so that the depth of a tree is bounded by the
nesting of brackets, which the parser limits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from cnncc.spec.lexer import Place


@dataclass(frozen=True, slots=True)
class Tree:
    """Base: `at` is the first line of the text that it was read from."""

    at: Place = field(compare=False, repr=False)


# -- expressions -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number(Tree):
    """`3`, `0.5`, `1e-5`: a whole number unless it has a point or an exponent."""

    text: str


@dataclass(frozen=True, slots=True)
class SizeLiteral(Tree):
    """`3x3`, `224x224x3`."""

    text: str


@dataclass(frozen=True, slots=True)
class Text(Tree):
    """A quoted text; `value` has its escapes replaced."""

    value: str


@dataclass(frozen=True, slots=True)
class Truth(Tree):
    """`true` or `false`."""

    value: bool


@dataclass(frozen=True, slots=True)
class TypeLiteral(Tree):
    """`f32[1, 48, 192]`: an element type and all axes."""

    name: str
    axes: ListLiteral


@dataclass(frozen=True, slots=True)
class ListLiteral(Tree):
    """`[a, b]`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Paren(Tree):
    """`(a)`: kept, because the formatter keeps it."""

    inner: Expr


@dataclass(frozen=True, slots=True)
class Prefix(Tree):
    """`-a`, `+a`, `not a`."""

    op: str
    operand: Expr


@dataclass(frozen=True, slots=True)
class Chain(Tree):
    """`a + b - c`: operators of one rank, applied from the left."""

    first: Expr
    rest: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Choice(Tree):
    """`a if test else b`."""

    then: Expr
    test: Expr
    other: Expr


@dataclass(frozen=True, slots=True)
class Call(Tree):
    """A name, with arguments or without: a value, function, operation or block.

    Attributes:
        module: the word before the dot of `rn.basic`, or empty.
        name: the name; `in` for a block's input.
        args: the arguments.
        parens: whether brackets were written.
    """

    module: str
    name: str
    args: tuple[Arg, ...]
    parens: bool

    @property
    def title(self) -> str:
        """The name as written."""
        return f"{self.module}.{self.name}" if self.module else self.name


@dataclass(frozen=True, slots=True)
class Label(Tree):
    """The words after `as`, with `{ }` not yet filled in."""

    text: str


@dataclass(frozen=True, slots=True)
class Stage(Tree):
    """One step of a flow: a call (any expression at the start of an argument) and its label."""

    value: Expr
    label: Label | None


@dataclass(frozen=True, slots=True)
class Flow(Tree):
    """`a -> b -> c`."""

    stages: tuple[Stage, ...]


@dataclass(frozen=True, slots=True)
class Arg(Tree):
    """An argument; `name` is empty for a bare one. `at` is the place of the name, or the value."""

    name: str
    value: Expr | Flow


Expr: TypeAlias = (
    Number
    | SizeLiteral
    | Text
    | Truth
    | TypeLiteral
    | ListLiteral
    | Paren
    | Prefix
    | Chain
    | Choice
    | Call
)


# -- statements ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prop(Tree):
    """`name = value` between braces."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Model(Tree):
    """`model name { ... }`."""

    name: str
    props: tuple[Prop, ...]


@dataclass(frozen=True, slots=True)
class Use(Tree):
    """`use "path" as name`."""

    path: str
    name: str
    path_at: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Param(Tree):
    """`param name = default in [allowed]`."""

    name: str
    default: Expr
    allowed: ListLiteral | None


@dataclass(frozen=True, slots=True)
class Formal(Tree):
    """One parameter of a block."""

    name: str
    kind: str
    default: Expr | None


@dataclass(frozen=True, slots=True)
class Body(Tree):
    """The statements between braces."""

    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class Block(Tree):
    """`block name(formals) { ... }`."""

    name: str
    formals: tuple[Formal, ...]
    body: Body


@dataclass(frozen=True, slots=True)
class Input(Tree):
    """`input name: shape { ... }`."""

    name: str
    shape: Expr
    props: tuple[Prop, ...]


@dataclass(frozen=True, slots=True)
class Output(Tree):
    """`output name = flow { ... }`."""

    name: str
    flow: Flow | None
    props: tuple[Prop, ...]
    word_at: Place = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Weights(Tree):
    """`weights "file" { ... }`, or `weights random { ... }` with `path` None."""

    path: str | None
    props: tuple[Prop, ...]


@dataclass(frozen=True, slots=True)
class Assign(Tree):
    """`name = flow : shape`."""

    name: str
    flow: Flow
    shape: Expr | None


@dataclass(frozen=True, slots=True)
class Run(Tree):
    """`flow : shape`."""

    flow: Flow
    shape: Expr | None


@dataclass(frozen=True, slots=True)
class Let(Tree):
    """`let name = value`."""

    name: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Repeat(Tree):
    """`repeat count { ... }`."""

    count: Expr
    body: Body


@dataclass(frozen=True, slots=True)
class For(Tree):
    """`for a, b in items { ... }`."""

    names: tuple[str, ...]
    items: Expr
    body: Body


@dataclass(frozen=True, slots=True)
class If(Tree):
    """`if a { ... } else if b { ... } else { ... }`."""

    branches: tuple[tuple[Expr, Body], ...]
    otherwise: Body | None


Statement: TypeAlias = Assign | Run | Let | Repeat | For | If
Item: TypeAlias = Model | Use | Param | Block | Input | Output | Weights | Statement


@dataclass(frozen=True, slots=True)
class File(Tree):
    """A whole file; `broken` are the names that statements with syntax errors would define."""

    edition: int
    items: tuple[Item, ...]
    broken: frozenset[str] = field(compare=False, default=frozenset())
