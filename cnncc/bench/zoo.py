"""Every network of a folder beside other engines, as tables for `docs/performance.md`.

`python -m cnncc.bench.zoo FOLDER --python PATH` measures one network after the other at each number
of threads, keeps what it measured in a JSON file (a network that is there is not measured again),
and writes the tables and a chart from that file.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnncc import driver
from cnncc.bench import machine
from cnncc.bench.chart import bars
from cnncc.bench.latency import OURS, Result, measure_beside
from cnncc.bench.marked import replace_marked
from cnncc.errors import CnnccError

NETWORKS = (
    *("lenet5", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_large", "shufflenet_v2_x1_0"),
    *("efficientnet_b0", "resnet18", "resnet50", "vgg16", "vgg16_quarter", "googlenet"),
    *("inception_v3", "densenet121", "unet_small", "unet_bilinear", "yolov3_tiny", "yolo_nano"),
    *("espcn_x3", "fsrcnn_x2"),
)
BEST_OF = ("onnxruntime", "openvino", "ncnn", "mnn")
MARK = "peers"
Row = dict[str, Any]


def measured(path: Path, threads: int, peers: Sequence[str], python: str, seconds: float) -> Row:
    """One network with one number of threads, as data."""
    compilation = driver.compile_model(path)
    result = measure_beside(
        compilation, peers, python=python, threads=threads, seconds=seconds, file=path
    )
    return entry(path.stem, result)


def entry(name: str, result: Result) -> Row:
    """A result as a row of the file."""
    return {
        "network": name,
        "threads": result.threads,
        "mmac": round(result.macs / 1e6, 1),
        "peak_gflops": round(result.peak_gflops, 1),
        "milliseconds": {e: round(t.best * 1e3, 4) for e, t in result.timings.items()},
        "medians": {e: round(t.median * 1e3, 4) for e, t in result.timings.items()},
        "differences": {e: float(f"{d:.2g}") for e, d in result.differences.items()},
        "versions": result.versions,
        "told": result.told,
        "failures": result.failures,
    }


def best_peer(row: Row) -> tuple[str, float] | None:
    """The quickest other engine and its time over ours; None where none ran."""
    times: Mapping[str, float] = row["milliseconds"]
    others = {engine: took for engine, took in times.items() if engine in BEST_OF}
    if not others:
        return None
    name = min(others, key=others.__getitem__)
    return name, others[name] / times[OURS]


def table(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
    """Everything that goes between the marks, as Markdown."""
    parts = [machine.headline(dict(facts)) + ".", ""]
    versions: dict[str, str] = {}
    for row in rows:
        versions |= row["versions"]
    parts += [", ".join(f"{e} {v}" for e, v in versions.items() if e != OURS) + ".", ""]
    for threads in sorted({row["threads"] for row in rows}):
        chosen = [row for row in rows if row["threads"] == threads]
        parts += [f"### {threads} thread{'s' * (threads != 1)}", "", *_table(chosen), ""]
        ratios = [best[1] for row in chosen if (best := best_peer(row))]
        if ratios:
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            parts += [
                f"Geometric mean over {len(ratios)} networks: the best of the other engines takes"
                f" **{mean:.2f} times** as long as cnncc; the least is {min(ratios):.2f}.",
                "",
            ]
    return "\n".join([*parts, *_scaling(rows)]).rstrip() + "\n"


def _engines(rows: Sequence[Row]) -> list[str]:
    return [OURS, *sorted({e for row in rows for e in row["milliseconds"]} - {OURS})]


def _table(rows: Sequence[Row]) -> list[str]:
    engines = _engines(rows)
    head = ["network", "MMAC", *(f"{e}, ms" for e in engines), "of peak", "best peer", "times ours"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 3) + "|---|--:|"]
    for row in sorted(rows, key=_place):
        times = row["milliseconds"]
        best = best_peer(row)
        share = 2 * row["mmac"] / 1e3 / (times[OURS] / 1e3) / row["peak_gflops"] / row["threads"]
        cells = [row["network"], f"{row['mmac']:.0f}" if row["mmac"] >= 1 else f"{row['mmac']}"]
        cells += [f"{times[e]:.4g}" if e in times else "-" for e in engines]
        cells += [f"{share:.0%}", *((best[0], f"{best[1]:.2f}") if best else ("-", "-"))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _scaling(rows: Sequence[Row]) -> list[str]:
    """How many times as quick each engine is with the most threads as with one."""
    counts = sorted({row["threads"] for row in rows})
    if len(counts) < 2:
        return []
    engines = _engines(rows)
    least, most = counts[0], counts[-1]
    times = {(row["network"], row["threads"]): row["milliseconds"] for row in rows}
    lines = [f"### From {least} to {most} threads", "", "| network | " + " | ".join(engines) + " |"]
    lines.append("|---" + "|--:" * len(engines) + "|")
    for row in sorted((r for r in rows if r["threads"] == least), key=_place):
        alone, together = row["milliseconds"], times.get((row["network"], most), {})
        cells = [
            f"{alone[e] / together[e]:.2f}" if e in alone and e in together else "-"
            for e in engines
        ]
        lines.append(f"| {row['network']} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _place(row: Row) -> tuple[int, str]:
    name = row["network"]
    return (NETWORKS.index(name) if name in NETWORKS else len(NETWORKS), name)


def chart(rows: Sequence[Row], threads: int = 1) -> str:
    """How many times as long the best other engine takes, network by network."""
    chosen = sorted((row for row in rows if row["threads"] == threads), key=_place)
    found = [(row["network"], best) for row in chosen if (best := best_peer(row))]
    title = f"Best other engine: times cnncc's latency, {threads} thread{'s' * (threads != 1)}"
    return bars(title, [(f"{name} ({peer})", ratio) for name, (peer, ratio) in found], unit="x")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is missing and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="ONNX files")
    parser.add_argument("--only", default="", help="names, instead of the usual ones")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--against", default=",".join(BEST_OF))
    parser.add_argument("--python", default=os.environ.get("CNNCC_PEERS_PYTHON") or sys.executable)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each engine")
    parser.add_argument(
        "--json", type=Path, default=Path("build/peers.json"), help="what was measured"
    )
    parser.add_argument("--again", action="store_true", help="measure what is there, too")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the table")
    parser.add_argument("--picture", type=Path, help="an SVG file for the chart")
    given = parser.parse_args(arguments)
    kept = json.loads(given.json.read_text()) if given.json.exists() else {"rows": []}
    rows: dict[tuple[str, int], Row] = {(r["network"], r["threads"]): r for r in kept["rows"]}
    wanted = given.only.split(",") if given.only else NETWORKS
    for name in wanted:
        path = given.folder / f"{name}.onnx"
        for threads in map(int, given.threads.split(",")):
            if not path.exists() or ((name, threads) in rows and not given.again):
                continue
            try:
                row = measured(path, threads, given.against.split(","), given.python, given.seconds)
            except CnnccError as error:
                sys.stderr.write(f"{name}: {error}\n")
                continue
            rows[name, threads] = row
            best = best_peer(row)
            told = f"{best[0]} takes {best[1]:.2f} x" if best else "no other engine ran"
            sys.stderr.write(f"{name}, {threads}: {row['milliseconds'][OURS]:.3f} ms, {told}\n")
            stored = {"machine": machine.facts(), "rows": list(rows.values())}
            given.json.parent.mkdir(parents=True, exist_ok=True)
            given.json.write_text(json.dumps(stored, indent=1) + "\n")
    if not given.json.exists():
        sys.stderr.write(f"{given.folder} has none of the networks\n")
        return 1
    known = json.loads(given.json.read_text())
    if given.write:
        replace_marked(given.write, MARK, table(known["rows"], known["machine"]))
    if given.picture:
        given.picture.write_text(chart(known["rows"]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
