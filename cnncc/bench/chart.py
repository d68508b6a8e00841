"""Bars as an SVG picture that reads well on light and dark pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from cnncc.errors import ArtifactError

_ROW, _LEFT, _WIDTH, _RIGHT, _TOP = 26, 210, 420, 90, 48
_OURS, _OTHERS = "#2f81f7", "#8b949e"
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}"
    "@media (prefers-color-scheme:dark){text{fill:#e6edf3}}"
    ".t{font-size:15px;font-weight:600}"
)


def bars(
    title: str, rows: Sequence[tuple[str, float]], *, unit: str = "ms", ours: str = "cnncc"
) -> str:
    """A horizontal bar for each (name, value); those whose name begins with `ours` stand out."""
    most = max((value for _, value in rows), default=1.0) or 1.0
    height = _TOP + _ROW * len(rows) + 12
    width = _LEFT + _WIDTH + _RIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style>",
        f'<text class="t" x="12" y="26">{escape(title)}</text>',
    ]
    for number, (name, value) in enumerate(rows):
        y = _TOP + number * _ROW
        colour = _OURS if name.startswith(ours) else _OTHERS
        length = max(1.0, _WIDTH * value / most)
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 2}" width="{length:.1f}" height="18" rx="3"'
            f' fill="{colour}"/>',
            f'<text x="{_LEFT + length + 6:.1f}" y="{y + 15}">{value:.3g} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def write_bars(path: Path, title: str, rows: Sequence[tuple[str, float]]) -> None:
    """Write the picture.

    Raises:
        ArtifactError: the file cannot be written.
    """
    try:
        path.write_text(bars(title, rows), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"{path}: the chart cannot be written: {error.strerror}") from error
