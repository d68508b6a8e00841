"""`python -m cnncc.bench.spills`: registers spilled inside the loops of a network's kernels.

Counts from the assembly, the same on every machine: for each innermost loop how many registers go
to the stack and come back in a turn. Loops of multiply-adds must not spill; a transform of a
Winograd convolution holds more values than sixteen registers do, and pays one instruction in ten.

`--write FILE` puts a table of kernels by targets, over all models, between that file's marks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncc import driver
from cnncc.bench.marked import replace_marked
from cnncc.llvm.asm_stats import Counts, functions
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.nodes import Program
from cnncc.runtime.report import table
from cnncc.targets import Target

MARK = "spills"
_MULTIPLYING = 1 / 3  # of the instructions of a loop, from which on it is one of multiply-adds


@dataclass(frozen=True, slots=True)
class Loop:
    """An innermost loop of a generated function.

    Attributes:
        function: the function that it is in.
        label: its place there.
        counts: instructions of a turn.
    """

    function: str
    label: str
    counts: Counts

    @property
    def kernel(self) -> str:
        """The template that the function was made from."""
        return self.function.rpartition("_")[0]

    @property
    def kind(self) -> tuple[str, str]:
        """The template, and whether the loop is one of multiply-adds."""
        multiplies = self.counts.fmas >= _MULTIPLYING * self.counts.instructions
        return self.kernel, "(multiply-adds)" if multiplies else "(all else)"

    @property
    def spills(self) -> int:
        """Registers that go to the stack or come back, the larger number."""
        return max(self.counts.spills, self.counts.reloads)

    @property
    def share(self) -> float:
        """Spills by instructions."""
        return self.spills / max(self.counts.instructions, 1)


def loops_of(program: Program, target: Target) -> Iterator[Loop]:
    """The innermost loops of all functions but `main`."""
    for func in program.funcs:
        if func.name == "main":
            continue
        found = functions(emit_assembly(emit_unit(program, func, target), target))[func.name]
        for loop in found.loops:
            if loop.inner:
                yield Loop(func.name, loop.label, loop.counts)


def measure(model: Path, target: Target) -> dict[str, Any]:
    """How many loops there are and which of them spill, the worst first."""
    program = driver.compile_model(model, target=target).plan.program
    loops = list(loops_of(program, target))
    spilling = sorted((loop for loop in loops if loop.spills), key=lambda loop: -loop.share)
    rows = [
        {
            "function": loop.function,
            "loop": loop.label,
            "instructions": loop.counts.instructions,
            "fmas": loop.counts.fmas,
            "spills": loop.counts.spills,
            "reloads": loop.counts.reloads,
            "share": round(loop.share, 3),
        }
        for loop in spilling
    ]
    return {"model": model.name, "target": target.name, "loops": len(loops), "spilling": rows}


def table_of_kernels(loops: Mapping[str, Collection[Loop]]) -> str:
    """Kernels by targets as Markdown: loops that spill of all, and the worst of them.

    Args:
        loops: the innermost loops of every function that occurs, by target.
    """
    lines = [f"| loops of | {' | '.join(loops)} |", f"|---|{'---|' * len(loops)}"]
    clean: dict[str, list[str]] = {}
    for kind in sorted({loop.kind for found in loops.values() for loop in found}):
        groups = [[x for x in found if x.kind == kind] for found in loops.values()]
        if any(loop.spills for group in groups for loop in group):
            lines.append(f"| {' '.join(kind)} | {' | '.join(map(_cell, groups))} |")
        else:
            clean.setdefault(kind[0], []).append(kind[1])
    spilling = {loop.kernel for found in loops.values() for loop in found if loop.spills}
    others = [
        " ".join([kernel, *(parts if kernel in spilling else ())])
        for kernel, parts in clean.items()
    ]
    return "\n".join(
        [*lines, "", f"None spills in loops of {', '.join(others) or 'nothing else'}."]
    )


def _cell(loops: Collection[Loop]) -> str:
    spilling = [loop for loop in loops if loop.spills]
    if not spilling:
        return f"0 of {len(loops)}" if loops else ""
    worst = max(spilling, key=lambda loop: loop.share)
    most = f"worst {worst.spills} in {worst.counts.instructions}"
    return f"{len(spilling)} of {len(loops)}, {most}"


def _write(page: Path, models: Sequence[Path], targets: Sequence[Target]) -> None:
    """Make the table of a page anew; a function that several models share counts once."""
    loops = {}
    for target in targets:
        programs = (driver.compile_model(model, target=target).plan.program for model in models)
        funcs = {func.name: func for program in programs for func in program.funcs}
        loops[target.name] = list(loops_of(Program(list(funcs.values())), target))
    replace_marked(page, MARK, table_of_kernels(loops))


def main(arguments: list[str] | None = None) -> None:
    """Count for every model and target that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--target", action="append", help="host by default; may be repeated")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    given = parser.parse_args(arguments)
    targets = [driver.target_named(name) for name in given.target or ["host"]]
    if given.write:
        _write(given.write, given.models, targets)
        return
    results = [measure(model, target) for target in targets for model in given.models]
    if given.json:
        answer = {"schema": "cnncc.bench-spills/1", "results": results}
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    for result in results:
        rows, total = result["spilling"], result["loops"]
        name = f"{result['model']} for {result['target']}"
        sys.stdout.write(f"{name}: {len(rows)} of {total} innermost loops spill\n")
        if rows:
            sys.stdout.write(f"{table(rows)}\n")


if __name__ == "__main__":
    main()
