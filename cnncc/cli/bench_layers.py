"""`cnncc bench --per-layer`: every stage of a network beside its prediction and its bound."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cnncc.cli.screen import Column, duration, screen

if TYPE_CHECKING:
    from cnncc.bench.layers import Layer, Profile
    from cnncc.driver import Compilation

COLUMNS = (
    Column("path", "stage", style="bold"),
    Column("shape", "result"),
    Column("kernel", "kernel"),
    Column("time", "measured", right=True),
    Column("predicted", "predicted", right=True),
    Column("error", "error", right=True),
    Column("gflops", "GFLOP/s", right=True),
    Column("share", "of bound", right=True),
    Column("bound", "bound by"),
    Column("mark", ""),
    Column("choice", "choice"),
)


def show_layers(compilation: Compilation, seconds: float, *, as_json: bool) -> None:
    """Measure and print; the mark `<` stands where a stage stays far from its bound."""
    from cnncc.bench import machine
    from cnncc.bench.layers import FAR, measure

    facts = machine.facts()
    with screen().waiting("measuring stages"):
        profile = measure(compilation, seconds)
    if as_json:
        screen().json(_answer(compilation, profile, facts))
        return
    screen().result(f"{machine.headline(facts)}\n1 thread, minima")
    screen().result()
    screen().table(COLUMNS, [*map(_row, profile.layers), _total(profile)], totals=1)
    far = sum(layer.is_far for layer in profile.layers)
    screen().result(
        f"the whole call takes {duration(profile.call)};"
        f" half of the predictions are within {profile.median_error:.0%};"
        f" {far} of {len(profile.layers)} stages stay below {FAR:.0%} of their bound (<)"
    )


def _answer(compilation: Compilation, profile: Profile, facts: dict[str, Any]) -> dict[str, Any]:
    plan = compilation.plan
    derived = ("bound_by", "share", "error", "is_far", "why")
    return {
        "schema": "cnncc.bench-layers/1",
        "model": plan.interface.name,
        "target": plan.target.name,
        "machine": facts,
        "call_seconds": profile.call,
        "stage_seconds": profile.seconds,
        "predicted_seconds": profile.predicted,
        "median_error": profile.median_error,
        "layers": [
            asdict(layer) | {name: getattr(layer, name) for name in derived}
            for layer in profile.layers
        ],
    }


def _row(layer: Layer) -> dict[str, Any]:
    return {
        "path": layer.path,
        "shape": layer.shape,
        "kernel": layer.kernel,
        "time": duration(layer.seconds),
        "predicted": duration(layer.predicted),
        "error": f"{layer.error:+.0%}",
        "gflops": f"{2 * layer.macs / layer.seconds / 1e9:.1f}" if layer.macs else "",
        "share": f"{layer.share:.0%}",
        "bound": layer.bound_by,
        "mark": "<" if layer.is_far else "",
        "choice": layer.choice,
    }


def _total(profile: Profile) -> dict[str, Any]:
    error = profile.predicted / profile.seconds - 1
    return {
        "path": "all stages",
        "time": duration(profile.seconds),
        "predicted": duration(profile.predicted),
        "error": f"{error:+.0%}",
    }
