"""Plain text from tables of rows: a network's summary and the reasons behind it."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from cnncc.errors import InputError

Row = Mapping[str, Any]


def table(rows: Sequence[Row]) -> str:
    """Rows as columns of text, in the order in which keys first occur; numbers to the right."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [[_cell(row.get(key, "")) for key in keys] for row in rows]
    widths = [max(map(len, column)) for column in zip(keys, *cells, strict=True)]
    right = [all(isinstance(row.get(key, 0), int | float) for row in rows) for key in keys]
    lines = []
    for line in (keys, ["-" * width for width in widths], *cells):
        padded = [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def decision_text(row: Row) -> str:
    """One decision: what was chosen, why, the figures, and what was turned down."""
    by = f"  ({row['by']})" if row.get("by") else ""
    lines = [f"{row['choice']}{by}", f"  because {row['reason']}"]
    figures = ", ".join(
        f"{name} = {_cell(value)}" for name, value in row.get("figures", {}).items()
    )
    if figures:
        lines.append(f"  figures: {figures}")
    lines += [f"  not {other}: {why}" for other, why in row.get("rejected", ())]
    return "\n".join(lines)


def explanation(decisions: Sequence[Row], layers: Sequence[Row], layer: str | None) -> str:
    """The decisions on one layer, or all of them, each below the name that it is about.

    A layer that was fused shares the decisions of the loop nest that it is `in`.

    Raises:
        InputError: there is no such layer.
    """
    known = {row["subject"] for row in decisions}
    known |= {row["layer"] for row in layers if "layer" in row}
    if layer is not None and layer not in known:
        near = difflib.get_close_matches(layer, sorted(known), n=3)
        hint = f"did you mean {' or '.join(f'`{n}`' for n in near)}?" if near else ""
        raise InputError(f"there is no layer `{layer}`", hint=hint)
    homes = {row.get("in") for row in layers if layer is not None and row.get("layer") == layer}
    chosen = [row for row in decisions if layer is None or row["subject"] in {layer, *homes}]
    parts: list[str] = []
    subject = None
    for row in chosen:
        if row["subject"] != subject:
            subject = row["subject"]
            parts.append(f"\n{subject}" if parts else str(subject))
        parts.append(textwrap.indent(decision_text(row), "  "))
    return "\n".join(parts) or "no decision was recorded"


def size_text(count: int) -> str:
    """A number of bytes as people read it, such as `44.6 MiB`."""
    value = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        if isinstance(value, list | tuple):
            return f"[{','.join(map(str, value))}]"
        return "" if value is None else str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
