"""`python -m cnncc.bench.predictions FOLDER`: how well the cost model knows this machine.

Every model of the folder is compiled, each stage timed on one thread, and compared with what the
model predicted. `--write FILE` puts the tables between that file's marks.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

from cnncc import driver
from cnncc.bench import machine
from cnncc.bench.layers import Layer, Profile, measure
from cnncc.bench.marked import replace_marked
from cnncc.errors import CnnccError
from cnncc.runtime.report import table

MARK = "predictions"
_LEAST_SECONDS = 2e-6  # shorter stages are call and return, and the clock


def summary(name: str, profile: Profile) -> dict[str, Any]:
    """One row a network: errors of its stages, and of their sum."""
    counted = judged(profile.layers)
    return {
        "network": name,
        "stages": len(profile.layers),
        "ms": round(profile.seconds * 1e3, 3),
        "predicted_ms": round(profile.predicted * 1e3, 3),
        "sum_error": round(profile.predicted / profile.seconds - 1, 3),
        "median_error": round(median(abs(e.error) for e in counted), 3) if counted else None,
        "below_70": sum(layer.is_far for layer in profile.layers),
    }


def judged(layers: Iterable[Layer]) -> list[Layer]:
    """The stages that are long enough for a clock."""
    return [layer for layer in layers if layer.seconds >= _LEAST_SECONDS]


def by_kernel(layers: Iterable[Layer]) -> list[dict[str, Any]]:
    """One row a kernel: how often it runs, its time, and the errors of its predictions."""
    groups: dict[str, list[Layer]] = {}
    for layer in judged(layers):
        groups.setdefault(layer.kernel, []).append(layer)
    rows = [
        {
            "kernel": kernel,
            "stages": len(group),
            "ms": round(sum(e.seconds for e in group) * 1e3, 3),
            "bias": round(median(e.error for e in group), 3),
            "median_error": round(median(abs(e.error) for e in group), 3),
            "sum_error": round(
                sum(e.predicted for e in group) / sum(e.seconds for e in group) - 1, 3
            ),
        }
        for kernel, group in groups.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def page(
    facts: dict[str, Any], rows: list[dict[str, Any]], layers: Iterable[Layer], longest: int = 10
) -> str:
    """The tables as Markdown: networks, and the kernels that take longest."""
    counted = judged(layers)
    overall = median(abs(e.error) for e in counted) if counted else 0.0
    lines = [
        f"{machine.headline(facts)}. One thread, minima, {len(rows)} networks, {len(counted)}"
        f" stages: half of the predictions are within {overall:.0%}.",
        "",
        "| network | stages | ms | predicted ms | median error |",
        "|---|--:|--:|--:|--:|",
    ]
    for row in rows:
        error = "" if row["median_error"] is None else f"{row['median_error']:.0%}"
        lines.append(
            f"| {row['network']} | {row['stages']} | {row['ms']} | {row['predicted_ms']}"
            f" | {error} |"
        )
    lines += ["", "| kernel | stages | ms | median error | of the sum |", "|---|--:|--:|--:|--:|"]
    lines += [
        f"| {row['kernel']} | {row['stages']} | {row['ms']} | {row['median_error']:.0%}"
        f" | {row['sum_error']:+.0%} |"
        for row in by_kernel(counted)[:longest]
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure the models of a folder, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", type=Path, help="folders or model files")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each model")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the tables")
    given = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    layers: list[Layer] = []
    for file in _files(given.models):
        try:
            profile = measure(driver.compile_model(file), given.seconds)
        except CnnccError as error:
            sys.stderr.write(f"{file.name}: {error}\n")
            continue
        rows.append(summary(file.stem, profile))
        layers += profile.layers
    counted = judged(layers)
    overall = round(median(abs(e.error) for e in counted), 3) if counted else None
    facts, kernels = machine.facts(), by_kernel(layers)
    if given.write:
        replace_marked(given.write, MARK, page(facts, rows, layers))
        return
    if given.json:
        answer = {
            "schema": "cnncc.bench-predictions/1",
            "machine": facts,
            "median_error": overall,
            "networks": rows,
            "kernels": kernels,
        }
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return
    sys.stdout.write(
        f"{machine.headline(facts)}\n1 thread, minima\n\n{table(rows)}\n\n{table(kernels)}\n\n"
        f"half of {len(counted)} predictions are within {overall}\n"
    )


def _files(given: list[Path]) -> list[Path]:
    found: list[Path] = []
    for path in given:
        inside = sorted(path.glob("*.onnx")) + sorted(path.glob("*.cnn"))
        found += inside if path.is_dir() else [path]
    return found


if __name__ == "__main__":
    main()
