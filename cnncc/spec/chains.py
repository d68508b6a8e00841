"""Items to lines: what follows from the line above is not named, runs become `->` chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from cnncc.spec.general import CONSTANT
from cnncc.spec.items import Block, Item, Operand, Param, Value, Written, uses
from cnncc.spec.loops import loop_end, loop_line
from cnncc.spec.naming import Names, is_free_name
from cnncc.spec.operations import Argument, argument_text
from cnncc.spec.values import quote

_LINE = 76  # a line that is longer than this gets no further operation
_FULL_LINE = 92  # unless it is an activation
# What stands on the line of the layer before.
_FOLLOWERS = frozenset(
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
    | {"softmax", "flatten", "scale", "prelu", "clip"}
)


@dataclass(slots=True)
class Lines:
    """Writes the items of the file, or of a block, as lines.

    Attributes:
        names: what values from outside are called, by key; `in` of a block.
        used: names that are taken; new ones are added.
        words: bare words of attributes, which no value may be called.
        kept: values that need a name: outputs.
        running: the key of the value that the next line continues from, or None.
    """

    names: dict[int, str]
    used: Names
    kept: AbstractSet[int] = frozenset()
    running: int | None = None
    notes: Mapping[int, str] = field(default_factory=dict)
    out: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    only: Item | None = None

    def write(self, items: Sequence[Item]) -> list[str]:
        """The lines of all items."""
        readers = uses(items)
        spans: list[tuple[int, int]] = []
        loops: set[int] = set()
        while not spans or spans[-1][1] < len(items):
            begin = spans[-1][1] if spans else 0
            end = self._loop_end(items, begin, readers)
            loops.update([begin] if end > begin else [])
            spans.append((begin, end if end > begin else self._chain_end(items, begin, readers)))
        ends = [(items[end - 1], end) for _, end in spans]
        needing = [last for last, end in ends if self._needs_name(items, end, last, readers)]
        self.only = needing[0] if len(needing) == 1 else None
        for begin, end in spans:
            if begin in loops:
                calls = items[begin:end]
                self.out.append(loop_line(calls, self.used, lambda call: _call(call, [])))
                self.running = calls[-1].key
            else:
                self._line(items, begin, end, readers)
        return self.out

    def _loop_end(
        self, items: Sequence[Item], begin: int, readers: Mapping[int, Sequence[int]]
    ) -> int:
        """Where a loop that begins here ends; it continues from the line above and has no name."""
        before = items[begin - 1].key if begin else self.running
        if not items or items[begin].operands[:1] != (Value(before if before is not None else -1),):
            return begin
        end = loop_end(items, begin, readers, self.kept)
        while end > begin and self._needs_name(items, end, items[end - 1], readers):
            end = loop_end(items[: end - 1], begin, readers, self.kept)
        return end

    def _chain_end(
        self, items: Sequence[Item], begin: int, readers: Mapping[int, Sequence[int]]
    ) -> int:
        """Where the line that begins with an item ends: the position behind its last item."""
        end = begin + 1
        length = len(_call(items[begin], []))
        while end < len(items):
            before, item = items[end - 1], items[end]
            if before.key in self.kept or readers.get(before.key) != [end]:
                break
            if not item.operands or item.operands[0] != Value(before.key):
                break
            length += 4 + len(_call(item, [""] if len(item.values) > 1 else []))
            most = _LINE if item.weighted or item.args else _FULL_LINE
            if length > most or not self._may_follow(items, begin, end):
                break
            end += 1
        return end

    def _may_follow(self, items: Sequence[Item], begin: int, at: int) -> bool:
        item = items[at]
        if len(item.values) > 1:
            return False
        if item.general:
            return all(x.general or x.name in _FOLLOWERS for x in items[begin:at])
        if item.block is not None:
            return all(x.block is item.block for x in items[begin:at])
        return item.name in _FOLLOWERS or _is_head(items[begin:at], item)

    def _line(
        self,
        items: Sequence[Item],
        begin: int,
        end: int,
        readers: Mapping[int, Sequence[int]],
    ) -> None:
        first = items[begin]
        stages = [self._first(first)]
        stages += [
            _call(item, [self._operand(x, item) for x in item.operands[1:]])
            for item in items[begin + 1 : end]
        ]
        last = items[end - 1]
        text = " -> ".join(stage for stage in stages if stage)
        if self._needs_name(items, end, last, readers):
            name = self._name(last)
            self.names[last.key] = name
            text = f"{name} = {text}"
        self.out.append(text + self.notes.get(last.key, ""))
        self.running = last.key

    def _first(self, item: Item) -> str:
        """The beginning of a line: from the running result, or from a name."""
        if not item.operands:
            return _call(item, [])
        if item.joins and (len(item.operands) > 1 or not item.general):
            return _call(item, [self._operand(x, item) for x in item.operands])
        source = item.operands[0]
        call = _call(item, [])
        if isinstance(source, Value) and source.key == self.running:
            return call
        return f"{self._operand(source, item)} -> {call}"

    def _name(self, item: Item) -> str:
        """What a result is called: its kind with a number, or `x` where it is the only one."""
        kind = "c" if item.name == CONSTANT else item.name.removeprefix("op.")
        if self.only is item and "x" not in self.used.taken:
            return self.used.unique("x")
        self.counts[kind] = count = self.counts.get(kind, 0) + 1
        numbered = f"{kind}_{count}" if kind[-1].isdigit() else f"{kind}{count}"
        return self.used.unique(numbered if is_free_name(numbered) else f"{kind}_{count}")

    def _needs_name(
        self,
        items: Sequence[Item],
        end: int,
        last: Item,
        readers: Mapping[int, Sequence[int]],
    ) -> bool:
        if last.key in self.kept:
            return True
        reading = readers.get(last.key, [])
        if not reading:
            return False
        follower = items[end] if end < len(items) else None
        alone = follower is not None and reading == [end] and len(follower.operands) == 1
        return not (alone and follower is not None and (not follower.joins or follower.general))

    def _operand(self, operand: Operand, item: Item) -> str:
        if isinstance(operand, Value):
            return self.names[operand.key]
        text = operand.text
        if operand.type is not None:
            index = next(i for i, x in enumerate(item.operands) if x is operand)
            sizes = [a for a in item.args if a.name.startswith(f"size.{index}.")]
            shape = ", ".join(_value_text(size) for size in sizes)
            text = f"{CONSTANT}({operand.type.dtype}[{shape}]{text})"
        return f"{text} as {operand.label}" if operand.label else text


def block_lines(block: Block, taken: AbstractSet[str], indent: str = "  ") -> list[str]:
    """The lines of a block's definition."""
    formals = ", ".join(
        formal.name + ("" if formal.default is None else f"={_text(Argument('', formal.default))}")
        for formal in block.formals
    )
    used = Names({*taken, *(formal.name for formal in block.formals)})
    lines = Lines({block.start: "in"}, used, running=block.start).write(block.items)
    return [f"block {block.name}({formals}) {{", *(indent + line for line in lines), "}"]


def _is_head(before: Sequence[Item], item: Item) -> bool:
    """Whether a network's last layers stand on one line: pooling, flatten, dense."""
    names = {x.name for x in before}
    return item.name == "dense" and bool(names & {"flatten"}) and len(names) <= 2


def _call(item: Item, operands: Sequence[str]) -> str:
    """A call with its arguments and label; `operands` stand first in its brackets."""
    args = [*operands, *(_text(arg) for arg in item.args if _is_shown(arg))]
    if item.block is not None:
        args = _block_arguments(item)
    if item.source:
        args.append(f"from={quote(item.source)}")
    text = item.name + (f"({', '.join(args)})" if args else "")
    labelled = item.weighted and (not item.joins or item.name == CONSTANT)
    return f"{text} as {item.label}" if labelled else text


def _is_shown(arg: Argument) -> bool:
    """Whether an argument stands in the call: no default, and no extent of a constant."""
    return not arg.default and "." not in arg.name


def _block_arguments(item: Item) -> list[str]:
    """Arguments in order; by name from the first one on that is left out."""
    shown: list[str] = []
    by_name = False
    for arg in item.args:
        if arg.default:
            by_name = True
            continue
        text = _value_text(arg)
        shown.append(f"{arg.name}={text}" if by_name or _has_default(item, arg) else text)
    return shown


def _has_default(item: Item, arg: Argument) -> bool:
    block = item.block
    return block is not None and any(
        formal.name == arg.name and formal.default is not None for formal in block.formals
    )


def _text(arg: Argument) -> str:
    value = _value_text(arg)
    return value if arg.bare or not arg.name else f"{arg.name}={value}"


def _value_text(arg: Argument) -> str:
    if isinstance(arg.value, Param):
        return arg.value.name
    if isinstance(arg.value, Written):
        return arg.value.text
    return argument_text(arg.value, full=False)
