"""`cnncc inspect`: a model as a table, as it is written or as it is compiled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import model
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, screen, size_text

if TYPE_CHECKING:
    from cnncc.driver import Compilation

LAYERS = (
    Column("path", "layer", style="bold"),
    Column("op", "op"),
    Column("shape", "shape", right=True),
    Column("parameters", "parameters", right=True),
    Column("macs", "MACs", right=True),
    Column("memory", "memory", right=True),
)
GROUPS = (
    Column("path", "group", style="bold"),
    Column("ops", "ops"),
    Column("shape", "shape", right=True),
    Column("kernel", "kernel"),
    Column("choice", "tile", style="dim"),
    Column("place", "arena", right=True),
    Column("macs", "MACs", right=True),
)


@click.command()
@model_argument
@click.option("--fused", is_flag=True, help="Show the loop nests that are compiled.")
@click.option("--svg", is_flag=True, help="Draw them, as an SVG picture on stdout.")
@json_option
@model_options
def command(file: str, fused: bool, svg: bool, as_json: bool, options: ModelOptions) -> None:
    """List the layers of FILE: shapes, parameters, multiply-adds, memory of one image."""
    if svg:
        from cnncc.cli import drawing

        compilation = model.plan(file, options)
        click.echo(drawing.svg(compilation.plan, len(compilation.model.graph)), nl=False)
    elif fused:
        _fused(model.plan(file, options), as_json)
    else:
        _layers(file, options, as_json)


def _layers(file: str, options: ModelOptions, as_json: bool) -> None:
    from cnncc.plan.tables import layer_rows

    graph = model.load(file, options, want_arrays=False).graph
    rows = layer_rows(graph)
    total = {
        "parameters": sum(row["parameters"] for row in rows),
        "macs": sum(row["macs"] for row in rows),
    }
    if as_json:
        answer = {"schema": "cnncc.layers/1", "model": graph.name, "layers": rows, **total}
        screen().json(answer)
        return
    for row in rows:
        row["memory"] = size_text(row["bytes"])
    screen().table(LAYERS, [*rows, {"path": f"{len(rows)} layers", **total}], totals=1)


def _fused(compilation: Compilation, as_json: bool) -> None:
    from cnncc.plan.tables import group_rows

    plan = compilation.plan
    facts = plan.interface
    rows = group_rows(plan)
    if as_json:
        sizes = ("weights_bytes", "workspace_bytes", "scratch_bytes")
        memory = {size: getattr(facts, size) for size in sizes}
        names = {"model": facts.name, "target": plan.target.name}
        screen().json({"schema": "cnncc.groups/1", **names, "groups": rows, **memory})
        return
    show_groups(rows)
    own = f" and {size_text(facts.scratch_bytes)} a thread" if facts.scratch_bytes else ""
    screen().result(
        f"\n{len(rows)} loop nests from {len(compilation.model.graph)} nodes, for"
        f" `{plan.target.name}` ({plan.target.cpu}); weights {size_text(facts.weights_bytes)},"
        f" workspace {size_text(facts.workspace_bytes)}{own}"
    )


def show_groups(rows: list[dict[str, Any]]) -> None:
    """The table of loop nests: what was fused, its kernel and tile, its place in the arena."""
    shown = []
    for row in rows:
        first, last = row["offset_bytes"], row["offset_bytes"] + row["bytes"]
        place = f"{first:#x}..{last:#x}" if row["in_arena"] else "output"
        shown.append({**row, "place": place})
    screen().table(GROUPS, shown)
