"""Models of NNSmith, compiled and judged in children of this process.

    python -m tests.onnx.smith FOLDER

`smith_generate.py` makes the folder, in an environment of its own. Every model is judged layer by
layer by the oracle and by onnxruntime with its optimiser off.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnncc.errors import CnnccError
from tests.onnx.conformance import reason_of
from tests.onnx.forked import Died, run_forked
from tests.onnx.judging import judge_file

GOOD = ("pass", "unstable", "oracle only", "refused")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a model: `pass`, `unstable` (a rounding error met a jump of a function),
    `oracle only` (onnxruntime does not take it), `refused`, `wrong`, `crash` or `timeout`.
    """

    verdict: str
    reason: str = ""


def judge(folder: Path) -> Outcome:
    """Compile and judge the model of a folder."""
    try:
        with np.load(folder / "data.npz") as data:
            found = judge_file(folder / "model.onnx", dict(data))
    except CnnccError as error:
        return Outcome("refused", reason_of(str(error)))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        return Outcome("crash", f"{type(error).__name__} in {place}: {str(error)[:300]}")
    if found.wrong:
        return Outcome("wrong", found.wrong[0])
    if found.peer:
        return Outcome("oracle only", found.peer[:160])
    return Outcome("unstable" if found.unstable else "pass")


def main(arguments: Sequence[str] | None = None) -> int:
    """Judge all models of a folder; exit code 1 when one is wrong, crashes or hangs."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx.smith")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="*", help="pattern of the folders' names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    folders = sorted(p.parent for p in options.folder.glob(f"{options.only}/model.onnx"))
    start, counts = time.monotonic(), Counter[str]()
    reasons, rows = Counter[str](), {}
    for index, answer in run_forked(folders, judge, jobs=options.jobs, batch=10, seconds=120):
        outcome = Outcome(answer.kind, answer.reason) if isinstance(answer, Died) else answer
        counts[outcome.verdict] += 1
        rows[folders[index].name] = [outcome.verdict, outcome.reason]
        if outcome.verdict == "refused":
            reasons[outcome.reason] += 1
        elif outcome.verdict not in GOOD:
            print(f"{outcome.verdict} {folders[index].name}: {outcome.reason}", flush=True)
    for reason, count in reasons.most_common():
        print(f"refused {count} times: {reason}")
    told = ", ".join(f"{count} {word}" for word, count in sorted(counts.items()))
    print(f"{len(folders)} models: {told}; {time.monotonic() - start:.0f} s")
    if options.json:
        options.json.write_text(json.dumps(dict(sorted(rows.items())), indent=1) + "\n", "utf-8")
    return int(not folders or any(word not in GOOD for word in counts))


if __name__ == "__main__":
    sys.exit(main())
