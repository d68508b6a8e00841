"""The statements around the layers: `model`, `input`, `output`, `weights`, and the whole file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncc.errors import Span, TypeInferenceError
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.spec import ast, suggest
from cnncc.spec.build import Elaborator, Nothing, Running
from cnncc.spec.builtins import BUILTINS
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator, Failed, TooLarge
from cnncc.spec.idle import check_block
from cnncc.spec.layers import LayerBuilder
from cnncc.spec.modules import ModuleLoader
from cnncc.spec.parser import is_name
from cnncc.spec.project import Project
from cnncc.spec.scopes import Env, Module, Paths, Scope, StageKey
from cnncc.spec.values import UNKNOWN, Argument, Kind, Tensor, Value, listed, shape_text
from cnncc.spec.weights import WeightSource, bind

DTYPES = ("f32", "f16", "u8", "i8")
_NAME = Argument("name", Kind.TEXT, "", "what callers say, where it is not the name here")
INPUT_PROPS = (
    Argument("dtype", Kind.WORD, "f32", "type of the caller's numbers", DTYPES),
    Argument("scale", Kind.NUMBER, 1.0, "factor of the caller's numbers"),
    Argument("mean", Kind.NUMBERS, None, "subtracted after scaling, one a channel"),
    Argument("std", Kind.NUMBERS, None, "divides last, one a channel"),
    Argument("layout", Kind.WORD, "hwc", "order of the caller's buffer", ("hwc", "chw")),
    Argument("format", Kind.WORD, "", "meaning of the channels", ("rgb", "bgr", "gray")),
    _NAME,
)
TYPED_PROPS = (
    Argument("batch", Kind.WORD, "fixed", "`free`: any number of samples", ("fixed", "free")),
    _NAME,
)
OUTPUT_PROPS = (
    Argument("labels", Kind.TEXTS, None, 'names of the channels: a list, or file("names.txt")'),
    Argument("top", Kind.COUNT, None, "how many of the best `cnncc run` shows"),
    _NAME,
)
_LAYOUT = Argument("layout", Kind.WORD, "oihw", "order of conv weights", ("oihw", "hwio"))
FILE_PROPS = (
    _LAYOUT,
    Argument("prefix", Kind.TEXT, "", "beginning of the file's names that is left out"),
    Argument("rename", Kind.RENAMES, (), "pairs: beginning in the file, beginning here"),
)
RANDOM_PROPS = (
    Argument("seed", Kind.NATURAL, 0, "start of the random numbers"),
    Argument("init", Kind.WORD, "he", "their spread", ("he", "xavier")),
)


@dataclass(slots=True)
class Elaborated:
    """What became of a file: the graph, and the labels that `fmt --pin-names` may write."""

    graph: Graph
    pins: dict[StageKey, str]


def elaborate(
    tree: ast.File,
    report: Reporter,
    project: Project,
    params: Mapping[str, object],
    weights: Path | Mapping[str, Any] | None,
    want_arrays: bool,
    bind_weights: bool = True,
    library_may_pass: bool = False,
) -> Elaborated:
    """Turn a file into a graph; mistakes go to `report`.

    With `bind_weights` false no weight file is opened and the graph has no arrays; with
    `library_may_pass` a file of nothing but blocks is no mistake.
    """
    made = _FileElaborator(tree, report, project, params)
    made.library_may_pass = library_may_pass
    return made.run(weights, want_arrays, bind_weights)


class _FileElaborator:
    def __init__(
        self, tree: ast.File, report: Reporter, project: Project, params: Mapping[str, object]
    ) -> None:
        self.tree = tree
        self.report = report
        self.graph = Graph(_name_of(report.file))
        evaluator = Evaluator(report, project)
        self.loader = ModuleLoader(report, project, evaluator, params)
        self.module: Module = self.loader.load(report.file, tree)
        self.source = WeightSource()
        self.layers = LayerBuilder(self.graph, report, evaluator, self.source)
        self.elaborator = Elaborator(report, evaluator, self.loader, self.layers)
        self.env = Env(self.module, Scope(), Paths())
        self.running: Running = Nothing(
            "nothing to continue from: no input yet", "start with: input photo: 150x150x3"
        )
        if "in" in tree.broken:  # an input line with a syntax error
            self.running = UNKNOWN
        self._clauses: dict[str, Span] = {}
        self.library_may_pass = False
        self.fixed = False  # whether the number of samples is part of some input's type
        self.typed = False  # whether some input is

    def run(
        self, weights: Path | Mapping[str, Any] | None, want_arrays: bool, bind_weights: bool
    ) -> Elaborated:
        self.graph.meta.update(labels={}, top={}, model={}, params=self._params())
        try:
            self._weights(weights)
            self._check_inputs()
            for item in self.tree.items:
                self._item(item)
            self._idle_blocks()
        except TooLarge:
            pass
        else:
            self._check_whole()
        self._note_batch()
        self._note_rows()
        if bind_weights and (not self.report.failed or self.source.from_file):
            self._bind(want_arrays)
        if not self.report.failed:
            self._warn()
        return Elaborated(self.graph, self._pins())

    def _note_rows(self) -> None:
        """Which output counts the rows of another one, so that callers get those alone."""
        graph = self.graph
        counts = {
            graph.operands(out)[0]: name
            for name, out in graph.outputs
            if graph[out].op == "count_rows"
        }
        rows = {name: counts[out] for name, out in graph.outputs if out in counts}
        if rows:
            graph.meta["rows"] = rows

    def _note_batch(self) -> None:
        """Whether any number of samples may be given, where that is not known from the types."""
        graph = self.graph
        if self.typed or self.elaborator.general.used:
            free = all(graph.type_of(out).shape[:1] == (1,) for _, out in graph.outputs)
            graph.meta["batched"] = free and not self.fixed

    def _params(self) -> dict[str, Value]:
        return {name: value for name, (value, _) in self.module.params.items()}

    def _item(self, item: ast.Item) -> None:
        match item:
            case ast.Model():
                self._model(item)
            case ast.Input():
                self._input(item)
            case ast.Output():
                self._output(item)
            case ast.Block() | ast.Use() | ast.Param() | ast.Weights():
                pass
            case _:
                self.running = self.elaborator.statement(item, self.env, self.running)

    # -- props -------------------------------------------------------------------------------------

    def _props(
        self, props: tuple[ast.Prop, ...], table: tuple[Argument, ...], owner: str
    ) -> tuple[dict[str, Any], dict[str, ast.Prop]]:
        """Values of the properties of a statement, defaults filled in, and where each stands."""
        values = {spec.name: spec.default for spec in table}
        places: dict[str, ast.Prop] = {}
        known = {spec.name: spec for spec in table}
        for prop in props:
            spec = known.get(prop.name)
            if spec is None:
                self.report.error(
                    "E0302",
                    f"`{owner}` has no property `{prop.name[:40]}`",
                    prop.at,
                    help=suggest.argument(prop.name, owner, known),
                )
            elif prop.name in places:
                self.report.error("E0302", f"`{prop.name}` is given twice", prop.at)
            else:
                places[prop.name] = prop
                try:
                    values[prop.name] = self.layers.binder.evaluate(prop, spec, self.env)
                except Failed:
                    continue
        return values, places

    def _once(self, clause: str, at: Any) -> None:
        known = self._clauses.setdefault(clause, self.report.span(at))
        if known != self.report.span(at):
            self.report.error(
                "E0202",
                f"`{clause}` is already given on line {known.line}",
                at,
                help=f"a file has one `{clause}` line",
            )

    def _model(self, model: ast.Model) -> None:
        self._once("model", model.at)
        self.graph.name = model.name
        for prop in model.props:
            spec = Argument(prop.name, Kind.ANY)
            try:
                self.graph.meta["model"][prop.name] = self.layers.binder.evaluate(
                    prop, spec, self.env
                )
            except Failed:
                continue

    # -- inputs ------------------------------------------------------------------------------------

    def _input(self, item: ast.Input) -> None:
        first = len(self.graph.inputs) == 0
        try:
            tensor = self._input_tensor(item)
        except Failed:
            self.elaborator.define(item.name, UNKNOWN, item.at, self.env)
            self.running = UNKNOWN
            return
        self.elaborator.define(item.name, tensor, item.at, self.env)
        self.running = tensor
        if not first or not isinstance(tensor, Tensor):
            names = [self.graph[node].name for node in self.graph.inputs]
            count = {2: "two", 3: "three"}.get(len(names), str(len(names)))
            self.running = Nothing(
                f"nothing to continue from: {count} inputs, none chosen",
                f"start with `{names[0]} ->`",
            )

    def _input_tensor(self, item: ast.Input) -> Tensor:
        if isinstance(item.shape, ast.TypeLiteral):
            values, _ = self._props(item.props, TYPED_PROPS, "input")
            return self._typed_input(item, item.shape, values)
        values, places = self._props(item.props, INPUT_PROPS, "input")
        dims = self.elaborator.shape(item.shape, self.env)
        tensor = self._input_node(item, dims, values, places)
        self._warn_channels_first(item, dims)
        return tensor

    def _typed_input(
        self, item: ast.Input, literal: ast.TypeLiteral, values: dict[str, Any]
    ) -> Tensor:
        """A tensor of any rank and type, in row-major order, as the caller has it."""
        found = self.layers.evaluator.type(literal, self.env)
        attrs = lookup("input").Attrs(dtype=found.dtype, shape=found.shape, memory="chw")
        try:
            lookup("input").infer([], attrs)
        except TypeInferenceError as wrong:
            self.report.error("E0309", wrong.message, literal.at, help=wrong.hint or "")
            raise Failed from None
        self.fixed |= values["batch"] == "fixed" or found.shape[:1] != (1,)
        self.typed = True
        name, span = values["name"] or item.name, self.report.span(item.at)
        return Tensor(self.layers.add_node("input", (), attrs, found, name, span), found)

    def _input_node(
        self,
        item: ast.Input,
        dims: tuple[int, ...],
        values: dict[str, Any],
        places: dict[str, ast.Prop],
    ) -> Tensor:
        shape = (1, dims[2], *dims[:2]) if len(dims) == 3 else (1, dims[0])
        channels = shape[1]
        dtype = DType(values["dtype"])
        span = self.report.span(item.at)
        for name in ("mean", "std"):
            found = values[name]
            if found is not None and len(found) != channels:
                self._wrong_channels(name, len(found), channels, places[name])
                values[name] = None
        if values["std"] is not None and 0.0 in values["std"]:
            self.report.error("E0309", "`std` must not be 0", places["std"].value.at)
            values["std"] = None
        wanted = {"rgb": 3, "bgr": 3, "gray": 1}.get(values["format"], channels)
        if wanted != channels:
            self.report.error(
                "E0506",
                f"`format = {values['format']}` has {_count(wanted, 'channel')}, "
                f"the input has {channels}",
                places["format"].value.at,
            )
        node = self.layers.add_node(
            "input",
            (),
            lookup("input").Attrs(
                dtype=dtype, shape=shape, memory=values["layout"], format=values["format"]
            ),
            TensorType(dtype, shape),
            values["name"] or item.name,
            span,
        )
        result = TensorType(DType.F32, shape)
        if dtype is not DType.F32 or {"scale", "mean", "std"} & set(places):
            attrs = lookup("normalize").Attrs(
                scale=values["scale"],
                mean=values["mean"] or (0.0,) * channels,
                std=values["std"] or (1.0,) * channels,
            )
            name = f"{values['name'] or item.name}.normalize"
            node = self.layers.add_node("normalize", (node,), attrs, result, name, span)
        return Tensor(node, result)

    def _wrong_channels(self, name: str, got: int, channels: int, prop: ast.Prop) -> None:
        self.report.error(
            "E0506",
            f"`{name}` has {_count(got, 'value')}, the input has {_count(channels, 'channel')}",
            prop.value.at,
            help="one value per channel",
        )

    def _warn_channels_first(self, item: ast.Input, dims: tuple[int, ...]) -> None:
        if len(dims) == 3 and dims[0] in (1, 3) and dims[1] > 4 and dims[2] > 4:
            shown = "x".join(map(str, dims))
            self.report.warn(
                "W0604",
                f"`{shown}` looks like channels first",
                item.shape.at,
                help=f"shapes are HxWxC: {dims[1]}x{dims[2]}x{dims[0]}; "
                "for the buffer order write layout = chw",
            )

    # -- outputs -----------------------------------------------------------------------------------

    def _output(self, item: ast.Output) -> None:
        values, places = self._props(item.props, OUTPUT_PROPS, "output")
        value = self._output_value(item)
        if isinstance(value, Nothing):
            self.report.error("E0207", value.reason, item.at, help=value.help)
        name = values["name"] or item.name
        self._once(f"output {name}", item.at)
        if not isinstance(value, Tensor):
            self.graph.meta["labels"].setdefault(name, [])
            return
        labels, classes = values["labels"], (*value.type.shape, 1, 1)[1]
        if labels is not None and len(labels) != classes:
            self.report.error(
                "E0503",
                f"{_count(len(labels), 'label')} but {_count(classes, 'class', 'classes')}",
                places["labels"].at,
                help=f"the output is {shape_text(value.type)}: edit the labels or the last `dense`",
            )
        if labels is not None:
            self.graph.meta["labels"][name] = list(labels)
        if values["top"] is not None:
            self.graph.meta["top"][name] = values["top"]
        self.graph.outputs.append((name, value.node))
        self._clauses.setdefault("first output", self.report.span(item.word_at))

    def _output_value(self, item: ast.Output) -> Running:
        if item.flow is not None:
            return self.elaborator.flow(item.flow, self.env, self.running)
        named = self.env.scope.find(item.name)
        if named is not None and not isinstance(named[0], Tensor):
            return UNKNOWN
        return named[0] if named and isinstance(named[0], Tensor) else self.running

    def _check_whole(self) -> None:
        has = {type(item) for item in self.tree.items}
        if ast.Output not in has and not self.report.failed and not self._is_library():
            last = self.tree.items[-1].at
            self.report.error(
                "E0209", "the file has no `output`", last, help="add a line: output prob"
            )

    def _check_inputs(self) -> None:
        """E0209 for a network without inputs, and silence about all that follows from it."""
        if any(isinstance(item, ast.Input) for item in self.tree.items) or self._is_library():
            return
        self.running = UNKNOWN
        if not self.report.failed:
            self.report.error(
                "E0209",
                "the file has no `input`",
                self.tree.at,
                help="add a line: input photo: 150x150x3",
            )

    def _is_library(self) -> bool:
        """Whether the file may be, and is, nothing but blocks for other files to use."""
        has = {type(item) for item in self.tree.items}
        others = has - {ast.Block, ast.Use, ast.Param, ast.Model}
        return self.library_may_pass and ast.Block in has and not others

    # -- weights -----------------------------------------------------------------------------------

    def _weights(self, given: Path | Mapping[str, Any] | None) -> None:
        """Fill in `source`, which the layers look at while they are built."""
        source = self.source
        meta: dict[str, Any] = {"kind": "none"}
        for item in self.tree.items:
            if not isinstance(item, ast.Weights):
                continue
            self._once("weights", item.at)
            source.span = self.report.span(item.at)
            table = RANDOM_PROPS if item.path is None else FILE_PROPS
            values, _ = self._props(item.props, table, "weights")
            source.kind = "random" if item.path is None else "file"
            if item.path is not None:
                source.path = Path(self.report.file).parent / item.path
            for name, value in values.items():
                setattr(source, name, value)
            meta = {"kind": source.kind, "path": item.path, **values}
        if given is not None:
            source.span = None  # what is wrong with them is no matter of the clause
        if isinstance(given, Path):
            source.kind, source.path = "file", given
        elif given is not None:
            source.kind, source.arrays, source.path = "arrays", given, None
        self.graph.meta["weights"] = meta

    def _bind(self, want_arrays: bool) -> None:
        uses = self.layers.uses
        self.graph.constants.update(bind(self.source, uses, want_arrays, self.report))
        learned = [u.weight.shape for u in uses.values() if u.weight.leaf in ("weight", "bias")]
        self.graph.meta["parameters"] = sum(_product(shape) for shape in learned)

    # -- the rest ----------------------------------------------------------------------------------

    def _idle_blocks(self) -> None:
        """Look for unknown operations in blocks that nothing calls."""
        for name, block in self.module.blocks.items():
            if (self.module.file, name) not in self.elaborator.expanded:
                check_block(block, self.module, self.elaborator.evaluator)

    def _warn(self) -> None:
        source, report = self.source, self.report
        if source.kind == "none" and self.layers.uses:
            report.warn(
                "W0601",
                "weights are random (no `weights` clause); answers are meaningless",
                self._clauses.get("first output"),
                help="fine for measuring speed; silence with `weights random`",
            )
        if source.from_file and self.layers.automatic:
            shown = listed(self.layers.automatic, 3)
            report.warn(
                "W0606",
                f"weights are bound through automatic names: {shown}",
                source.span,
                help="`cnncc fmt --pin-names` writes the labels into the file",
            )
        self._warn_unused()

    def _warn_unused(self) -> None:
        graph = self.graph
        live: set[int] = set()
        todo = [node for _, node in graph.outputs]
        while todo:
            reached = todo.pop()
            if reached not in live:
                live.add(reached)
                todo.extend(graph.operands(reached))
        for node_id, node in graph.nodes():
            if node_id in live or graph.users(node_id) or node.op == "constant":
                continue
            what = f"input `{node.name}`" if node.op in ("input", "normalize") else "this line"
            self.report.warn(
                "W0602",
                f"the result of {what} is never used"
                if what == "this line"
                else f"{what.removesuffix('.normalize`').rstrip('`')}` is never used",
                node.spans[0],
                help="name it and use it, or remove it",
            )

    def _pins(self) -> dict[StageKey, str]:
        return {
            key: next(iter(labels))
            for key, labels in self.layers.pins.items()
            if len(labels) == 1 and key in self.layers.weighted
        }


def _name_of(file: str) -> str:
    """The name of a model without a `model` line: the file's, made legal."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", Path(file).stem)
    return name if is_name(name) and name not in BUILTINS else f"model_{name}".rstrip("_")


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for extent in shape:
        total *= extent
    return total


def _count(number: int, word: str, plural: str = "") -> str:
    return f"1 {word}" if number == 1 else f"{number} {plural or word + 's'}"
