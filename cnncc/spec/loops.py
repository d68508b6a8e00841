"""Calls of one block, each on the result of the one before, as a `for` loop."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from cnncc.spec.items import Item, Param, Value
from cnncc.spec.naming import Names
from cnncc.spec.operations import Argument

_NUMBER = re.compile(r"(.*?)(0|[1-9][0-9]*)")
_LEAST = 3  # calls with equal arguments; one more where they differ


def loop_end(
    items: Sequence[Item],
    begin: int,
    readers: Mapping[int, Sequence[int]],
    kept: AbstractSet[int],
) -> int:
    """The position behind the calls that one loop can make; `begin` if it can make none."""
    first = items[begin]
    if first.block is None or not first.weighted or _place(first.label) is None:
        return begin
    end = begin + 1
    while end < len(items):
        before, item = items[end - 1], items[end]
        linked = item.operands == (Value(before.key),) and readers.get(before.key) == [end]
        alike = item.block is first.block and item.label == _label(first.label, end - begin)
        if before.key in kept or not linked or not alike:
            break
        end += 1
    calls = items[begin:end]
    least = _LEAST + bool(_differing(calls))
    return end if len(calls) >= least else begin


def loop_line(calls: Sequence[Item], names: Names, call_text: Callable[[Item], str]) -> str:
    """The loop that makes some calls."""
    taken = Names(names.taken)
    index = taken.unique("i")
    first = calls[0]
    places = _differing(calls)
    words = {place: taken.unique(first.args[place].name) for place in places}
    args = tuple(
        Argument(arg.name, Param(words[place])) if place in words else arg
        for place, arg in enumerate(first.args)
    )
    start = _place(first.label) or 0
    body = call_text(replace(first, args=args, label=_label(first.label, 0, f"{{{index}}}")))
    if not places:
        bounds = f"{start}, {start + len(calls)}" if start else f"{len(calls)}"
        return f"for {index} in range({bounds}) {{ {body} }}"
    rows = []
    for number, item in enumerate(calls):
        row = replace(item, args=tuple(replace(item.args[p], default=False) for p in places))
        values = [call_text(replace(row, args=(arg,))) for arg in row.args]
        rows.append(f"[{', '.join([str(start + number), *map(_inside, values)])}]")
    return f"for {', '.join([index, *words.values()])} in [{', '.join(rows)}] {{ {body} }}"


def _inside(call: str) -> str:
    """The value in a call of one argument."""
    inner = call[call.index("(") + 1 : call.rindex(")")]
    name, equals, value = inner.partition("=")
    return value if equals and name.isidentifier() else inner


def _differing(calls: Sequence[Item]) -> list[int]:
    """Places of the arguments that are not the same in all calls."""
    found = []
    for place in range(len(calls[0].args)):
        values = {(type(c.args[place].value).__name__, c.args[place].value) for c in calls}
        if len(values) > 1:
            found.append(place)
    return found


def _place(label: str) -> int | None:
    """The last number that a part of a label ends with."""
    for word in reversed(label.split(".")):
        if match := _NUMBER.fullmatch(word):
            return int(match[2])
    return None


def _label(label: str, step: int, instead: str = "") -> str:
    """A label with its last number that many higher, or with another text for it."""
    words = label.split(".")
    for at in reversed(range(len(words))):
        if match := _NUMBER.fullmatch(words[at]):
            words[at] = match[1] + (instead or str(int(match[2]) + step))
            break
    return ".".join(words)
