"""Checks shared by the type rules; each failure names what was found and what is wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import Op
from cnncc.ir.types import DType, TensorType

MAX_ELEMS = 2**31 - 1
MAX_RANK = 8
FLOATS = (DType.F64, DType.F32)
WHOLE = tuple(d for d in DType if d.is_integer)
NUMBERS = (*FLOATS, *WHOLE)
ANY = (*NUMBERS, DType.BOOL)  # f16 has no arithmetic: `cast` leads to it and away


def arity(op: type[Op], types: Sequence[TensorType]) -> None:
    """The number of operands lies within `op.arity`."""
    least, most = op.arity
    if len(types) < least or (most is not None and len(types) > most):
        wanted = (
            f"{least}" if least == most else f"{least} to {'any number' if most is None else most}"
        )
        raise TypeInferenceError(f"`{op.name}` takes {wanted} operands, got {len(types)}")


def rank(op: type[Op], found: TensorType, wanted: int, word: str = "x") -> None:
    """`found` has `wanted` axes."""
    if len(found.shape) != wanted:
        kind = {1: " (a vector of parameters)", 2: " ([N,K])", 4: " (a feature map [N,C,H,W])"}
        raise TypeInferenceError(
            f"`{op.name}` wants `{word}` of rank {wanted}{kind.get(wanted, '')}, got {found}"
        )
    positive_shape(op, found, word)


def positive_shape(op: type[Op], found: TensorType, word: str = "x") -> None:
    """No axis of `found` is empty and its number of elements has a 31-bit count."""
    if any(not isinstance(n, int) or n < 1 for n in found.shape):
        raise TypeInferenceError(f"`{op.name}` wants axes of at least 1 in `{word}`, got {found}")
    if found.elems > MAX_ELEMS:
        raise TypeInferenceError(
            f"`{op.name}`: `{word}` {found} has more than {MAX_ELEMS} elements"
        )


def floats(op: type[Op], types: Sequence[TensorType]) -> None:
    """All operands are f32."""
    for index, found in enumerate(types):
        if found.dtype is not DType.F32:
            raise TypeInferenceError(
                f"`{op.name}` computes in f32, but {operand_word(op, index)} is {found}"
            )


def operand_word(op: type[Op], index: int) -> str:
    """The name of an operand in messages, such as `` `w` ``."""
    names = op.operand_names
    return f"`{names[index]}`" if index < len(names) else f"operand {index}"


def integers(op: type[Op], word: str, values: Any, count: int, least: int) -> tuple[int, ...]:
    """`values` is a tuple of `count` integers, none below `least`."""
    whole = isinstance(values, tuple) and all(type(v) is int for v in values)
    if not whole or len(values) != count or any(not least <= v < 2**31 for v in values):
        raise TypeInferenceError(
            f"`{op.name}` wants {word} of {count} whole numbers from {least}, got {values!r}"
        )
    return tuple(values)


def integer(op: type[Op], word: str, value: Any, least: int) -> int:
    """`value` is an integer of at least `least`."""
    if type(value) is not int or not least <= value < 2**31:
        raise TypeInferenceError(
            f"`{op.name}` wants {word} to be a whole number from {least}, got {value!r}"
        )
    return int(value)


def finite(op: type[Op], word: str, value: Any) -> float:
    """`value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeInferenceError(f"`{op.name}` wants {word} to be a finite number, got {value!r}")
    return float(value)


def choice(op: type[Op], word: str, value: Any, legal: tuple[str, ...]) -> None:
    """`value` is one of the legal words."""
    if value not in legal:
        raise TypeInferenceError(
            f"`{op.name}` wants {word} to be one of {', '.join(legal)}, got {value!r}"
        )


def flag(op: type[Op], word: str, value: Any) -> None:
    """`value` is true or false."""
    if not isinstance(value, bool):
        raise TypeInferenceError(f"`{op.name}` wants {word} to be true or false, got {value!r}")


def axis(op: type[Op], value: Any, found: TensorType) -> int:
    """`value` counts an axis of `found` from 0."""
    if type(value) is not int or not 0 <= value < len(found.shape):
        raise TypeInferenceError(
            f"`{op.name}` wants axis from 0 to {len(found.shape) - 1} for {found}, got {value!r}"
        )
    return int(value)


def divides(op: type[Op], groups: int, channels: int, word: str) -> None:
    """`groups` divides the number of channels."""
    if channels % groups:
        fits = [d for d in range(1, min(channels, 4096) + 1) if channels % d == 0]
        listed = ", ".join(map(str, fits[:12])) + (", ..." if len(fits) > 12 else "")
        raise TypeInferenceError(
            f"`{op.name}`: groups={groups} does not divide {channels} {word}; divisors: {listed}"
        )


def vector(op: type[Op], found: TensorType, length: int, word: str) -> None:
    """`found` is `[length]`."""
    if found.shape != (length,):
        raise TypeInferenceError(f"`{op.name}` wants `{word}` of shape [{length}], got {found}")


def channelled(op: type[Op], found: TensorType) -> int:
    """`found` is `[N,C,H,W]` or `[N,K]`; returns its number of channels."""
    if len(found.shape) not in (2, 4):
        raise TypeInferenceError(
            f"`{op.name}` wants a feature map [N,C,H,W] or a vector [N,K], got {found}"
        )
    positive_shape(op, found)
    return found.shape[1]


def result(op: type[Op], dtype: DType, shape: Sequence[int]) -> TensorType:
    """The result's type, once none of its axes is empty."""
    made = TensorType(dtype, tuple(shape))
    positive_shape(op, made, "result")
    return made


def one_type(op: type[Op], types: Sequence[TensorType], legal: Sequence[DType]) -> DType:
    """All operands have one element type, which is a legal one; none has an empty axis."""
    for index, found in enumerate(types):
        positive_shape(op, found, operand_word(op, index).strip("`"))
        if found.dtype not in legal:
            raise TypeInferenceError(
                f"`{op.name}` computes in {', '.join(map(str, legal))},"
                f" but {operand_word(op, index)} is {found}"
            )
        if found.dtype is not types[0].dtype:
            raise TypeInferenceError(
                f"`{op.name}` wants operands of one element type, got {listed(types)}"
            )
    return types[0].dtype


def broadcast(op: type[Op], types: Sequence[TensorType]) -> tuple[int, ...]:
    """The shape to which operands broadcast by NumPy's rule, of rank 8 at most."""
    rank = max(len(t.shape) for t in types)
    if rank > MAX_RANK:
        raise TypeInferenceError(f"`{op.name}` takes ranks up to {MAX_RANK}, got {listed(types)}")
    shape = []
    for extents in zip(*((1,) * (rank - len(t.shape)) + t.shape for t in types), strict=True):
        wide = {n for n in extents if n != 1}
        if len(wide) > 1:
            raise TypeInferenceError(
                f"`{op.name}` cannot broadcast {listed(types)}: seen from the last axis, extents"
                " must be equal or 1"
            )
        shape.append(wide.pop() if wide else 1)
    return tuple(shape)


def axes(op: type[Op], values: Any, found: TensorType) -> tuple[int, ...]:
    """`values` are different axes of `found`, counted from 0, in rising order."""
    rank = len(found.shape)
    whole = isinstance(values, tuple) and all(type(v) is int for v in values)
    if not whole or list(values) != sorted(set(values)) or any(not 0 <= v < rank for v in values):
        raise TypeInferenceError(
            f"`{op.name}` wants axes from 0 to {rank - 1} in rising order for {found},"
            f" got {values!r}"
        )
    return tuple(values)


def listed(types: Sequence[TensorType]) -> str:
    """Types in words: `f32[2] and f32[3]`."""
    words = [str(t) for t in types]
    return " and ".join([", ".join(words[:-1]), words[-1]] if words[:-1] else words)
