"""What a rule sees: one ONNX node, its operands as nodes of the graph, and a pen to add more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import TypeInferenceError
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.ir.op import Trait, lookup
from cnncc.ir.types import DType, TensorType
from cnncc.onnx.model import AttributeValue, Node, Tensor
from cnncc.onnx.refusals import Refused, WantsConstant
from cnncc.ops import check

Array = NDArray[Any]

DTYPES: Mapping[str, DType] = {
    "FLOAT": DType.F32,
    "FLOAT16": DType.F16,
    "DOUBLE": DType.F64,
    "INT64": DType.I64,
    "INT32": DType.I32,
    "INT16": DType.I16,
    "INT8": DType.I8,
    "UINT64": DType.U64,
    "UINT32": DType.U32,
    "UINT16": DType.U16,
    "UINT8": DType.U8,
    "BOOL": DType.BOOL,
}
"""ONNX's element types and those of the graph; the others are refused by name."""

# What depends on constants alone is computed within this budget; the rest is computed at run time.
_FOLD_BYTES = 2**28
_FOLD_WORK = 10**9


@dataclass(slots=True)
class Writer:
    """Adds nodes to the graph; what depends on constants alone is computed at once.

    Attributes:
        graph: what is built.
        taken: names in use.
        real: for nodes of whole numbers that were made from an f32 node with the same values, that
            node: what reads the numbers as f32 again reads it.
    """

    graph: Graph
    taken: set[str] = field(default_factory=set)
    real: dict[int, int] = field(default_factory=dict)
    folded_bytes: int = 0
    folded_work: int = 0

    def unique(self, wanted: str) -> str:
        """`wanted`, with a number behind it if it is taken; it is taken now."""
        name, count = wanted, 1
        while name in self.taken:
            count += 1
            name = f"{wanted}_{count}"
        self.taken.add(name)
        return name

    def constant(self, array: Array, label: str) -> int:
        """A `constant` node; f16 numbers are held as f32."""
        if array.dtype == np.float16:
            array = array.astype(np.float32)
        array = np.array(array, order="C", copy=None)  # keeps rank 0, which ascontiguousarray lifts
        return add_constant(self.graph, label, array)

    def add(self, op: str, operands: Sequence[int], attrs: Any, label: str) -> int:
        """A node, or the constant that it comes to.

        Raises:
            TypeInferenceError: the operands do not fit.
        """
        folded = self._fold(op, operands, attrs)
        if folded is not None:
            return self.constant(folded, label)
        made = add_typed(self.graph, op, operands, attrs, name=self.unique(label))
        if Trait.SHAPE_ONLY in lookup(op).traits and all(o in self.real for o in operands):
            self.real[made] = self.add(op, [self.real[o] for o in operands], attrs, label)
        return made

    def _fold(self, op: str, operands: Sequence[int], attrs: Any) -> Array | None:
        arrays = [self.graph.constant(o) for o in operands]
        known = [a for a in arrays if a is not None]
        if len(known) != len(arrays) or not known:
            return None
        rule = lookup(op)
        attrs = rule.Attrs() if attrs is None else attrs
        types = [self.graph.type_of(o) for o in operands]
        if Trait.POINTWISE in rule.traits and not all(t.elems for t in types):
            return _of_nothing(op, types, attrs)
        result = rule.infer(types, attrs)
        cost = rule.cost(types, result, attrs)
        # What only moves elements can grow nothing, so that large weights are always turned.
        moves = Trait.SHAPE_ONLY in rule.traits and result.elems <= sum(t.elems for t in types)
        size = self.folded_bytes + (0 if moves else result.size_bytes)
        work = self.folded_work + 2 * cost.macs + cost.flops
        if size > _FOLD_BYTES or work > _FOLD_WORK:
            return None
        self.folded_bytes, self.folded_work = size, work
        wide = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in known]
        with np.errstate(all="ignore"):
            value = np.asarray(rule.reference(wide, attrs))
            return value.astype(result.dtype.numpy).reshape(result.shape)


def _of_nothing(op: str, types: Sequence[TensorType], attrs: Any) -> Array:
    """The empty result of a pointwise operator on empty operands, which no type rule takes."""
    stand_ins = [TensorType(t.dtype, tuple(max(n, 1) for n in t.shape)) for t in types]
    result = lookup(op).infer(stand_ins, attrs)
    try:
        shape = np.broadcast_shapes(*(t.shape for t in types))
    except ValueError:
        raise TypeInferenceError(f"`{op}` cannot broadcast {check.listed(types)}") from None
    return np.empty(shape, result.dtype.numpy)


class Call:
    """One ONNX node on its way into the graph.

    Args:
        node: the node.
        writer: where it goes.
        operands: graph ids of its inputs; None for those that are left out.
        label: the dotted name for what it becomes.
    """

    def __init__(
        self, node: Node, writer: Writer, operands: Sequence[int | None], label: str
    ) -> None:
        self.node = node
        self.graph = writer.graph
        self.label = label
        self._writer = writer
        self._operands = tuple(operands)
        self._seen: set[str] = set()

    # -- operands ----------------------------------------------------------------------------------

    @property
    def version(self) -> int:
        """The opset version that the node is written in."""
        return self.node.version

    @property
    def count(self) -> int:
        """Number of inputs, those left out in between counted."""
        return len(self._operands)

    @property
    def given(self) -> tuple[int | None, ...]:
        """The graph ids of all inputs; None for those that are left out."""
        return self._operands

    def has(self, index: int) -> bool:
        """Whether the input is given."""
        return index < len(self._operands) and self._operands[index] is not None

    def operand(self, index: int) -> int:
        """The graph id of an input that must be given."""
        found = self._operands[index] if index < len(self._operands) else None
        if found is None:
            raise Refused(f"input {index} is missing")
        return found

    def operands(self) -> list[int]:
        """The graph ids of all inputs, none of which may be left out."""
        return [self.operand(i) for i in range(self.count)]

    def type(self, index: int) -> TensorType:
        """The type of an input."""
        return self.graph.type_of(self.operand(index))

    def type_of(self, node_id: int) -> TensorType:
        """The type of a node."""
        return self.graph.type_of(node_id)

    def known(self, index: int) -> Array | None:
        """The array of an input that is a constant, else None."""
        return self.graph.constant(self.operand(index)) if self.has(index) else None

    def constant(self, index: int, word: str) -> Array:
        """The array of an input that must be a constant.

        Raises:
            WantsConstant: it is computed from the model's inputs.
        """
        array = self.known(index)
        if array is None:
            raise WantsConstant(self.operand(index), word)
        return array

    def whole(self, index: int, word: str) -> tuple[int, ...]:
        """The whole numbers of a constant input, in row-major order."""
        array = self.constant(index, word)
        if array.dtype.kind not in "iu":
            raise Refused(f"`{word}` has elements of {array.dtype}, whole numbers are wanted")
        return tuple(int(v) for v in array.reshape(-1))

    def single(self, index: int, word: str) -> int:
        """The only whole number of a constant input."""
        values = self.whole(index, word)
        if len(values) != 1:
            raise Refused(f"`{word}` has {len(values)} elements, one is wanted")
        return values[0]

    def number(self, index: int, word: str) -> float:
        """The only number of a constant input."""
        array = self.constant(index, word)
        if array.size != 1:
            raise Refused(f"`{word}` has {array.size} elements, one is wanted")
        return float(array.reshape(-1)[0])

    # -- attributes --------------------------------------------------------------------------------

    def attr(self, name: str) -> AttributeValue | None:
        """An attribute, or None; asking for it is what makes it a legal one."""
        self._seen.add(name)
        return self.node.attributes.get(name)

    def integer(self, name: str, default: int | None = None) -> int:
        """An attribute that is a whole number."""
        value = self.attr(name)
        if value is None:
            value = default
        if not isinstance(value, int) or isinstance(value, bool):
            raise Refused(f"attribute `{name}` is {_shown(value)}, a whole number is wanted")
        return value

    def real(self, name: str, default: float | None = None) -> float:
        """An attribute that is a number."""
        value = self.attr(name)
        if value is None:
            value = default
        if not isinstance(value, int | float):
            raise Refused(f"attribute `{name}` is {_shown(value)}, a number is wanted")
        return _shortest(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """An attribute that is 0 or 1."""
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise Refused(f"attribute `{name}` is {value}, 0 or 1 is wanted")
        return bool(value)

    def text(self, name: str, default: str = "", words: Sequence[str] = ()) -> str:
        """An attribute that is a word, one of `words` when they are given."""
        value = self.attr(name)
        if value is None:
            value = default
        if not isinstance(value, str):
            raise Refused(f"attribute `{name}` is {_shown(value)}, text is wanted")
        if words and value not in words:
            raise Refused(f"attribute `{name}` is {_shown(value)}; {', '.join(words)} are taken")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of whole numbers, or None when it is left out."""
        value = self.attr(name)
        if value is None:
            return None
        if not isinstance(value, tuple) or any(type(v) is not int for v in value):
            raise Refused(f"attribute `{name}` is {_shown(value)}, whole numbers are wanted")
        return tuple(v for v in value if isinstance(v, int))

    def reals(self, name: str) -> tuple[float, ...] | None:
        """An attribute that is a list of numbers, or None when it is left out."""
        value = self.attr(name)
        if value is None:
            return None
        given = value if isinstance(value, tuple) else (None,)
        numbers = [_shortest(v) for v in given if isinstance(v, int | float)]
        if len(numbers) != len(given):
            raise Refused(f"attribute `{name}` is {_shown(value)}, numbers are wanted")
        return tuple(numbers)

    def tensor(self, name: str) -> Tensor | None:
        """An attribute that is a tensor, or None when it is left out."""
        value = self.attr(name)
        if value is not None and not isinstance(value, Tensor):
            raise Refused(f"attribute `{name}` is {_shown(value)}, a tensor is wanted")
        return value

    def ignore(self, *names: str) -> None:
        """Attributes that do not matter at inference."""
        self._seen.update(names)

    @property
    def unknown(self) -> list[str]:
        """Attributes that the rule did not ask for: nobody knows what they mean."""
        return sorted(set(self.node.attributes) - self._seen)

    # -- writing -----------------------------------------------------------------------------------

    def add(self, op: str, operands: Sequence[int], attrs: Any = None) -> int:
        """Add a node of the graph; what depends on constants alone becomes a constant.

        Raises:
            Refused: the operands do not fit the operator.
        """
        try:
            return self._writer.add(op, operands, attrs, self.label)
        except TypeInferenceError as error:
            raise Refused(error.message, error.hint) from error

    def array(self, array: Any, dtype: DType | None = None) -> int:
        """A constant."""
        try:
            made = np.asarray(array, None if dtype is None else dtype.numpy)
        except (ValueError, OverflowError):  # NaN, or too large for its whole numbers
            raise Refused(f"{dtype} cannot hold {_shown(array)}") from None
        return self._writer.constant(made, f"{self.label}.constant")

    def like(self, value: float, node_id: int) -> int:
        """A scalar constant of a node's element type."""
        return self.array(value, self.type_of(node_id).dtype)

    def cast(self, node_id: int, dtype: DType) -> int:
        """The node in another element type; itself when it has it."""
        if self.type_of(node_id).dtype is dtype:
            return node_id
        if dtype is DType.F32 and node_id in self._writer.real:
            return self._writer.real[node_id]
        return self.add("cast", [node_id], lookup("cast").Attrs(dtype))

    def whole_cast(self, node_id: int, dtype: DType) -> int:
        """An f32 node that holds whole numbers of that type's range, in that type."""
        made = self.cast(node_id, dtype)
        if made != node_id:
            self._writer.real[made] = node_id
        return made

    def reshape(self, node_id: int, shape: Sequence[int]) -> int:
        """The node under another shape; itself when it has it."""
        if self.type_of(node_id).shape == tuple(shape):
            return node_id
        return self.add("reshape", [node_id], lookup("reshape").Attrs(tuple(shape)))

    def transpose(self, node_id: int, perm: Sequence[int]) -> int:
        """The node with axes in another order; itself when it is the same order."""
        if tuple(perm) == tuple(range(len(perm))):
            return node_id
        return self.add("transpose", [node_id], lookup("transpose").Attrs(tuple(perm)))

    def axis(self, value: int, rank: int, word: str = "axis") -> int:
        """An axis counted from 0, from one that may count from the end."""
        if not -rank <= value < max(rank, 1):
            raise Refused(f"`{word}` is {value}, but there are {rank} axes")
        return value % rank if rank else 0


def _shortest(value: float) -> float:
    """The number of fewest digits that has the same f32: files hold f32."""
    return float(str(np.float32(value))) if isinstance(value, float) else float(value)


def _shown(value: object) -> str:
    text = "missing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
