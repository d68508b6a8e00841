"""Names: from an ONNX file's to dotted paths that every other part of the compiler can print."""

from __future__ import annotations

import re

_LEGAL = re.compile(r"[^A-Za-z0-9_]+")
_LONGEST = 200


def dotted(name: str, op_type: str, index: int) -> str:
    """A path such as `layer1.0.conv1` for a node called `/layer1/layer1.0/conv1/Conv`.

    Exporters repeat the path of a module in front of each of its parts, and end with the operator;
    neither says anything new. Names without a legal character become the operator and the index.
    """
    parts = [p for p in re.split(r"[/:]+", name[: 4 * _LONGEST]) if p]
    if len(parts) > 1 and re.fullmatch(re.escape(op_type) + r"(_\d+)?", parts[-1]):
        parts.pop()
    kept: list[str] = []
    for part in parts:
        if kept and part.startswith(kept[-1] + "."):
            kept.pop()
        kept.append(part)
    words = [_LEGAL.sub("_", w).strip("_") for p in kept for w in p.split(".")]
    path = ".".join(w for w in words if w)[:_LONGEST].rstrip(".")
    return path or f"{op_type.lower()}{index}"
