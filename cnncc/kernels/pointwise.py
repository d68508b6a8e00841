"""Pointwise operators that no other loop nest took along: one pass over memory for a chain."""

from __future__ import annotations

from typing import ClassVar

from cnncc import ops  # noqa: F401 - registers the operators that are asked for below
from cnncc.ir.op import Trait, lookup, registered
from cnncc.kernels.conv_nest import out_buffer
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.row_nest import (
    for_columns,
    grain_of,
    refuses_blocks,
    refuses_epilogue,
    row_estimate,
)
from cnncc.kernels.template import Estimate, Kernel, Launch, Site
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index

_RUN = 4  # pixels side by side, so that long chains of operations overlap


class Pointwise(Kernel):
    """One work item is one row of one channel block. Operands are as in an epilogue."""

    name: ClassVar[str] = "pointwise"
    anchors: ClassVar[frozenset[str]] = frozenset(
        name for name, op in registered().items() if Trait.POINTWISE in op.traits
    )

    def refuses(self, site: Site) -> str:
        """All steps are pointwise, values lie in equal blocks, constants are per channel."""
        for step in site.steps:
            if Trait.POINTWISE not in lookup(step.op).traits:
                return f"`{step.op}` is not pointwise"
        return refuses_blocks(site, ()) or refuses_epilogue(site, first=0) or _refuses_shapes(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a few operations a step."""
        values = tuple(i for i, c in enumerate(site.constants) if c is None)
        choice = f"{len(site.steps)} step{'s' if len(site.steps) > 1 else ''} a pass"
        return row_estimate(site, values, _operations(site), choice)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        out = site.blocked_out
        epilogue = Epilogue(site, first=0)
        mask = LaneMask(site, needed=not epilogue.keeps_zero)
        b = Builder("_".join(dict.fromkeys(s.op for s in site.steps)))
        epilogue.declare(b)
        mask.declare(b)
        result, result_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        nothing = b.const(0.0, vector(site.lanes))
        with b.loop(lo, hi, hint="item") as items:
            block, row = b.idiv(items.iv, out.height), b.irem(items.iv, out.height)

            def body(x: Index, count: int) -> None:
                epilogue.open(b, block, row, x)
                base = out.index(b, block, row, x)
                for t in range(count):
                    value = mask.apply(b, epilogue.apply(b, nothing, columns=t), block)
                    b.store(result, base, value, offset=out.offset(0, 0, t))

            for_columns(b, out.width, _RUN, body)
        work = out.blocks * out.height
        args = (*epilogue.args, *mask.args, result_arg)
        return [Launch(b.func, args, work, grain_of(work, _operations(site)))]


def _refuses_shapes(site: Site) -> str:
    out = site.blocked_out
    for operand, constant in enumerate(site.constants):
        if constant is not None:
            continue
        layout = site.blocked(operand)
        if (layout.height, layout.width) not in ((1, 1), (out.height, out.width)):
            return f"operand {operand} is neither of the result's shape nor [N,C,1,1]"
    return ""


def _operations(site: Site) -> float:
    out = site.blocked_out
    return 4.0 * len(site.steps) * out.blocks * out.height * out.width
