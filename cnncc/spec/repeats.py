"""Repeated structure: runs of items that differ in arguments only become calls of one block.

A run may be a block if it reads one value from outside and gives one. The most saving run of the
whole network is replaced first, then the most saving of what is left, bodies of blocks included.
Runs that are a module of the exporter, by the names of their layers, are preferred.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cnncc.ir.types import DType
from cnncc.spec.items import Block, Formal, Inline, Item, Operand, Param, Value, uses
from cnncc.spec.naming import Names
from cnncc.spec.operations import Argument, Pads, Window, argument_text
from cnncc.spec.values import MAX_INT, Size, Word

_LONGEST = 80  # items of a run
_MOST_ITEMS = 3000  # of a network whose repeats are looked for
_ROUNDS = 24
_LONGEST_NAME = 16  # of a block, in letters
_LEAST = 1.0  # lines that a block must save
_MODULE = 2.0  # what a block is worth that is a module of the exporter's
_NAMELESS = 0.4  # what a block is worth whose layers lose their names
_CHEAP = frozenset(
    {
        "relu",
        "relu6",
        "bn",
        "dropout",
        "sigmoid",
        "hswish",
        "hsigmoid",
        "silu",
        "leaky_relu",
        "tanh",
    }
)


@dataclass(frozen=True, slots=True)
class _Run:
    """Items `begin` to `end` - 1 of a list."""

    items: list[Item]
    begin: int
    end: int

    @property
    def parts(self) -> list[Item]:
        return self.items[self.begin : self.end]


def find_blocks(items: list[Item], outputs: Iterable[int], names: Names) -> list[Block]:
    """Replace repeats in `items` by block calls; the blocks, inner ones first."""
    blocks: list[Block] = []
    modules = Counter(prefix for item in items for prefix in _prefixes(item.path))
    lists: list[tuple[list[Item], set[int]]] = [(items, set(outputs))]
    for _ in range(_ROUNDS if len(items) <= _MOST_ITEMS else 0):
        best = _best(lists, modules)
        if best is None:
            break
        block = _make(best)
        blocks.insert(0, block)
        lists.append((block.items, {block.items[-1].key}))
    _name(blocks, [items for items, _ in lists], names)
    return blocks


def _name(blocks: Sequence[Block], lists: Sequence[list[Item]], names: Names) -> None:
    """Give the blocks their names, inner ones first."""
    for block in blocks:
        block.name = names.unique(_block_name(block.items))
    for item in (item for items in lists for item in items):
        if item.block is not None:
            item.name = item.block.name


# -- finding ---------------------------------------------------------------------------------------


def _best(lists: Sequence[tuple[list[Item], set[int]]], modules: Counter[str]) -> list[_Run] | None:
    """The runs whose replacement saves most; None if none saves anything."""
    found: dict[Any, list[_Run]] = {}
    for items, outputs in lists:
        _collect(items, outputs, found)
    groups = [runs for runs in found.values() if len(runs) > 1 and not _is_row(runs[0].parts)]
    hopes = [(_MODULE * _saved(_apart(runs), 0), runs) for runs in groups]
    best: list[_Run] | None = None
    most = _LEAST
    for hope, runs in sorted(hopes, key=lambda pair: -pair[0]):
        if hope <= most:
            break
        for chosen, worth in _choices(runs):
            saved = worth * _saved(chosen, len(_parameters(chosen)))
            whole = saved > 0 and all(_is_module(run, modules) for run in chosen)
            saved *= _MODULE if whole else 1.0
            if saved > most:
                best, most = chosen, saved
    return best


def _choices(runs: Sequence[_Run]) -> Iterator[tuple[list[_Run], float]]:
    """Repeats whose layers have the same names behind what they share; and all together."""
    named: dict[tuple[str, ...], list[_Run]] = {}
    for run in runs:
        paths = [item.path for item in run.parts]
        skipped = len(_common(paths))
        named.setdefault(tuple(path[skipped:] for path in paths), []).append(run)
    for alike in named.values():
        if len(apart := _apart(alike)) > 1:
            yield apart, 1.0 if _agreed(apart) else _NAMELESS
    if len(named) > 1 and len(apart := _apart(runs)) > 1:
        yield apart, _NAMELESS


def _collect(items: list[Item], outputs: set[int], found: dict[Any, list[_Run]]) -> None:
    """Enter every run that may be a block, under what all its repeats have in common."""
    readers = uses(items)
    last = [max(readers.get(item.key, [-1])) for item in items]
    last = [len(items) if item.key in outputs else at for item, at in zip(items, last, strict=True)]
    places = {item.key: index for index, item in enumerate(items)}
    for begin in range(len(items)):
        outer: set[int] = set()
        inner_last = -1
        key: Any = None
        for end in range(begin + 1, min(len(items), begin + _LONGEST) + 1):
            item = items[end - 1]
            if end - 1 > begin:
                inner_last = max(inner_last, last[end - 2])
            outer.update(k for k in item.values if places.get(k, -1) < begin)
            if len(outer) > 1 or item.source:
                break
            key = hash((key, _shape_of(item, begin, end - 1, places)))
            if end - begin > 1 and outer and inner_last < end and _reads_on(items, begin, end):
                found.setdefault((end - begin, key), []).append(_Run(items, begin, end))


def _reads_on(items: list[Item], begin: int, end: int) -> bool:
    """Whether the first item reads what comes in: a run that begins otherwise is cut askew."""
    return bool(items[begin].values) and end > begin


def _shape_of(item: Item, begin: int, at: int, places: dict[int, int]) -> Any:
    """What of an item is equal in all repeats of a run."""
    operands: list[Any] = []
    for operand in item.operands:
        if isinstance(operand, Inline):
            kind = operand.type and (operand.type.dtype, len(operand.type.shape))
            operands.append((operand.text, bool(operand.label), kind))
        else:
            place = places.get(operand.key, -1)
            operands.append(at - place if place >= begin else "in")
    args = tuple((arg.name, _fixed_part(arg.value)) for arg in item.args)
    return (item.name, id(item.block), args, tuple(operands))


def _fixed_part(value: Any) -> Any:
    """The value itself where it cannot be a parameter, else its kind."""
    if isinstance(value, Param):
        return value.kind
    if isinstance(value, bool | Size | Window | Pads):
        return type(value).__name__
    if isinstance(value, int) and abs(value) < MAX_INT:
        return "int"
    if isinstance(value, float) and abs(value) < 1e300:
        return "float"
    if isinstance(value, tuple) and all(type(n) is int and abs(n) < MAX_INT for n in value):
        return ("list", len(value))
    return argument_text(value) if not isinstance(value, Word | str | DType) else str(value)


def _apart(runs: Sequence[_Run]) -> list[_Run]:
    """Those runs, from the first on, that do not overlap."""
    chosen: list[_Run] = []
    for run in runs:
        previous = chosen[-1] if chosen else None
        if previous is None or previous.items is not run.items or previous.end <= run.begin:
            chosen.append(run)
    return chosen


def _saved(runs: Sequence[_Run], params: int) -> float:
    """How much shorter the text becomes, in lines or so."""
    size = _weight(runs[0].parts)
    return len(runs) * size - (size + 1.5 + len(runs) * (1 + 0.15 * params))


def _weight(parts: Sequence[Item]) -> float:
    """Lines, or so, that items take; what stands behind a layer on its line counts little."""
    return sum(0.3 if item.name in _CHEAP else 1.0 for item in parts)


def _is_row(parts: Sequence[Item]) -> bool:
    """Whether a run is a smaller one twice or more often, which is the better block."""
    kinds = [(item.name, id(item.block), len(item.operands)) for item in parts]
    return any(
        len(parts) % period == 0
        and kinds == kinds[:period] * (len(parts) // period)
        and (_weight(parts[:period]) >= 2 or parts[0].block is not None)
        for period in range(1, len(parts) // 2 + 1)
    )


def _is_module(run: _Run, modules: Counter[str]) -> bool:
    """Whether the run is all of what shares some dotted prefix."""
    parts = run.parts
    prefix = _common([item.path for item in parts])
    return bool(prefix) and modules[prefix] == sum(_size(item) for item in parts)


def _size(item: Item) -> int:
    return 1 if item.block is None else sum(_size(inner) for inner in item.block.items)


def _prefixes(path: str) -> list[str]:
    words = path.split(".")
    return [".".join(words[:n]) for n in range(1, len(words) + 1)]


def _common(paths: Sequence[str]) -> str:
    """The longest dotted prefix of all paths."""
    words = [path.split(".") for path in paths]
    count = 0
    while all(len(w) > count and w[count] == words[0][count] for w in words):
        count += 1
    return ".".join(words[0][:count])


# -- replacing -------------------------------------------------------------------------------------


def _parameters(runs: Sequence[_Run]) -> dict[Any, list[tuple[int, int]]]:
    """Arguments that differ, grouped by their values in all runs: places (item, argument)."""
    found: dict[Any, list[tuple[int, int]]] = {}
    parts = [run.parts for run in runs]
    for index, item in enumerate(parts[0]):
        for place in range(len(item.args)):
            values = [part[index].args[place].value for part in parts]
            keys = tuple((type(v).__name__, v) for v in values)
            if len(set(keys)) > 1 or any(isinstance(v, Param) for v in values):
                found.setdefault(keys, []).append((index, place))
    return found


def _make(runs: Sequence[_Run]) -> Block:
    """The block of some runs, which are replaced by its calls."""
    model = runs[0].parts
    start = next(
        k for item in model for k in item.values if k not in {inner.key for inner in model}
    )
    slots: dict[tuple[int, int], str] = {}
    formal_names = Names()
    values: list[tuple[str, list[Argument]]] = []
    for places in _parameters(runs).values():
        index, place = places[0]
        name = formal_names.unique(_formal_name(model[index].args[place]))
        slots |= dict.fromkeys(places, name)
        values.append((name, [run.parts[index].args[place] for run in runs]))
    labels, outer = _labels(runs)
    body = [
        replace(
            item,
            args=tuple(
                replace(
                    arg, value=Param(slots[index, place], _fixed_part(arg.value)), default=False
                )
                if (index, place) in slots
                else arg
                for place, arg in enumerate(item.args)
            ),
            operands=_inner_operands(item.operands, labels[index]),
            label=labels[index][0],
        )
        for index, item in enumerate(model)
    ]
    formals, defaults = _formals(values)
    block = Block("", start, body, formals)
    for number in reversed(range(len(runs))):
        run = runs[number]
        args = tuple(
            Argument(name, given[number].value, default=_equal(defaults.get(name), given[number]))
            for name, given in _ordered(values, formals)
        )
        _replace(run, block, args, outer[number])
    return block


def _replace(run: _Run, block: Block, args: tuple[Argument, ...], label: str) -> None:
    parts = run.parts
    inner = {item.key for item in parts}
    source = next(k for item in parts for k in item.values if k not in inner)
    path = _common([item.path for item in parts])
    call = Item(
        *(parts[-1].key, block.name, args, (Value(source),)),
        weighted=block.weighted,
        label=label,
        path=path,
        block=block,
    )
    run.items[run.begin : run.end] = [call]


def _ordered(
    values: Sequence[tuple[str, list[Argument]]], formals: Sequence[Formal]
) -> list[tuple[str, list[Argument]]]:
    known = dict(values)
    return [(formal.name, known[formal.name]) for formal in formals]


def _formals(
    values: Sequence[tuple[str, list[Argument]]],
) -> tuple[list[Formal], dict[str, Argument]]:
    """Parameters, those with a default last; a default is what most calls leave unwritten."""
    plain: list[Formal] = []
    defaulted: list[Formal] = []
    defaults: dict[str, Argument] = {}
    for name, given in values:
        usual = [arg for arg in given if arg.default]
        if 2 * len(usual) >= len(given) and not isinstance(usual[0].value, Param):
            defaulted.append(Formal(name, usual[0].value))
            defaults[name] = usual[0]
        else:
            plain.append(Formal(name))
    return plain + defaulted, defaults


def _equal(default: Argument | None, given: Argument) -> bool:
    return default is not None and (type(default.value), default.value) == (
        type(given.value),
        given.value,
    )


def _formal_name(arg: Argument) -> str:
    name = arg.name.partition(".")[0].rstrip("0123456789_")
    return {"type": "kind", "from": "source"}.get(name, name)


def _block_name(body: Sequence[Item]) -> str:
    """A word for what a block does."""
    kinds = [item.name.removeprefix("op.") for item in body]
    has_blocks = any(item.block is not None for item in body)
    if "add" in kinds and len(body[kinds.index("add")].values) > 1:
        return "residual"
    if "concat" in kinds:
        return "branches"
    if "mul" in kinds and {"sigmoid", "hsigmoid"} & set(kinds):
        return "gated"
    if has_blocks:
        return "stage"
    if "dwconv" in kinds:
        return "separable"
    name = "_".join(dict.fromkeys(kinds))
    return name if len(name) <= _LONGEST_NAME else "unit"


# -- labels ----------------------------------------------------------------------------------------

Labels = tuple[str, tuple[str, ...]]  # of the item, and of its inline constants


def _labels(runs: Sequence[_Run]) -> tuple[list[Labels], list[str]]:
    """Labels inside of the block, and of its calls, such that as many names as possible stay."""
    tails, scopes = _agreed(runs) or (_numbered(runs[0].parts), [_shortest(r) for r in runs])
    return _dealt(runs[0], tails), scopes


def _agreed(runs: Sequence[_Run]) -> tuple[list[str], list[str]] | None:
    """The labels that the layers of all runs have behind the scopes of each, and these scopes."""
    for choose in (_shortest, _longest):
        scopes = [choose(run) for run in runs]
        tails = [_tails(run, scope) for run, scope in zip(runs, scopes, strict=True)]
        if tails[0] is not None and all(tail == tails[0] for tail in tails):
            return tails[0], scopes
    return None


def _shortest(run: _Run) -> str:
    """The shortest beginning of a run's first label that no label around it shares."""
    inside, outside = _labels_around(run)
    words = inside[0].split(".") if inside else [""]
    starts = [".".join(words[:n]) for n in range(1, len(words) + 1)]
    return next((s for s in starts if not any(_is_below(o, s) for o in outside)), starts[-1])


def _longest(run: _Run) -> str:
    """What all labels of a run have in common; empty if one around it shares that."""
    inside, outside = _labels_around(run)
    common = _common([name.rpartition(".")[0] for name in inside]) if inside else ""
    return "" if any(_is_below(o, common) for o in outside) else common


def _labels_around(run: _Run) -> tuple[list[str], list[str]]:
    around = [*run.items[: run.begin], *run.items[run.end :]]
    inside = [name for item in run.parts for name in _own_labels(item)]
    return inside, [name for item in around for name in _own_labels(item)]


def _is_below(name: str, scope: str) -> bool:
    return name == scope or name.startswith(scope + ".")


def _tails(run: _Run, scope: str) -> list[str] | None:
    """The labels of a run behind its scope; None if some are not in it, or two are the same."""
    inside, _ = _labels_around(run)
    sound = scope and all(name.startswith(scope + ".") for name in inside)
    tails = [name[len(scope) + 1 :] for name in inside]
    return tails if sound and len(set(tails)) == len(tails) else None


def _dealt(run: _Run, names: Sequence[str]) -> list[Labels]:
    """Names given to the items of a run and to their constants, in order."""
    left = iter(names)
    labels: list[Labels] = []
    for item in run.parts:
        own = next(left) if _labels_itself(item) else ""
        constants = [x for x in item.operands if isinstance(x, Inline) and x.label]
        labels.append((own, tuple(next(left) for _ in constants)))
    return labels


def _labels_itself(item: Item) -> bool:
    """Whether the item itself has a label: layers and blocks with weights do."""
    return item.weighted and not item.joins


def _own_labels(item: Item) -> list[str]:
    own = [item.label] if _labels_itself(item) else []
    return own + [x.label for x in item.operands if isinstance(x, Inline) and x.label]


def _numbered(parts: Sequence[Item]) -> list[str]:
    """Labels of a kind and a number."""
    counts: Counter[str] = Counter()
    found: list[str] = []
    for item in parts:
        kind = "part" if item.block is not None else item.name
        kind = "array" if item.joins else kind  # automatic labels are kinds of operators
        for _ in _own_labels(item):
            counts[kind] += 1
            found.append(f"{kind}{counts[kind]}")
    return found


def _inner_operands(operands: Sequence[Operand], labels: Labels) -> tuple[Operand, ...]:
    left = iter(labels[1])
    return tuple(
        replace(x, label=next(left)) if isinstance(x, Inline) and x.label else x for x in operands
    )
