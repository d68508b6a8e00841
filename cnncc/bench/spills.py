"""`python -m cnncc.bench.spills`: registers spilled inside the loops of a network's kernels.

Counts from the assembly, the same on every machine: for each innermost loop how many registers go
to the stack and come back in a turn. Loops of multiply-adds must not spill; a transform of a
Winograd convolution holds more values than sixteen registers do, and pays one instruction in ten.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cnncc import driver
from cnncc.llvm.asm_stats import Counts, functions
from cnncc.llvm.emit import emit_unit
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.nodes import Program
from cnncc.runtime.report import table
from cnncc.targets import Target


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


def main(arguments: list[str] | None = None) -> None:
    """Count for every model and target that is named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--target", action="append", help="host by default; may be repeated")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    targets = [driver.target_named(name) for name in given.target or ["host"]]
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
