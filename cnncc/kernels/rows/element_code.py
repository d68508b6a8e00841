"""Element rules as code: `ElementBuilder` on LoopIR, for neighbours along one axis side by side.

Lane l of a vector stands for the element l places further along that axis. A place is therefore an
index and a step from lane to lane; a value is either the same in all lanes (then it is computed
once, as a scalar) or a vector. What has no such form raises `NotVectorizable` (or `Cut`: it has one
for each part of the row), and the kernel takes one lane, where everything has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cnncc.ir.types import DType
from cnncc.kernels.rows.place_code import NotVectorizable, Place, PlaceCode, place_from
from cnncc.kernels.rows.row_major import kind_of, pitches_of
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Kind, Type, Value


@dataclass(frozen=True, slots=True)
class Element:
    """A value: `one` for all lanes, or a vector of `many`.

    Attributes:
        one: the scalar; `None` where lanes differ.
        many: the vector; `None` where they do not.
        number: for constants, what they are, so that a vector needs no scalar.
    """

    one: Value | None = None
    many: Value | None = None
    number: tuple[float, DType] | None = None


class ElementCode(PlaceCode):
    """`ElementBuilder` for one vector of results. Arithmetic comes from `VectorScalars`.

    Args:
        b: where the code goes.
        buffers: the operands' buffers.
        shapes: the operands' shapes.
        lanes: results side by side.
        count: how many of the lanes are wanted; nothing is read for the others.
        part: places of the row, from and to, that the code is for.
    """

    def __init__(
        self,
        b: Builder,
        buffers: Sequence[Value],
        shapes: Sequence[tuple[int, ...]],
        lanes: int,
        count: int,
        part: tuple[int, int],
    ) -> None:
        super().__init__(b, part)
        self._buffers = buffers
        self._pitches = [pitches_of(s) for s in shapes]
        self._lanes = lanes
        self._count = count
        self._scalar = VectorScalars(b, 1)
        self._vector = VectorScalars(b, lanes)

    # -- arithmetic --------------------------------------------------------------------------------

    def __getattr__(self, name: str) -> Callable[..., Element]:
        """A method of `ScalarBuilder`: on scalars if all operands are the same in every lane."""
        if name.startswith("_"):
            raise AttributeError(name)

        return partial(self._applied, name)

    def _applied(self, name: str, *operands: Any) -> Element:
        alike = all(o.many is None for o in operands if isinstance(o, Element))
        form, builder = (self.one, self._scalar) if alike else (self.many, self._vector)
        given = [form(o) if isinstance(o, Element) else o for o in operands]
        made = getattr(builder, name)(*given)
        return Element(one=made) if alike else Element(many=made)

    def const(self, value: float, dtype: DType = DType.F32) -> Element:
        """The number of that type nearest to `value`."""
        return Element(number=(value, dtype))

    def one(self, element: Element) -> Value:
        """The scalar of an element that is the same in all lanes."""
        if element.number is not None:
            return self._scalar.const(*element.number)
        if element.one is None:
            raise NotVectorizable
        return element.one

    def many(self, element: Element) -> Value:
        """The element as a vector (a scalar, for one lane)."""
        if element.number is not None:
            return self._vector.const(*element.number)
        if element.one is not None:
            return self._b.splat(element.one, self._lanes)
        assert element.many is not None
        return element.many

    def _made(self, value: Value) -> Element:
        return Element(one=value) if self._lanes == 1 else Element(many=value)

    def bit_and(self, a: Element, b: Element) -> Element:
        """The conjunction, or whole numbers bit by bit; what is known to hold is left out."""
        for known, other in ((a, b), (b, a)):
            if known.number is not None and known.number[1] is DType.BOOL:
                return other if known.number[0] else known
        return self._applied("bit_and", a, b)

    # -- places that meet values -------------------------------------------------------------------

    def place_of(self, value: Element) -> Place:
        """A whole number as a place."""
        return Place(self._b.convert(self.one(value), Kind.INDEX))

    def value_of(self, place: Any, dtype: DType) -> Element:
        """A place as a number."""
        known = place_from(place)
        if known.step:
            wide = DType.I64 if dtype.size_bytes == 8 else DType.I32
            number = Element(many=self._spread(known, wide))
            return number if wide is dtype else self.cast(number, dtype)
        if isinstance(known.index, int):
            return self.const(known.index, dtype)
        return Element(one=self._b.convert(known.index, kind_of(dtype)))

    def within(self, place: Any, low: int, high: int) -> Element:
        """Whether low <= place < high."""
        known = place_from(place)
        if known.step and known.start is not None:
            least, most = self.range_of(known)
            whole = low <= least and most < high
            if whole or most < low or least >= high:
                return self.const(whole, DType.BOOL)
            if self._part[1] - self._part[0] > 2 * self._lanes:
                raise self.cut(known, (low, high))
        if known.step:
            value = Element(many=self._spread(known, DType.I32))
            above = self.ge(value, self.const(low, DType.I32))
            return self.bit_and(above, self.lt(value, self.const(high, DType.I32)))
        above, below = (self._holds("ge", known.index, low), self._holds("lt", known.index, high))
        return self.bit_and(above, below)

    def place_lt(self, a: Any, b: Any) -> Element:
        """Whether a < b, of two places."""
        first, second = place_from(a), place_from(b)
        if not first.step and not second.step:
            return self._holds("lt", first.index, second.index)
        return self.lt(*(self.value_of(p, DType.I32) for p in (first, second)))

    def _holds(self, op: str, a: Index, b: Index) -> Element:
        if isinstance(a, int) and isinstance(b, int):
            return self.const(a >= b if op == "ge" else a < b, DType.BOOL)
        return Element(one=self._b.compare(op, a, b))

    def _spread(self, place: Place, dtype: DType) -> Value:
        """The place in each lane, as whole numbers."""
        kind, b = kind_of(dtype), self._b
        first = b.convert(place.index, kind)
        steps = b.const(tuple(place.step * lane for lane in range(self._lanes)), self._type(kind))
        return b.binary("add", b.splat(first, self._lanes), steps)

    def _type(self, kind: Kind) -> Type:
        return vector(self._lanes, kind)

    # -- memory ------------------------------------------------------------------------------------

    def load(self, operand: int, index: Sequence[Any]) -> Element:
        """The element of an operand at a place on each of its axes."""
        at = self._flat(operand, index)
        if at.step == 0:
            return Element(one=self._b.load(self._buffers[operand], at.index))
        return self._made(self._load_lanes(operand, at, self._wanted(at.step)))

    def load_if(
        self, cond: Element, operand: int, index: Sequence[Any], otherwise: Element
    ) -> Element:
        """The element if `cond` holds, else `otherwise`; then nothing is read."""
        if cond.number is not None:
            return self.load(operand, index) if cond.number[0] else otherwise
        at = self._flat(operand, index)
        if at.step == 0:
            # Element 0 is always there.
            safe = self._b.select(self.one(cond), at.index, 0)
            loaded = Element(one=self._b.load(self._buffers[operand], safe))
        else:
            mask = self.many(cond)
            wanted = self._wanted(1)
            if wanted is not None:
                mask = self._b.binary("and", mask, wanted)
            if at.step < 0:
                mask = self._reversed(mask)
            loaded = self._made(self._load_lanes(operand, at, mask))
        return self.select(cond, loaded, otherwise)

    def _flat(self, operand: int, index: Sequence[Any]) -> Place:
        scaled = zip(index, self._pitches[operand], strict=True)
        return self.plus(*(self.times(place, pitch) for place, pitch in scaled))

    def _load_lanes(self, operand: int, at: Place, mask: Value | None) -> Value:
        b, buffer = self._b, self._buffers[operand]
        if at.step == 1:
            return b.load(buffer, at.index, self._lanes, mask=mask)
        if at.step == -1:
            offset = 1 - self._lanes
            return self._reversed(b.load(buffer, at.index, self._lanes, offset=offset, mask=mask))
        raise NotVectorizable

    def _reversed(self, value: Value) -> Value:
        return self._b.shuffle(value, value, range(self._lanes - 1, -1, -1))

    def _wanted(self, step: int) -> Value | None:
        """The mask of the lanes that count, in the order in which memory has them."""
        if self._count == self._lanes:
            return None
        lanes = tuple(lane < self._count for lane in range(self._lanes))[::step]
        return self._b.const(lanes, self._type(Kind.BOOL))

    # -- loops -------------------------------------------------------------------------------------

    def loop(
        self,
        extent: Any,
        initial: Sequence[Element],
        body: Callable[[Place, list[Element]], Sequence[Element]],
    ) -> list[Element]:
        """Values carried through `body(k, values)` for k = 0 ... extent - 1."""
        carry = [self.many(e) for e in initial]
        with self._b.loop(0, self.alike(extent), carry=carry, hint="k") as turns:
            after = body(Place(turns.iv), [self._made(v) for v in turns.carried])
            turns.yields([self.many(e) for e in after])
        return [self._made(v) for v in turns.results]
