"""The loop nests of a plan as an SVG picture: what each one fuses, and where its result lies.

Rows follow the order of execution. Arcs at the left show values that skip rows; the bars at the
right are the arena, from its first byte to its last.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, Any

from cnncc.cli.screen import printable, size_text

if TYPE_CHECKING:
    from cnncc.plan.lower import Plan

ROW, TOP, LEFT = 58, 66, 64
BOX, GAP, ARENA = 560, 24, 260
WIDTH = LEFT + BOX + GAP + ARENA + 24
_CHAR, _SMALL_CHAR = 7.9, 7.3  # widths of characters, with a little to spare
_WORDS = {"conv2d": "conv", "max_pool2d": "maxpool", "avg_pool2d": "avgpool"}
_STYLE = """\
text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #24292f }
.title { font-size: 16px; font-weight: bold } .dim { fill: #656d76; font-size: 12px }
.box { fill: #f6f8fa; stroke: #d0d7de } .pill { fill: #ddf4ff; stroke: #54aeff }
.anchor { fill: #54aeff; stroke: #218bff } .flow { fill: none; stroke: #8c959f; stroke-width: 1.5 }
.arena { fill: #eaeef2 } .used { fill: #4ac26b }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .dim { fill: #8d96a0 } .box { fill: #161b22; stroke: #30363d }
  .pill { fill: #0c2d6b; stroke: #388bfd } .anchor { fill: #1f6feb; stroke: #58a6ff }
  .arena { fill: #21262d } .used { fill: #2ea043 }
}"""


def svg(plan: Plan, nodes: int) -> str:
    """The picture of a plan whose model had so many nodes."""
    from cnncc.plan.tables import group_rows

    rows = group_rows(plan)
    height = TOP + ROW * len(rows) + 12
    facts = plan.interface
    title = f"{printable(facts.name)}: {nodes} nodes became {len(rows)} loop nests"
    below = f"{plan.target.cpu}; weights {size_text(facts.weights_bytes)}, arena"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        _text(LEFT, 26, title, "title"),
        _text(LEFT, 46, f"{below} {size_text(facts.workspace_bytes)}", "dim"),
        _text(LEFT + BOX + GAP, 46, "result in the arena", "dim"),
    ]
    for number, row in enumerate(rows):
        parts += _row(TOP + ROW * number, row, facts.workspace_bytes)
    parts += _flows(plan)
    return "\n".join([*parts, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    mark = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{mark}>{escape(printable(text))}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str, radius: int = 6) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius}"'
        f' class="{kind}"/>'
    )


def _row(y: int, row: dict[str, Any], arena: int) -> Iterator[str]:
    yield _rect(LEFT, y, BOX, ROW - 12, "box")
    x = float(LEFT + 10)
    for number, op in enumerate(row["ops"]):
        name = _WORDS.get(op, op)
        width = _CHAR * len(name) + 14
        yield _rect(x, y + 5, width, 18, "pill" if number else "pill anchor", 9)
        yield _text(x + 7, y + 18, name)
        x += width + 6
    shape = row["shape"]
    yield _text(LEFT + BOX - 10 - _CHAR * len(shape), y + 18, shape)
    words = f"{row['path']}: {row['kernel']}, {row['choice']}"
    room = int((BOX - 24) / _SMALL_CHAR)
    yield _text(LEFT + 12, y + 39, words if len(words) <= room else words[: room - 1] + "…", "dim")
    start = LEFT + BOX + GAP
    if not row["in_arena"]:
        yield _text(start, y + 28, "the caller's array", "dim")
        return
    yield _rect(start, y + 14, ARENA, 16, "arena", 3)
    first = ARENA * row["offset_bytes"] / max(arena, 1)
    width = max(2.0, ARENA * row["bytes"] / max(arena, 1))
    yield _rect(round(start + first, 1), y + 14, round(width, 1), 16, "used", 3)


def _flows(plan: Plan) -> Iterator[str]:
    """A line from row to row, and an arc for each value that skips some."""
    rows = {stage.node: number for number, stage in enumerate(plan.stages)}
    for node, number in rows.items():
        for source in sorted({rows[s] for s in _makers(plan, node, rows)}):
            start, end = TOP + ROW * source + ROW - 12, TOP + ROW * number
            if number == source + 1:
                x = LEFT + 24
                yield f'<path class="flow" d="M{x} {start}V{end}"/>'
            else:
                reach = min(LEFT - 8, 14 + 6 * (number - source))
                middle = ROW // 2 - 6
                yield (
                    f'<path class="flow" d="M{LEFT} {start - middle}'
                    f"C{LEFT - reach} {start - middle},{LEFT - reach} {end + middle},"
                    f'{LEFT} {end + middle}"/>'
                )


def _makers(plan: Plan, node: int, rows: dict[int, int]) -> Iterator[int]:
    """The loop nests whose results a node reads, through views and joins that cost nothing."""
    pending, seen = list(plan.graph.operands(node)), set()
    while pending:
        operand = pending.pop()
        if operand in seen:
            continue
        seen.add(operand)
        if operand in rows:
            yield operand
        else:
            pending += plan.graph.operands(operand)
