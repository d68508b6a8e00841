"""Operations to graph nodes: arguments bound, weights declared, names given, types inferred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

import cnncc.ops  # noqa: F401 - registers the operators that `lookup` finds
from cnncc.errors import Label, Span, TypeInferenceError
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.spec import ast
from cnncc.spec.arguments import Binder, Bound, name_place
from cnncc.spec.builtins import ANY_TENSOR, Builtin, Lowered, Misfit, Weight
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import MAX_ELEMS, Evaluator, Failed, TooLarge
from cnncc.spec.lexer import Place
from cnncc.spec.scopes import Env, Paths, StageKey
from cnncc.spec.values import (
    UNKNOWN,
    Size,
    Tensor,
    Unknown,
    shape_text,
    type_text,
)
from cnncc.spec.weights import WeightSource, WeightUse

MAX_NODES = 20_000

Result: TypeAlias = Tensor | Unknown


class LayerBuilder:
    """Adds operations to a graph.

    Attributes:
        graph: the network so far.
        uses: the arrays that the layers want, by name.
        automatic: paths of layers with weights that were not labelled.
        pins: for each labelled or unlabelled stage, the automatic labels it got.
        weighted: the stages that have weights below them.
    """

    def __init__(
        self, graph: Graph, report: Reporter, evaluator: Evaluator, source: WeightSource
    ) -> None:
        self.graph = graph
        self.report = report
        self.evaluator = evaluator
        self.binder = Binder(report, evaluator)
        self.source = source
        self.uses: dict[str, WeightUse] = {}
        self.automatic: list[str] = []
        self.pins: dict[StageKey, set[str]] = {}
        self.weighted: set[StageKey] = set()
        self._paths: dict[str, Span] = {}
        self._constants: dict[str, int] = {}
        self._count = 0

    # -- nodes -------------------------------------------------------------------------------------

    def apply(
        self,
        row: Builtin,
        call: ast.Call,
        stage: ast.Stage,
        env: Env,
        bound: Bound | None,
        operands: Sequence[Result],
    ) -> Result:
        """Add the operation to the graph; UNKNOWN if it failed (reported) or an operand had."""
        path, automatic = self.name_stage(row.name, stage, env)
        known = [x for x in operands if isinstance(x, Tensor)]
        if bound is None or len(known) != len(operands) or not path:
            return UNKNOWN
        try:
            return self._add(row, call, env, bound, known, path, automatic)
        except Misfit as wrong:
            self._report_misfit(wrong, call, bound, known)
        return UNKNOWN

    def name_stage(self, kind: str, stage: ast.Stage, env: Env) -> tuple[str, bool]:
        """The path of a layer or block call, and whether some of it was made up."""
        paths = env.paths
        label = paths.number(kind)
        key: StageKey = (self.report.file, stage.at.line, stage.at.column)
        if stage.label is None:
            self.pins.setdefault(key, set()).add(label)
            return paths.prefix + label, True
        try:
            label = self.evaluator.label(stage.label, env)
        except Failed:
            return "", False
        return paths.prefix + label, paths.automatic

    def claim(self, path: str, at: Place, paths: Paths) -> bool:
        """Give `path` to one layer only; E0203 and False if it is taken."""
        if paths.muted:
            return True
        first = self._paths.setdefault(path, span := self.report.span(at))
        if first is span:
            return True
        again = (first.file, first.line, first.column) == (span.file, span.line, span.column)
        self.report.error(
            "E0203",
            f"two layers have the weight path `{path[:80]}`",
            at,
            caption="this line runs more than once" if again else "again here",
            labels=() if again else (Label(first, "first here"),),
            help="in a loop put its variable into the label: `as conv{i}`; "
            "to share weights write from=",
        )
        return False

    def _add(
        self,
        row: Builtin,
        call: ast.Call,
        env: Env,
        bound: Bound,
        operands: Sequence[Tensor],
        path: str,
        automatic: bool,
    ) -> Result:
        types = [x.type for x in operands]
        self._check_takes(row, types[0])
        values = {k: v for k, v in bound.values.items() if k != "from"}
        if row.name == "flatten":
            values["order"] = self._flatten_order(values["order"], types[0])
        lowered = row.lower(values, types[0])
        self._check_size(row, lowered.weights)
        self._warn(row, lowered, call, bound)
        op = lookup(lowered.op)
        attrs = op.Attrs(**lowered.attrs)
        try:
            inferred = op.infer([*types, *(w.type for w in lowered.weights)], attrs)
        except TypeInferenceError as wrong:
            message = wrong.message.replace(f"`{lowered.op}`", f"`{row.name}`")
            raise Misfit("E0309", message, help=wrong.hint) from None
        if not self.claim(path, (stage_at := call.at), env.paths):
            return UNKNOWN
        span = self.report.span(stage_at)
        weights = self._weights(row, lowered, path, bound, span)
        if weights is None:
            return UNKNOWN
        if weights:
            self.note_weights(path, automatic, call, env)
        node = self.add_node(
            lowered.op, [x.node for x in operands] + weights, attrs, inferred, path, span
        )
        return Tensor(node, inferred)

    def add_node(
        self,
        op: str,
        operands: Sequence[int],
        attrs: Any,
        type: TensorType,
        name: str,
        span: Span,
    ) -> int:
        """Add a node, within the limit of nodes."""
        self._count += op != "constant"
        if self._count > MAX_NODES:
            self.report.error(
                "E0310",
                f"the network has more than {MAX_NODES:,} operations",
                span,
                help="is a `repeat` or `for` count too large?",
            )
            raise TooLarge
        return self.graph.add(op, operands, attrs, type=type, name=name, spans=(span,))

    def _check_takes(self, row: Builtin, x: TensorType) -> None:
        if not _fits(row, x):
            takes = {"map": "feature map", "vector": "vector"}
            raise Misfit(
                "E0406",
                f"`{row.name}` needs a {takes.get(row.takes, 'feature map or vector')} "
                f"but receives {shape_text(x)}",
                help="general operators take tensors of any rank and type",
            )
        if row.takes == "vector" and x.is_feature_map:
            _, c, h, w = x.shape
            raise Misfit(
                "E0402",
                f"`{row.name}` needs a flat vector but receives a {shape_text(x)} feature map",
                help=f"add `flatten` on the line before; {h}*{w}*{c} = {h * w * c} numbers will "
                f"reach `{row.name}`",
            )
        if row.takes == "map" and not x.is_feature_map:
            raise Misfit(
                "E0406",
                f"`{row.name}` needs a feature map but receives a vector of {x.shape[1]} numbers",
                help=f"put `{row.name}` before `flatten`",
            )

    def _flatten_order(self, order: str | None, x: TensorType) -> str:
        differ = x.is_feature_map and x.shape[1] > 1 and max(x.shape[2:]) > 1
        if order is None and self.source.from_file and differ:
            raise Misfit(
                "E0504",
                f"the order of `flatten` matters: the weights of what follows {shape_text(x)} "
                "come from a file",
                help="flatten(order=chw) for weights from PyTorch, "
                "flatten(order=hwc) from TensorFlow or Keras",
            )
        return order or "hwc"

    def _check_size(self, row: Builtin, weights: Sequence[Weight]) -> None:
        for weight in weights:
            count = 1
            for extent in weight.shape:
                count *= extent
            if count >= MAX_ELEMS:
                raise Misfit("E0310", f"the weights of this `{row.name}` have {count:,} numbers")

    def _warn(self, row: Builtin, lowered: Lowered, call: ast.Call, bound: Bound) -> None:
        if not self.source.from_file:
            return
        if lowered.uneven and self.source.layout == "oihw":
            top, left, bottom, right = lowered.attrs["pads"]
            before, after = (top, bottom) if top != bottom else (left, right)
            pad = row_pad(bound.values["window"])
            self.report.warn(
                "W0605",
                f"`{bound.values['pad']}` with stride {Size(bound.values['stride'] or ()).dims[0]} "
                f"pads unevenly here ({before} before, {after} after); "
                f"PyTorch weights expect pad={pad}",
                bound.places["pad"],
                help=f"write pad={pad}",
            )
        if row.name == "bn" and self.source.layout == "hwio" and "eps" not in bound.places:
            self.report.warn(
                "W0607",
                "bn eps is 1e-5 here, with `layout = hwio` weights; Keras uses 1e-3",
                name_place(call),
                help="write bn(eps=1e-3), or bn(eps=1e-5) if that is meant",
            )

    def note_weights(self, path: str, automatic: bool, call: ast.Call, env: Env) -> None:
        """Remember that a call binds weights, and whether its path was made up."""
        self.weighted.add((self.report.file, call.at.line, call.at.column))
        self.weighted.update(env.paths.chain)
        if automatic:
            self.automatic.append(path)

    def _weights(
        self, row: Builtin, lowered: Lowered, path: str, bound: Bound, span: Span
    ) -> list[int] | None:
        """The constants of a layer, new or shared; None if a shared one has another shape."""
        group = bound.values.get("from") or path
        found: list[int] = []
        for weight in lowered.weights:
            use = WeightUse(f"{group}.{weight.leaf}", weight, lowered.op, path, span)
            constant = self.weight(use)
            if constant is None:
                return None
            found.append(constant)
        return found

    def weight(self, use: WeightUse) -> int | None:
        """The constant of a trained array, new or shared; None if a shared one has another type."""
        known = self.uses.get(use.name)
        if known is None:
            self.uses[use.name] = use
            self._constants[use.name] = self._constant(use.name, use.weight.type, use.span)
        elif known.weight.type != use.weight.type:
            self.report.error(
                "E0502",
                f"`{use.name[:80]}` is {_dims(known.weight)} in layer `{known.layer}`, "
                f"this layer needs {_dims(use.weight)}",
                use.span,
                labels=(Label(known.span, "also used here"),),
                help="layers that share weights have equal windows, channels and filters",
            )
            return None
        return self._constants[use.name]

    def literal(self, name: str, array: NDArray[Any], span: Span) -> int:
        """A constant whose numbers stand in the file."""
        key = name
        while key in self.uses or key in self.graph.constants:
            key += "_"
        self.graph.constants[key] = array
        self.graph.meta.setdefault("literals", []).append(key)
        return self._constant(key, TensorType(DType.of(array.dtype), array.shape), span)

    def _constant(self, name: str, type: TensorType, span: Span) -> int:
        return self.add_node("constant", (), lookup("constant").Attrs(name), type, name, span)

    # -- messages ----------------------------------------------------------------------------------

    def _report_misfit(
        self, wrong: Misfit, call: ast.Call, bound: Bound, operands: Sequence[Tensor]
    ) -> None:
        at = bound.places.get(wrong.arg) or name_place(call)
        labels: tuple[Label, ...] = ()
        caption = ""
        notes: tuple[str, ...] = ()
        if wrong.code in ("E0402", "E0406"):
            x = operands[0]
            spans = self.graph[x.node].spans
            labels = (Label(spans[0], f"this gives {shape_text(x.type)}"),) if spans else ()
            caption = (
                "one row of numbers expected here"
                if wrong.code == "E0402"
                else "height, width and channels expected here"
            )
        if wrong.code == "E0401":
            notes = (f"the feature map shrank: {' -> '.join(self.history(operands[0]))}",)
        self.report.error(
            wrong.code,
            wrong.message,
            at,
            caption=caption,
            labels=labels,
            notes=notes,
            help=wrong.help,
        )

    def history(self, x: Tensor) -> list[str]:
        """The different shapes on the way from the input to `x`."""
        shapes: list[str] = []
        node: int | None = None if self.report.full else x.node
        while node is not None:
            found = self.graph[node]
            shown = shape_text(self.graph.type_of(node))
            raw = found.op == "input" and found.attrs.dtype is not DType.F32
            if not shapes or (shapes[-1] != shown and not raw):
                shapes.append(shown)
            operands = self.graph.operands(node)
            node = operands[0] if operands else None
        shapes.reverse()
        return shapes if len(shapes) <= 12 else [*shapes[:3], "...", *shapes[-8:]]


def _fits(row: Builtin, x: TensorType) -> bool:
    """Whether x may be a feature map or vector, or the operation goes element by element."""
    return (x.dtype is DType.F32 and len(x.shape) in (2, 4)) or row.name in ANY_TENSOR


def row_pad(window: tuple[int, int]) -> str:
    """The `pad=` that PyTorch users write for a window: half of it."""
    h, w = window[0] // 2, window[1] // 2
    return str(h) if h == w else f"{h}x{w}"


def _dims(weight: Weight) -> str:
    if weight.dtype is not DType.F32:
        return type_text(weight.type)
    return "x".join(map(str, weight.shape))
