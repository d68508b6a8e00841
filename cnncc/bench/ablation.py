"""What each optimisation is worth: every switch off in turn, over the networks of a folder.

`python -m cnncc.bench.ablation FOLDER` times each network with everything on and with one switch of
`cnncc.options.SWITCHES` off at a time, interleaved in one run, on one thread; the table shows by
how many per cent a call is longer without it.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from cnncc import driver
from cnncc.bench.latency import batch_of
from cnncc.bench.marked import replace_marked
from cnncc.bench.timing import interleaved
from cnncc.driver import Compilation
from cnncc.loopir.text import canonical_text
from cnncc.options import SWITCHES, Options

NETWORKS = (
    *("resnet18", "resnet50", "vgg16_quarter", "googlenet", "densenet121", "mobilenet_v2"),
    *("efficientnet_b0", "shufflenet_v2_x1_0", "unet_small", "yolo_nano", "fsrcnn_x2"),
)
MARK = "ablation"
_ALL = "everything on"


def costs(path: Path, seconds: float) -> dict[str, float]:
    """Milliseconds of the least call with everything on, then per cent more without each switch.

    A switch that changes nothing in the network's program costs 0 and is not timed.
    """
    model = driver.load_model(path)
    target = driver.target_named("host")
    whole = driver.plan_model(model, target)
    plans = {_ALL: whole}
    for switch in SWITCHES:
        found = driver.plan_model(model, target, options=Options(frozenset({switch})))
        if _program(found) != _program(whole):
            plans[switch] = found
    with ExitStack() as open_networks:
        calls = {}
        for name, compilation in plans.items():
            net = open_networks.enter_context(driver.build(compilation, threads=1))
            inputs = batch_of(compilation, 1)
            calls[name] = partial(net, *(inputs[port.name] for port in net.inputs))
        timings = interleaved(calls, seconds=seconds)
    best = timings[_ALL].best
    changes = {
        switch: 100 * (timings[switch].best / best - 1) if switch in timings else 0.0
        for switch in SWITCHES
    }
    return {_ALL: best * 1e3, **changes}


def _program(compilation: Compilation) -> tuple[list[str], bytes]:
    """All that the machine executes and reads."""
    plan = compilation.plan
    weights = hashlib.sha256(plan.weights.tobytes()).digest()
    return [canonical_text(func) for func in plan.program.funcs], weights


def table(rows: dict[str, dict[str, float]]) -> str:
    """A row for each network, a column for each switch."""
    lines = ["| network | ms | " + " | ".join(SWITCHES) + " |"]
    lines.append("|---|--:" + "|--:" * len(SWITCHES) + "|")
    for name, found in rows.items():
        cells = [f"{found[s]:+.1f} %" if found[s] else "" for s in SWITCHES]
        lines.append(f"| {name} | {found[_ALL]:.2f} | " + " | ".join(cells) + " |")
    meanings = [f"* `{switch}`: {meaning}" for switch, meaning in SWITCHES.items()]
    return "\n".join([*lines, "", *meanings])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="ONNX files")
    parser.add_argument("--only", default=",".join(NETWORKS), help="names of networks")
    parser.add_argument("--seconds", type=float, default=1.5, help="for each setting")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    given = parser.parse_args(arguments)
    rows = {}
    for name in given.only.split(","):
        path = given.folder / f"{name}.onnx"
        if path.exists():
            rows[name] = costs(path, given.seconds)
            sys.stderr.write(f"{name}: {rows[name][_ALL]:.2f} ms\n")
    if given.write:
        replace_marked(given.write, MARK, table(rows))
    else:
        sys.stdout.write(table(rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
