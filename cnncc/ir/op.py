"""What an operator is: one class that says all there is to know of its meaning.

An operator never meets a loop nest or LLVM. It says its attributes, its type rule, its float64
reference, its cost, and exactly one way to run:

* trait `POINTWISE` and a `scalar` rule: an expression on one element, written on a builder that is
  passed in, so that kernels can apply it to registers (a kernel's epilogue) or to whole tensors.
  Its operands are broadcast to the result's shape, or one value a channel: a `[C]` vector of
  parameters;
* trait `ELEMENT` and an `element` rule: how one element of the result comes from elements of the
  operands, at places that the rule computes; one kernel runs all such rules;
* trait `ANCHOR`: some kernel in `cnncc.kernels` claims it. An anchor may have an `element` rule
  too, for the types and layouts that its kernels do not take;
* trait `SOURCE`: it has no operands (inputs, constants).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.types import DType, TensorType

Array = NDArray[Any]
F64 = NDArray[np.float64]


class Trait(Enum):
    """Properties that passes and plans quote instead of operator names."""

    SOURCE = auto()
    ANCHOR = auto()
    ELEMENT = auto()
    POINTWISE = auto()
    COMMUTATIVE = auto()
    SHAPE_ONLY = auto()  # moves or renames elements, never changes their values
    WINDOW = auto()  # slides a window over H and W


@dataclass(frozen=True, slots=True)
class NoAttrs:
    """For operators without attributes."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Work of one application: multiply-adds, other floating operations, bytes read and written."""

    macs: int = 0
    flops: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far one application in f32 may stray from the float64 reference.

    Bound = `ulps`·ulp(y) + `of_operand`·u·|x| + u·(4 + 2√n)·S + n·2^-149 (the last two with `sums`;
    S from `Op.magnitude`, n from `Op.terms`) + `floor` + 2^-126·(1 + |x|) with `tiny` (|x| up to
    2^20), where u = 2^-24 and x is the first operand. All zero means exact (reliability, rules A,
    B and D).

    Attributes:
        ulps: units in the last place of the result.
        of_operand: multiples of u·|x|, for functions that cancel.
        sums: the result is a sum; its bound grows with the accumulated magnitude.
        floor: an absolute bound.
        tiny: an exponential may flush subnormal values to zero.
    """

    ulps: float = 0.0
    of_operand: float = 0.0
    sums: bool = False
    floor: float = 0.0
    tiny: bool = False


class ScalarBuilder(Protocol):
    """The arithmetic that a `scalar` rule may use; values are opaque to it.

    Each method works on one element or on a vector of them alike. Both operands have one element
    type, which is the result's. `max` and `min` hand on NaN. Comparisons give truth values, for
    `select`, `logical` and `cast`. Whole numbers wrap around.
    """

    def const(self, value: float, dtype: DType = DType.F32) -> Any:
        """The number of that type nearest to `value`."""

    def dtype_of(self, a: Any) -> DType:
        """The element type of a value, for constants that fit it."""

    def add(self, a: Any, b: Any) -> Any:
        """A + b."""

    def sub(self, a: Any, b: Any) -> Any:
        """A - b."""

    def mul(self, a: Any, b: Any) -> Any:
        """a·b."""

    def div(self, a: Any, b: Any) -> Any:
        """A / b; of whole numbers truncated towards zero, and 0 where b is 0."""

    def rem(self, a: Any, b: Any) -> Any:
        """A - b·trunc(a/b), exact; of whole numbers 0 where b is 0."""

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a·b + c, rounded once or twice."""

    def min(self, a: Any, b: Any) -> Any:
        """The smaller; NaN if either is."""

    def max(self, a: Any, b: Any) -> Any:
        """The larger; NaN if either is."""

    def neg(self, a: Any) -> Any:
        """-a."""

    def abs(self, a: Any) -> Any:
        """|a|."""

    def floor(self, a: Any) -> Any:
        """The largest whole number not above a float."""

    def ceil(self, a: Any) -> Any:
        """The smallest whole number not below a float."""

    def trunc(self, a: Any) -> Any:
        """The whole part of a float."""

    def round_even(self, a: Any) -> Any:
        """The nearest whole number of a float, the even one of two."""

    def lt(self, a: Any, b: Any) -> Any:
        """A < b."""

    def le(self, a: Any, b: Any) -> Any:
        """A <= b."""

    def gt(self, a: Any, b: Any) -> Any:
        """A > b."""

    def ge(self, a: Any, b: Any) -> Any:
        """A >= b."""

    def eq(self, a: Any, b: Any) -> Any:
        """A == b; also of truth values."""

    def ne(self, a: Any, b: Any) -> Any:
        """A != b, true for NaN; also of truth values."""

    def bit_and(self, a: Any, b: Any) -> Any:
        """Of truth values the conjunction, of whole numbers bit by bit."""

    def bit_or(self, a: Any, b: Any) -> Any:
        """Of truth values the disjunction, of whole numbers bit by bit."""

    def bit_xor(self, a: Any, b: Any) -> Any:
        """Of truth values whether they differ, of whole numbers bit by bit."""

    def bit_not(self, a: Any) -> Any:
        """Of truth values the negation, of whole numbers bit by bit."""

    def shl(self, a: Any, b: Any) -> Any:
        """a·2^b modulo the type's range; 0 for b of the type's width or more, or negative."""

    def shr(self, a: Any, b: Any) -> Any:
        """floor(a / 2^b); for b of the type's width or more, or negative, 0 or -1 by a's sign."""

    def select(self, cond: Any, a: Any, b: Any) -> Any:
        """`a` where `cond` holds, else `b`."""

    def cast(self, a: Any, dtype: DType) -> Any:
        """The number in another type: floats to whole numbers truncate and saturate, NaN gives 0.

        Whole numbers wrap around; to truth values it asks whether a number is not 0.
        """

    def exp(self, a: Any) -> Any:
        """e^a; this and the functions below are for f32."""

    def log(self, a: Any) -> Any:
        """The natural logarithm."""

    def tanh(self, a: Any) -> Any:
        """The hyperbolic tangent."""

    def sigmoid(self, a: Any) -> Any:
        """1 / (1 + e^-a)."""

    def silu(self, a: Any) -> Any:
        """A / (1 + e^-a)."""

    def sqrt(self, a: Any) -> Any:
        """The square root, correctly rounded; also for f64."""

    def erf(self, a: Any) -> Any:
        """The error function."""

    def pow(self, a: Any, b: Any) -> Any:
        """a^b as C's powf defines it."""

    def sin(self, a: Any) -> Any:
        """The sine."""

    def cos(self, a: Any) -> Any:
        """The cosine."""

    def tan(self, a: Any) -> Any:
        """The tangent."""

    def asin(self, a: Any) -> Any:
        """The arc sine."""

    def acos(self, a: Any) -> Any:
        """The arc cosine."""

    def atan(self, a: Any) -> Any:
        """The arc tangent."""

    def sinh(self, a: Any) -> Any:
        """The hyperbolic sine."""

    def cosh(self, a: Any) -> Any:
        """The hyperbolic cosine."""

    def asinh(self, a: Any) -> Any:
        """The inverse hyperbolic sine."""

    def acosh(self, a: Any) -> Any:
        """The inverse hyperbolic cosine."""

    def atanh(self, a: Any) -> Any:
        """The inverse hyperbolic tangent."""


class ElementBuilder(ScalarBuilder, Protocol):
    """What an `element` rule may use: arithmetic, and elements at places that it computes.

    A place is a whole number, non-negative where not said otherwise; wherever one is wanted, a
    Python integer will do. Sums and products of places by constants let the kernel read vectors;
    with quotients, places taken from values and the like it goes element by element.
    """

    def load(self, operand: int, index: Sequence[Any]) -> Any:
        """The element of an operand at a place on each of its axes."""

    def load_if(self, cond: Any, operand: int, index: Sequence[Any], otherwise: Any) -> Any:
        """The element if `cond` holds, else the value `otherwise`; then nothing is read."""

    def plus(self, *places: Any) -> Any:
        """The sum of places; it may be negative."""

    def times(self, place: Any, factor: int) -> Any:
        """A place times a constant; it may be negative."""

    def quotient(self, place: Any, divisor: int) -> Any:
        """A non-negative place divided by a positive constant, rounded down."""

    def remainder(self, place: Any, divisor: int) -> Any:
        """What the division leaves."""

    def within(self, place: Any, low: int, high: int) -> Any:
        """Whether low <= place < high: a truth value."""

    def place_lt(self, a: Any, b: Any) -> Any:
        """Whether a < b, of two places: a truth value."""

    def clamp(self, place: Any, low: int, high: int) -> Any:
        """The place in [low, high] nearest to `place`."""

    def place_of(self, value: Any) -> Any:
        """A whole number (i64, i32, ...) that was loaded or computed as a place."""

    def value_of(self, place: Any, dtype: DType) -> Any:
        """A place as a number for arithmetic."""

    def loop(
        self, extent: Any, initial: Sequence[Any], body: Callable[[Any, list[Any]], Sequence[Any]]
    ) -> list[Any]:
        """Values carried through `body(k, values)` for k = 0 ... extent - 1 (a place)."""


class Op:
    """Base of all operators. Subclasses are never instantiated: they are tables of functions.

    Attributes:
        name: the text name, such as `conv2d`.
        Attrs: the frozen dataclass of its attributes.
        arity: least and most operands; `None` for no upper bound.
        traits: see `Trait`.
        operand_names: the words for operands in messages and documents.
        accuracy: the bound on the error of one application in f32.
        lipschitz: how much an error of the operand can grow, for unary pointwise operators.
        per_channel: whether operands behind the first are `[C]` vectors of parameters.
        records: further dataclasses that occur inside `Attrs`, so that texts can be parsed back.
    """

    name: ClassVar[str]
    Attrs: ClassVar[type] = NoAttrs
    arity: ClassVar[tuple[int, int | None]] = (1, 1)
    traits: ClassVar[frozenset[Trait]] = frozenset()
    operand_names: ClassVar[tuple[str, ...]] = ("x",)
    accuracy: ClassVar[Accuracy] = Accuracy()
    lipschitz: ClassVar[float] = 1.0
    per_channel: ClassVar[bool] = False
    records: ClassVar[tuple[type, ...]] = ()

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: Any) -> TensorType:
        """The result's type; a `TypeInferenceError` says what was found and what is wanted."""
        raise InternalError("operator without a type rule")

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: Any) -> Array:
        """The result in float64 (integers and booleans stay), written from the definition."""
        raise InternalError("operator without a reference")

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """Work of one application; by default one operation an element."""
        read = sum(t.size_bytes for t in types)
        return Cost(flops=result.elems, bytes=read + result.size_bytes)

    @staticmethod
    def scalar(b: ScalarBuilder, operands: Sequence[Any], attrs: Any) -> Any:
        """The expression of a `POINTWISE` operator on one element of each operand."""
        raise InternalError("operator without a scalar rule")

    @staticmethod
    def element(
        b: ElementBuilder,
        types: Sequence[TensorType],
        result: TensorType,
        index: Sequence[Any],
        attrs: Any,
    ) -> Any:
        """The element of the result at a place on each axis, for an `ELEMENT` operator."""
        raise InternalError("operator without an element rule")

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """How many products or summands one result element adds up (1 if it adds none).

        Used for the error bound of sums: |y - ŷ| ≤ u·(4 + 2√n)·S (reliability, rule B).
        """
        return 1

    @classmethod
    def magnitude(cls, arrays: Sequence[Array], attrs: Any) -> F64:
        """S of rule B: the sum of the summands' absolute values, for each result element."""
        return np.asarray(cls.reference([np.abs(a) for a in arrays], attrs), np.float64)

    @classmethod
    def rounding(cls, arrays: Sequence[Array], result: Array, attrs: Any) -> F64:
        """The bound on the rounding error of one application in f32, for each result element."""
        rule = cls.accuracy
        bound = rule.ulps * ulp(result) + rule.floor
        if rule.of_operand:
            bound = bound + rule.of_operand * UNIT_ROUNDOFF * np.abs(arrays[0])
        if rule.tiny:
            bound = bound + FLT_MIN * (1.0 + np.minimum(np.abs(arrays[0]), 2.0**20))
        if rule.sums:
            types = [TensorType(DType.F32, np.shape(a)) for a in arrays]
            n = cls.terms(types, attrs)
            growth = UNIT_ROUNDOFF * (4.0 + 2.0 * math.sqrt(n))
            bound = bound + growth * cls.magnitude(arrays, attrs) + n * 2.0**-149
        return np.broadcast_to(np.asarray(bound, np.float64), result.shape)

    @classmethod
    def propagate(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The bound on the result's error that errors of the operands cause (rule E).

        By default the reference on the errors for operators that move elements, the error times
        `lipschitz` for unary pointwise ones, and for all others the largest change when the floats
        among the operands move by their errors, one or all of them, up or down: rigorous where the
        result is monotone in each operand, an estimate elsewhere.
        """
        if Trait.SHAPE_ONLY in cls.traits:
            return np.asarray(cls.reference(errors, attrs), np.float64)
        if Trait.POINTWISE in cls.traits and cls.arity == (1, 1):
            return cls.lipschitz * errors[0]
        return cls._moved(arrays, errors, attrs)

    @classmethod
    def _moved(cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: Any) -> F64:
        """The largest change of the result when operands move by their errors."""
        middle = np.asarray(cls.reference(arrays, attrs), np.float64)
        movable = [i for i, a in enumerate(arrays) if a.dtype.kind == "f" and np.any(errors[i])]
        most = np.zeros(middle.shape)
        for moved in [*([i] for i in movable), movable]:
            for sign in (1.0, -1.0):
                near = [a + sign * errors[i] if i in moved else a for i, a in enumerate(arrays)]
                with np.errstate(all="ignore"):
                    change = np.abs(np.asarray(cls.reference(near, attrs), np.float64) - middle)
                most = np.fmax(most, change)
        return most


UNIT_ROUNDOFF = 2.0**-24
FLT_MIN = 2.0**-126


def ulp(values: Array) -> F64:
    """The distance between neighbouring f32 numbers at each value, at least 2^-149."""
    size = np.minimum(np.abs(np.asarray(values, np.float64)), float(np.finfo(np.float32).max))
    _, exponent = np.frexp(np.maximum(np.where(np.isnan(size), 0.0, size), FLT_MIN))
    return np.asarray(np.ldexp(1.0, exponent - 24), np.float64)


_REGISTRY: dict[str, type[Op]] = {}


def register(op: type[Op]) -> None:
    """Enter an operator; called by `cnncc.ops` for each class of its list."""
    if _REGISTRY.setdefault(op.name, op) is not op:
        raise InternalError(f"two operators are called `{op.name}`")


def lookup(name: str) -> type[Op]:
    """The operator of that name."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise InternalError(f"no operator is called `{name}`") from None


def registered() -> dict[str, type[Op]]:
    """All operators by name."""
    return dict(_REGISTRY)
