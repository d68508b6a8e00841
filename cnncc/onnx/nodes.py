"""From a `NodeProto` to a `Step`: names and attributes, each of the kind that it says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from cnncc.onnx.inline import Step, node_label
from cnncc.onnx.limits import Limits
from cnncc.onnx.model import AttributeValue, Foreign, Node, Tensor
from cnncc.onnx.problems import Problems, quoted
from cnncc.onnx.tensors import Tensors

if TYPE_CHECKING:
    from onnx import AttributeProto, NodeProto

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# The field that an attribute of each type is in.
_FIELDS = {
    1: "f",
    2: "i",
    3: "s",
    4: "t",
    5: "g",
    6: "floats",
    7: "ints",
    8: "strings",
    9: "tensors",
    10: "graphs",
    11: "sparse_tensor",
    12: "sparse_tensors",
    13: "tp",
    14: "type_protos",
}
_FOREIGN = {
    "g": "graph",
    "graphs": "graphs",
    "sparse_tensor": "sparse tensor",
    "sparse_tensors": "sparse tensors",
    "tp": "type",
    "type_protos": "types",
}
_VALUES = frozenset(_FIELDS.values())


class Names:
    """Sees that names are text of reasonable length.

    Args:
        limits: caps.
        problems: where to note what is wrong.
    """

    def __init__(self, limits: Limits, problems: Problems) -> None:
        self._most = limits.name_bytes
        self._problems = problems

    def text(self, found: str | bytes, where: str, what: str) -> str:
        """Text from the file; what cannot be read as UTF-8 is noted and becomes "".

        The parser hands over text that is not UTF-8 as bytes.
        """
        if isinstance(found, bytes):
            self._problems.add(where, f"its {what} {quoted(found)} is not UTF-8")
            return ""
        return found

    def name(self, found: str | bytes, where: str, what: str) -> str:
        """A name; one that no exporter writes is noted."""
        if type(found) is str and 4 * len(found) <= self._most and found.isprintable():
            return found
        name = self.text(found, where, what)
        if len(name) > self._most or len(name.encode()) > self._most:
            self._problems.add(
                where, f"its {what} {quoted(name)} is longer than {self._most} bytes"
            )
        elif _CONTROL.search(name):
            self._problems.add(where, f"its {what} {quoted(name)} has control characters")
        return name

    def names(self, found: Iterable[str | bytes], where: str, what: str) -> tuple[str, ...]:
        """Several names."""
        return tuple([self.name(name, where, what) for name in found])


def plain_domain(domain: str) -> str:
    """A domain, of which ONNX's own has two spellings."""
    return "" if domain == "ai.onnx" else domain


class Nodes:
    """Reads nodes and their attributes.

    Args:
        limits: caps.
        problems: where to note what is wrong.
        tensors: for attributes that are tensors.
    """

    def __init__(self, limits: Limits, problems: Problems, tensors: Tensors) -> None:
        self._limits = limits
        self._problems = problems
        self._tensors = tensors
        self._names = Names(limits, problems)

    def steps(
        self, protos: Iterable[NodeProto], opsets: Mapping[str, int], where: str = ""
    ) -> tuple[Step, ...]:
        """The nodes of a graph or function.

        Args:
            protos: as they are written.
            opsets: versions by domain that are in force.
            where: the function, for messages.
        """
        made = [self._step(n, proto, opsets, where) for n, proto in enumerate(protos)]
        if "" not in opsets and any(s.node.domain == "" for s in made):
            self._problems.add(where, "no version of ONNX's own operators is imported")
        return tuple(made)

    def _step(self, index: int, proto: NodeProto, opsets: Mapping[str, int], where: str) -> Step:
        label = node_label(index, proto.name, proto.op_type)
        at = f"{where}, {label}" if where else label
        op_type = self._names.name(proto.op_type, at, "operator")
        if not op_type:
            self._problems.add(at, "it says no operator")
        domain = plain_domain(self._names.name(proto.domain, at, "domain"))
        attributes: dict[str, AttributeValue] = {}
        references: dict[str, str] = {}
        for attribute in proto.attribute:
            name = self._names.name(attribute.name, at, "attribute's name")
            if name in attributes or name in references:
                self._problems.add(at, f"attribute {quoted(name)} is given twice")
            elif attribute.ref_attr_name:
                found = self._names.name(attribute.ref_attr_name, at, "attribute's reference")
                references[name] = found
                if not where:
                    self._problems.add(at, f"attribute {quoted(name)} refers to a function's")
            else:
                value = self.attribute(attribute, at, long=op_type == "Constant")
                if value is not None:
                    attributes[name] = value
        node = Node(
            index,
            self._names.name(proto.name, at, "name"),
            op_type,
            domain,
            opsets.get(domain, 0),
            self._names.names(proto.input, at, "input"),
            self._names.names(proto.output, at, "output"),
            attributes,
        )
        return Step(node, self._names.name(proto.overload, at, "overload"), references)

    def attribute(
        self, proto: AttributeProto, where: str, *, long: bool = False
    ) -> AttributeValue | None:
        """The value of an attribute, or None after noting why not.

        Args:
            proto: as it is written.
            where: the node, for messages.
            long: whether a list may be as long as a tensor.
        """
        at = f"{where}, attribute {quoted(proto.name)}"
        filled = [f.name for f, _ in proto.ListFields() if f.name in _VALUES]
        field = _FIELDS.get(proto.type)
        if proto.type == 0 and len(filled) == 1:  # files of old exporters do not say the type
            field = filled[0]
        if field is None:
            self._problems.add(at, f"its type {proto.type} is not known")
            return None
        if filled not in ([], [field]):
            self._problems.add(at, f"its value is in {', '.join(filled)}; its type says {field}")
            return None
        if field in _FOREIGN:
            return Foreign(_FOREIGN[field])
        if field == "t":
            return self._tensors.read(proto.t, _plain(proto.t.name), at)
        if field == "tensors":
            read = [self._tensors.read(t, _plain(t.name), at) for t in proto.tensors]
            return tuple([t for t in read if isinstance(t, Tensor)])
        found = getattr(proto, field)
        if field in ("i", "f"):
            return int(found) if field == "i" else float(found)
        if field == "s":
            return self._string(found, at)
        most = self._limits.elements if long else self._limits.list_length
        if len(found) > most:
            self._problems.add(at, f"it has {len(found)} entries, at most {most} are taken")
            return None
        if field == "strings":
            return tuple([self._string(s, at) for s in found])
        return tuple(found)

    def _string(self, found: bytes, where: str) -> str:
        if len(found) > self._limits.text_bytes:
            self._problems.add(where, f"its text is longer than {self._limits.text_bytes} bytes")
            return ""
        try:
            return found.decode("utf-8")
        except UnicodeDecodeError:
            self._problems.add(where, f"its text {quoted(found)} is not UTF-8")
            return ""


def _plain(name: str | bytes) -> str:
    """A tensor's name inside an attribute, which nothing uses."""
    return name if isinstance(name, str) and len(name) <= 200 else ""
