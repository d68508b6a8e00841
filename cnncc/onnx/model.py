"""An ONNX model as plain values: what `read.py` gives and everything after it sees.

No protobuf message outlives reading; whoever holds a `Model` holds only numbers, text and arrays
whose sizes were checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor that the file holds.

    Attributes:
        name: its name; may be empty in attributes.
        dtype: ONNX's name of the element type: `FLOAT`, `INT64`, `BFLOAT16`, ...
        shape: its dimensions.
        array: the elements, read-only. Types that NumPy lacks are kept as their bits: `BFLOAT16` as
            uint16, `FLOAT8*` as uint8, and those of 4 and 2 bits one to a uint8, in its low bits.
            The elements of a `STRING` tensor are not kept (nothing takes them): the array is empty.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Foreign:
    """An attribute that is known by kind only.

    Attributes:
        kind: `graph`, `graphs`, `sparse tensor`, `sparse tensors`, `type` or `types`.
    """

    kind: str


AttributeValue = (
    int
    | float
    | str
    | Tensor
    | Foreign
    | tuple[int, ...]
    | tuple[float, ...]
    | tuple[str, ...]
    | tuple[Tensor, ...]
)
"""What an attribute can be; strings are decoded as UTF-8."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator of the graph, functions already inlined.

    Attributes:
        index: its place in `Model.nodes`.
        name: as in the file; may be empty, need not be unique.
        op_type: ONNX's name of the operator.
        domain: "" for ONNX's own operators.
        version: the opset version of its domain that is in force where it stands; 0 when the file
            imports none of that domain.
        inputs: names of values; "" where one is left out.
        outputs: names of values, each written once in the model; "" where nobody asks.
        attributes: those that are given.
        span: the calls of functions that it was inlined from, outermost first; else "".
    """

    index: int
    name: str
    op_type: str
    domain: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, AttributeValue]
    span: str = ""


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """What the file says about a value.

    Attributes:
        name: the value.
        dtype: ONNX's name of the element type; `UNDEFINED` when the file does not say.
        shape: a number, a symbol or None (open) for each dimension; None when the file does not
            even give the rank; () for other kinds than tensors.
        kind: `tensor`, or `sequence`, `optional`, `map`, `sparse tensor`, `opaque`.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None
    kind: str = "tensor"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model that was read and checked: nodes in topological order, every name written once.

    Attributes:
        name: the graph's name.
        ir_version: version of the file format.
        producer: name and version of the program that wrote it.
        opsets: version by domain; "" is ONNX's own.
        nodes: in topological order, without calls of model-local functions.
        inputs: without those that an initialiser gives.
        outputs: in the file's order.
        initializers: constants by name.
        value_infos: what the file says about values, inputs and outputs included; not checked
            against anything.
        metadata: the file's own key-value pairs.
        path: the file; None when the model came as bytes.
    """

    name: str
    ir_version: int
    producer: str
    opsets: Mapping[str, int]
    nodes: tuple[Node, ...]
    inputs: tuple[ValueInfo, ...]
    outputs: tuple[ValueInfo, ...]
    initializers: Mapping[str, Tensor]
    value_infos: Mapping[str, ValueInfo]
    metadata: Mapping[str, str]
    path: Path | None

    @property
    def place(self) -> str:
        """What messages about the model begin with: its file and a colon, if there is one."""
        return f"{self.path}: " if self.path is not None else ""
