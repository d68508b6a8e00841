"""Arguments of operations, properties of statements: bound to their table, checked, defaulted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cnncc.spec import ast, suggest
from cnncc.spec.builtins import Builtin, arguments_of
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator, Failed
from cnncc.spec.lexer import Place
from cnncc.spec.scopes import Env
from cnncc.spec.values import REQUIRED, Argument, Kind, Unfit, convert

_ASKS = {
    "filters": "how many filters? {op}(3x3, filters=16)",
    "window": "how large is the window? {op}(3x3{more})",
    "units": "how many numbers come out? dense(10)",
    "factors": "how many times as large? upsample(2)",
    "stop": "up to which channel? slice(start=0, stop=32)",
    "low": "from where to where? clip(low=0, high=6)",
    "high": "from where to where? clip(low=0, high=6)",
}

_BARE = {
    "window": "a window",
    "units": "a number of units",
    "factors": "a factor",
    "size": "a number of channels",
    "groups": "a number of groups",
    "border": "the width of the border",
}

_SIZES = (Kind.PAIR, Kind.EXTRA, Kind.PADS)


@dataclass(slots=True)
class Bound:
    """The values of a call's arguments, and where each was written."""

    values: dict[str, Any]
    places: dict[str, Place]


class Binder:
    """Binds written arguments to the rows of their tables."""

    def __init__(self, report: Reporter, evaluator: Evaluator) -> None:
        self.report = report
        self.evaluator = evaluator

    def bind(self, row: Builtin, call: ast.Call, env: Env) -> Bound | None:
        """The values of the arguments of a built-in; None when some are wrong (reported)."""
        table = {arg.name: arg for arg in arguments_of(row)}
        bound = Bound({}, {})
        complete = True
        bare = False
        for arg in call.args:
            spec = self._argument(arg, row, table, bare, bound)
            bare = bare or not arg.name
            if spec is None:
                complete = False
                continue
            bound.places[spec.name] = arg.at
            try:
                bound.values[spec.name] = self.evaluate(arg, spec, env)
            except Failed:
                complete = False
        missing = [a for n, a in table.items() if a.default is REQUIRED and n not in bound.places]
        if missing and complete:
            self._ask(row, missing[0], call)
            complete = False
        for name, spec in table.items():
            if spec.default is not REQUIRED:
                bound.values.setdefault(name, spec.default)
        return bound if complete else None

    def evaluate(self, arg: ast.Arg | ast.Prop, spec: Argument, env: Env) -> Any:
        """The value of one argument, as `spec` wants it.

        Raises:
            Failed: it is wrong; reported.
        """
        expr = arg.value
        if isinstance(expr, ast.Flow):
            self.report.error(
                "E0304", f"`{spec.name}` must be a {spec.kind.value}, got a tensor", expr.at
            )
            raise Failed
        bare_word = isinstance(expr, ast.Call) and not expr.parens and not expr.module
        if bare_word and spec.kind.takes_words and isinstance(expr, ast.Call):
            if expr.name in spec.words:
                hidden = env.scope.find(expr.name) or env.module.params.get(expr.name)
                if hidden is None:
                    return expr.name
            elif self._is_strange(expr.name, env):
                self._wrong_word(spec, expr)
        try:
            return convert(self.evaluator.value(expr, env), spec)
        except Unfit as wrong:
            help = wrong.help
            if wrong.code == "E0305" and not help:
                help = f"write one of {', '.join(spec.words)}"
            if isinstance(expr, ast.Call) and isinstance(arg, ast.Arg) and not arg.name:
                help = help or f"a tensor is piped in: {expr.title[:40]} -> ..."
            self.report.error(wrong.code, wrong.message, expr.at, help=help)
            raise Failed from None

    def _is_strange(self, name: str, env: Env) -> bool:
        from_scope = self.evaluator.lookup(name, env)
        return from_scope is None and name not in env.module.owners

    def _wrong_word(self, spec: Argument, expr: ast.Call) -> None:
        more = ", N" if spec.kind is Kind.PADS else ""
        self.report.error(
            "E0305",
            f"`{spec.name}={expr.name[:40]}` is not one of {', '.join(spec.words)}{more}",
            expr.at,
            help=suggest.word(expr.name, spec.words) or f"write one of {', '.join(spec.words)}",
        )
        raise Failed

    def _argument(
        self, arg: ast.Arg, row: Builtin, table: dict[str, Argument], bare: bool, bound: Bound
    ) -> Argument | None:
        """The row of the table that a written argument belongs to."""
        if not arg.name:
            if row.bare and not bare and row.args[0].name not in bound.places:
                return row.args[0]
            self._refuse_bare(arg, row, bare, bound)
            return None
        spec = table.get(arg.name)
        if spec is None:
            self.report.error(
                "E0302",
                f"`{row.name}` has no argument `{arg.name[:40]}`",
                arg.at._replace(end=arg.at.column + len(arg.name)),
                help=suggest.argument(arg.name, row.name, table),
            )
        elif arg.name in bound.places:
            self.report.error("E0302", f"`{arg.name}` is given twice", arg.at, help="remove one")
            return None
        return spec

    def _refuse_bare(self, arg: ast.Arg, row: Builtin, second: bool, bound: Bound) -> None:
        shown = "..."
        if isinstance(arg.value, ast.Number | ast.SizeLiteral):
            shown = arg.value.text[:20]
        elif isinstance(arg.value, ast.Call):
            shown = arg.value.title[:40]
        rest = row.args[1:] if row.bare else row.args
        free = [spec for spec in rest if spec.name not in bound.places]
        fit = next((spec.name for spec in free if _may_take(spec, arg.value)), "")
        if row.bare and second:
            message = f"second bare argument `{shown}`"
            help = f"name it: `{fit}={shown}`" if fit else f"`{row.name}` takes only one"
            if isinstance(arg.value, ast.SizeLiteral) and free and fit != free[0].name:
                help = f"the {row.args[0].name} comes first: {row.name}({shown}, ...)"
        else:
            message = f"`{row.name}` takes no bare argument"
            help = f"name it, as in `{fit}={shown}`" if fit else "leave it out"
            if isinstance(arg.value, ast.Call):
                help = f"write {shown} -> {row.name}"
            elif row.name == "bn":
                help = "the number of channels is known; leave it out"
        self.report.error("E0303", message, arg.at, help=help)

    def _ask(self, row: Builtin, missing: Argument, call: ast.Call) -> None:
        more = ", filters=16" if any(a.name == "filters" for a in row.args) else ""
        ask = _ASKS.get(missing.name, "{op}({arg}=...)")
        self.report.error(
            "E0301",
            f"`{row.name}` needs " + (_BARE.get(missing.name) or f"`{missing.name}=`"),
            name_place(call),
            help=ask.replace("{op}", row.name)
            .replace("{more}", more)
            .replace("{arg}", missing.name),
        )


def _may_take(spec: Argument, value: ast.Expr | ast.Flow) -> bool:
    """Whether a value that was written without a name may have been meant for an argument."""
    match value:
        case ast.SizeLiteral():
            return spec.kind in _SIZES
        case ast.Number():
            return spec.kind is Kind.NUMBER or (
                value.text.isdigit() and spec.kind in (*_SIZES, Kind.COUNT, Kind.NATURAL, Kind.INT)
            )
        case ast.Call(parens=False):
            return value.name in spec.words
    return False


def name_place(call: ast.Call) -> Place:
    """The place of a call's name."""
    return call.at._replace(end=min(call.at.end, call.at.column + len(call.title)))
