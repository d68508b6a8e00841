"""How near its bound every layer of a folder's networks runs, and why where it stays away.

`python -m cnncc.bench.layer_tables FOLDER` times the stages of each network on one thread and makes
two tables: one line for each kind of kernel, and one for every stage below 70 % of its bound, with
what bounds it and the rule that explains the rest. Stages that agree in all but their names share a
line, and so do those that are too short to tell apart. `bound.py` says what is counted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from cnncc import driver
from cnncc.bench import machine
from cnncc.bench.layers import FAR, Layer, Profile, measure
from cnncc.bench.marked import replace_marked

NETWORKS = ("resnet50", "mobilenet_v2", "efficientnet_b0", "densenet121", "vgg16")
MARK = "layers"
_UNEXPLAINED = "not explained"


def section(name: str, profile: Profile) -> str:
    """A network as Markdown."""
    far = [layer for layer in profile.layers if layer.is_far]
    bound = sum(layer.bound for layer in profile.layers)
    lines = [
        f"### {name}",
        "",
        f"{len(profile.layers)} stages, {profile.seconds * 1e3:.2f} ms. Their bounds add up to"
        f" {bound * 1e3:.2f} ms, {bound / profile.seconds:.0%}. {len(far)} stages, which take"
        f" {sum(layer.seconds for layer in far) / profile.seconds:.1%} of the time, stay below"
        f" {FAR:.0%} of theirs.",
        "",
        *kernel_table(profile),
        "",
        *far_table(far),
    ]
    return "\n".join(lines).strip() + "\n"


def kernel_table(profile: Profile) -> list[str]:
    """One line a kernel, the longest first."""
    groups: dict[str, list[Layer]] = {}
    for layer in profile.layers:
        groups.setdefault(layer.kernel, []).append(layer)
    lines = [
        "| kernel | stages | us | of the time | of their bounds | half of them at least | least |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for kernel, group in sorted(groups.items(), key=lambda item: -_seconds(item[1])):
        shares = [layer.share for layer in group]
        lines.append(
            f"| {kernel} | {len(group)} | {_seconds(group) * 1e6:.0f}"
            f" | {_seconds(group) / profile.seconds:.1%}"
            f" | {sum(layer.bound for layer in group) / _seconds(group):.0%}"
            f" | {median(shares):.0%} | {min(shares):.0%} |"
        )
    return lines


def far_table(far: Sequence[Layer]) -> list[str]:
    """One line for stages that stay away from their bounds, alike ones on one."""
    groups: dict[tuple[str, ...], list[Layer]] = {}
    for layer in far:
        own = () if layer.is_short else (layer.shape, layer.choice, layer.bound_by)
        groups.setdefault((layer.kernel, layer.why, *own), []).append(layer)
    if not groups:
        return []
    lines = [
        "| stage | kernel | result | us | bound, us | of it | bounded by | why |",
        "|---|---|---|--:|--:|--:|---|---|",
    ]
    for group in sorted(groups.values(), key=lambda group: -_seconds(group)):
        layer = group[0]
        others = f" and {len(group) - 1} like it" if len(group) > 1 else ""
        shapes = dict.fromkeys(each.shape for each in group)
        bounds = dict.fromkeys(each.bound_by for each in group)
        us = _range([each.seconds * 1e6 for each in group], ".1f")
        bound = _range([each.bound * 1e6 for each in group], ".1f")
        share = _range([each.share for each in group], ".0%")
        lines.append(
            f"| {layer.path}{others} | {layer.kernel} | {', '.join(shapes)} | {us} | {bound}"
            f" | {share} | {' or '.join(bounds)} | {layer.why or _UNEXPLAINED} |"
        )
    return lines


def _seconds(layers: Iterable[Layer]) -> float:
    return sum(layer.seconds for layer in layers)


def _range(values: Sequence[float], form: str) -> str:
    """The least and the largest, once where they read the same."""
    least, most = f"{min(values):{form}}", f"{max(values):{form}}"
    return least if least == most else f"{least} to {most}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="ONNX files")
    parser.add_argument("--only", default=",".join(NETWORKS), help="names of networks")
    parser.add_argument("--seconds", type=float, default=4.0, help="for each network")
    parser.add_argument("--write", type=Path, help="a Markdown file with marks for the tables")
    given = parser.parse_args(arguments)
    parts = [f"{machine.headline(machine.facts())}. One thread, minima.\n"]
    for name in given.only.split(","):
        path = given.folder / f"{name}.onnx"
        if path.exists():
            parts.append(section(name, measure(driver.compile_model(path), given.seconds)))
            sys.stderr.write(f"{name}\n")
    text = "\n".join(parts)
    if given.write:
        replace_marked(given.write, MARK, text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
