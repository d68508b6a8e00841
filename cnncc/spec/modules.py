"""Files to modules: blocks and params collected, used files loaded, circles found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cnncc.errors import Label, Span
from cnncc.spec import ast, suggest
from cnncc.spec.builtins import BUILTINS
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator, Failed, TooLarge
from cnncc.spec.functions import FUNCTIONS
from cnncc.spec.lexer import Place
from cnncc.spec.parser import parse, parse_expression
from cnncc.spec.project import Project
from cnncc.spec.scopes import Env, Module, Paths, Scope, owners
from cnncc.spec.values import UNKNOWN, Size, Tensor, Unfit, Unknown, Value, Word, listed, show

_FORMAL_KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}


class ModuleLoader:
    """Loads the main file's module and the modules that it uses."""

    def __init__(
        self,
        report: Reporter,
        project: Project,
        evaluator: Evaluator,
        overrides: Mapping[str, object],
    ) -> None:
        self.report = report
        self.project = project
        self.evaluator = evaluator
        self.overrides = overrides
        self._loaded: dict[Path, Module] = {}

    def load(self, file: str, tree: ast.File, stack: tuple[Path, ...] = ()) -> Module:
        """The module of a parsed file; `stack` lists the files that are being loaded."""
        module = Module(file, tree)
        path = Path(file).absolute()
        module.owners = owners(tree)
        module.broken = set(tree.broken)
        with self._reporting(file):
            for item in tree.items:
                if isinstance(item, ast.Block):
                    self._block(item, module)
                elif isinstance(item, ast.Use):
                    self._use(item, module, (*stack, path))
            overrides = {} if stack else self.overrides
            for item in tree.items:
                if isinstance(item, ast.Param):
                    self._param(item, module, overrides)
            if not stack:
                self._unknown_overrides(module, tree)
            self._circles(module)
        return module

    @contextmanager
    def _reporting(self, file: str) -> Iterator[None]:
        before, self.report.file = self.report.file, file
        try:
            yield
        finally:
            self.report.file = before

    # -- blocks ------------------------------------------------------------------------------------

    def _block(self, block: ast.Block, module: Module) -> None:
        if not self.is_free(block.name, block.at, module, called=True):
            return
        module.blocks[block.name] = block
        seen: set[str] = set()
        for formal in block.formals:
            if formal.name in seen:
                self.report.error(
                    "E0202",
                    f"`{formal.name}` is already a parameter of `{block.name}`",
                    formal.at,
                    help="names are assigned once",
                )
            seen.add(formal.name)

    def is_free(self, name: str, at: Place, module: Module, called: bool = False) -> bool:
        """Whether a name may be given; E0202 if not.

        A function is known by its brackets, so only what is `called` clashes with one.
        """
        what = ""
        if name in BUILTINS:
            what = "the name of an operation"
        elif called and name in FUNCTIONS:
            what = "the name of a function"
        elif name in module.blocks:
            what = f"a block, defined on line {module.blocks[name].at.line}"
        elif name in module.params:
            what = f"already defined on line {module.params[name][1].line}"
        elif name in module.uses:
            what = "the name of a used file"
        if what:
            self.report.error(
                "E0202",
                f"`{name[:60]}` is {what}",
                at,
                help="choose another name; names are assigned once",
            )
        return not what

    def _circles(self, module: Module) -> None:
        """Report blocks that call themselves, directly or through others; they stay unexpanded."""
        calls = {name: dict(_calls(block.body)) for name, block in module.blocks.items()}
        done: set[str] = set()
        for start in calls:
            path: list[str] = []
            todo: list[tuple[str, bool]] = [(start, False)]
            while todo:
                name, leaving = todo.pop()
                if leaving:
                    done.add(path.pop())
                    continue
                if name in path:
                    circle = [*path[path.index(name) :], name]
                    self._report_circle(circle, calls[path[-1]][name], module)
                    continue
                if name in done or name not in calls:
                    continue
                path.append(name)
                todo.append((name, True))
                todo.extend((callee, False) for callee in calls[name])

    def _report_circle(self, circle: list[str], at: Place, module: Module) -> None:
        module.broken.update(circle)
        self.report.error(
            "E0206",
            f"block `{circle[0]}` calls itself ({' -> '.join(circle)})",
            at,
            help="blocks cannot recurse; use `repeat`",
        )

    # -- used files --------------------------------------------------------------------------------

    def _use(self, use: ast.Use, module: Module, stack: tuple[Path, ...]) -> None:
        if not self.is_free(use.name, use.at, module):
            return
        module.uses[use.name] = None
        try:
            path = self.project.resolve(use.path, module.file)
            if path in [p.resolve() for p in stack]:
                names = " -> ".join([*(p.name for p in stack), path.name])
                raise Unfit("E0208", "these files use each other in a circle", names)
            if path in self._loaded:
                module.uses[use.name] = self._loaded[path]
                return
            text = self.project.read(path, "E0208")
        except Unfit as wrong:
            self.report.error("E0208", wrong.message, use.path_at, help=wrong.help)
            return
        file = str(Path(module.file).parent / use.path)
        self.project.texts[file] = text
        with self._reporting(file):
            tree = parse(text, self.report)
        if len(stack) > 32:
            self.report.error("E0107", "files use each other more than 32 deep", use.path_at)
            return
        self._loaded[path] = module.uses[use.name] = self.load(file, tree, stack)

    # -- params ------------------------------------------------------------------------------------

    def _param(self, param: ast.Param, module: Module, overrides: Mapping[str, object]) -> None:
        if not self.is_free(param.name, param.at, module):
            return
        env = Env(module, Scope(), Paths())
        span = self.report.span(param.at)
        try:
            value = self.evaluator.value(param.default, env)
            allowed: Value = ()
            if param.allowed is not None:
                allowed = self.evaluator.value(param.allowed, env)
            if param.name in overrides:
                value = self._override(param, value, overrides[param.name], env)
            if isinstance(allowed, tuple) and param.allowed is not None and value not in allowed:
                self._not_allowed(param, value, allowed, param.name in overrides)
                value = UNKNOWN
        except (Failed, TooLarge):
            value = UNKNOWN
        module.params[param.name] = (value, span)

    def _override(self, param: ast.Param, default: Value, given: object, env: Env) -> Value:
        value: object = given
        if isinstance(given, str) and not isinstance(default, str):
            value = self._read_override(given, param, env)
        if isinstance(value, list):
            value = tuple(value)
        same = type(value) is type(default)
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(default, Size) and isinstance(value, int) and not isinstance(value, bool):
            return Size((value,) * len(default.dims))
        if not same or not isinstance(value, int | float | str | Size | Word | tuple):
            self._bad_override(param, given, default)
        return value  # type: ignore[return-value]

    def _read_override(self, given: str, param: ast.Param, env: Env) -> Value:
        """The value of the text behind `-D name=`; UNKNOWN if it has none."""
        loud = self.evaluator.report
        self.evaluator.report = Reporter(loud.file)
        try:
            expr = parse_expression(given, param.at, loud)
            return UNKNOWN if expr is None else self.evaluator.value(expr, env)
        except Failed:
            return UNKNOWN
        finally:
            self.evaluator.report = loud

    def _bad_override(self, param: ast.Param, given: object, default: Value) -> None:
        shown = given if isinstance(given, str) else repr(given)
        kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        wanted = kinds.get(type(default), f"a value like {show(default)}")
        self.report.error(
            "E0307",
            f"`-D {param.name}={shown[:60]}`: `{param.name}` must be {wanted}",
            param.at,
            help=f"its default is {show(default)}",
        )
        raise Failed

    def _not_allowed(
        self, param: ast.Param, value: Value, allowed: tuple[Value, ...], given: bool
    ) -> None:
        numbers = [v for v in allowed if isinstance(v, int | float)]
        help = ""
        if isinstance(value, int | float) and numbers:
            near = min(numbers, key=lambda v: abs(v - value))
            help = f"the nearest is {show(near)}"
        elif isinstance(value, str):
            help = suggest.close(value, [v for v in allowed if isinstance(v, str)])
        shown = f"-D {param.name}={show(value)}" if given else f"{param.name} = {show(value)}"
        self.report.error(
            "E0307",
            f"`{shown}`: allowed values are {listed([show(v) for v in allowed], 12)}",
            param.at,
            help=help,
        )

    def _unknown_overrides(self, module: Module, tree: ast.File) -> None:
        for name in self.overrides:
            if name in module.params:
                continue
            last = next((i for i in reversed(tree.items) if isinstance(i, ast.Param)), None)
            near = suggest.close(name, module.params)
            if not near and module.params:
                near = f"the file has {listed(list(module.params), 12)}"
            self.report.error(
                "E0307",
                f"`-D {name[:60]}`: the file has no such param",
                last.at if last else tree.at,
                help=near or "declare it: param width = 1.0",
            )

    # -- values for formals ------------------------------------------------------------------------

    def check_formal(self, formal: ast.Formal, value: Value, at: Place) -> Value:
        """The value of a block's parameter, as its kind wants it.

        Raises:
            Failed: it is of another kind; reported.
        """
        kinds: dict[str, tuple[type, ...]] = {
            "int": (int,),
            "float": (int, float),
            "bool": (bool,),
            "text": (str,),
            "tensor": (Tensor, Unknown),
        }
        wanted = kinds.get(formal.kind)
        is_bool = isinstance(value, bool) and formal.kind != "bool"
        if wanted is None:
            if isinstance(value, Tensor):
                self.report.error(
                    "E0304",
                    f"`{formal.name}` must be a plain value, got a tensor",
                    at,
                    help=f"declare it: {formal.name}: tensor",
                    labels=(Label(self._span_of(formal), "declared here"),),
                )
                raise Failed
            return value
        if not isinstance(value, wanted) or is_bool:
            word = _FORMAL_KINDS.get(formal.kind, f"a {formal.kind}")
            self.report.error("E0304", f"`{formal.name}` must be {word}, got {_shown(value)}", at)
            raise Failed
        return float(value) if formal.kind == "float" and isinstance(value, int) else value

    def _span_of(self, formal: ast.Formal) -> Span:
        return Span(self.report.file, *formal.at)


def _shown(value: Value) -> str:
    return f"`{show(value)}`"


def _calls(body: ast.Body) -> Iterator[tuple[str, Place]]:
    """Names that the statements of a body call, without those behind a module's name."""
    todo: list[object] = [body]
    while todo:
        node = todo.pop()
        if isinstance(node, tuple):
            todo.extend(reversed(node))
        elif isinstance(node, ast.Tree):
            if isinstance(node, ast.Call) and not node.module:
                yield node.name, node.at
            todo.extend(
                getattr(node, name)
                for name in reversed(type(node).__dataclass_fields__)
                if name != "at"
            )
