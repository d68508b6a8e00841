"""Fills the generated parts of docs/architecture.md: room cards and the dumps of one network.

A part stands between `<!-- made: NAME -->` and `<!-- end -->`. Everything is made for one target by
name, so that the page is the same on every machine. `--check` compares instead of writing.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

from cnncc import driver, stages
from cnncc.driver import Compilation
from cnncc.ir.text import print_graph
from cnncc.loopir.text import print_func
from cnncc.pipeline import Record
from cnncc.plan.tables import decision_rows
from cnncc.targets import find

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
NETWORK = ROOT / "examples" / "digits" / "digits.cnn"
TARGET = "x86-64-v3"
ROOMS = (
    *("spec", "onnx", "ir", "ops", "passes", "targets", "loopir", "kernels"),
    *(f"kernels/{part}" for part in ("convolution", "winograd", "strassen", "zones", "maps")),
    *(f"kernels/{part}" for part in ("rows", "moves", "scalars")),
    *("plan", "llvm"),
    *("runtime", "export", "cli", "bench"),
)
WIDTH = 110
_PART = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MULTIPLIES = re.compile(r"vfmadd|fmul contract")
_JUMPS = re.compile(r"br |j[a-z]+ ?")


@cache
def compiled() -> Compilation:
    """The network of the page, with the driver's own pipeline."""
    return driver.plan_model(driver.load_model(NETWORK), find(TARGET))


def cards() -> str:
    """The card of every room, out of its docstring."""
    parts = []
    for room in ROOMS:
        text = importlib.import_module(f"cnncc.{room.replace('/', '.')}").__doc__ or ""
        parts.append(f"### `cnncc/{room}/`\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def spec() -> str:
    """The layers of the network as they are written."""
    lines = NETWORK.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("# Module 1"))
    return fence("\n".join(lines[first : first + 8]) + "\n...")


def parsed() -> str:
    """The typed graph, without the data lines."""
    return graph_lines(print_graph(compiled().model.graph, spans=False, meta=False), 12)


def records() -> str:
    """What each pass did."""
    return fence("\n".join(map(_record, compiled().records)))


def _record(record: Record) -> str:
    size = f"{record.nodes_before} -> {record.nodes_after} nodes" if record.changed else "unchanged"
    return f"{record.number:02} {record.name:<24}{size:<16}{record.why}"


def planned() -> str:
    """The first group of the planned graph, a note a line."""
    text = print_graph(compiled().plan.graph, spans=False, meta=False)
    line = next(line for line in text.splitlines() if line.startswith("%conv1 = "))
    return fence(
        line.replace(" Step{", "\n    Step{")
        .replace("[Step{", "[\n    Step{")
        .replace(" @", "\n    @")
    )


def decisions() -> str:
    """What was decided about the first group, with reasons."""
    lines = []
    for row in decision_rows(compiled().plan.graph):
        if row["subject"] != "conv1":
            continue
        lines.append(f"{row['by']}: {row['choice']}")
        lines.append(f"    because {row['reason']}")
        lines += [f"    not {what}: {why}" for what, why in row["rejected"]]
    return fence("\n".join(lines))


def loops() -> str:
    """The loop nest of the first group."""
    plan = compiled().plan
    name = next(stage.functions[0] for stage in plan.stages if stage.name == "conv1")
    return fence(elide(print_func(plan.program.func(name)).splitlines(), keep=4))


def main_loops() -> str:
    """The beginning of `main`."""
    return fence(elide(print_func(compiled().plan.program.funcs[-1]).splitlines(), most=26))


def llvm() -> str:
    """The multiply-adds of the first group as LLVM text."""
    plan = compiled().plan
    return fence(innermost(stages.llvm_text(plan.program, plan.target), r"[a-z]+\d*:"))


def assembly() -> str:
    """The multiply-adds of the first group as machine code."""
    plan = compiled().plan
    return fence(innermost(stages.assembly_text(plan.program, plan.target), r"\.LBB"))


def innermost(text: str, label: str) -> str:
    """The first loop that multiplies and adds, from its label to its jump."""
    block: list[str] = []
    for line in text.splitlines():
        if re.match(label, line):
            block = []
        if not line.lstrip().startswith((".p2align", ".cfi", "#")):
            block.append(line.split("#")[0].rstrip().expandtabs(8))
        at = [i for i, found in enumerate(block) if _MULTIPLIES.search(found)]
        if len(at) >= 4 and _JUMPS.match(line.strip()):
            break
    middle = range(at[0] - 3, at[0] + 4)
    shown = sorted({0, 1, 2, *middle, *range(len(block) - 3, len(block))})
    lines = []
    for before, number in zip([-1, *shown], shown, strict=False):
        if number != before + 1:
            lines.append(f"        ... {number - before - 1} lines")
        lines.append(cut(block[number]))
    return "\n".join(lines)


def elide(lines: list[str], *, keep: int = 3, most: int = 1000) -> str:
    """Lines with long runs of statements of one body cut short."""
    shown: list[str] = []
    run: list[str] = []

    def flush() -> None:
        if len(run) > 2 * keep + 1:
            indent = run[0][: len(run[0]) - len(run[0].lstrip())]
            shown.extend([*run[:keep], f"{indent}... {len(run) - 2 * keep} lines", *run[-keep:]])
        else:
            shown.extend(run)
        run.clear()

    for line in lines:
        word = line.split()[0] if line.split() else ""
        if word in ("for", "func", "yield", "call", "barrier") or line.endswith(":"):
            flush()
            shown.append(line)
        else:
            run.append(line)
    flush()
    if len(shown) > most:
        shown = [*shown[:most], f"  ... {len(shown) - most} lines"]
    return "\n".join(cut(line) for line in shown)


def graph_lines(text: str, most: int) -> str:
    """The nodes of a graph's text, the first ones."""
    lines = [line for line in text.splitlines() if not line.startswith("data ")]
    return fence("\n".join([*map(cut, lines[:most]), f"... {len(lines) - most} lines"]))


def cut(line: str) -> str:
    """A line that fits the page."""
    return line if len(line) <= WIDTH else line[: WIDTH - 4].rstrip() + " ..."


def fence(text: str) -> str:
    """Text as it is."""
    return f"```text\n{text.rstrip()}\n```\n"


PARTS: dict[str, Callable[[], str]] = {
    "cards": cards,
    "spec": spec,
    "parsed": parsed,
    "records": records,
    "planned": planned,
    "decisions": decisions,
    "loops": loops,
    "main": main_loops,
    "llvm": llvm,
    "assembly": assembly,
}


def filled(text: str) -> str:
    """The page's text with every part made anew."""
    return _PART.sub(lambda found: f"{found[1]}{PARTS[found[2]]()}{found[3]}", text)


if __name__ == "__main__":
    before = PAGE.read_text(encoding="utf-8")
    after = filled(before)
    if "--check" in sys.argv[1:]:
        sys.exit(before != after)
    PAGE.write_text(after, encoding="utf-8")
