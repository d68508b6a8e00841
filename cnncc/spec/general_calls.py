"""Calls of general operators: operands, attributes and constants to a node of the graph."""

from __future__ import annotations

import math
from typing import Any, Protocol

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import Op
from cnncc.ir.types import TensorType
from cnncc.spec import ast, suggest
from cnncc.spec.arguments import name_place
from cnncc.spec.builtins import BUILTINS, Weight
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator, Failed
from cnncc.spec.general import (
    CONSTANT,
    MISSING,
    PREFIX,
    Attribute,
    attributes,
    filled,
    find,
    fit,
    scalar_type,
)
from cnncc.spec.layers import LayerBuilder, Result
from cnncc.spec.scopes import Env
from cnncc.spec.values import UNKNOWN, Tensor, Unfit, Value, Word, describe, is_number
from cnncc.spec.weights import WeightUse

MAX_WRITTEN = 2**22
_SPECIAL: dict[str, Any] = {"inf": math.inf, "nan": math.nan, "none": None}


class Flows(Protocol):
    """What the elaborator does for operands."""

    def tensor_argument(self, arg: ast.Arg, env: Env, value: Any) -> Result:
        """An argument that is a tensor, or a flow to one."""
        ...

    def running_operand(self, value: Any, call: ast.Call) -> Result:
        """The running result as an operand."""
        ...


def is_general(call: ast.Call, env: Env) -> bool:
    """Whether a call that is no operation and no block means an operator of the registry."""
    if call.module:
        prefixed = call.module == PREFIX and PREFIX not in env.module.uses
        return prefixed and find(call.name) is not None
    if call.name in BUILTINS or call.name in env.module.blocks or call.name in env.module.broken:
        return False
    return find(call.name) is not None or (call.name == CONSTANT and call.parens)


class GeneralCalls:
    """Adds the operators that calls name to the graph."""

    def __init__(
        self, report: Reporter, evaluator: Evaluator, layers: LayerBuilder, flows: Flows
    ) -> None:
        self.report = report
        self.evaluator = evaluator
        self.layers = layers
        self.flows = flows
        self.used = False  # whether there was any such call
        self.written = 0  # numbers of constants that stand in the file

    def apply(self, call: ast.Call, stage: ast.Stage, env: Env, value: Any, piped: bool) -> Result:
        """The operator on its operands; UNKNOWN if it failed (reported) or an operand had."""
        self.used = True
        if call.name == CONSTANT and not call.module:
            return self._constant(call, stage, env, piped)
        op = find(call.name)
        if op is None:
            return UNKNOWN
        given = self._operands(op, call, env, value, piped)
        attrs = self.attributes(op, call, env)
        path, _ = self.layers.name_stage(call.name, stage, env)
        if given is None or attrs is None or not path:
            return UNKNOWN
        if not self.layers.claim(path, call.at, env.paths):
            return UNKNOWN
        span = self.report.span(call.at)
        operands = self._with_scalars(op, given, path, call)
        if operands is None:
            return UNKNOWN
        types = [x.type for x in operands]
        try:
            inferred = op.infer(types, op.Attrs(**attrs))
        except TypeInferenceError as wrong:
            self.report.error("E0309", wrong.message, name_place(call), help=wrong.hint or "")
            return UNKNOWN
        nodes = [x.node for x in operands]
        node = self.layers.add_node(op.name, nodes, op.Attrs(**attrs), inferred, path, span)
        return Tensor(node, inferred)

    # -- operands ----------------------------------------------------------------------------------

    def _operands(
        self, op: type[Op], call: ast.Call, env: Env, value: Any, piped: bool
    ) -> list[Tensor | int | float | bool] | None:
        found: list[Any] = []
        bare = [arg for arg in call.args if not arg.name]
        least, most = op.arity
        if piped or (least and not bare):
            found.append(self.flows.running_operand(value, call))
        found += [self._operand(arg, env, value) for arg in bare]
        if len(found) < least or (most is not None and len(found) > most):
            wanted = f"{least}" if least == most else f"{least} to {most or 'any number'}"
            self.report.error(
                "E0301",
                f"`{call.title}` takes {wanted} operands ({', '.join(op.operand_names)}), "
                f"got {len(found)}",
                name_place(call),
                help=f"`cnncc ops {op.name}` lists operands and attributes",
            )
            return None
        return None if any(item is UNKNOWN for item in found) else found

    def _operand(self, arg: ast.Arg, env: Env, value: Any) -> Result | int | float | bool:
        expr = arg.value
        plain = not isinstance(expr, ast.Flow | ast.Call)
        if isinstance(expr, ast.Call) and not expr.parens and not expr.module:
            known = self.evaluator.lookup(expr.name, env)
            plain = isinstance(known, bool | int | float) or expr.name in ("inf", "nan")
        if not plain or isinstance(expr, ast.Flow):
            return self.flows.tensor_argument(arg, env, value)
        try:
            found = self._value(expr, env)
        except Failed:
            return UNKNOWN
        if isinstance(found, bool | int | float):
            return found
        self.report.error(
            "E0304", f"an operand is a tensor or a number, got {describe(found)}", expr.at
        )
        return UNKNOWN

    def _with_scalars(
        self,
        op: type[Op],
        given: list[Tensor | int | float | bool],
        path: str,
        call: ast.Call,
    ) -> list[Tensor] | None:
        """Operands with constants of rank 0 in place of numbers."""
        wanted = scalar_type([x.type if isinstance(x, Tensor) else None for x in given])
        made: list[Tensor] = []
        for index, item in enumerate(given):
            if isinstance(item, Tensor):
                made.append(item)
                continue
            if wanted is None:
                self.report.error(
                    "E0301",
                    f"`{call.title}` of numbers only: their element type is unknown",
                    name_place(call),
                    help="write constant(f32[], value=0.5)",
                )
                return None
            try:
                array = filled(item, wanted)
            except Unfit as wrong:
                message = wrong.message.replace("`value`", f"operand {index}")
                self.report.error(wrong.code, message, name_place(call), help=wrong.help)
                return None
            name = f"{path}.{_operand_name(op, index)}"
            node = self.layers.literal(name, array, self.report.span(call.at))
            made.append(Tensor(node, wanted))
        return made

    # -- attributes --------------------------------------------------------------------------------

    def attributes(self, op: type[Op], call: ast.Call, env: Env) -> dict[str, Any] | None:
        """The attributes that a call writes, by name; None if some are wrong (reported)."""
        table = {attribute.name: attribute for attribute in attributes(op)}
        found: dict[str, Any] = {}
        sound = True
        for arg in call.args:
            if not arg.name:
                continue
            attribute = table.get(arg.name)
            if attribute is None or arg.name in found:
                self._refuse(arg, call, list(table), again=attribute is not None)
                sound = False
                continue
            try:
                found[arg.name] = self._attribute(arg, attribute, env)
            except Failed:
                found[arg.name] = None
                sound = False
        missing = [a.name for a in table.values() if a.default is MISSING and a.name not in found]
        if missing and sound:
            self.report.error(
                "E0301",
                f"`{call.title}` needs `{missing[0]}=`",
                name_place(call),
                help=f"`cnncc ops {op.name}` lists operands and attributes",
            )
            sound = False
        return found if sound else None

    def _refuse(self, arg: ast.Arg, call: ast.Call, known: list[str], again: bool) -> None:
        if again:
            self.report.error("E0302", f"`{arg.name}` is given twice", arg.at, help="remove one")
            return
        self.report.error(
            "E0302",
            f"`{call.title}` has no argument `{arg.name[:40]}`",
            arg.at._replace(end=arg.at.column + len(arg.name)),
            help=suggest.close(arg.name, known)
            or (f"it takes {', '.join(known)}" if known else "it takes no arguments"),
        )

    def _attribute(self, arg: ast.Arg, attribute: Attribute, env: Env) -> Any:
        if isinstance(arg.value, ast.Flow):
            self.report.error(
                "E0304", f"`{attribute.name}` must be a plain value, got a tensor", arg.at
            )
            raise Failed
        value = self._value(arg.value, env)
        try:
            return fit(value, attribute)
        except Unfit as wrong:
            self.report.error(wrong.code, wrong.message, arg.value.at, help=wrong.help)
            raise Failed from None

    def _value(self, expr: ast.Expr, env: Env) -> Any:
        """A value, where also words, infinities and whole numbers beyond 2^53 have a meaning."""
        match expr:
            case ast.Number() if expr.text.isdigit() and len(expr.text) <= 20:
                self.evaluator.spend(1, expr.at)
                return int(expr.text)
            case ast.ListLiteral():
                self.evaluator.spend(1, expr.at)
                return tuple(self._value(item, env) for item in expr.items)
            case ast.Prefix(op="-", operand=inner):
                value = self._value(inner, env)
                if is_number(value):
                    return -value
                self.report.error(
                    "E0304", f"`-` needs a number, got {describe(value)}", expr.operand.at
                )
                raise Failed
            case ast.Call(module="", parens=False) if self._is_free(expr.name, env):
                return _SPECIAL.get(expr.name, expr.name)
        value = self.evaluator.value(expr, env)
        return value.text if isinstance(value, Word) else value

    def _is_free(self, name: str, env: Env) -> bool:
        """Whether a bare name is a word: nothing visible is called so."""
        return name != "in" and self.evaluator.lookup(name, env) is None

    # -- constants ---------------------------------------------------------------------------------

    def _constant(self, call: ast.Call, stage: ast.Stage, env: Env, piped: bool) -> Result:
        """`constant(f32[64, 1, 1])` from the weights, or with its numbers in `value=`."""
        path, automatic = self.layers.name_stage(CONSTANT, stage, env)
        span = self.report.span(call.at)
        type_, value, sound = self._constant_arguments(call, env)
        if piped or type_ is None:
            self.report.error(
                "E0301",
                "`constant` takes nothing in" if piped else "`constant` needs a type",
                name_place(call),
                help="constant(f32[64, 1, 1]), or constant(i64[2], value=[1, 2])",
            )
            return UNKNOWN
        if not sound or not path or not self.layers.claim(path, call.at, env.paths):
            return UNKNOWN
        if value is None:
            fan_in = math.prod(type_.shape[1:]) if len(type_.shape) > 1 else 1
            weight = Weight("", type_.shape, fan_in=fan_in, dtype=type_.dtype)
            node = self.layers.weight(WeightUse(path, weight, CONSTANT, path, span))
            if node is not None:
                self.layers.note_weights(path, automatic, call, env)
            return UNKNOWN if node is None else Tensor(node, type_)
        try:
            self._spend(type_.elems)
            array = filled(value, type_)
        except Unfit as wrong:
            self.report.error(wrong.code, wrong.message, name_place(call), help=wrong.help)
            return UNKNOWN
        return Tensor(self.layers.literal(path, array, span), type_)

    def _spend(self, numbers: int) -> None:
        """Bound the memory of constants whose numbers stand in the file.

        Raises:
            Unfit: they are too many.
        """
        self.written += numbers
        if self.written > MAX_WRITTEN:
            raise Unfit(
                "E0310",
                f"the constants with `value=` have more than {MAX_WRITTEN:,} numbers",
                "leave `value=` out and put the array into the weight file",
            )

    def _constant_arguments(self, call: ast.Call, env: Env) -> tuple[TensorType | None, Any, bool]:
        type_: TensorType | None = None
        value: Any = None
        sound = True
        for arg in call.args:
            try:
                if arg.name not in ("", "value") or (not arg.name and type_ is not None):
                    self._refuse(arg, call, ["value"], again=False)
                    raise Failed
                found = self._constant_value(arg, env)
                if arg.name:
                    value = found
                elif isinstance(found, TensorType):
                    type_ = found
            except Failed:
                sound = False
        return type_, value, sound

    def _constant_value(self, arg: ast.Arg, env: Env) -> Value:
        if isinstance(arg.value, ast.Flow):
            self.report.error("E0304", "a plain value is needed here, not a tensor", arg.at)
            raise Failed
        found: Value = self._value(arg.value, env)
        if arg.name and not isinstance(found, bool | int | float | tuple):
            self.report.error("E0304", f"`value` must be numbers, got {describe(found)}", arg.at)
            raise Failed
        return found


def _operand_name(op: type[Op], index: int) -> str:
    known = op.operand_names
    return known[index] if index < len(known) else f"operand{index}"
