"""`cnncc targets`: the machines that code can be made for."""

from __future__ import annotations

from typing import Any

import click

from cnncc.cli.options import json_option, output_options
from cnncc.cli.screen import Column, screen

COLUMNS = (
    Column("name", "target", style="bold"),
    Column("cpu", "CPU"),
    Column("vector_bits", "vector bits", right=True),
    Column("lanes", "f32 lanes", right=True),
    Column("fma", "FMA"),
    Column("here", "runs here"),
    Column("also", "also called", style="dim"),
)


@click.command()
@json_option
@output_options
def command(as_json: bool) -> None:
    """List the machines that code can be made for; `host` is this one."""
    from cnncc.llvm.host import host_target, missing
    from cnncc.targets import ALIASES, TARGETS

    rows: list[dict[str, Any]] = []
    for name, target in {"host": host_target(), **TARGETS}.items():
        aliases = ["native"] if name == "host" else [a for a, t in ALIASES.items() if t == name]
        row = {
            "name": name,
            "triple": target.triple,
            "cpu": target.cpu,
            "vector_bits": target.vector_bits,
            "lanes": target.lanes(),
            "fma": target.fma,
            "here": not missing(target),
            "aliases": aliases,
        }
        rows.append(row)
    if as_json:
        screen().json({"schema": "cnncc.targets/1", "targets": rows})
        return
    screen().table(COLUMNS, [{**row, "also": ", ".join(row["aliases"])} for row in rows])
