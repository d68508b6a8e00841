"""From a checked ONNX model to a typed graph: the walk over its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cnncc.errors import InputError, TypeInferenceError, UnsupportedError
from cnncc.ir.build import add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup as operator
from cnncc.ir.rewrite import erase_dead
from cnncc.ir.types import DType
from cnncc.onnx import rules  # noqa: F401 - enters every rule into the table
from cnncc.onnx.batch import free_batch
from cnncc.onnx.bind import Shapes, bind
from cnncc.onnx.call import DTYPES, Array, Call, Writer
from cnncc.onnx.functions import body_of
from cnncc.onnx.model import Model, Node, Tensor, ValueInfo
from cnncc.onnx.names import dotted
from cnncc.onnx.refusals import NeedsConstant, Refused, WantsConstant
from cnncc.onnx.table import lookup

_MOST_LISTED = 40
_MOST_NODES = 2**17  # after functions are expanded


@dataclass(frozen=True, slots=True)
class _Failure:
    node: Node
    refused: Refused


def to_graph(
    model: Model,
    *,
    shapes: Shapes | None = None,
    constants: Mapping[str, Array] | None = None,
) -> Graph:
    """The typed graph of a model.

    Nodes are named after the file's, as dotted paths. `meta["tensors"]` says which ONNX tensor a
    named node computes, `meta["folded"]` which one an array of `constants` is that the file's nodes
    compute; `meta["batched"]` whether any number of samples may be given (`batch.py`).

    Args:
        model: read and checked.
        shapes: shapes of dynamic inputs by name.
        constants: arrays for inputs that the compiled network shall not have any more.

    Raises:
        InputError: dimensions are left open, or shapes do not fit.
        NeedsConstant: some inputs must be bound to values.
        UnsupportedError: nodes that cannot be taken; all are listed.
    """
    given = dict(constants or {})
    for name in given:
        if name not in {info.name for info in model.inputs}:
            raise InputError(f"there is no input `{name}` to bind")
    bound = bind(model, shapes or {}, frozenset(given))
    walk = _Walk(model)
    walk.enter_inputs(bound, given)
    for node in model.nodes:
        walk.convert(node)
    walk.report()
    walk.finish()
    graph = walk.graph
    dynamic = all(_leading_is_open(info) for info in model.inputs if info.name not in given)
    return free_batch(graph, wanted=dynamic)


def _leading_is_open(info: ValueInfo) -> bool:
    first = info.shape[0] if info.shape else 1
    return not (isinstance(first, int) and first > 0)


class _Walk:
    """One conversion under way."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.graph = Graph(dotted(model.name, "model", 0) if model.name else "model")
        self.writer = Writer(self.graph)
        self.values: dict[str, int] = {}
        self.lost: set[str] = set()  # outputs of refused nodes: their readers stay silent
        self.failures: list[_Failure] = []
        self.tensors: dict[str, str] = {}
        self.folded: dict[str, str] = {}
        self.converted = 0
        self.bound: dict[str, tuple[int, ...]] = {}

    def enter_inputs(
        self, bound: Mapping[str, tuple[int, ...]], given: Mapping[str, Array]
    ) -> None:
        """Nodes for inputs and for initialisers that some node reads."""
        self.bound = dict(bound)
        for info in self.model.inputs:
            if info.name in given:
                array = np.asarray(given[info.name])
                self.values[info.name] = self.writer.constant(array, dotted(info.name, "input", 0))
                continue
            dtype = DTYPES.get(info.dtype) if info.kind == "tensor" else None
            if dtype is None:
                kind = info.dtype if info.kind == "tensor" else info.kind
                taken = ", ".join(DTYPES)
                raise UnsupportedError(
                    f"{self.model.place}input `{info.name}` is {kind}; tensors of {taken} are taken"
                )
            self.values[info.name] = self._input(info.name, dtype, bound[info.name])
        read = {name for node in self.model.nodes for name in node.inputs}
        read |= {info.name for info in self.model.outputs}
        for name, tensor in self.model.initializers.items():
            if name in read:
                self.values[name] = self._constant(name, tensor)

    def _input(self, name: str, dtype: DType, shape: tuple[int, ...]) -> int:
        label = self.writer.unique(dotted(name, "input", 0))
        attrs = operator("input").Attrs(dtype, shape, "chw")
        try:
            found = add_typed(self.graph, "input", (), attrs, name=label)
        except TypeInferenceError as error:
            raise InputError(f"{self.model.place}input `{name}`: {error.message}") from error
        self.tensors[label] = name
        if dtype is DType.F16:
            return self.writer.add("cast", [found], operator("cast").Attrs(DType.F32), label)
        return found

    def _constant(self, name: str, tensor: Tensor) -> int:
        if tensor.dtype not in DTYPES:
            self.lost.add(name)
            reason = f"initialiser `{name}` has elements of {tensor.dtype}"
            node = next(n for n in self.model.nodes if name in n.inputs)
            self.failures.append(_Failure(node, Refused(reason)))
            return -1
        return self.writer.constant(tensor.array, dotted(name, "constant", 0))

    # -- nodes -------------------------------------------------------------------------------------

    def convert(self, node: Node) -> None:
        """Add what a node becomes, or note why it cannot be taken."""
        if any(name in self.lost for name in node.inputs):
            self.lost.update(name for name in node.outputs if name)
            return
        self.converted += 1
        if self.converted > _MOST_NODES:
            raise UnsupportedError(f"the model has more than {_MOST_NODES} nodes once expanded")
        try:
            self._apply(node)
        except Refused as refused:
            self.failures.append(_Failure(node, refused))
            self.lost.update(name for name in node.outputs if name)

    def _apply(self, node: Node) -> None:
        operands = [self.values[name] if name else None for name in node.inputs]
        while operands and operands[-1] is None:
            operands.pop()
        label = dotted(node.name or next(filter(None, node.outputs), ""), node.op_type, node.index)
        call = Call(node, self.writer, operands, label)
        found = lookup(node.domain, node.op_type)
        if found is None:
            self._expand(node, call)
            return
        made = found.convert(call)
        results: Sequence[int | None] = [made] if isinstance(made, int) else made
        if call.unknown:
            listed = ", ".join(f"`{name}`" for name in call.unknown)
            raise Refused(f"attributes that opset {node.version} does not define: {listed}")
        for place, name in enumerate(node.outputs):
            if not name:
                continue
            if place >= len(results) or results[place] is None:
                raise Refused(f"output {place}, `{name}`, is not computed")
            self._bind(name, results[place] or 0)

    def _bind(self, name: str, node_id: int) -> None:
        self.values[name] = node_id
        node = self.graph[node_id]
        held = self.writer.real.get(node_id)
        if held is not None and self.graph[held].name:  # readers may take these instead
            self.tensors.setdefault(self.graph[held].name, name)
        if node.name:
            self.tensors.setdefault(node.name, name)
        elif node.op == "constant":
            self.folded.setdefault(node.attrs.data, name)

    def _expand(self, node: Node, call: Call) -> None:
        """Take an operator without a rule by the function that defines it, if there is one."""
        body = body_of(node, [None if o is None else call.type_of(o) for o in call.given])
        if body is None:
            raise Refused(_missing(node))
        before = len(self.failures)
        for inner in body:
            self.convert(inner)
        if len(self.failures) > before:
            inside = self.failures[before]
            del self.failures[before:]
            if isinstance(inside.refused, WantsConstant):
                raise inside.refused
            raise Refused(
                f"its definition uses {inside.node.op_type}: {inside.refused.reason}",
                inside.refused.nearest,
            )

    # -- the end -----------------------------------------------------------------------------------

    def report(self) -> None:
        """Raise one error for all refused nodes."""
        if not self.failures:
            return
        lines = [_line(f) for f in self.failures[:_MOST_LISTED]]
        if len(self.failures) > _MOST_LISTED:
            lines.append(f"and {len(self.failures) - _MOST_LISTED} more")
        count = f"{len(self.failures)} node{'s' * (len(self.failures) != 1)}"
        text = f"{self.model.place}{count} cannot be compiled{self._sizes()}:\n  "
        text += "\n  ".join(lines)
        wanting = [f.refused for f in self.failures if isinstance(f.refused, WantsConstant)]
        if len(wanting) == len(self.failures):
            names = dict.fromkeys(n for w in wanting for n in self._sources(w.node_id))
            raise NeedsConstant(text, tuple(names), hint="bind these inputs to constants")
        raise UnsupportedError(text, hint=self._repair())

    def _sizes(self) -> str:
        """For which shapes, where the file leaves them open: with others all may be well."""
        shown = [
            f"{info.name}={'x'.join(map(str, self.bound[info.name]))}"
            for info in self.model.inputs
            if info.name in self.bound and self.bound[info.name] != info.shape
        ]
        return f" for {', '.join(shown)}" if shown else ""

    def _repair(self) -> str:
        known = [f.node for f in self.failures if lookup(f.node.domain, f.node.op_type)]
        if len(known) < len(self.failures):
            return "`cnncc ops --onnx` lists what is supported"
        return f"`cnncc ops --onnx {known[0].op_type}` tells which forms are supported"

    def _sources(self, node_id: int) -> list[str]:
        """ONNX names of the inputs that a node depends on."""
        seen, pending, names = set[int](), [node_id], []
        while pending:
            current = pending.pop()
            if current in seen:
                continue
            seen.add(current)
            if self.graph[current].op == "input":
                names.append(self.tensors[self.graph[current].name])
            pending.extend(self.graph.operands(current))
        return sorted(names)

    def finish(self) -> None:
        """Outputs, facts, and nothing that nobody reads."""
        for info in self.model.outputs:
            value = self.values[info.name]
            if info.dtype == "FLOAT16" and self.graph.type_of(value).dtype is DType.F32:
                attrs = operator("cast").Attrs(DType.F16)
                value = add_typed(
                    self.graph, "cast", [value], attrs, name=self.writer.unique("half")
                )
            self.graph.outputs.append((info.name, value))
            if self.graph[value].op == "non_max_suppression":
                self._count_rows(info.name, value)
        erase_dead(self.graph)
        self._check_selections()
        self.graph.meta["tensors"] = dict(self.tensors)
        data = self.graph.constants
        self.graph.meta["folded"] = {k: name for k, name in self.folded.items() if k in data}
        self.graph.meta["producer"] = self.model.producer

    def _count_rows(self, name: str, value: int) -> None:
        """Let a selection say how many of its rows are filled, in an output behind it."""
        count = self.writer.unique("count")
        node_id = add_typed(self.graph, "count_rows", [value], name=count)
        named = f"{name}.count"
        self.graph.outputs.append((named, node_id))
        self.graph.meta.setdefault("rows", {})[name] = named

    def _check_selections(self) -> None:
        """Nothing else can read a selection: how many rows it has is known at run time only."""
        for node_id, node in self.graph.nodes():
            readers = {self.graph[user].op for user, _ in self.graph.users(node_id)}
            if node.op == "non_max_suppression" and readers - {"count_rows"}:
                raise UnsupportedError(
                    f"{self.model.place}1 node cannot be compiled:\n"
                    f"  {node.name} (NonMaxSuppression): other nodes read its result,"
                    " whose number of rows is known at run time only",
                    hint="end the model with it, and gather the boxes in the application",
                )


def _missing(node: Node) -> str:
    domain = f" of `{node.domain}`" if node.domain else ""
    kinds = {
        "control flow is": ("If", "Loop", "Scan"),
        "sequences are": (
            *("SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase"),
            *("SequenceInsert", "SequenceLength", "SequenceMap", "SplitToSequence"),
            *("ConcatFromSequence", "Optional", "OptionalGetElement", "OptionalHasElement"),
        ),
        "strings are": (
            *("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch"),
            "TfIdfVectorizer",
        ),
        "image files are": ("ImageDecoder",),
        "recurrent layers are": ("LSTM", "GRU", "RNN"),
        "shapes that depend on values are": ("NonZero", "Unique", "Compress"),
        "random numbers are": (
            *("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"),
            *("Bernoulli", "Multinomial"),
        ),
    }
    for kind, words in kinds.items():
        if node.op_type in words and not domain:
            return f"{kind} not supported"
    if "training" in node.domain:
        return "training is not supported"
    return f"no operator{domain} of this name is supported"


def _line(failure: _Failure) -> str:
    node, refused = failure.node, failure.refused
    where = dotted(node.name or next(filter(None, node.outputs), ""), node.op_type, node.index)
    nearest = f"; {refused.nearest}" if refused.nearest else ""
    version = f", opset {node.version}" if node.version else ""
    return f"{where} ({node.op_type}{version}): {refused.reason}{nearest}"
