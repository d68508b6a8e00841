"""The part of the parser that reads expressions, calls and flows.

One method a rule of the grammar. Nesting is bounded by `MAX_NESTING`, so recursion is too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from cnncc.spec import ast
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.lexer import Place, Token

MAX_NESTING = 48
T = TypeVar("T")

_RANKS: tuple[tuple[str, ...], ...] = (
    ("or",),
    ("and",),
    ("==", "!=", "<=", ">=", "<", ">"),
    ("+", "-"),
    ("*", "//", "/"),
)
_COMPARE = 2
_OPERATORS = frozenset(op for rank in _RANKS for op in rank)
_STARTS = frozenset(("NAME", "NUMBER", "SIZE", "STRING", "(", "[", "+", "-"))
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class SyntaxStop(Exception):
    """The present statement cannot be read further; it has been reported."""


class TokenReader:
    """A position in the tokens, with the questions and complaints that every rule needs."""

    def __init__(self, tokens: list[Token], report: Reporter) -> None:
        self.tokens = tokens
        self.index = 0
        self.report = report
        self.nesting = 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.index]

    def peek(self, ahead: int = 1) -> Token:
        """The token after the next."""
        return self.tokens[min(self.index + ahead, len(self.tokens) - 1)]

    def is_word(self, *words: str) -> bool:
        """Whether the next token is one of these reserved words."""
        return self.token.kind == "WORD" and self.token.text in words

    def take(self) -> Token:
        """The next token, and step over it."""
        token = self.token
        if token.kind != "END":
            self.index += 1
        return token

    def accept(self, kind: str) -> bool:
        """Step over the next token if it is of that kind."""
        if self.token.kind == kind:
            self.take()
            return True
        return False

    def expect(self, kind: str, wanted: str, help: str = "") -> Token:
        """The next token, which must be of that kind."""
        if self.token.kind != kind:
            raise self.stop(f"expected {wanted}, found {self.found()}", help)
        return self.take()

    def stop(
        self, message: str, help: str = "", at: Place | None = None, code: str = "E0106"
    ) -> SyntaxStop:
        """Report a syntax error at the next token; to be raised."""
        if self.token.kind != "BAD":
            self.report.error(code, message, at or self.token.at, help=help)
        return SyntaxStop()

    def found(self) -> str:
        """The next token in the user's words."""
        token = self.token
        if token.kind == "NEWLINE":
            return "the end of the line"
        if token.kind == "END":
            return "the end of the file"
        shown = token.text if len(token.text) <= 40 else token.text[:37] + "..."
        if token.kind == "WORD":
            return f"the word `{shown}`, which has a meaning of its own"
        return f"`{shown}`"

    def skip_newline(self) -> None:
        """Step over a newline, if there is one."""
        self.accept("NEWLINE")

    def deeper(self, opened: Place) -> None:
        """Enter a bracket; the depth is limited."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise self.stop(
                f"this is nested more than {MAX_NESTING} deep",
                "name the inner parts with `let`, or make a `block` of them",
                opened,
                "E0107",
            )

    def between(self, first: Token) -> Place:
        """From `first` to the last token read, as far as it is on the same line."""
        last = self.tokens[max(self.index - 1, 0)]
        at = first.at
        return at._replace(end=last.at.end) if last.at.line == at.line else at


class ExpressionParser(TokenReader):
    """Rules `expr` to `flow`."""

    # -- flows -------------------------------------------------------------------------------------

    def flow(self) -> ast.Flow:
        """`stage -> stage ...`."""
        first = self.token
        stages = [self.stage()]
        while self.accept("->"):
            if self.token.kind == "NEWLINE":
                raise self.stop(
                    "expected an operation or a block behind `->`, found the end of the line",
                    "a flow goes on with `->` at the start of the next line",
                )
            stages.append(self.stage())
        return ast.Flow(self.between(first), tuple(stages))

    def stage(self) -> ast.Stage:
        """`call as label`."""
        first = self.token
        call = self.call("an operation, a block or a tensor")
        label = self.label()
        return ast.Stage(self.between(first), call, label)

    def label(self) -> ast.Label | None:
        """`as label`, if it is there."""
        if not self.is_word("as"):
            return None
        self.take()
        token = self.expect("LABEL", "a label such as `conv1` or `layer{i}.0` after `as`")
        return ast.Label(token.at, token.text)

    def call(self, wanted: str) -> ast.Call:
        """`name`, `name(arguments)`, `module.name(arguments)`, `in`."""
        first = self.token
        module = ""
        if self.is_word("in"):
            name = self.take().text
        else:
            slashes = "a comment starts with `#`" if self.token.kind in ("//", "/") else ""
            behind = self.peek()
            digits = self.token.kind == "." and behind.kind == "NUMBER"
            help = f"write 0.{behind.text[:20]}" if digits else slashes
            name = self.expect("NAME", wanted, help).text
            if self.accept("."):
                module, name = name, self.expect("NAME", "a block's name after the dot").text
        if self.token.kind != "(":
            return ast.Call(self.between(first), module, name, (), False)
        opened = self.take()
        args = self.items(")", self.argument, opened)
        return ast.Call(self.between(first), module, name, tuple(args), True)

    def argument(self) -> ast.Arg:
        """`name = value` or `value`, where a value may be a flow."""
        first = self.token
        name = ""
        if first.kind == "NAME" and self.peek().kind == "=":
            name = self.take().text
            self.take()
        start = self.token
        head = self.expression()
        value: ast.Expr | ast.Flow = head
        label = self.label()
        if label is not None or self.token.kind == "->":
            stages = [ast.Stage(self.between(start), head, label)]
            while self.accept("->"):
                stages.append(self.stage())
            value = ast.Flow(self.between(start), tuple(stages))
        return ast.Arg(self.between(first), name, value)

    def items(self, closer: str, item: Callable[[], T], opened: Token) -> list[T]:
        """Items with commas between them (one may be left at the end), and the closing bracket."""
        self.deeper(opened.at)
        found: list[T] = []
        while self.token.kind != closer:
            found.append(item())
            if self.token.kind == closer:
                break
            if self.token.kind in _STARTS or self.is_word("true", "false", "in", "not"):
                raise self.stop(
                    f"missing `,` between {'arguments' if closer == ')' else 'items'}",
                    "conv(3x3, filters=16)" if closer == ")" else "[64, 128, 256]",
                    code="E0102",
                )
            if not self.accept(","):
                raise self.stop(f"expected `,` or `{closer}`, found {self.found()}")
        self.take()
        self.nesting -= 1
        return found

    # -- expressions -------------------------------------------------------------------------------

    def expression(self) -> ast.Expr:
        """`a if test else b`, or anything that binds closer."""
        first = self.token
        then = self.operators()
        if not self.is_word("if"):
            return then
        self.take()
        test = self.operators()
        if not self.is_word("else"):
            raise self.stop(f"expected `else`, found {self.found()}", "write: a if test else b")
        self.take()
        self.deeper(first.at)
        other = self.expression()
        self.nesting -= 1
        return ast.Choice(self.between(first), then, test, other)

    def operators(self) -> ast.Expr:
        """Operands with operators between them, or one operand.

        Most operands stand alone; to see that first keeps the stack low.
        """
        start = self.token
        if self.is_word("not"):
            return self.ranked(0, start)
        left = self.signed()
        return self.ranked(0, start, left) if self.token.text in _OPERATORS else left

    def ranked(self, rank: int, start: Token, left: ast.Expr | None = None) -> ast.Expr:
        """A chain of the operators of `rank`; `left` is its first operand, if already read."""
        if rank == len(_RANKS):
            return left or self.signed()
        if rank == _COMPARE and left is None and self.is_word("not"):
            return self.negated()
        first = self.ranked(rank + 1, start, left)
        rest: list[tuple[str, ast.Expr]] = []
        while self.token.text in _RANKS[rank] and self.token.kind in (self.token.text, "WORD"):
            op = self.take().text
            rest.append((op, self.ranked(rank + 1, self.token)))
            if rank == _COMPARE:
                break
        return ast.Chain(self.between(start), first, tuple(rest)) if rest else first

    def negated(self) -> ast.Expr:
        """`not a`."""
        first = self.take()
        self.deeper(first.at)
        operand = self.ranked(_COMPARE, self.token)
        self.nesting -= 1
        return ast.Prefix(self.between(first), "not", operand)

    def signed(self) -> ast.Expr:
        """`-a`, `+a`, or an atom."""
        first = self.token
        if first.kind not in ("+", "-"):
            return self.atom()
        self.take()
        self.deeper(first.at)
        operand = self.signed()
        self.nesting -= 1
        return ast.Prefix(self.between(first), first.kind, operand)

    def atom(self) -> ast.Expr:
        """A literal, a list, a name, a call, or an expression in brackets."""
        token = self.token
        if token.kind == "NUMBER":
            self.take()
            self.refuse_spaced_size(token)
            return ast.Number(token.at, token.text)
        if token.kind == "SIZE":
            self.take()
            return ast.SizeLiteral(token.at, token.text)
        if token.kind == "STRING":
            self.take()
            return ast.Text(token.at, unquote(token.text))
        if token.kind == "(":
            self.take()
            self.deeper(token.at)
            inner = self.expression()
            wants = "a size is written 3x3, a list [1, 2]" if self.token.kind == "," else ""
            self.expect(")", "`)`", wants)
            self.nesting -= 1
            return ast.Paren(self.between(token), inner)
        if token.kind == "[":
            return self.list_literal()
        if self.is_word("true", "false"):
            return ast.Truth(token.at, self.take().text == "true")
        if token.kind == "NAME" and self.peek().kind == "[":
            return self.type_literal()
        return self.call("a value")

    def type_literal(self) -> ast.TypeLiteral:
        """`f32[1, 48, 192]`."""
        first = self.take()
        axes = self.list_literal()
        return ast.TypeLiteral(self.between(first), first.text, axes)

    def list_literal(self) -> ast.ListLiteral:
        """`[a, b]`."""
        opened = self.expect("[", "a list such as `[1, 2]`")
        items = self.items("]", self.expression, opened)
        return ast.ListLiteral(self.between(opened), tuple(items))

    def refuse_spaced_size(self, number: Token) -> None:
        """`3 x 3` and `3 x3` are sizes gone wrong."""
        follower = self.token
        if follower.kind != "NAME" or follower.text[0] != "x":
            return
        if follower.text != "x" and not follower.text[1:].replace("x", "").isdigit():
            return
        behind = self.peek()
        shown = follower.text
        end = follower.at.end
        if follower.text == "x" and behind.kind in ("NUMBER", "SIZE", "NAME"):
            shown += f" {behind.text}"
            end = behind.at.end
        raise self.stop(
            f"`{shown}` is not a size",
            "write `3x3` without spaces, or `[h, w, c]` with names and expressions",
            follower.at._replace(end=end),
            "E0105",
        )


def unquote(text: str) -> str:
    r"""The value of a quoted text: `\n`, `\t`, `\r`; any other escaped character is itself."""
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    out: list[str] = []
    characters = iter(inner)
    for char in characters:
        if char == "\\":
            escaped = next(characters)
            out.append(_ESCAPES.get(escaped, escaped))
        else:
            out.append(char)
    return "".join(out)
