"""What is done to the bytes of a picture before a network gets them."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cnncc.errors import InputError

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnncc.abi import Port

    Array = npt.NDArray[Any]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Scaling:
    """`(bytes * scale - mean) / std`, as an input of the language says it.

    Attributes:
        scale: factor.
        mean: a number for each channel, one for all, or none.
        std: likewise.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __bool__(self) -> bool:
        return self != Scaling()

    def apply(self, pixels: Array, port: Port) -> Array:
        """Scaled pixels [H,W,C], for bytes [H,W,C] in the order of the input's channels.

        Raises:
            InputError: the input takes whole numbers, or has another number of channels.
        """
        if not self:
            return pixels
        if not port.dtype.is_float:
            raise InputError(
                f"input `{port.name}` takes {port.dtype}: bytes that are not scaled",
                hint="leave --scale, --mean and --std out",
            )
        for option, numbers in (("--mean", self.mean), ("--std", self.std)):
            if len(numbers) not in (0, 1, pixels.shape[-1]):
                raise InputError(
                    f"{option} has {len(numbers)} numbers,"
                    f" but input `{port.name}` has {pixels.shape[-1]} channels",
                    hint="give one for all channels, or one for each",
                )
        return (pixels * self.scale - (self.mean or 0.0)) / (self.std or 1.0)


def scaling_options(function: F) -> F:
    """`--scale`, `--mean` and `--std`, as one `scaling` argument."""

    @functools.wraps(function)
    def packed(scale: float, mean: Any, std: Any, **given: Any) -> Any:
        return function(scaling=Scaling(scale, mean, std), **given)

    made: Any = packed
    for option in (
        click.option(
            "--std",
            callback=_positive,
            metavar="LIST",
            help="Then divide by these, a channel each.",
        ),
        click.option(
            "--mean", callback=_numbers, metavar="LIST", help="Then subtract these, a channel each."
        ),
        click.option(
            "--scale",
            default="1",
            callback=_factor,
            metavar="NUMBER",
            help="Multiply the bytes of pictures, 0 to 255, by this, such as 1/255.",
        ),
    ):
        made = option(made)
    return made  # type: ignore[no-any-return]


def _number(text: str) -> float:
    """A number such as `0.5` or `1/255`.

    Raises:
        ValueError: it is none, or not finite.
    """
    above, slash, below = text.partition("/")
    try:
        value = float(above) / float(below) if slash else float(above)
    except ZeroDivisionError as error:
        raise ValueError(text) from error
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _numbers(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[float, ...]:
    try:
        return tuple(_number(text) for text in given.split(",")) if given else ()
    except ValueError:
        example = "0.485,0.456,0.406"
        raise click.BadParameter(f"`{given}` is no list like {example}", ctx, param) from None


def _positive(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[float, ...]:
    numbers = _numbers(ctx, param, given)
    if not all(number > 0 for number in numbers):
        raise click.BadParameter(f"`{given}`: all must be above 0", ctx, param)
    return numbers


def _factor(ctx: click.Context, param: click.Parameter, given: str) -> float:
    try:
        return _number(given)
    except ValueError:
        raise click.BadParameter(f"`{given}` is no number", ctx, param) from None
