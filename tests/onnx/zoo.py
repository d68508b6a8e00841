"""Known architectures as ONNX files: compiled, judged layer by layer, and counted.

    python -m tests.onnx.zoo FOLDER --only 'resnet*' --markdown table.md

The folder is one that `make_models.py` of `../shared/zoo` has filled; each file is judged in a
child of this process by the oracle and by onnxruntime with its optimiser off.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from cnncc import driver
from cnncc.errors import CnnccError
from tests.onnx.conformance import reason_of
from tests.onnx.forked import Died, run_forked
from tests.onnx.judging import judge_file

SECONDS = 900.0


@dataclass(frozen=True, slots=True)
class Row:
    """One model of the table.

    Attributes:
        model: its file.
        verdict: `ok`, `refused`, `wrong`, `crash` or `timeout`.
        reason: why it is not ok.
        compile_s: seconds from the file to a network, nothing in the cache.
        kernels: functions of the program.
        arena_bytes: memory of one call.
        live_bytes: the most that is alive at one time.
        code_bytes: size of the objects.
        layers: judged by the oracle.
        worst_ratio: the largest error of a layer, relative to what it is allowed.
        tensors: judged by onnxruntime.
        relative: relative L2 of the output from onnxruntime's.
        unstable: it is far, and no layer is wrong: the network magnifies rounding errors.
    """

    model: str
    verdict: str
    reason: str = ""
    compile_s: float = 0.0
    kernels: int = 0
    arena_bytes: int = 0
    live_bytes: int = 0
    code_bytes: int = 0
    layers: int = 0
    worst_ratio: float = 0.0
    tensors: int = 0
    relative: float | None = None
    unstable: bool = False


def measure(path: Path) -> Row:
    """Judge a file and count what it became."""
    name = path.stem
    os.environ["CNNCC_CACHE"] = "off"
    try:
        start = time.perf_counter()
        driver.build(driver.compile_model(path))
        seconds = time.perf_counter() - start
        found = judge_file(path)
    except CnnccError as error:
        return Row(name, "refused", reason_of(str(error)))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Row(name, "crash", f"{type(error).__name__} in {place}: {str(error)[:200]}")
    assert found.compilation is not None
    plan = found.compilation.plan
    reason = found.wrong[0] if found.wrong else found.peer
    return Row(
        name,
        "wrong" if reason else "ok",
        reason,
        round(seconds, 2),
        len(plan.program.funcs),
        plan.interface.workspace_bytes,
        4 * int(plan.graph.meta["arena_live_elems"]),
        sum(map(len, found.objects)),
        found.layers,
        round(found.worst_ratio, 3),
        found.tensors,
        found.relative,
        found.unstable,
    )


def markdown(rows: Sequence[Row]) -> str:
    """The table; refused and wrong models say why."""
    lines = [
        "| model | compile s | kernels | arena KiB | of live | code KiB | layers |"
        " worst error / allowed | tensors | relative L2 |",
        "|---" + "|--:" * 9 + "|",
    ]
    for row in rows:
        if row.verdict != "ok":
            lines.append(f"| {row.model} | **{row.verdict}**: {row.reason} |{' |' * 8}")
            continue
        ratio = row.arena_bytes / max(row.live_bytes, 1)
        relative = "" if row.relative is None else f"{row.relative:.1e}"
        relative += ", unstable" * row.unstable
        lines.append(
            f"| {row.model} | {row.compile_s:.1f} | {row.kernels} | {row.arena_bytes / 1024:,.0f} |"
            f" {ratio:.3f} | {row.code_bytes / 1024:,.0f} | {row.layers} | {row.worst_ratio:.3f} |"
            f" {row.tensors} | {relative} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; exit code 1 when a model is refused or wrong, or there is none."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx.zoo")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="pattern of the files' names")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    paths = sorted(options.folder.glob(f"{options.only}.onnx"))
    rows: list[Row] = []
    for index, answer in run_forked(paths, measure, jobs=options.jobs, batch=1, seconds=SECONDS):
        name = paths[index].stem
        rows.append(Row(name, answer.kind, answer.reason) if isinstance(answer, Died) else answer)
        print(f"{rows[-1].verdict:<8} {name} {rows[-1].reason}", file=sys.stderr, flush=True)
    rows.sort(key=lambda row: row.model)
    print(markdown(rows), end="")
    if options.markdown:
        options.markdown.write_text(markdown(rows), "utf-8")
    if options.json:
        options.json.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", "utf-8")
    return int(not rows or any(row.verdict != "ok" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
