"""`cnncc explain`: the reasons behind a compiled layer, or the long text of an error code."""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import model
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import screen, size_text

if TYPE_CHECKING:
    from cnncc.driver import Compilation

CODE = re.compile(r"[EeWw]\d{4}")


@click.command()
@model_argument
@click.argument("layer", required=False)
@json_option
@model_options
def command(file: str, layer: str | None, as_json: bool, options: ModelOptions) -> None:
    """Tell why LAYER of FILE was fused, which kernel and tile it got, where it lies in memory.

    With an error code in place of FILE, such as E0402, tell what that code means.
    """
    if CODE.fullmatch(file) and layer is None:
        _code(file, as_json)
        return
    compilation = model.plan(file, options)
    groups = _chosen(compilation, layer)
    if as_json:
        screen().json({"schema": "cnncc.explanation/1", "groups": groups})
        return
    for number, group in enumerate(groups):
        if number:
            screen().result()
        _show(group)


def _code(code: str, as_json: bool) -> None:
    from cnncc.errors import InputError
    from cnncc.spec import explain
    from cnncc.spec.catalogue import CATALOGUE

    text = explain(code)
    if text is None:
        near = difflib.get_close_matches(code.upper(), CATALOGUE, n=3, cutoff=0.5)
        hint = f"near it are {', '.join(near)}" if near else "docs/errors.md lists all codes"
        raise InputError(f"there is no code `{code}`", hint=hint)
    if as_json:
        screen().json({"schema": "cnncc.code/1", "code": code.upper(), "text": text})
        return
    screen().result(text.rstrip("\n"))


def _chosen(compilation: Compilation, layer: str | None) -> list[dict[str, Any]]:
    """The groups of the plan, or those that have to do with one layer, with their decisions."""
    from cnncc.errors import InputError
    from cnncc.plan.tables import decision_rows, group_rows, layer_rows

    layers = {row["path"]: row for row in layer_rows(compilation.model.graph)}
    decisions = decision_rows(compilation.plan.graph)
    tensors = compilation.model.graph.meta.get("tensors", {})
    groups = []
    claimed: set[str] = set()
    for group in group_rows(compilation.plan):
        members = {group["path"], *group["members"]}
        claimed |= members
        about = [row for row in decisions if row["subject"] in members]
        lines = sorted({layers[m]["line"] for m in members if m in layers} - {0})
        known = [tensors[m] for m in group["members"] if m in tensors]
        if layer is None or layer in members:
            groups.append({**group, "lines": lines, "tensors": known, "decisions": about})
    others = [row for row in decisions if row["subject"] not in claimed]
    for subject in dict.fromkeys(row["subject"] for row in others):
        if layer is None or layer == subject:
            about = [row for row in others if row["subject"] == subject]
            groups.append({"path": subject, "decisions": about})
    if layer is not None and not groups:
        if layer in layers:
            return [{"path": layer, "decisions": []}]
        names = {*layers, *claimed}
        near = difflib.get_close_matches(layer, sorted(names), n=3)
        hint = f"did you mean {' or '.join(f'`{name}`' for name in near)}?" if near else ""
        raise InputError(f"there is no layer `{layer}`", hint=hint or "`cnncc inspect` lists them")
    return groups


def _show(group: dict[str, Any]) -> None:
    out = screen().result
    out(group["path"], bold=True)
    if "kernel" in group:
        lines = ", ".join(map(str, group["lines"]))
        out(f"  computes  {' + '.join(group['ops'])} -> {group['shape']}")
        if lines:
            out(f"  written   line{'s' * (len(group['lines']) > 1)} {lines}")
        if group["tensors"]:
            out(f"  in ONNX   {', '.join(group['tensors'])}")
        out(f"  kernel    {group['kernel']}, {group['choice']}")
        out(f"  layout    {group['layout']}, {size_text(group['bytes'])}")
        if group["in_arena"]:
            out(f"  memory    byte {group['offset_bytes']:,} of the arena")
        out(f"  expected  {group['predicted_us']:,.1f} us on one core, {group['macs']:,} MACs")
    if not group["decisions"]:
        out("  nothing was decided about it: it is computed by no loop nest of its own")
    for decision in group["decisions"]:
        out(f"  {decision['by']}: {decision['choice']}")
        out(f"    because {decision['reason']}")
        figures = ", ".join(f"{k} {v:,.6g}" for k, v in decision["figures"].items())
        if figures:
            out(f"    figures: {figures}")
        for other, why in decision["rejected"]:
            out(f"    not {other}: {why}")
