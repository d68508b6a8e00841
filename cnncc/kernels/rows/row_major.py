"""Values in row-major order as kernels see them: which layouts count, buffers, axes, places."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from cnncc.ir.types import DType, TensorType
from cnncc.kernels.cost import predict, vector_cycles
from cnncc.kernels.layout import AnyLayout, DenseLayout, RowMajor
from cnncc.kernels.template import (
    Arg,
    Estimate,
    OperandArg,
    PackedArg,
    ResultArg,
    Site,
    scratch_buffer,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Value

CHUNK = 4096  # elements of a long row that one work item does
GRAIN_ELEMS = 8192  # below this a second thread costs more than it saves
Shape = tuple[int, ...]


def row_major(layout: AnyLayout | None, type_: TensorType) -> RowMajor | None:
    """The row-major layout of the same memory; `None` where elements lie in another order."""
    if isinstance(layout, RowMajor):
        return layout
    if not isinstance(layout, DenseLayout) or layout.dtype is not type_.dtype:
        return None
    if layout.memory == "chw" or layout.channels == 1 or layout.height * layout.width == 1:
        return RowMajor(type_.dtype, type_.shape)
    return None


def refuses_layouts(site: Site) -> str:
    """Why operands or result do not lie in row-major order; empty if all do."""
    if row_major(site.out, site.result) is None:
        return "the result does not lie in row-major order"
    for operand, constant in enumerate(site.constants):
        if constant is None and row_major(site.layouts[operand], site.types[operand]) is None:
            return f"operand {operand} does not lie in row-major order"
    return ""


def kind_of(dtype: DType) -> Kind:
    """The kind of the elements of a buffer of that type."""
    return Kind[dtype.name]


def pitches_of(shape: Sequence[int]) -> Shape:
    """Elements between neighbours along each axis of a row-major array."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


class Buffers:
    """The buffer parameters of one function and the arguments that go with them."""

    def __init__(self, b: Builder, site: Site) -> None:
        self._b = b
        self._site = site
        self._operands: dict[int, Value] = {}
        self.args: list[Arg] = []

    def operand(self, number: int) -> Value:
        """The parameter for an operand, declared when it is asked for the first time."""
        if number not in self._operands:
            self._operands[number] = self._declare(number)
        return self._operands[number]

    def _declare(self, number: int) -> Value:
        site, type_ = self._site, self._site.types[number]
        constant = site.constants[number]
        if constant is not None:
            array = np.ascontiguousarray(constant, type_.dtype.numpy)
            return self.packed(f"constant{number}", array)
        self.args.append(OperandArg(number))
        # In `add(x, x)`, or with a reshaped x, two operands share the buffer that is written over.
        written = site.in_place
        apart = written is None or site.types[written].elems != type_.elems
        return self._b.buffer(f"x{number}", kind_of(type_.dtype), type_.elems, unique=apart)

    def packed(self, hint: str, array: np.ndarray) -> Value:
        """A parameter for numbers made at compile time."""
        self.args.append(PackedArg(array))
        return self._b.buffer(hint, kind_of(DType.of(array.dtype)), array.size)

    def result(self) -> Value:
        """The parameter for the result; it may be an operand's buffer."""
        self.args.append(ResultArg())
        type_, apart = self._site.result, self._site.in_place is None
        return self._b.buffer("out", kind_of(type_.dtype), type_.elems, writable=True, unique=apart)

    def scratch(self, hint: str, elems: int, kind: Kind = Kind.F32) -> Value:
        """A parameter for scratch memory."""
        value, arg = scratch_buffer(self._b, hint, elems, kind)
        self.args.append(arg)
        return value


def collapse(dims: Sequence[int], *pitches: Shape) -> tuple[Shape, list[Shape]]:
    """Axes joined wherever every array walks over them as over one; axes of 1 are dropped.

    Args:
        dims: extents of the axes.
        pitches: for each array, elements between neighbours along each axis.
    """
    joined: list[int] = []
    walks: list[list[int]] = [[] for _ in pitches]
    for axis, extent in enumerate(dims):
        if extent == 1:
            continue
        steps = [p[axis] for p in pitches]
        if joined and all(w[-1] == s * extent for w, s in zip(walks, steps, strict=True)):
            joined[-1] *= extent
            for walk, step in zip(walks, steps, strict=True):
                walk[-1] = step
            continue
        joined.append(extent)
        for walk, step in zip(walks, steps, strict=True):
            walk.append(step)
    if not joined:
        return (1,), [(0,)] * len(pitches)
    return tuple(joined), [tuple(w) for w in walks]


def split(b: Builder, number: Index, dims: Sequence[int]) -> list[Index]:
    """The place on each axis of element `number` of an array in row-major order."""
    places: list[Index] = []
    for extent in reversed(dims[1:]):
        places.append(b.irem(number, extent))
        number = b.idiv(number, extent)
    return [number, *reversed(places)] if dims else []


def flat(b: Builder, places: Sequence[Index], pitches: Sequence[int]) -> Index:
    """The element at places on some axes."""
    return b.iadd(*(b.imul(p, w) for p, w in zip(places, pitches, strict=True)))


def tail_mask(b: Builder, count: int, lanes: int) -> Value | None:
    """A mask of the first `count` lanes; `None` for all of them."""
    if count >= lanes:
        return None
    return b.const(tuple(i < count for i in range(lanes)), vector(lanes, Kind.BOOL))


class Chunks:
    """A row of `length` elements cut into work items of about `size`, in whole vectors.

    Attributes:
        count: work items a row.
    """

    def __init__(self, length: int, lanes: int, unroll: int = 1, size: int = CHUNK) -> None:
        self.length = length
        self.lanes = lanes
        self.unit = unroll * lanes
        self._turns = length // self.unit
        self._share = max(1, size // self.unit)
        self.count = max(1, -(-self._turns // self._share))

    def emit(
        self,
        b: Builder,
        chunk: Index,
        body: Callable[[Index, int, Value | None], None],
    ) -> None:
        """`body(at, offset, mask)` for each vector of chunk `chunk`, at element `at + offset`."""
        if self._turns:
            first = b.imul(chunk, self._share)
            last = b.imin(b.iadd(first, self._share), self._turns)
            with b.loop(first, last, hint="turn") as turns:
                at = b.imul(turns.iv, self.unit)
                for offset in range(0, self.unit, self.lanes):
                    body(at, offset, None)
        if self._turns * self.unit == self.length:
            return
        if self.count == 1 or isinstance(chunk, int):
            self._rest(b, body)
            return
        with b.when(b.compare("eq", chunk, self.count - 1)):
            self._rest(b, body)

    def _rest(self, b: Builder, body: Callable[[Index, int, Value | None], None]) -> None:
        for at in range(self._turns * self.unit, self.length, self.lanes):
            body(0, at, tail_mask(b, self.length - at, self.lanes))


def for_size(
    b: Builder, extent: int, size: int, number: Index, body: Callable[[int], None]
) -> None:
    """`body(n)` for part `number` of `extent` elements: `size` of them, or what is left last."""
    rest = (extent - 1) % size + 1
    count = -(-extent // size)
    if rest == size or count == 1:
        body(rest)
        return
    with b.when(b.compare("lt", number, count - 1)):
        body(size)
    with b.otherwise():
        body(rest)


def grain_of(work: int, elems: float) -> int:
    """Work items that make up enough elements for a second thread."""
    return max(1, min(work, int(GRAIN_ELEMS * work / max(1.0, elems))))


def row_estimate(site: Site, operations: float, choice: str, *, moved: float = 0.0) -> Estimate:
    """Time from memory traffic and vector operations, two of which start in a cycle.

    Args:
        site: its operands and its result move once.
        operations: vector operations of all of it.
        choice: words for the plan.
        moved: bytes that move beyond that.
    """
    paired = list(zip(site.types, site.constants, strict=True))
    bytes_ = moved + sum(t.size_bytes for t in (site.result, *(t for t, c in paired if c is None)))
    weights = float(sum(t.size_bytes for t, c in paired if c is not None))
    figures = {"bytes": bytes_, "vector_operations": operations}
    return predict(
        site, vector_cycles(site, operations), choice, figures, weights=weights, moved=bytes_
    )
