"""Expressions to values: arithmetic, functions, names. Always ends; never makes a graph node."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

from cnncc.ir.types import DType, TensorType
from cnncc.spec import ast, general, suggest
from cnncc.spec.builtins import BUILTINS, WORDS
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.functions import FUNCTIONS, Function
from cnncc.spec.lexer import Place
from cnncc.spec.parser import parse_expression
from cnncc.spec.project import Project
from cnncc.spec.scopes import Env
from cnncc.spec.values import (
    MAX_INT,
    UNKNOWN,
    Size,
    Tensor,
    Unfit,
    Unknown,
    Value,
    Word,
    describe,
    is_number,
    listed,
    show,
    whole,
)

MAX_LABEL = 200
ALL_WORDS = WORDS | frozenset(
    ["u8", "i8", "f16", "f32", "rgb", "bgr", "gray", "oihw", "hwio", "he", "xavier"]
)


MAX_WORK = 2_000_000
MAX_ELEMS = 2**31
_MAX_RANK = 8
_DTYPES = tuple(str(dtype) for dtype in DType)


class TooLarge(Exception):
    """The network outgrew its limits; reported."""


class Failed(Exception):
    """The expression has no value; that has been reported, or follows from a reported error."""


_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Evaluator:
    """Computes the values of expressions in an `Env`."""

    def __init__(self, report: Reporter, project: Project) -> None:
        self.report = report
        self.project = project
        self._labels: dict[str, ast.Expr | None] = {}
        self._work = 0

    def value(self, expr: ast.Expr, env: Env) -> Value:
        """The value of `expr`.

        Raises:
            Failed: it has none; reported.
        """
        self.spend(1, expr.at)
        match expr:
            case ast.Number():
                return self._number(expr)
            case ast.SizeLiteral():
                return Size(tuple(self._int(part, expr.at) for part in expr.text.split("x")))
            case ast.Text() | ast.Truth():
                return expr.value
            case ast.TypeLiteral():
                return self.type(expr, env)
            case ast.ListLiteral():
                return tuple(self.value(item, env) for item in expr.items)
            case ast.Paren():
                return self.value(expr.inner, env)
            case ast.Prefix():
                return self._prefix(expr, env)
            case ast.Chain():
                return self._chain(expr, env)
            case ast.Choice():
                return self.value(expr.then if self.truth(expr.test, env) else expr.other, env)
            case ast.Call():
                return self._call(expr, env)

    def type(self, expr: ast.TypeLiteral, env: Env) -> TensorType:
        """The type that `f32[1, 48, 192]` means.

        Raises:
            Failed: it is none; reported.
        """
        if expr.name not in _DTYPES:
            near = suggest.word(expr.name, _DTYPES) or f"element types are {', '.join(_DTYPES)}"
            self._fail("E0105", f"`{expr.name[:40]}` is no element type", expr.at, near)
        axes = [self.value(item, env) for item in expr.axes.items]
        if len(axes) > _MAX_RANK:
            self._fail("E0105", f"a type has at most {_MAX_RANK} axes, not {len(axes)}", expr.at)
        try:
            shape = tuple(whole(axis, "an axis", 1) for axis in axes)
        except Unfit as wrong:
            self._fail(wrong.code, wrong.message, expr.at, wrong.help)
            raise Failed from None
        if math.prod(shape) >= MAX_ELEMS:
            self._fail("E0310", f"a tensor has fewer than 2^31 numbers, not {show(shape)}", expr.at)
        return TensorType(DType(expr.name), shape)

    def spend(self, amount: int, at: Place) -> None:
        """Count work; loops can ask for more than anybody wants to wait for.

        Raises:
            TooLarge: it is too much; reported.
        """
        self._work += amount
        if self._work > MAX_WORK:
            self.report.error(
                "E0310",
                f"the file asks for more than {MAX_WORK:,} steps of computation",
                at,
                help="is a `repeat`, `for` or `range` count too large?",
            )
            raise TooLarge

    def truth(self, expr: ast.Expr, env: Env) -> bool:
        """The value of a condition."""
        found = self.value(expr, env)
        if not isinstance(found, bool):
            self._fail(
                "E0304",
                f"a condition must be true or false, got {describe(found)}",
                expr.at,
                "compare it: x != 0",
            )
        return bool(found)

    def label(self, label: ast.Label, env: Env) -> str:
        """The text of a label, its `{ }` filled in."""
        if len(label.text) > MAX_LABEL:
            self._fail("E0310", f"a label has at most {MAX_LABEL} characters", label.at)
        out: list[str] = []
        for index, part in enumerate(label.text.replace("}", "{").split("{")):
            if index % 2 == 0:
                out.append(part)
                continue
            if part not in self._labels:
                self._labels[part] = parse_expression(part, label.at, self.report)
            expr = self._labels[part]
            if expr is None:
                self._fail("E0106", f"`{{{part}}}` is no expression", label.at, "layer{i}")
            value = self.value(_moved(expr, label.at), env) if expr else UNKNOWN
            text = value if isinstance(value, str) else show(value)
            if not text.replace("_", "").replace(".", "").isalnum() or not text.isascii():
                self._fail(
                    "E0304",
                    f"`{{{part}}}` is {describe(value)}, which cannot be part of a label",
                    label.at,
                    "a label takes whole numbers, sizes and texts of letters, digits, `_`",
                )
            out.append(text)
        return "".join(out)

    # -- one method a rule -------------------------------------------------------------------------

    def _number(self, expr: ast.Number) -> int | float:
        if expr.text.isdigit():
            return self._int(expr.text, expr.at)
        return float(self._finite(float(expr.text[:400]), expr.at))

    def _int(self, text: str, at: Place) -> int:
        if len(text) > 16 or int(text) > MAX_INT:
            self._fail("E0309", f"the number {text[:20]}... is too large", at)
        return int(text)

    def _prefix(self, expr: ast.Prefix, env: Env) -> Value:
        if expr.op == "not":
            return not self.truth(expr.operand, env)
        value = self.value(expr.operand, env)
        if not is_number(value):
            self._fail(
                "E0304", f"`{expr.op}` needs a number, got {describe(value)}", expr.operand.at
            )
        return -value if expr.op == "-" else value  # type: ignore[operator]

    def _chain(self, expr: ast.Chain, env: Env) -> Value:
        if expr.rest[0][0] in ("and", "or"):
            return self._logic(expr, env)
        left = self.value(expr.first, env)
        for op, operand in expr.rest:
            right = self.value(operand, env)
            if op in _COMPARISONS:
                left = self._compare(op, left, right, expr)
            else:
                left = self._compute(op, left, right, expr)
        return left

    def _logic(self, expr: ast.Chain, env: Env) -> bool:
        result = self.truth(expr.first, env)
        for op, operand in expr.rest:
            if result == (op == "and"):
                result = self.truth(operand, env)
        return result

    def _compare(self, op: str, left: Value, right: Value, expr: ast.Chain) -> bool:
        self.spend(len(left) if isinstance(left, tuple) else 1, expr.at)
        if op not in ("==", "!=") and not (is_number(left) and is_number(right)):
            self._fail(
                "E0304",
                f"`{op}` compares numbers, got {describe(left)} and {describe(right)}",
                expr.at,
            )
        return _COMPARISONS[op](left, right)

    def _compute(self, op: str, left: Value, right: Value, expr: ast.Chain) -> Value:
        if not (is_number(left) and is_number(right)):
            wrong = right if is_number(left) else left
            self._fail("E0304", f"`{op}` needs numbers, got {describe(wrong)}", expr.at)
        shown = f"{show(left)} {op} {show(right)}"
        if op in ("/", "//") and right == 0:
            self._fail("E0309", "division by zero", expr.at, f"this is {shown}")
        try:
            return self._finite(_ARITHMETIC[op](left, right), expr.at)
        except OverflowError:
            self._fail("E0309", f"{shown} is too large", expr.at)
            raise Failed from None

    def _finite(self, value: float, at: Place) -> int | float:
        if isinstance(value, int) and abs(value) > MAX_INT:
            self._fail("E0309", "the number is too large", at, "whole numbers go up to 2^53")
        if isinstance(value, float) and not math.isfinite(value):
            self._fail("E0309", "the number is too large", at)
        return value

    def _call(self, expr: ast.Call, env: Env) -> Value:
        if expr.name == "in" and not expr.parens:
            return self.block_input(expr, env)
        if expr.parens and not expr.module and expr.name in FUNCTIONS:
            return self._function(expr, env)
        if expr.parens or expr.module:
            self._not_a_value(expr, env)
        found = self.lookup(expr.name, env)
        if isinstance(found, Unknown):
            raise Failed
        if found is not None:
            return found
        if expr.name in ALL_WORDS:
            return Word(expr.name)
        if expr.name in BUILTINS or expr.name in env.module.blocks:
            self._not_a_value(expr, env)
        self.unknown_name(expr, env, "value")
        raise Failed

    def lookup(self, name: str, env: Env) -> Value | None:
        """The value of a visible name: of this scope, or a param of the file."""
        found = env.scope.find(name) or env.module.params.get(name)
        if found is None and name in env.module.broken:
            return UNKNOWN
        return found[0] if found else None

    def block_input(self, expr: ast.Call, env: Env) -> Value:
        """`in`; outside of blocks an error."""
        if env.input is None:
            names = [n for n, (v, _) in env.scope.names.items() if isinstance(v, Tensor)]
            instead = f"use the input's name `{names[0]}`" if names else "use the input's name"
            self._fail("E0205", "`in` outside of a block", expr.at, instead)
        if isinstance(env.input, Unknown) or env.input is None:
            raise Failed
        return env.input

    def unknown_name(self, expr: ast.Call, env: Env, what: str) -> None:
        """Report a name that means nothing here: E0204 if it means something elsewhere."""
        at = expr.at._replace(end=min(expr.at.end, expr.at.column + len(expr.title)))
        known = [*env.module.params, *env.scope.visible()]
        if what == "operation":
            known += [*BUILTINS, *env.module.blocks]
        elif what == "function":
            known = [*FUNCTIONS]
        owner = env.module.owners.get(expr.name)
        if owner is not None and not expr.module:
            self._not_visible(expr, at, owner, env)
            return
        where = "" if self.report.full else suggest.operation(expr.title, known)
        if what == "operation" and not where and not self.report.full:
            where = suggest.close(expr.title, general.names())
        if expr.module and expr.module not in env.module.uses:
            where = f'no file is called `{expr.module}`: use "file.cnn" as {expr.module}'
        elif expr.module:
            module = env.module.uses[expr.module]
            if module is None:
                return
            where = suggest.close(expr.name, module.blocks) or "the file has no such block"
        help = where or "the operations are listed in docs/language.md"
        if what == "value" and not where:
            help = f"visible here: {listed(known, 12)}" if known else f"let {expr.name[:40]} = ..."
        self.report.error("E0201", f"no {what} called `{expr.title[:60]}`", at, help=help)

    def _not_visible(self, expr: ast.Call, at: Place, owner: tuple[str, int], env: Env) -> None:
        where, line = owner
        help = f"it is defined only on line {line}; a name is used below its definition"
        if where.startswith("block") and where != f"block `{env.block}`":
            help = f"it belongs to {where}; pass it as a `tensor` parameter"
        elif env.block and not where:
            help = (
                f"block `{env.block}` sees its parameters only; "
                f"pass it: block {env.block}({expr.name}: tensor, ...)"
            )
        elif where == "a loop":
            help = f"it belongs to one turn of the loop (line {line}) and ends with it"
        self.report.error("E0204", f"`{expr.name[:60]}` is not visible here", at, help=help)

    def _not_a_value(self, expr: ast.Call, env: Env) -> None:
        at = expr.at
        if expr.name in BUILTINS or expr.name in env.module.blocks or expr.module:
            self._fail(
                "E0304",
                f"`{expr.title[:60]}` makes a tensor; a plain value is needed here",
                at,
                "name the tensor first: x = ...",
            )
        if self.lookup(expr.name, env) is not None:
            self._fail("E0304", f"`{expr.title[:60]}` is a value and takes no arguments", at)
        self.unknown_name(expr, env, "function")
        raise Failed

    def _function(self, expr: ast.Call, env: Env) -> Value:
        function = FUNCTIONS[expr.name]
        args: list[Value] = []
        for arg in expr.args:
            if arg.name or isinstance(arg.value, ast.Flow):
                self._fail("E0306", f"`{expr.name}` takes plain arguments", arg.at, function.usage)
            else:
                args.append(self.value(arg.value, env))
        if not function.least <= len(args) <= function.most:
            wanted = str(function.least)
            if function.most != function.least:
                wanted += f" to {function.most}"
            self._fail(
                "E0306",
                f"`{expr.name}` takes {wanted} arguments, got {len(args)}",
                expr.at,
                function.usage,
            )
        self._check_types(function, args, expr)
        try:
            if expr.name == "file":
                return self.project.lines(str(args[0]), env.module.file)
            return self._checked(function.compute(*args), expr)
        except Unfit as wrong:
            self._fail(wrong.code, wrong.message, expr.at, wrong.help)
        except ValueError:
            self._fail("E0309", "`range` needs a step that is not 0", expr.at)
        raise Failed

    def _checked(self, value: Any, expr: ast.Call) -> Value:
        if isinstance(value, int | float):
            return self._finite(value, expr.at)
        if isinstance(value, tuple):
            self.spend(len(value), expr.at)
        return value  # type: ignore[no-any-return]

    def _check_types(self, function: Function, args: Sequence[Value], expr: ast.Call) -> None:
        wants = {
            "number": ("numbers", is_number),
            "int": ("whole numbers", lambda v: isinstance(v, int) and not isinstance(v, bool)),
            "divisible": ("numbers", is_number),
            "tensor": ("a tensor", lambda v: isinstance(v, Tensor)),
            "text": ("a text", lambda v: isinstance(v, str)),
        }
        word, fits = wants[function.takes]
        for index, value in enumerate(args):
            whole = function.takes != "divisible" or index == 0 or isinstance(value, int)
            if not fits(value) or not whole:
                self._fail(
                    "E0304",
                    f"`{expr.name}` takes {word if whole else 'a whole divisor'}, "
                    f"got {describe(value)}",
                    expr.at,
                    function.usage,
                )

    def _fail(self, code: str, message: str, at: Place, help: str = "") -> None:
        self.report.error(code, message, at, help=help)
        raise Failed


def _moved(expr: ast.Expr, at: Place) -> ast.Expr:
    """A name in a label is reported where this label stands, not where it was first read."""
    return (
        ast.Call(at, expr.module, expr.name, (), False)
        if (isinstance(expr, ast.Call) and not expr.parens)
        else expr
    )
