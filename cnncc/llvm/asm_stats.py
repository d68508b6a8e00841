"""Counts from assembly text: spills, reloads, multiply-adds and code size, by function and loop.

LLVM's own comments tell spills and loops; a loop's blocks are those between its header and the last
branch back to it, so that the counts of an outer loop contain those of the inner ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_LABEL = re.compile(r"^(\.L[\w.$]+|[\w.$]+):")
_TYPE = re.compile(r"^\s*\.type\s+([\w.$]+),\s*[@%]function")
_INSTRUCTION = re.compile(r"^\t([a-z][\w.]*)")
_BRANCH = re.compile(r"^\t(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\b.*?(\.L\w+)")
_FMA = re.compile(r"^\tv?f(?:n?madd|n?msub|mla|mls)\w*\b")
_INNER = "Inner Loop Header"
_LOOP = "Loop Header: Depth="


@dataclass(frozen=True, slots=True)
class Counts:
    """What a stretch of assembly contains.

    Attributes:
        instructions: all of them.
        fmas: multiply-adds.
        spills: registers stored to the stack for want of another.
        reloads: the same read back.
    """

    instructions: int
    fmas: int
    spills: int
    reloads: int


@dataclass(frozen=True, slots=True)
class LoopStats:
    """A loop: its header's label, its depth from 1, whether it contains no other loop."""

    label: str
    depth: int
    inner: bool
    counts: Counts


@dataclass(frozen=True, slots=True)
class FunctionStats:
    """A function and its loops in the order of their headers."""

    name: str
    counts: Counts
    loops: tuple[LoopStats, ...]


def functions(assembly: str) -> dict[str, FunctionStats]:
    """The statistics of each function of an assembly text that LLVM commented."""
    lines = assembly.splitlines()
    names = {match[1] for line in lines if (match := _TYPE.match(line))}
    starts = [
        (number, match[1])
        for number, line in enumerate(lines)
        if (match := _LABEL.match(line)) and match[1] in names
    ]
    stats = {}
    for number, name in starts:
        end = next(
            (i for i in range(number, len(lines)) if lines[i].startswith(".Lfunc_end")), len(lines)
        )
        body = lines[number + 1 : end]
        stats[name] = FunctionStats(name, _count(body), tuple(_loops(body)))
    return stats


def spills_in_inner_loops(assembly: str) -> dict[str, int]:
    """Spills and reloads in the worst innermost loop of each function; 0 without loops.

    A pair of a spill and its reload counts as one.
    """
    return {
        name: max(
            (max(s.counts.spills, s.counts.reloads) for s in stats.loops if s.inner), default=0
        )
        for name, stats in functions(assembly).items()
    }


def _loops(body: list[str]) -> list[LoopStats]:
    found = []
    label, header = "", 0
    for number, line in enumerate(body):
        match = _LABEL.match(line)
        if match:
            label, header = match[1], number
        if _LOOP not in line or "Parent Loop" in line:
            continue
        depth = int(re.split(r"Depth=", line)[1].split()[0])
        found.append(LoopStats(label, depth, _INNER in line, _count(_turn(body, header, label))))
    return found


def _turn(body: list[str], header: int, label: str) -> list[str]:
    """The lines from a header to the last branch back to it; a rotated loop may begin earlier."""
    back = [i for i, line in enumerate(body) if (b := _BRANCH.match(line)) and b[1] == label]
    behind = [i for i in back if i >= header]
    return body[header : max(behind) + 1] if behind else body[header : header + 1]


def _count(lines: list[str]) -> Counts:
    return Counts(
        instructions=sum(bool(_INSTRUCTION.match(line)) for line in lines),
        fmas=sum(bool(_FMA.match(line)) for line in lines),
        spills=sum("Spill" in line for line in lines),
        reloads=sum("Reload" in line for line in lines),
    )
