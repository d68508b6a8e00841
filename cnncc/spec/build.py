"""Syntax tree to graph: statements run, blocks expanded, loops unrolled.

One `Elaborator` a file. A statement that fails is reported and gives UNKNOWN, which silences all
that follows from it, so that one run reports every independent mistake.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from cnncc.errors import Frame
from cnncc.spec import ast
from cnncc.spec.arguments import Bound, name_place
from cnncc.spec.block_calls import match_arguments, shown_arguments
from cnncc.spec.builtins import BUILTINS, Builtin
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator, Failed
from cnncc.spec.functions import FUNCTIONS
from cnncc.spec.general_calls import GeneralCalls, is_general
from cnncc.spec.joins import joinable
from cnncc.spec.layers import LayerBuilder, Result
from cnncc.spec.lexer import Place
from cnncc.spec.modules import ModuleLoader
from cnncc.spec.scopes import Env, Module, Paths, Scope
from cnncc.spec.values import (
    UNKNOWN,
    Size,
    Tensor,
    Unfit,
    Unknown,
    Value,
    describe,
    is_sample,
    shape_text,
    show,
    whole,
)

MAX_CALLS = 32
MAX_DEPTH = 64
_LINE = 10  # the work of a line or of one operation, in evaluated expressions


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is no result to continue from, and why."""

    reason: str
    help: str


Running: TypeAlias = Tensor | Unknown | Nothing


class Elaborator:
    """Runs the statements of a module's file into a graph."""

    def __init__(
        self, report: Reporter, evaluator: Evaluator, loader: ModuleLoader, layers: LayerBuilder
    ) -> None:
        self.report = report
        self.evaluator = evaluator
        self.loader = loader
        self.layers = layers
        self.general = GeneralCalls(report, evaluator, layers, self)
        self.expanded: set[tuple[str, str]] = set()
        self._depth = 0

    # -- statements --------------------------------------------------------------------------------

    def statement(self, statement: ast.Statement, env: Env, running: Running) -> Running:
        """Run one statement; the result is what the next line continues from."""
        self.evaluator.spend(_LINE, statement.at)
        try:
            match statement:
                case ast.Run():
                    return self._run(statement.flow, statement.shape, env, running)
                case ast.Assign():
                    value = self._run(statement.flow, statement.shape, env, running)
                    stored = UNKNOWN if isinstance(value, Nothing) else value
                    self.define(statement.name, stored, statement.at, env)
                    return value
                case ast.Let():
                    return self._let(statement, env, running)
                case ast.Repeat():
                    return self._repeat(statement, env, running)
                case ast.For():
                    return self._for(statement, env, running)
                case ast.If():
                    return self._if(statement, env, running)
        except Failed:
            return UNKNOWN

    def body(self, body: ast.Body, env: Env, running: Running) -> Running:
        """Run the statements between braces."""
        with self._deeper(body.at):
            for statement in body.statements:
                running = self.statement(statement, env, running)
        return running

    @contextmanager
    def _deeper(self, at: Place) -> Iterator[None]:
        """Bound what blocks, loops and arguments together put on the stack."""
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                self.report.error(
                    "E0107",
                    f"blocks, loops and arguments are nested more than {MAX_DEPTH} deep here",
                    at,
                    help="use fewer levels",
                )
                raise Failed
            yield
        finally:
            self._depth -= 1

    def define(self, name: str, value: Value, at: Place, env: Env, formal: bool = False) -> None:
        """Give a name its value; E0202 if it has one."""
        known = env.scope.find(name)
        if known is not None:
            if known[1] != self.report.span(at):
                self.report.error(
                    "E0202",
                    f"`{name[:60]}` is already defined on line {known[1].line}",
                    at,
                    help="choose another name; names are assigned once",
                )
            return
        # A block's parameter may be called like the argument that it fills, such as `pad`.
        mirrors = formal and name in BUILTINS
        if mirrors or self.loader.is_free(name, at, env.module):
            env.scope.names[name] = (value, self.report.span(at))

    def _run(self, flow: ast.Flow, shape: ast.Expr | None, env: Env, running: Running) -> Running:
        value = self.flow(flow, env, running)
        if shape is not None:
            self._check_annotation(shape, value, env)
        return value

    def _let(self, let: ast.Let, env: Env, running: Running) -> Running:
        value: Value
        try:
            value = self.evaluator.value(let.value, env)
            if isinstance(value, Tensor):
                self.report.error(
                    "E0304",
                    "`let` names plain values, not tensors",
                    let.value.at,
                    help=f"write: {let.name[:40]} = ...",
                )
                value = UNKNOWN
        except Failed:
            value = UNKNOWN
        self.define(let.name, value, let.at, env)
        return running

    def _repeat(self, repeat: ast.Repeat, env: Env, running: Running) -> Running:
        try:
            count = whole(self.evaluator.value(repeat.count, env), "repeat", 0)
        except Unfit as wrong:
            self.report.error(wrong.code, wrong.message, repeat.count.at, help=wrong.help)
            return UNKNOWN
        for _ in range(count):
            running = self.body(repeat.body, env.inner(), running)
        return running

    def _for(self, loop: ast.For, env: Env, running: Running) -> Running:
        items = self.evaluator.value(loop.items, env)
        if not isinstance(items, tuple):
            self.report.error(
                "E0304",
                f"`for` needs a list, got {describe(items)}",
                loop.items.at,
                help="for i in range(3) { ... }, or for f in [64, 128] { ... }",
            )
            return UNKNOWN
        for item in items:
            turn = env.inner()
            values = (item,) if len(loop.names) == 1 else item
            if not isinstance(values, tuple) or len(values) != len(loop.names):
                self.report.error(
                    "E0304",
                    f"`for` wants {len(loop.names)} values at each turn, got {show(item)}",
                    loop.items.at,
                    help="for n, f in [[2, 64], [3, 128]] { ... }",
                )
                return UNKNOWN
            for name, value in zip(loop.names, values, strict=True):
                self.define(name, value, loop.at, turn)
            running = self.body(loop.body, turn, running)
        return running

    def _if(self, choice: ast.If, env: Env, running: Running) -> Running:
        for test, body in choice.branches:
            if self.evaluator.truth(test, env):
                return self.body(body, env, running)
        return self.body(choice.otherwise, env, running) if choice.otherwise else running

    def _check_annotation(self, shape: ast.Expr, value: Running, env: Env) -> None:
        wanted: object
        if isinstance(shape, ast.TypeLiteral):
            wanted = self.evaluator.type(shape, env)
            written = show(wanted)
        else:
            wanted = dims = self.shape(shape, env)
            written = "x".join(map(str, dims)) if len(dims) > 1 else f"[{dims[0]}]"
        if isinstance(value, Tensor) and wanted not in (value.type, _dims(value)):
            self.report.error(
                "E0407",
                f"shape is {shape_text(value.type)}, annotation says {written}",
                shape.at,
                notes=(f"the shapes on the way: {' -> '.join(self.layers.history(value))}",),
            )

    def shape(self, expr: ast.Expr, env: Env) -> tuple[int, ...]:
        """The numbers of a shape: `[h, w, c]`, or `[k]` of a vector.

        Raises:
            Failed: it is none; reported.
        """
        value = self.evaluator.value(expr, env)
        dims = value.dims if isinstance(value, Size) else value
        if not isinstance(dims, tuple) or len(dims) not in (1, 3):
            count = len(dims) if isinstance(dims, tuple) else 0
            help = "56x56x64 or [h, w, c]: height, width, channels; [k] for a vector"
            if count == 2 and isinstance(dims, tuple):
                help = f"add the channels: {dims[0]}x{dims[1]}x1"
            self.report.error(
                "E0105", f"a shape has three numbers (or one), not {count}", expr.at, help=help
            )
            raise Failed
        try:
            return tuple(whole(item, "a shape's number", 1) for item in dims)
        except Unfit as wrong:
            self.report.error(wrong.code, wrong.message, expr.at, help=wrong.help)
            raise Failed from None

    # -- flows -------------------------------------------------------------------------------------

    def flow(self, flow: ast.Flow, env: Env, running: Running) -> Running:
        """The value of `a -> b -> c`, which starts from `running` unless `a` is a tensor."""
        value = running
        for index, stage in enumerate(flow.stages):
            call = stage.value
            self.evaluator.spend(_LINE, stage.at)
            if not isinstance(call, ast.Call):
                self.report.error(
                    "E0304",
                    "an operation or a tensor is needed here, not a plain value",
                    call.at,
                )
                return UNKNOWN
            start = self._tensor(call, env) if not call.parens and not call.module else None
            if start is None:
                value = self._stage(call, stage, env, value, piped=index > 0)
            elif index == 0 and stage.label is None:
                value = start
            else:
                self._refuse_tensor(call, stage, index)
                return UNKNOWN
        return value

    def _tensor(self, call: ast.Call, env: Env) -> Result | None:
        """The tensor that a bare name means; None if the name means an operation or nothing."""
        if call.name == "in":
            return self._block_input(call, env)
        found = self.evaluator.lookup(call.name, env)
        if isinstance(found, Tensor | Unknown):
            return found
        if found is None or call.name in BUILTINS or call.name in env.module.blocks:
            return None
        self.report.error(
            "E0304",
            f"`{call.name[:60]}` is {describe(found)}, not a tensor or an operation",
            call.at,
        )
        return UNKNOWN

    def _block_input(self, call: ast.Call, env: Env) -> Result:
        try:
            found = self.evaluator.block_input(call, env)
        except Failed:
            return UNKNOWN
        return found if isinstance(found, Tensor) else UNKNOWN

    def _refuse_tensor(self, call: ast.Call, stage: ast.Stage, index: int) -> None:
        if index:
            message = f"`{call.name[:60]}` is a tensor; `->` leads to an operation or a block"
            help = f"to join two results write add(..., {call.name[:40]})"
        else:
            message = f"`{call.name[:60]}` is a tensor and cannot be labelled"
            help = "`as` labels the weights of an operation or a block call"
        self.report.error("E0201", message, stage.at, help=help)

    def _stage(
        self, call: ast.Call, stage: ast.Stage, env: Env, value: Running, piped: bool
    ) -> Running:
        row = None if call.module else BUILTINS.get(call.name)
        if row is not None:
            return self._builtin(row, call, stage, env, value, piped)
        module = env.module.uses.get(call.module) if call.module else env.module
        block = module.blocks.get(call.name) if module else None
        if block is None and is_general(call, env):
            return self.general.apply(call, stage, env, value, piped)
        if block is None or module is None:
            if call.name in env.module.broken:
                return UNKNOWN
            if call.module not in env.module.uses or module is not None:
                self._unknown_operation(call, env)
            return UNKNOWN
        return self._block(block, module, call, stage, env, value)

    def _unknown_operation(self, call: ast.Call, env: Env) -> None:
        found = None if call.module else self.evaluator.lookup(call.name, env)
        if found is not None and not isinstance(found, Unknown):
            self.report.error(
                "E0201",
                f"`{call.name[:60]}` is {describe(found)} and takes no arguments",
                name_place(call),
            )
        elif not call.module and call.name in FUNCTIONS:
            self.report.error(
                "E0201",
                f"`{call.name}` is a function of expressions, not an operation",
                name_place(call),
                help=FUNCTIONS[call.name].usage,
            )
        elif found is None:
            self.evaluator.unknown_name(call, env, "operation")

    def _builtin(
        self,
        row: Builtin,
        call: ast.Call,
        stage: ast.Stage,
        env: Env,
        value: Running,
        piped: bool,
    ) -> Result:
        if row.takes == "many":
            operands = self._operands(row, call, env, value, piped)
            if operands is None:
                self.layers.name_stage(row.name, stage, env)
                return UNKNOWN
            if not joinable(self.report, row, call, operands):
                operands = [UNKNOWN]
            return self.layers.apply(row, call, stage, env, Bound({}, {}), operands)
        bound = self.layers.binder.bind(row, call, env)
        operand = self.running_operand(value, call)
        return self.layers.apply(row, call, stage, env, bound, [operand])

    def running_operand(self, value: Running, call: ast.Call) -> Result:
        """`value` as an operand; E0207 if there is none."""
        if isinstance(value, Nothing):
            self.report.error("E0207", value.reason, name_place(call), help=value.help)
            return UNKNOWN
        return value

    # -- joins -------------------------------------------------------------------------------------

    def _operands(
        self, row: Builtin, call: ast.Call, env: Env, value: Running, piped: bool
    ) -> list[Result] | None:
        operands: list[Result] = []
        if piped:
            operands.append(self.running_operand(value, call))
        for arg in call.args:
            if arg.name:
                self.report.error(
                    "E0302",
                    f"`{row.name}` has no argument `{arg.name[:40]}`",
                    arg.at._replace(end=arg.at.column + len(arg.name)),
                    help=f"{row.name}(a, b)",
                )
                return None
            operands.append(self.tensor_argument(arg, env, value))
        most = None if row.name == "concat" else 2
        if len(operands) < 2 or (most and len(operands) > most):
            wanted = "at least two results" if most is None else "two results"
            help = f"{row.name}(main, skip), or main -> {row.name}(skip)"
            if len(operands) > 2:
                help = f"{row.name}({row.name}(a, b), c)"
            self.report.error(
                "E0301",
                f"`{row.name}` needs {wanted}, got {len(operands)}",
                name_place(call),
                help=help,
            )
            return None
        return operands

    def tensor_argument(self, arg: ast.Arg, env: Env, value: Running) -> Result:
        """An argument that is a tensor, or a flow to one."""
        flow = arg.value
        if not isinstance(flow, ast.Flow):
            flow = ast.Flow(flow.at, (ast.Stage(flow.at, flow, None),))
        with self._deeper(arg.at):
            found = self.flow(flow, env, value)
        if isinstance(found, Nothing):
            self.report.error("E0207", found.reason, arg.at, help=found.help)
            return UNKNOWN
        return found

    # -- blocks ------------------------------------------------------------------------------------

    def _block(
        self,
        block: ast.Block,
        module: Module,
        call: ast.Call,
        stage: ast.Stage,
        env: Env,
        value: Running,
    ) -> Result:
        self.expanded.add((module.file, block.name))
        path, automatic = self.layers.name_stage(block.name, stage, env)
        operand = self.running_operand(value, call)
        scope = self._bind(block, module, call, env, value)
        if scope is None or not path or block.name in module.broken:
            return UNKNOWN
        if len(env.calls) >= MAX_CALLS:
            self.report.error(
                "E0107",
                f"block calls are nested more than {MAX_CALLS} deep",
                call.at,
                help="use fewer levels of blocks",
            )
            return UNKNOWN
        muted = not self.layers.claim(path, call.at, env.paths) or env.paths.muted
        key = (self.report.file, stage.at.line, stage.at.column)
        paths = Paths(path + ".", automatic, muted, (*env.paths.chain, key))
        shown = ", ".join(shown_arguments(block, scope, call))
        label = path[len(env.paths.prefix) :]
        text = f"{call.title}({shown})" + (f" as {label}" if stage.label else "")
        frame = Frame(text, self.report.file, call.at.line, call.at.column)
        inner = Env(module, scope, paths, block.name, operand, (*env.calls, frame))
        with self.entering(inner):
            result = self.body(block.body, inner, operand)
        return UNKNOWN if isinstance(result, Nothing) else result

    @contextmanager
    def entering(self, env: Env) -> Iterator[None]:
        """Report from inside of a block."""
        before = self.report.file, self.report.calls
        self.report.file, self.report.calls = env.module.file, env.calls
        try:
            yield
        finally:
            self.report.file, self.report.calls = before

    def _bind(
        self, block: ast.Block, module: Module, call: ast.Call, env: Env, value: Running
    ) -> Scope | None:
        """The scope of a block call: its parameters with their values; None if some are wrong."""
        matched = match_arguments(self.report, block, call)
        if matched is None:
            return None
        scope = Scope()
        inner = Env(module, scope, Paths(), block.name)
        for formal in block.formals:
            arg = matched.get(formal.name)
            try:
                found: Value
                if arg is None and formal.default is not None:
                    with self.entering(Env(module, scope, Paths(), calls=env.calls)):
                        found = self.evaluator.value(formal.default, inner)
                        found = self.loader.check_formal(formal, found, formal.default.at)
                elif arg is not None:
                    found = self._formal_value(formal, arg, env, value)
                else:
                    found = UNKNOWN
            except Failed:
                found = UNKNOWN
            with self.entering(Env(module, scope, Paths(), calls=())):
                self.define(formal.name, found, formal.at, inner, formal=True)
        return scope

    def _formal_value(self, formal: ast.Formal, arg: ast.Arg, env: Env, value: Running) -> Value:
        if formal.kind == "tensor":
            return self.tensor_argument(arg, env, value)
        if isinstance(arg.value, ast.Flow):
            self.report.error(
                "E0304",
                f"`{formal.name}` must be a plain value, got a tensor",
                arg.at,
                help=f"declare it: {formal.name}: tensor",
            )
            raise Failed
        return self.loader.check_formal(formal, self.evaluator.value(arg.value, env), arg.at)


def _dims(x: Tensor) -> tuple[int, ...] | None:
    """Height, width and channels, or the length of a vector; None of any other tensor."""
    if not is_sample(x.type):
        return None
    found = x.type.shape[1:]
    return (*found[1:], found[0]) if x.type.is_feature_map else found
