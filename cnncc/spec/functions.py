"""The functions of expressions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cnncc.spec.values import Tensor, Unfit, shape_text

MAX_RANGE = 100_000


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor` and 0.9 of `value`.

    The rule of the MobileNet papers' reference code.
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def _round(value: float) -> int:
    """The nearest whole number, halves away from zero."""
    return int(math.copysign(math.floor(abs(value) + 0.5), value))


def _range(*bounds: int) -> tuple[int, ...]:
    found = range(*bounds)
    if len(found) > MAX_RANGE:
        raise Unfit("E0310", f"a range of {len(found):,} numbers; at most {MAX_RANGE:,}")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Function:
    """A function of expressions: how it is called, what it takes, what it computes."""

    usage: str
    least: int
    most: int
    takes: str
    compute: Callable[..., Any]


def _numbers(name: str, compute: Callable[[Any], Any]) -> Function:
    return Function(f"{name}(x)", 1, 1, "number", compute)


def _axis(name: str, index: int) -> Function:
    def extent(x: Tensor) -> int:
        if len(x.type.shape) not in (2, 4):
            raise Unfit("E0406", f"`{name}` of {shape_text(x.type)}: it is no feature map")
        if index > 1 and not x.type.is_feature_map:
            raise Unfit("E0406", f"`{name}` of a vector: it has no height and width")
        return x.type.shape[index]

    return Function(f"{name}(tensor)", 1, 1, "tensor", extent)


def _divisible(value: float, divisor: int = 8) -> int:
    if divisor < 1:
        raise Unfit("E0309", f"`make_divisible` by {divisor}: the divisor must be at least 1")
    return make_divisible(value, divisor)


FUNCTIONS: dict[str, Function] = {
    "round": _numbers("round", _round),
    "floor": _numbers("floor", math.floor),
    "ceil": _numbers("ceil", math.ceil),
    "min": Function("min(a, b, ...)", 1, 64, "number", lambda *a: min(a)),
    "max": Function("max(a, b, ...)", 1, 64, "number", lambda *a: max(a)),
    "range": Function("range(n)", 1, 3, "int", _range),
    "make_divisible": Function("make_divisible(x, 8)", 1, 2, "divisible", _divisible),
    "channels": _axis("channels", 1),
    "height": _axis("height", 2),
    "width": _axis("width", 3),
    "file": Function('file("names.txt")', 1, 1, "text", lambda path: path),
}
