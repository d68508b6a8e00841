"""What kernels share that walk over the rows of one channel block at a time."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.kernels.cost import predict, vector_cycles
from cnncc.kernels.template import Estimate, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_SMALL_ITEM_OPS = 4096  # vector operations that one thread does sooner than two


def row_estimate(site: Site, operands: tuple[int, ...], operations: float, choice: str) -> Estimate:
    """Time from memory traffic and vector operations, two of which start in a cycle."""
    layouts = [site.blocked_out, *(site.blocked(o) for o in operands)]
    moved = 4.0 * sum(p.blocks * p.block * p.height * p.width for p in layouts)
    figures = {"bytes": moved, "vector_operations": operations}
    return predict(site, vector_cycles(site, operations), choice, figures, moved=moved)


def grain_of(work: int, operations: float) -> int:
    """Items that make up enough vector operations for a second thread."""
    return max(1, min(work, int(_SMALL_ITEM_OPS * work / max(1.0, operations))))


def for_columns(
    b: Builder, width: int, run: int, body: Callable[[Index, int], None], *, first: int = 0
) -> None:
    """`body(x, count)` over columns `first ..< first + width`: a loop of runs, then the rest."""
    full, rest = divmod(width, run)
    if full == 1:
        body(first, run)
    elif full:
        with b.loop(0, full, hint="run") as runs:
            body(b.iadd(b.imul(runs.iv, run), first), run)
    if rest:
        body(first + full * run, rest)
