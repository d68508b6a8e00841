"""From bytes to a checked `Model`: the only place that sees protobuf messages of a user's file.

Of the `onnx` package only the message classes and the newest version numbers are used: its
checker, its shape inference and its loader of external data were written for files that one trusts.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from cnncc.errors import InputError, OnnxError
from cnncc.onnx.check import check_scope
from cnncc.onnx.external import Folder
from cnncc.onnx.inline import Body, Key, inline
from cnncc.onnx.installed import require
from cnncc.onnx.limits import Limits
from cnncc.onnx.model import AttributeValue, Model, Tensor, ValueInfo
from cnncc.onnx.nodes import Names, Nodes, plain_domain
from cnncc.onnx.problems import Problems, quoted
from cnncc.onnx.tensors import Tensors, element_type
from cnncc.onnx.wire import Malformed, table_of, walk

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto, TypeProto, ValueInfoProto

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Any
"""A file's path, its bytes, or a parsed `ModelProto`."""

_OLDEST_OPSET = 6
_OLDEST_IR = 3
_LIMITS = Limits()
_OTHER_KINDS = {
    "sequence_type": "sequence",
    "map_type": "map",
    "optional_type": "optional",
    "sparse_tensor_type": "sparse tensor",
    "opaque_type": "opaque",
}


def read(
    source: Source,
    *,
    limits: Limits = _LIMITS,
    external_dir: str | os.PathLike[str] | None = None,
    trust_links: bool = False,
) -> Model:
    """A model from a file that nobody vouches for.

    Args:
        source: a path, the bytes of a file, or a `ModelProto`.
        limits: how large it may be.
        external_dir: where tensors in other files lie, when the model is not given as a path.
        trust_links: whether these files may be links, which can lead to any file of the user.

    Raises:
        OnnxError: it cannot be read, is broken or too large; all that is wrong is listed.
        UnsupportedError: the `onnx` package is missing.
        InputError: `source` is none of these.
    """
    package = _package()
    path = None
    if isinstance(source, str | os.PathLike):
        path = Path(os.fsdecode(source))
    folder = path.parent if path and external_dir is None else external_dir
    place = quoted(str(path)).strip("`") if path else "the model"
    problems = Problems(place)
    with _bounded(place):
        proto = _parsed(source, path, package, limits, problems)
        outside = Folder(
            None if folder is None else Path(folder),
            problems,
            trust_links=trust_links,
            most_bytes=limits.constant_bytes,
        )
        with outside:
            return _Reading(proto, limits, problems, outside, package).model(path)


def _package() -> ModuleType:
    require()
    import onnx

    return onnx


@contextmanager
def _bounded(place: str) -> Iterator[None]:
    """Turns the ends of the machine into errors of the file."""
    try:
        yield
    except MemoryError as error:
        raise OnnxError(place, ("there is not enough memory for it",)) from error
    except RecursionError as error:
        raise OnnxError(place, ("its parts are nested too deep",)) from error


# -- bytes -----------------------------------------------------------------------------------------


def _parsed(
    source: Source, path: Path | None, package: ModuleType, limits: Limits, problems: Problems
) -> ModelProto:
    if isinstance(source, package.ModelProto):
        return cast("ModelProto", source)
    if path is not None:
        data = _contents(path, limits, problems)
    elif isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        if len(data) > limits.file_bytes:
            raise _too_large(len(data), limits, problems)
    else:
        kind = type(source).__name__
        raise InputError(f"a path, bytes or a ModelProto are taken for a model, not {kind}")
    from google.protobuf.message import DecodeError

    proto: ModelProto = package.ModelProto()
    try:
        walk(data, table_of(proto.DESCRIPTOR), limits)
        proto.ParseFromString(data)
    except Malformed as error:
        raise _no_model(data, str(error), problems) from error
    except (DecodeError, UnicodeDecodeError, ValueError) as error:
        raise _no_model(data, "it is cut off, or damaged", problems) from error
    if not proto.HasField("ir_version") and not proto.HasField("graph"):
        raise _no_model(data, "nothing in it is a model's", problems)
    return proto


def _contents(path: Path, limits: Limits, problems: Problems) -> bytes:
    """The bytes of a file; opening a pipe does not wait for its writer."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limits.file_bytes:
            os.close(descriptor)
            if stat.S_ISREG(status.st_mode):
                raise _too_large(status.st_size, limits, problems)
            raise problems.stop("", "it is no regular file")
        with open(descriptor, "rb") as file:
            data = file.read(limits.file_bytes + 1)
    except OSError as error:
        raise problems.stop("", f"it cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with a zero byte
        raise problems.stop("", "it cannot be read: no file has such a name") from error
    if len(data) > limits.file_bytes:
        raise _too_large(len(data), limits, problems)
    return data


def _too_large(size: int, limits: Limits, problems: Problems) -> OnnxError:
    return problems.stop("", f"it has {size} bytes, at most {limits.file_bytes} are taken")


def _no_model(data: bytes, reason: str, problems: Problems) -> OnnxError:
    """The error for bytes that are no model, with what they look like."""
    head = data[:512].lstrip()
    if not data:
        return problems.stop("", "it is empty, not an ONNX model")
    if head.startswith(b"version https://git-lfs"):
        hint = "fetch the file itself with `git lfs pull`"
        return problems.stop("", "it is a pointer of Git LFS, not an ONNX model", hint)
    if head.startswith(b"PK\x03\x04"):
        return problems.stop("", "it is a zip archive, not an ONNX model", "unpack it first")
    if head.startswith(b"<"):
        hint = "was it downloaded from a page that asks for a login?"
        return problems.stop("", "it is a web page or XML, not an ONNX model", hint)
    if not any(byte < 0x20 and byte not in b"\t\n\f\r" for byte in data[:512]):
        return problems.stop("", "it is text, not an ONNX model")
    return problems.stop("", f"it is not an ONNX model: {reason}")


# -- the message -----------------------------------------------------------------------------------


class _Reading:
    """One model on its way out of its message."""

    def __init__(
        self,
        proto: ModelProto,
        limits: Limits,
        problems: Problems,
        outside: Folder,
        package: ModuleType,
    ) -> None:
        self._proto = proto
        self._graph: GraphProto = proto.graph
        self._limits = limits
        self._problems = problems
        self._newest_opset = int(package.defs.onnx_opset_version())
        self._newest_ir = int(package.IR_VERSION)
        self._names = Names(limits, problems)
        self._tensors = Tensors(limits, problems, outside)
        self._nodes = Nodes(limits, problems, self._tensors)

    def model(self, path: Path | None) -> Model:
        """The model, checked."""
        opsets = self._versions()
        self._counts()
        graph = self._graph
        initializers = self._initializers()
        infos = self._infos(graph.value_info, "value")
        inputs = self._infos(graph.input, "input", unique=True)
        outputs = self._infos(graph.output, "output", unique=True)
        bodies = self._functions(opsets)
        steps = self._nodes.steps(graph.node, opsets)
        given = {info.name for info in inputs} | set(initializers)
        # A constant that cannot be read is reported as that, not also as one that is missing.
        given |= {t.name for t in graph.initializer if isinstance(t.name, str)}
        check_scope(steps, given, [info.name for info in outputs], self._problems)
        self._problems.check()
        taken = given | {name for step in steps for name in step.node.outputs}
        nodes = inline(steps, bodies, taken, self._limits, self._problems)
        model = Model(
            name=self._names.name(graph.name, "the graph", "name"),
            ir_version=self._proto.ir_version,
            producer=self._producer(),
            opsets=opsets,
            nodes=nodes,
            inputs=tuple(info for info in inputs if info.name not in initializers),
            outputs=outputs,
            initializers=initializers,
            value_infos={info.name: info for info in (*infos, *inputs, *outputs)},
            metadata=self._metadata(),
            path=path,
        )
        self._problems.check()
        return model

    def _versions(self) -> Mapping[str, int]:
        """The opsets; nothing else is looked at when the file is of a version not known here."""
        version = self._proto.ir_version
        if not _OLDEST_IR <= version <= self._newest_ir:
            self._problems.add(
                "", f"unsupported IR version {version}, have {_OLDEST_IR} to {self._newest_ir}",
                self._version_hint(version > self._newest_ir),
            )  # fmt: skip
        opsets = self._opsets(self._proto.opset_import, "")
        self._problems.check()
        return opsets

    def _opsets(self, imports: Iterable[Any], where: str) -> Mapping[str, int]:
        opsets: dict[str, int] = {}
        for entry in imports:
            domain = plain_domain(self._names.name(entry.domain, where or "opset import", "domain"))
            if opsets.setdefault(domain, entry.version) != entry.version:
                self._problems.add(where, f"it imports two versions of domain {quoted(domain)}")
            newest = self._newest_opset
            if domain == "" and not _OLDEST_OPSET <= entry.version <= newest:
                what = f"unsupported opset {entry.version}, have {_OLDEST_OPSET} to {newest}"
                self._problems.add(where, what, self._version_hint(entry.version > newest))
        return opsets

    def _version_hint(self, newer: bool) -> str:
        if newer:
            return "update the package `onnx`, or export the model for an older opset"
        return "convert the model to a newer version first, with onnx.version_converter"

    def _counts(self) -> None:
        """What makes it senseless to read on: too much of something, or of another world."""
        graph, limits, problems = self._graph, self._limits, self._problems
        if not self._proto.HasField("graph"):
            raise problems.stop("", "it holds no graph")
        for what, found, most in (
            ("nodes", len(graph.node), limits.nodes),
            ("initialisers", len(graph.initializer), limits.initializers),
            ("functions", len(self._proto.functions), limits.functions),
            ("nodes in functions", sum(len(f.node) for f in self._proto.functions), limits.nodes),
        ):
            if found > most:
                raise problems.stop("", f"it has {found} {what}, at most {most} are taken")
        if self._proto.training_info:
            problems.add("", "it holds a training graph", "export the model for inference")
        if graph.sparse_initializer:
            problems.add("", "it has sparse initialisers, which are not supported")
        if not graph.output:
            problems.add("", "its graph has no outputs")

    def _initializers(self) -> Mapping[str, Tensor]:
        found: dict[str, Tensor] = {}
        seen: set[str] = set()
        for n, proto in enumerate(self._graph.initializer):
            name = self._names.name(proto.name, f"initialiser {n}", "name")
            if not name:
                self._problems.add(f"initialiser {n}", "it has no name")
            elif name in seen:
                self._problems.add(f"initialiser {n}", f"{quoted(name)} is given twice")
            seen.add(name)
            tensor = self._tensors.read(proto, name, f"initialiser {quoted(name)}")
            if tensor is not None:
                found[name] = tensor
        return found

    def _infos(
        self, protos: Sequence[ValueInfoProto], what: str, *, unique: bool = False
    ) -> tuple[ValueInfo, ...]:
        made = []
        seen: set[str] = set()
        for n, proto in enumerate(protos):
            where = f"{what} {quoted(proto.name)}" if proto.name else f"{what} {n}"
            name = self._names.name(proto.name, where, "name")
            if not name and unique:
                self._problems.add(where, "it has no name")
            if name in seen and what == "input":
                self._problems.add(where, "it is an input twice")
            seen.add(name)
            made.append(self._info(name, proto.type, where))
        return tuple(made)

    def _info(self, name: str, proto: TypeProto, where: str) -> ValueInfo:
        kind = proto.WhichOneof("value") or "tensor_type"
        if kind != "tensor_type":
            return ValueInfo(name, "UNDEFINED", (), _OTHER_KINDS.get(kind, "opaque"))
        tensor = proto.tensor_type
        dtype = element_type(tensor.elem_type)
        if dtype is None:
            self._problems.add(where, f"element type {tensor.elem_type} is not known")
        if not tensor.HasField("shape"):
            return ValueInfo(name, dtype or "UNDEFINED", None)
        if len(tensor.shape.dim) > self._limits.rank:
            rank = len(tensor.shape.dim)
            what = f"it has {rank} dimensions, at most {self._limits.rank} are taken"
            self._problems.add(where, what)
            return ValueInfo(name, dtype or "UNDEFINED", None)
        shape = tuple(self._dimension(dim, where) for dim in tensor.shape.dim)
        return ValueInfo(name, dtype or "UNDEFINED", shape)

    def _dimension(self, proto: Any, where: str) -> int | str | None:
        """A number, a symbol, or None.

        Some exporters write `?` or -1 for each dimension that is open.
        """
        if proto.HasField("dim_param"):
            symbol = self._names.name(proto.dim_param, where, "dimension's name")
            return None if symbol in ("", "?", "-1") else symbol
        if not proto.HasField("dim_value") or proto.dim_value == -1:
            return None
        size = int(proto.dim_value)
        if not 0 <= size <= self._limits.dimension:
            most = self._limits.dimension
            self._problems.add(where, f"a dimension is {size}; 0 to {most} are taken")
        return size

    def _functions(self, opsets: Mapping[str, int]) -> Mapping[Key, Body]:
        found: dict[Key, Body] = {}
        for proto in self._proto.functions:
            label = f"function {quoted(proto.name)}"
            own = self._opsets(proto.opset_import, label)
            body = _function(proto, {**opsets, **own}, self._nodes, self._names)
            if body.key in found:
                self._problems.add(label, "it is given twice")
            found[body.key] = body
            results = [name for name in body.outputs if name in body.values]
            check_scope(body.steps, body.inputs, results, self._problems, where=label)
        return found

    def _producer(self) -> str:
        proto = self._proto
        words = (proto.producer_name, proto.producer_version)
        return " ".join(self._names.names(filter(None, words), "the file", "producer"))

    def _metadata(self) -> Mapping[str, str]:
        text = self._names.text
        return {
            text(e.key, "metadata", "key"): text(e.value, "metadata", "value")
            for e in self._proto.metadata_props
        }


def _function(proto: FunctionProto, opsets: Mapping[str, int], nodes: Nodes, names: Names) -> Body:
    label = f"function {quoted(proto.name)}"
    defaults: dict[str, AttributeValue] = {}
    for attribute in proto.attribute_proto:
        value = nodes.attribute(attribute, label)
        if value is not None:
            defaults[names.name(attribute.name, label, "attribute's name")] = value
    key = (
        plain_domain(names.name(proto.domain, label, "domain")),
        names.name(proto.name, label, "name"),
        names.name(proto.overload, label, "overload"),
    )
    steps = nodes.steps(proto.node, opsets, label)
    inputs = names.names(proto.input, label, "parameter")
    return Body(
        key,
        inputs,
        names.names(proto.output, label, "result"),
        frozenset(names.names(proto.attribute, label, "attribute's name")) | frozenset(defaults),
        defaults,
        steps,
        frozenset(inputs).union(*(step.node.outputs for step in steps)),
    )
