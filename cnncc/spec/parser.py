"""Tokens to a syntax tree: the statements, each read alone so that one mistake hides no other.

The language's grammar is `tests/spec/grammar.lark`; the tests hold this parser to it.
"""

from __future__ import annotations

from collections.abc import Callable

from cnncc.spec import ast
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.expressions import ExpressionParser, SyntaxStop, T, unquote
from cnncc.spec.lexer import MAX_BYTES, Place, Token, lex

EDITION = 1
_KINDS = ("tensor", "int", "float", "bool", "text")


def parse(text: str, report: Reporter) -> ast.File:
    """Read a file; statements with mistakes are reported and left out."""
    if len(text) > MAX_BYTES:
        report.error(
            "E0108",
            f"the file has {len(text):,} characters; at most {MAX_BYTES:,} are read",
            (1, 1, 2),
            help="weights belong in a `.safetensors` or `.npz` file",
        )
        return ast.File(Place(1, 1, 2), EDITION, ())
    return _Parser(lex(text, report).tokens, report).file()


def parse_expression(text: str, at: Place, report: Reporter) -> ast.Expr | None:
    """Read one expression, such as the `i + 1` of a label; all its places are `at`."""
    quiet = Reporter(report.file)
    tokens = [token._replace(at=at) for token in lex(text, quiet).tokens]
    parser = _Parser(tokens, quiet)
    try:
        found = parser.expression()
        parser.end_of_line()
    except SyntaxStop:
        return None
    return None if quiet.failed else found


class _Parser(ExpressionParser):
    def __init__(self, tokens: list[Token], report: Reporter) -> None:
        super().__init__(tokens, report)
        self.broken: set[str] = set()

    def file(self) -> ast.File:
        first = self.token
        self.skip_newline()
        edition = self.header()
        items: list[ast.Item] = []
        while self.token.kind != "END":
            item = self.recovering(self.item)
            if item is not None:
                items.append(item)
        return ast.File(first.at, edition, tuple(items), frozenset(self.broken))

    def header(self) -> int:
        token = self.token
        if token.kind != "NAME" or token.text != "cnncc":
            self.report.error(
                "E0104",
                f"the file must start with `cnncc {EDITION}`",
                token.at,
                help=f"put `cnncc {EDITION}` on the first line; it names the language's edition",
            )
            return EDITION
        self.take()
        number = self.token
        if number.kind != "NUMBER" or number.text != str(EDITION):
            newer = number.kind == "NUMBER" and number.text.isdigit()
            self.report.error(
                "E0104",
                f"edition `{number.text.strip()[:20]}` of the language is unknown"
                if newer
                else f"the file must start with `cnncc {EDITION}`",
                number.at,
                help=f"this cnncc reads edition {EDITION}: upgrade, or write `cnncc {EDITION}`"
                if newer
                else f"write `cnncc {EDITION}`",
            )
            while self.token.kind not in ("NEWLINE", "END"):
                self.take()
        else:
            self.take()
        if self.token.kind != "NEWLINE":
            self.recovering(self.end_of_line)
        else:
            self.take()
        return EDITION

    # -- recovery ----------------------------------------------------------------------------------

    def recovering(self, rule: Callable[[], T]) -> T | None:
        """Apply a rule; after a mistake, go on at the next statement of the same depth."""
        start = self.index
        nesting = self.nesting
        try:
            return rule()
        except SyntaxStop:
            self.nesting = nesting
            self.note_broken(start)
            self.skip_statement(start)
            return None

    def note_broken(self, start: int) -> None:
        """Remember the name that a statement would have defined, to say nothing of its users."""
        first, second = self.tokens[start], self.tokens[min(start + 1, len(self.tokens) - 1)]
        if first.kind == "WORD" and second.kind == "NAME":
            self.broken.add(second.text)
        elif first.kind == "NAME" and second.kind == "=":
            self.broken.add(first.text)
        if first.kind == "WORD" and first.text == "input":
            self.broken.add("in")

    def skip_statement(self, start: int) -> None:
        """Move behind the statement that began at token `start`, with its braces."""
        depth = 0
        for token in self.tokens[start : self.index]:
            depth += {"{": 1, "}": -1}.get(token.kind, 0)
        while self.token.kind != "END":
            kind = self.token.kind
            if kind == "NEWLINE" and depth <= 0:
                self.take()
                return
            if kind == "}":
                if depth <= 0:
                    return
                depth -= 1
            elif kind == "{":
                depth += 1
            self.take()

    def end_of_line(self) -> None:
        if self.token.kind == "END":
            return
        help = ""
        if self.token.kind == ")":
            help = "no `(` is open here; remove the `)`"
        elif self.token.kind == "=":
            help = "to name a result write: name = conv(3x3, filters=16)"
        elif self.token.kind in ("NAME", "WORD"):
            help = "one statement a line; write `->` between operations on one line"
        elif self.token.kind in ("+", "*"):
            name = {"+": "add", "*": "mul"}[self.token.kind]
            help = f"tensors are joined by an operation: {name}(a, b)"
        elif self.token.kind == "(":
            help = "a tensor is piped in: x -> conv(3x3, filters=16)"
        self.expect("NEWLINE", "the end of the line", help)

    # -- items -------------------------------------------------------------------------------------

    def item(self) -> ast.Item:
        rules: dict[str, Callable[[], ast.Item]] = {
            "model": self.model,
            "use": self.use,
            "param": self.param,
            "block": self.block,
            "input": self.input,
            "output": self.output,
            "weights": self.weights,
        }
        if self.token.kind == "WORD" and self.token.text in rules:
            return rules[self.token.text]()
        if self.token.kind == "}":
            error = self.stop("this `}` closes nothing", "remove it")
            self.take()
            raise error
        return self.statement()

    def model(self) -> ast.Model:
        first = self.take()
        name = self.expect("NAME", "the model's name").text
        at = self.between(first)
        return ast.Model(at, name, self.props_to_end())

    def use(self) -> ast.Use:
        first = self.take()
        path = self.expect("STRING", 'a path such as `"blocks/resnet.cnn"`')
        if not self.is_word("as"):
            raise self.stop(f"expected `as` and a name, found {self.found()}")
        self.take()
        name = self.token
        if name.kind != "LABEL" or not is_name(name.text):
            raise self.stop(f"expected a name, found {self.found()}")
        self.take()
        at = self.between(first)
        self.end_of_line()
        return ast.Use(at, unquote(path.text), name.text, path.at)

    def param(self) -> ast.Param:
        self.take()
        name = self.expect("NAME", "the parameter's name")
        self.expect("=", "`=` and a default value", "param width = 1.0")
        default = self.expression()
        allowed = None
        if self.is_word("in"):
            self.take()
            allowed = self.list_literal()
        self.end_of_line()
        return ast.Param(name.at, name.text, default, allowed)

    def block(self) -> ast.Block:
        self.take()
        name = self.expect("NAME", "the block's name")
        opened = self.expect("(", "`(` and the block's parameters", "block pair(filters) { ... }")
        formals = self.items(")", self.formal, opened)
        body = self.body()
        self.end_of_line()
        return ast.Block(name.at, name.text, tuple(formals), body)

    def formal(self) -> ast.Formal:
        name = self.expect("NAME", "a parameter's name")
        kind = ""
        if self.accept(":"):
            token = self.token
            if token.kind != "NAME" or token.text not in _KINDS:
                raise self.stop(
                    f"expected one of {', '.join(_KINDS)}, found {self.found()}",
                    "block up(skip: tensor, filters) { ... }",
                )
            kind = self.take().text
        default = self.expression() if self.accept("=") else None
        return ast.Formal(name.at, name.text, kind, default)

    def input(self) -> ast.Input:
        self.take()
        name = self.expect("NAME", "the input's name", "input photo: 150x150x3")
        if self.token.kind != ":":
            raise self.stop(
                "expected `:` and a shape after the input name",
                f"input {name.text[:40]}: 150x150x3",
                code="E0101",
            )
        self.take()
        shape = self.shape()
        return ast.Input(name.at, name.text, shape, self.props_to_end())

    def shape(self) -> ast.Expr:
        token = self.token
        if token.kind == "SIZE":
            self.take()
            return ast.SizeLiteral(token.at, token.text)
        if token.kind == "[":
            return self.list_literal()
        if token.kind == "NAME" and self.peek().kind == "[":
            return self.type_literal()
        if token.kind == "NUMBER":
            self.take()
            self.refuse_spaced_size(token)
            self.index -= 1
            raise self.stop(
                f"`{token.text[:20]}` is not a size",
                f"write a vector's shape as [{token.text[:20]}], a feature map's as 28x28x1",
                code="E0105",
            )
        raise self.stop(f"expected a shape, found {self.found()}", "56x56x64, or [h, w, c]")

    def output(self) -> ast.Output:
        first = self.take()
        name = self.expect("NAME", "the output's name", "output prob")
        at = self.between(first)
        flow = self.flow() if self.accept("=") else None
        return ast.Output(name.at, name.text, flow, self.props_to_end(), at)

    def weights(self) -> ast.Weights:
        first = self.take()
        if self.token.kind == "NAME" and self.token.text == "random":
            self.take()
            path = None
        else:
            wanted = 'a path such as `"net.safetensors"`, or `random`'
            help = "put the path between quotes" if self.token.kind in ("NAME", "WORD") else ""
            path = unquote(self.expect("STRING", wanted, help).text)
        at = self.between(first)
        return ast.Weights(at, path, self.props_to_end())

    def props_to_end(self) -> tuple[ast.Prop, ...]:
        """`{ name = value, ... }`, if it is there, and the end of the line."""
        props: list[ast.Prop] = []
        if self.token.kind == "{":
            self.deeper(self.take().at)
            self.skip_newline()
            while self.token.kind != "}":
                props.append(self.prop())
                if self.token.kind == "}":
                    break
                if self.accept(","):
                    self.skip_newline()
                elif not self.accept("NEWLINE"):
                    raise self.stop(
                        f"expected `,`, a new line or `}}`, found {self.found()}",
                        "{ dtype = u8, scale = 1/255 }",
                    )
            self.take()
            self.nesting -= 1
        self.end_of_line()
        return tuple(props)

    def prop(self) -> ast.Prop:
        name = self.expect("NAME", "a property such as `dtype = u8`")
        self.expect(
            "=", "`=` and a value", f"{name.text[:40]} = ..." if self.token.kind == ":" else ""
        )
        return ast.Prop(name.at, name.text, self.expression())

    # -- statements --------------------------------------------------------------------------------

    def statement(self) -> ast.Statement:
        if self.is_word("let"):
            return self.let()
        if self.is_word("repeat"):
            return self.repeat()
        if self.is_word("for"):
            return self.for_()
        if self.is_word("if"):
            return self.if_()
        if self.is_word("else"):
            raise self.stop("`else` without an `if`", "write `} else {` on one line")
        if self.token.kind == "NAME" and self.peek().kind == "=":
            name = self.take()
            self.take()
            flow = self.flow()
            return ast.Assign(name.at, name.text, flow, self.annotation())
        first = self.token
        flow = self.flow()
        at = self.between(first)
        return ast.Run(at, flow, self.annotation())

    def annotation(self) -> ast.Expr | None:
        shape = self.shape() if self.accept(":") else None
        self.end_of_line()
        return shape

    def let(self) -> ast.Let:
        self.take()
        name = self.expect("NAME", "a name after `let`")
        self.expect("=", "`=` and a value")
        value = self.expression()
        self.end_of_line()
        return ast.Let(name.at, name.text, value)

    def repeat(self) -> ast.Repeat:
        first = self.take()
        count = self.expression()
        at = self.between(first)
        body = self.body()
        self.end_of_line()
        return ast.Repeat(at, count, body)

    def for_(self) -> ast.For:
        first = self.take()
        names = [self.expect("NAME", "a name after `for`").text]
        while self.accept(","):
            names.append(self.expect("NAME", "a name").text)
        if not self.is_word("in"):
            raise self.stop(f"expected `in`, found {self.found()}", "for i in range(3) { ... }")
        self.take()
        items = self.expression()
        at = self.between(first)
        body = self.body()
        self.end_of_line()
        return ast.For(at, tuple(names), items, body)

    def if_(self) -> ast.If:
        first = self.take()
        test = self.expression()
        at = self.between(first)
        branches = [(test, self.body())]
        otherwise = None
        while otherwise is None and self.is_word("else"):
            self.take()
            if self.is_word("if"):
                self.take()
                test = self.expression()
                branches.append((test, self.body()))
            else:
                otherwise = self.body()
        self.end_of_line()
        return ast.If(at, tuple(branches), otherwise)

    def body(self) -> ast.Body:
        opened = self.expect("{", "`{`", "braces hold what is repeated or chosen: { relu }")
        self.deeper(opened.at)
        statements: list[ast.Statement] = []
        if self.accept("NEWLINE"):
            if self.token.kind == "}":
                raise self.stop(
                    "there is nothing between the braces", "write a statement, or `relu`"
                )
            while self.token.kind not in ("}", "END"):
                statement = self.recovering(self.inner)
                if statement is not None:
                    statements.append(statement)
        else:
            first: Token = self.token
            if first.kind == "WORD" and first.text not in ("in", "as"):
                raise self.stop(
                    f"`{first.text}` cannot stand on the line of the `{{`",
                    "only `a -> b` may; put each statement on a line of its own",
                )
            flow = self.flow()
            statements.append(ast.Run(self.between(first), flow, None))
        self.expect("}", "`}`")
        self.nesting -= 1
        return ast.Body(opened.at, tuple(statements))

    def inner(self) -> ast.Statement:
        if self.is_word("model", "use", "param", "block", "input", "output", "weights"):
            raise self.stop(
                f"`{self.token.text}` belongs outside of braces", "move it to the top level"
            )
        return self.statement()


def is_name(text: str) -> bool:
    """Whether a text may be used as a name."""
    tokens = lex(text, Reporter("")).tokens
    return tokens[0].kind == "NAME" and tokens[0].text == text
