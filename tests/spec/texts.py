"""Random texts of the language: files that the grammar takes, in any layout, with comments."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
LANGUAGE = EXAMPLES.parent / "docs" / "language.md"
PIECES = re.compile(r"\s|\w+|.", re.DOTALL)
WORDS = ["a", "b", "f", "conv", "relu", "x3", "tensor", "random", "cnncc", "int", "asx", "in_"]


class Writer:
    """Writes a random file from a seed; every rule of the grammar can come up."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.out: list[str] = []
        self.brackets = 0

    def file(self) -> str:
        self.maybe(self.newline)
        self.put("cnncc 1")
        self.newline()
        for _ in range(self.random.randrange(8)):
            self.pick(
                *(self.model, self.use, self.param, self.block, self.input, self.output),
                *(self.weights, self.statement, self.statement, self.statement),
            )(2)
        return "".join(self.out)

    # -- choices -----------------------------------------------------------------------------------

    def pick(self, *options: Callable[..., None]) -> Callable[..., None]:
        return self.random.choice(options)

    def maybe(self, rule: Callable[..., None], *args: object, often: float = 0.3) -> bool:
        taken = self.random.random() < often
        if taken:
            rule(*args)
        return taken

    # -- layout ------------------------------------------------------------------------------------

    def put(self, text: str) -> None:
        """A token, with blanks before it where two tokens would melt."""
        last = self.out[-1][-1:] if self.out else ""
        if text[0].isalnum() or text[0] in '_"{' or last in "{}" or self.random.random() < 0.4:
            self.out.append(" " * self.random.choice([1, 1, 1, 2]))
        self.out.append(text)
        if self.brackets and self.random.random() < 0.1:
            self.newline()

    def comment(self) -> None:
        self.out.append(self.random.choice(["# c", "#", "  # a -> b ( [ {", '# "', "#é "]))

    def newline(self) -> None:
        for _ in range(self.random.choice([1, 1, 1, 2, 3])):
            self.maybe(self.comment, often=0.2)
            self.out.append(self.random.choice(["\n", "\n", " \n", "\r\n"]))

    def arrow(self) -> None:
        self.maybe(self.newline, often=0.2)
        self.put("->")

    # -- leaves ------------------------------------------------------------------------------------

    def name(self, *_: object) -> None:
        self.put(self.random.choice(WORDS))

    def label(self, *_: object) -> None:
        self.put("as")
        self.out.append(" " + self.random.choice(["c", "1x1", "a.b.0", "l{i}.x", "{i + 1}", "in"]))

    def listing(self, depth: int, item: Callable[..., None], closer: str, least: int = 0) -> None:
        """Items between brackets that are already open."""
        self.brackets += 1
        count = max(least, self.random.randrange(3))
        for index in range(count):
            item(depth - 1)
            if index < count - 1 or self.random.random() < 0.2:
                self.put(",")
        self.brackets -= 1
        self.put(closer)

    # -- expressions -------------------------------------------------------------------------------

    def expr(self, depth: int) -> None:
        if depth > 0 and self.random.random() < 0.15:
            self.logic(depth - 1)
            self.put("if")
            self.logic(depth - 1)
            self.put("else")
            self.expr(depth - 1)
        else:
            self.logic(depth)

    def logic(self, depth: int) -> None:
        self.maybe(self.put, "not", often=0.1)
        self.sum(depth)
        if depth > 0 and self.random.random() < 0.2:
            self.put(self.random.choice(["==", "!=", "<", "<=", ">", ">="]))
            self.sum(depth - 1)
        if depth > 0 and self.random.random() < 0.15:
            self.put(self.random.choice(["and", "or"]))
            self.logic(depth - 1)

    def sum(self, depth: int) -> None:
        self.maybe(self.put, "-", often=0.1)
        self.atom(depth)
        while depth > 0 and self.random.random() < 0.25:
            self.put(self.random.choice(["+", "-", "*", "/", "//"]))
            self.maybe(self.put, "+", often=0.1)
            self.atom(depth - 1)

    def atom(self, depth: int) -> None:
        kind = self.random.randrange(9 if depth > 0 else 5)
        if kind == 5:
            self.put("[")
            self.listing(depth, self.expr, "]")
        elif kind == 6:
            self.put("(")
            self.brackets += 1
            self.expr(depth - 1)
            self.brackets -= 1
            self.put(")")
        elif kind == 7:
            self.call(depth - 1)
        elif kind == 8:
            self.typed(depth)
        elif kind == 4:
            self.name()
        else:
            numbers = ["0", "3", "255", "0.5", "1e-5", "2.5E+3"]
            others = [["3x3", "1x2x3"], ['"t"', '"a\\"b"', '"#"'], ["true", "false"]]
            self.put(self.random.choice([numbers, *others][kind]))

    def typed(self, depth: int) -> None:
        self.put(self.random.choice(["f32", "i64", "a"]))
        self.put("[")
        self.listing(depth, self.expr, "]")

    def call(self, depth: int) -> None:
        if self.random.random() < 0.15:
            self.put("in")
        else:
            self.name()
            if self.random.random() < 0.1:
                self.put(".")
                self.name()
        if self.random.random() < 0.6:
            self.put("(")
            self.listing(depth, self.argument, ")")

    def argument(self, depth: int) -> None:
        if self.random.random() < 0.5:
            self.name()
            self.put("=")
        self.expr(depth)
        self.maybe(self.label, often=0.1)
        while self.random.random() < 0.15:
            self.arrow()
            self.stage(depth)

    def stage(self, depth: int) -> None:
        self.call(depth)
        self.maybe(self.label)

    def flow(self, depth: int) -> None:
        self.stage(depth)
        while self.random.random() < 0.4:
            self.arrow()
            self.stage(depth)

    # -- items -------------------------------------------------------------------------------------

    def shape(self, depth: int) -> None:
        chance = self.random.random()
        if chance < 0.5:
            self.put("28x28x1")
        elif chance < 0.7:
            self.typed(depth)
        else:
            self.put("[")
            self.listing(depth, self.expr, "]")

    def end(self) -> None:
        self.maybe(self.comment, often=0.2)
        self.out.append("\n")
        self.maybe(self.newline, often=0.2)

    def props(self, depth: int) -> None:
        self.put("{")
        self.maybe(self.newline)
        count = self.random.randrange(3)
        for index in range(count):
            self.name()
            self.put("=")
            self.expr(depth)
            if index < count - 1 or self.random.random() < 0.3:
                if self.random.random() < 0.5:
                    self.put(",")
                    self.maybe(self.newline)
                else:
                    self.newline()
        self.put("}")

    def with_props(self, depth: int) -> None:
        self.maybe(self.props, depth)
        self.end()

    def model(self, depth: int) -> None:
        self.put("model")
        self.name()
        self.with_props(depth)

    def use(self, _: int) -> None:
        self.put('use "a.cnn" as')
        self.name()
        self.end()

    def param(self, depth: int) -> None:
        self.put("param")
        self.name()
        self.put("=")
        self.expr(depth)
        if self.random.random() < 0.3:
            self.put("in")
            self.put("[")
            self.listing(depth, self.expr, "]")
        self.end()

    def block(self, depth: int) -> None:
        self.put("block")
        self.name()
        self.put("(")
        self.listing(depth, self.formal, ")")
        self.body(depth)
        self.end()

    def formal(self, depth: int) -> None:
        self.name()
        if self.random.random() < 0.3:
            self.put(":")
            self.put("tensor")
        if self.random.random() < 0.3:
            self.put("=")
            self.expr(depth)

    def input(self, depth: int) -> None:
        self.put("input")
        self.name()
        self.put(":")
        self.shape(depth)
        self.with_props(depth)

    def output(self, depth: int) -> None:
        self.put("output")
        self.name()
        if self.random.random() < 0.5:
            self.put("=")
            self.flow(depth)
        self.with_props(depth)

    def weights(self, depth: int) -> None:
        self.put(self.random.choice(['weights "w.npz"', "weights random"]))
        self.with_props(depth)

    def body(self, depth: int) -> None:
        self.put("{")
        if self.random.random() < 0.5:
            self.flow(depth)
        else:
            self.newline()
            for _ in range(self.random.choice([1, 1, 2])):
                self.statement(depth - 1)
        self.put("}")

    def statement(self, depth: int) -> None:
        kind = self.random.randrange(7 if depth > 0 else 3)
        if kind == 3:
            self.put("repeat")
            self.expr(depth - 1)
            self.body(depth)
        elif kind == 4:
            self.put("for")
            self.name()
            if self.random.random() < 0.4:
                self.put(",")
                self.name()
            self.put("in")
            self.expr(depth - 1)
            self.body(depth)
        elif kind == 5:
            self.put("if")
            self.expr(depth - 1)
            self.body(depth)
            while self.random.random() < 0.3:
                self.put("else if")
                self.expr(depth - 1)
                self.body(depth)
            if self.random.random() < 0.4:
                self.put("else")
                self.body(depth)
        elif kind == 6:
            self.put("let")
            self.name()
            self.put("=")
            self.expr(depth)
        else:
            if kind == 1:
                self.name()
                self.put("=")
            self.flow(depth)
            if self.random.random() < 0.2:
                self.put(":")
                self.shape(depth)
        self.end()


def written(seed: int) -> str:
    """A random file that the grammar takes."""
    return Writer(seed).file()


def examples() -> list[str]:
    """The texts of the example files, and those of the language's page."""
    files = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.rglob("*.cnn"))]
    return files + re.findall(r"```cnn\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)


def mutated(seed: int) -> str:
    """A piece of an example or of a random file, with a few tokens lost, doubled or replaced."""
    chance = random.Random(seed)
    texts = examples()
    text = chance.choice(texts) if chance.random() < 0.6 else written(seed)
    lines = text.split("\n")
    start = chance.randrange(len(lines))
    chosen = lines[start : start + chance.randrange(1, 12)]
    pieces = PIECES.findall("\n".join(["cnncc 1", *chosen]))
    spare = [
        *PIECES.findall(chance.choice(texts)),
        *["as", "in", "->", "{", "}", "(", ")", "[", "]", ",", "=", ":", "3x3", "1e-5", "if"],
    ]
    spare += ["\n", "# c\n", '"s"', "else", "not", "-", ".", "{i}", "random", "1", "x"]
    for _ in range(chance.randrange(4)):
        index = chance.randrange(len(pieces))
        kind = chance.randrange(3)
        if kind == 0 and len(pieces) > 1:
            del pieces[index]
        elif kind == 1:
            pieces.insert(index, chance.choice(spare))
        else:
            pieces[index] = chance.choice(spare)
    return "".join(pieces)
