"""Names and weight paths: what is visible where, and what the layers are called."""

from __future__ import annotations

from dataclasses import dataclass, field

from cnncc.errors import Frame, Span
from cnncc.spec import ast
from cnncc.spec.values import Tensor, Unknown, Value


@dataclass(slots=True)
class Scope:
    """Names of a block, of one turn of a loop, or of the file's top level."""

    parent: Scope | None = None
    names: dict[str, tuple[Value, Span]] = field(default_factory=dict)

    def find(self, name: str) -> tuple[Value, Span] | None:
        """The value of a visible name, and where it was defined."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.parent
        return None

    def visible(self) -> list[str]:
        """All names that can be seen."""
        found: list[str] = []
        scope: Scope | None = self
        while scope is not None:
            found.extend(scope.names)
            scope = scope.parent
        return found


@dataclass(slots=True)
class Paths:
    """The weight scope of the file or of one block call.

    Attributes:
        prefix: labels of the enclosing calls, with a dot behind each.
        automatic: whether one of these labels was made up.
        muted: whether a clash of this scope has been reported, so that its layers' are not.
        chain: the stages whose labels make up the prefix.
    """

    prefix: str = ""
    automatic: bool = False
    muted: bool = False
    chain: tuple[StageKey, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    def number(self, kind: str) -> str:
        """The automatic label of the next layer of `kind`; written labels count too."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        separator = "_" if kind[-1].isdigit() else ""
        return f"{kind}{separator}{self.counts[kind]}"


StageKey = tuple[str, int, int]


@dataclass(slots=True)
class Module:
    """A file: its blocks, params and used files."""

    file: str
    tree: ast.File
    blocks: dict[str, ast.Block] = field(default_factory=dict)
    params: dict[str, tuple[Value, Span]] = field(default_factory=dict)
    uses: dict[str, Module | None] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    owners: dict[str, tuple[str, int]] = field(default_factory=dict)


@dataclass(slots=True)
class Env:
    """Where the elaborator stands: the file, the visible names, the weight scope, `in`."""

    module: Module
    scope: Scope
    paths: Paths
    block: str = ""
    input: Tensor | Unknown | None = None
    calls: tuple[Frame, ...] = ()

    def inner(self) -> Env:
        """The same place with names of its own, for one turn of a loop."""
        return Env(self.module, Scope(self.scope), self.paths, self.block, self.input, self.calls)


def owners(tree: ast.File) -> dict[str, tuple[str, int]]:
    """Names that some block or loop defines: where, and on which line; for messages."""
    found: dict[str, tuple[str, int]] = {}
    todo: list[tuple[str, ast.Body]] = []

    def enter(statement: ast.Item, owner: str) -> None:
        if isinstance(statement, ast.Assign | ast.Let):
            found.setdefault(statement.name, (owner, statement.at.line))
        elif isinstance(statement, ast.For):
            for name in statement.names:
                found.setdefault(name, ("a loop", statement.at.line))
            todo.append((owner or "a loop", statement.body))
        elif isinstance(statement, ast.Repeat):
            todo.append((owner or "a loop", statement.body))
        elif isinstance(statement, ast.If):
            todo.extend((owner, body) for _, body in statement.branches)
            if statement.otherwise is not None:
                todo.append((owner, statement.otherwise))

    for item in tree.items:
        if isinstance(item, ast.Block):
            for formal in item.formals:
                found.setdefault(formal.name, (f"block `{item.name}`", formal.at.line))
            todo.append((f"block `{item.name}`", item.body))
        else:
            enter(item, "")
    while todo:
        owner, body = todo.pop()
        for statement in body.statements:
            enter(statement, owner)
    return found
