"""Sources: values that no operator computes, and the preprocessing of an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc.errors import InternalError, TypeInferenceError
from cnncc.ir.op import F64, Accuracy, Array, Cost, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.ops import check


@dataclass(frozen=True, slots=True)
class InputAttrs:
    """What the caller hands over.

    Attributes:
        dtype: element type of the caller's array.
        shape: logical shape, such as `[1,C,H,W]` or `[1,K]`; the leading axis is a batch that is
            free at run time, unless the graph's meta says `batched=false`.
        memory: order of the caller's feature map, `hwc` or `chw`; the logical shape stays the same.
        format: meaning of the channels, `rgb`, `bgr`, `gray` or empty; a fact for the caller.
    """

    dtype: DType
    shape: tuple[int, ...]
    memory: str = "hwc"
    format: str = ""


class Input(Op):
    """A value that the caller hands over."""

    name = "input"
    Attrs = InputAttrs
    arity = (0, 0)
    traits = frozenset({Trait.SOURCE})
    operand_names = ()

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: InputAttrs) -> TensorType:
        """The declared type."""
        check.arity(Input, types)
        if not isinstance(attrs.dtype, DType):
            raise TypeInferenceError(f"`input` wants an element type, got {attrs.dtype!s}")
        check.choice(Input, "memory", attrs.memory, ("hwc", "chw"))
        check.choice(Input, "format", attrs.format, ("", "rgb", "bgr", "gray"))
        if len(attrs.shape) > 8:
            raise TypeInferenceError(f"`input` wants up to 8 axes, got {attrs.shape!r}")
        check.integers(Input, "shape", attrs.shape, len(attrs.shape), 1)
        return check.result(Input, attrs.dtype, attrs.shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: InputAttrs) -> Array:
        """Inputs are handed to the interpreter; they are never computed."""
        raise InternalError("the value of an `input` comes from the caller")

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """No work."""
        return Cost()


@dataclass(frozen=True, slots=True)
class ConstantAttrs:
    """Which array of the graph.

    Attributes:
        data: its key in `Graph.constants`.
    """

    data: str


class Constant(Op):
    """An array of the graph: weights, or a folded value."""

    name = "constant"
    Attrs = ConstantAttrs
    arity = (0, 0)
    traits = frozenset({Trait.SOURCE})
    operand_names = ()

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: ConstantAttrs) -> TensorType:
        """The type is the array's; `cnncc.ir.build` reads it from the graph."""
        raise InternalError(f"the type of constant `{attrs.data}` is that of its array")

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: ConstantAttrs) -> Array:
        """Constants are read from the graph; they are never computed."""
        raise InternalError(f"the value of constant `{attrs.data}` is that of its array")

    @staticmethod
    def cost(types: Sequence[TensorType], result: TensorType, attrs: Any) -> Cost:
        """No work."""
        return Cost()


@dataclass(frozen=True, slots=True)
class NormalizeAttrs:
    """Preprocessing of an input, compiled in.

    Attributes:
        scale: factor of the caller's values.
        mean: subtracted after scaling, one value a channel.
        std: divides last, one value a channel, never 0.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Normalize(Op):
    """Preprocessing: (x·scale - mean) / std per channel, from any number type to f32."""

    name = "normalize"
    Attrs = NormalizeAttrs
    traits = frozenset({Trait.ANCHOR})
    accuracy = Accuracy(sums=True)

    @staticmethod
    def infer(types: Sequence[TensorType], attrs: NormalizeAttrs) -> TensorType:
        """Same shape, in f32."""
        check.arity(Normalize, types)
        channels = check.channelled(Normalize, types[0])
        check.finite(Normalize, "scale", attrs.scale)
        for word, values in (("mean", attrs.mean), ("std", attrs.std)):
            if not isinstance(values, tuple) or len(values) != channels:
                raise TypeInferenceError(
                    f"`normalize` wants {word} of {channels} values, one a channel, got {values!r}"
                )
            for value in values:
                check.finite(Normalize, word, value)
        if 0 in attrs.std:
            raise TypeInferenceError(f"`normalize` wants std without 0, got {attrs.std!r}")
        return TensorType(DType.F32, types[0].shape)

    @staticmethod
    def reference(arrays: Sequence[Array], attrs: NormalizeAttrs) -> Array:
        """(x·scale - mean) / std in float64."""
        mean, std = Normalize._columns(arrays[0], attrs)
        return np.asarray((arrays[0].astype(np.float64) * attrs.scale - mean) / std)

    @classmethod
    def magnitude(cls, arrays: Sequence[Array], attrs: NormalizeAttrs) -> F64:
        """(|x·scale| + |mean|) / |std|."""
        mean, std = Normalize._columns(arrays[0], attrs)
        scaled = np.abs(arrays[0].astype(np.float64) * attrs.scale)
        return np.asarray((scaled + np.abs(mean)) / np.abs(std))

    @staticmethod
    def terms(types: Sequence[TensorType], attrs: Any) -> int:
        """A product and the mean."""
        return 2

    @classmethod
    def propagate(
        cls, arrays: Sequence[Array], errors: Sequence[F64], attrs: NormalizeAttrs
    ) -> F64:
        """|scale / std|·error of x."""
        _, std = Normalize._columns(arrays[0], attrs)
        return np.asarray(np.abs(attrs.scale / std) * errors[0])

    @staticmethod
    def _columns(x: Array, attrs: NormalizeAttrs) -> tuple[F64, F64]:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        return np.reshape(attrs.mean, shape) * 1.0, np.reshape(attrs.std, shape) * 1.0
