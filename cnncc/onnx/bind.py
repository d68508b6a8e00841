"""Dynamic dimensions: which number stands for each, from what the user gives and what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cnncc.errors import InputError
from cnncc.onnx.model import Model, ValueInfo

Shapes = Mapping[str, Sequence[int]]


def bind(model: Model, shapes: Shapes, given: frozenset[str]) -> dict[str, tuple[int, ...]]:
    """The static shape of every input.

    A dimension is a number in the file, or comes from `shapes`; one that has the same symbol as a
    dimension so bound has its number; the leading dimension of an input is 1 if nothing else says.

    Args:
        model: the model.
        shapes: whole shapes by input name.
        given: inputs that are bound to arrays and need no shape.

    Raises:
        InputError: a name is unknown, a shape contradicts the file, or dimensions are left unbound;
            all of them are listed.
    """
    inputs = [info for info in model.inputs if info.name not in given]
    problems = _strangers(inputs, shapes)
    symbols: dict[str, int] = {}
    for info in inputs:
        if info.name in shapes:
            problems += _take(info, shapes[info.name], symbols)
    bound: dict[str, tuple[int, ...]] = {}
    unbound: list[str] = []
    example: list[ValueInfo] = []
    for info in inputs:
        if info.name in shapes:
            bound[info.name] = tuple(int(n) for n in shapes[info.name])
            continue
        if info.shape is None:
            unbound.append(f"`{info.name}`: the file says nothing of its shape")
            example.append(info)
            continue
        found = [_size(n, axis, symbols) for axis, n in enumerate(info.shape)]
        open_axes = [axis for axis, n in enumerate(found) if n is None]
        if open_axes:
            unbound.append(f"`{info.name}` {_text(info)}: {_listed(info, open_axes)}")
            example.append(info)
        bound[info.name] = tuple(n or 1 for n in found)
    if problems:
        raise InputError(
            f"{model.place}the shapes given do not fit the model:\n  " + "\n  ".join(problems)
        )
    if unbound:
        raise InputError(
            f"{model.place}the model leaves dimensions open, and code is made for fixed ones:\n  "
            + "\n  ".join(unbound),
            hint=_example(example[0], symbols),
        )
    return bound


def _example(info: ValueInfo, symbols: Mapping[str, int]) -> str:
    """How a shape is given: the file's own numbers, and usual ones where it has none."""
    declared = (1, 3, 224, 224) if info.shape is None else info.shape
    sizes = [_size(n, axis, symbols) or 224 for axis, n in enumerate(declared)]
    text = "x".join(map(str, sizes))
    call = f'shapes={{"{info.name}": {tuple(sizes)}}}'
    return f'give them, such as --shape "{info.name}={text}" or {call}'


def _strangers(inputs: Sequence[ValueInfo], shapes: Shapes) -> list[str]:
    names = [info.name for info in inputs]
    listed = ", ".join(f"`{n}`" for n in names) or "none"
    return [f"there is no input `{n}`; the inputs are {listed}" for n in shapes if n not in names]


def _take(info: ValueInfo, shape: Sequence[int], symbols: dict[str, int]) -> list[str]:
    """Enter a shape that the user gave; returns what is wrong with it."""
    wanted = tuple(shape)
    if any(type(n) is not int or not 1 <= n < 2**31 for n in wanted):
        return [f"`{info.name}`: {list(wanted)!r} is no shape"]
    if info.shape is None:
        return []
    if len(wanted) != len(info.shape):
        return [f"`{info.name}`: {list(wanted)} given, but the file says {_text(info)}"]
    problems = []
    for axis, (n, declared) in enumerate(zip(wanted, info.shape, strict=True)):
        if isinstance(declared, int) and declared > 0 and declared != n:
            problems.append(f"`{info.name}`: axis {axis} is {declared} in the file, {n} was given")
        if isinstance(declared, str) and symbols.setdefault(declared, n) != n:
            problems.append(
                f"`{info.name}`: axis {axis} is `{declared}`, which is {symbols[declared]}"
                f" elsewhere, {n} was given"
            )
    return problems


def _size(declared: int | str | None, axis: int, symbols: Mapping[str, int]) -> int | None:
    if isinstance(declared, int) and declared > 0:
        return declared
    if isinstance(declared, str) and declared in symbols:
        return symbols[declared]
    return 1 if axis == 0 else None


def _listed(info: ValueInfo, axes: Sequence[int]) -> str:
    return ", ".join(f"axis {a}" for a in axes) + (" is" if len(axes) == 1 else " are") + " open"


def _text(info: ValueInfo) -> str:
    return "[" + ", ".join("?" if n is None else str(n) for n in info.shape or ()) + "]"
