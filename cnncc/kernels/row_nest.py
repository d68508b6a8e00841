"""What kernels share that walk over the rows of one channel block at a time."""

from __future__ import annotations

from collections.abc import Callable

from cnncc.ir.op import lookup
from cnncc.kernels.cost import predict, vector_cycles
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Estimate, Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index
from cnncc.ops.channels import is_channel_shaped

_SMALL_ITEM_OPS = 4096  # vector operations that one thread does sooner than two


def refuses_blocks(site: Site, operands: tuple[int, ...]) -> str:
    """Why operands and result do not lie in equal blocks of whole vectors; empty if they do."""
    out = site.out
    if not isinstance(out, Layout) or out.block != site.lanes:
        return f"the result's blocks must have {site.lanes} channels"
    for operand in operands:
        layout = site.layouts[operand]
        if not isinstance(layout, Layout) or layout.block != out.block:
            return f"operand {operand} must lie in blocks of {site.lanes} channels"
        if layout.segments != out.segments:
            return f"operand {operand} has other segments than the result"
    return ""


def refuses_epilogue(site: Site, first: int = 1, *, pools: bool = False) -> str:
    """Why the steps from `first` on cannot be applied to registers; empty if they can.

    Args:
        site: what is to be computed.
        first: the first step that is none of the kernel's own.
        pools: whether the kernel combines windows behind the steps.
    """
    if site.ends_in_pool and len(site.steps) > first and not pools:
        return "does not pool behind another step"
    for operand in dict.fromkeys(a for s in site.steps[first:] for a in s.args if a >= 0):
        constant = site.constants[operand]
        if constant is None:
            reason = refuses_blocks(site, (operand,))
            if reason:
                return reason
        elif not _is_a_channel(site, first, operand):
            return f"the constant operand {operand} has more than one value a channel"
    return ""


def _is_a_channel(site: Site, first: int, operand: int) -> bool:
    """Whether every step that reads a constant operand takes one number a channel from it."""
    shape = site.types[operand].shape
    readers = [s for s in site.steps[first:] if operand in s.args]
    return all(is_channel_shaped(lookup(s.op), shape, site.result.shape) for s in readers)


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
