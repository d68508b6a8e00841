"""`python -m cnncc.bench.compile_time`: how long compiling and importing take, in new processes.

Cold means an empty cache of kernels; from the cache means the same process again, new. Files of the
operating system's cache are warm in both, and modules have their bytecode, as those of an installed
package have. Import times are minima, as they say what must be paid.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cnncc.bench import machine
from cnncc.bench.marked import replace_marked
from cnncc.bench.timing import Timing
from cnncc.runtime.report import table

_COMPILE = """
import sys, time
import cnncc.driver
start = time.perf_counter()
cnncc.compile(sys.argv[1], threads=1)
print(time.perf_counter() - start)
"""
MARK = "compile"
IMPORTS = {
    "python -c pass": ["-c", "pass"],
    "import numpy": ["-c", "import numpy"],
    "import cnncc": ["-c", "import cnncc"],
    "cnncc --help": ["-m", "cnncc", "--help"],
}


def with_bytecode(folder: Path) -> dict[str, str]:
    """The environment of a process that keeps its modules' bytecode below `folder`.

    Some machines forbid Python to write bytecode: each process would compile all sources anew.
    """
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return environment


def compile_seconds(model: Path, cache: Path) -> tuple[float, float]:
    """A new process that compiles `model`: seconds of `cnncc.compile` alone, and of all of it."""
    environment = {**with_bytecode(cache.parent), "CNNCC_CACHE_DIR": str(cache)}
    environment.pop("CNNCC_CACHE", None)
    start = time.perf_counter()
    made = subprocess.run(
        [sys.executable, "-c", _COMPILE, str(model)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(made.stdout), time.perf_counter() - start


def measure_compile(model: Path, rounds: int = 3) -> list[dict[str, Any]]:
    """Minima over rounds of a cold compile and one from the cache, each round in a new folder."""
    cold, cached = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="cnncc-bench-") as folder:
            compile_seconds(model, Path(folder) / "first")
            cold.append(compile_seconds(model, Path(folder) / "cache"))
            cached.append(compile_seconds(model, Path(folder) / "cache"))
    return [
        {
            "model": model.name,
            "cache": name,
            "compile_s": round(min(inner for inner, _ in times), 3),
            "process_s": round(min(outer for _, outer in times), 3),
        }
        for name, times in (("empty", cold), ("filled", cached))
    ]


def markdown(models: list[list[dict[str, Any]]]) -> str:
    """What `measure_compile` gives of each model, as a table."""
    lines = [
        "| model | empty cache: compile, s | whole process, s | again: compile, s | process, s |",
        "|---|--:|--:|--:|--:|",
    ]
    for cold, cached in models:
        times = [row[key] for row in (cold, cached) for key in ("compile_s", "process_s")]
        lines.append(f"| {cold['model']} | " + " | ".join(f"{t:.2f}" for t in times) + " |")
    return "\n".join(lines)


def measure_imports(rounds: int = 10) -> list[dict[str, Any]]:
    """Minima and medians of the processes of `IMPORTS`, in turns, and their ratio to NumPy's."""
    took: dict[str, list[float]] = {name: [] for name in IMPORTS}
    with tempfile.TemporaryDirectory(prefix="cnncc-bench-") as folder:
        environment = with_bytecode(Path(folder))
        for number in range(rounds + 1):
            for name, words in IMPORTS.items():
                start = time.perf_counter()
                command = [sys.executable, *words]
                subprocess.run(command, env=environment, capture_output=True, check=True)
                if number:  # the first round writes the bytecode
                    took[name].append(time.perf_counter() - start)
    timings = {name: Timing(tuple(sorted(times))) for name, times in took.items()}
    reference = timings["import numpy"].best
    return [
        {
            "process": name,
            "min_ms": round(timing.best * 1e3, 1),
            "median_ms": round(timing.median * 1e3, 1),
            "of_import_numpy": round(timing.best / reference, 2),
        }
        for name, timing in timings.items()
    ]


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", type=Path, default=[Path("examples/resnet18.cnn")])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    given = parser.parse_args(arguments)
    facts = machine.facts()
    if given.write:
        models = [measure_compile(model, given.rounds) for model in given.models]
        replace_marked(given.write, MARK, markdown(models))
        return
    compiled = [row for model in given.models for row in measure_compile(model, given.rounds)]
    imports = measure_imports()
    if given.json:
        answer = {"schema": "cnncc.bench-compile/1", "machine": facts}
        sys.stdout.write(json.dumps({**answer, "compile": compiled, "imports": imports}, indent=2))
        sys.stdout.write("\n")
        return
    sys.stdout.write(f"{machine.headline(facts)}\n\n{table(compiled)}\n\n{table(imports)}\n")


if __name__ == "__main__":
    main()
