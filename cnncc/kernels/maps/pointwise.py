"""Pointwise operators that no other loop nest took along: one pass over memory for a chain.

A pool whose windows do not overlap may end the chain: the pixels of a window are combined in
registers, and the map before it is never stored.
"""

from __future__ import annotations

from typing import ClassVar

from cnncc import ops  # noqa: F401 - registers the operators that are asked for below
from cnncc.ir.op import Trait, lookup, registered
from cnncc.kernels.epilogue import Epilogue, LaneMask, refuses_epilogue
from cnncc.kernels.maps.row_nest import for_columns, grain_of, row_estimate
from cnncc.kernels.pool_behind import combine_window, pool_of
from cnncc.kernels.shares import each_panel
from cnncc.kernels.template import Estimate, Kernel, Launch, Site, out_buffer, refuses_blocks
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.fused import Step

_RUN = 4  # pixels side by side, so that long chains of operations overlap


class Pointwise(Kernel):
    """One work item is one row of the result, of one channel block.

    Operands are as in an epilogue.
    """

    name: ClassVar[str] = "pointwise"
    anchors: ClassVar[frozenset[str]] = frozenset(
        name for name, op in registered().items() if Trait.POINTWISE in op.traits
    )
    by_shape: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """All steps are pointwise, values lie in equal blocks, constants are per channel."""
        for step in _chain(site):
            if Trait.POINTWISE not in lookup(step.op).traits:
                return f"`{step.op}` is not pointwise"
        if site.ends_in_pool and pool_of(site).overlaps:
            return "pooling windows overlap or hang over the edge"
        reason = refuses_blocks(site, ()) or refuses_epilogue(site, first=0, pools=True)
        return reason or _refuses_shapes(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a few operations a step."""
        values = tuple(i for i, c in enumerate(site.constants) if c is None)
        choice = f"{len(site.steps)} step{'s' if len(site.steps) > 1 else ''} a pass"
        return row_estimate(site, values, _operations(site), choice)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        out, (high, wide) = site.blocked_out, _window(site)
        epilogue = Epilogue(site, first=0, last=len(_chain(site)))
        mask = LaneMask(site, needed=not epilogue.keeps_zero)
        b = Builder("_".join(dict.fromkeys(s.op for s in site.steps)))
        epilogue.declare(b)
        mask.declare(b)
        result, result_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        nothing = b.const(0.0, vector(site.lanes))

        def pixel(x: int) -> Value:
            """The result `x` pixels behind the first of a run."""
            values = [
                epilogue.apply(b, nothing, rows=row, columns=x * wide + column)
                for row in range(high)
                for column in range(wide)
            ]
            if not site.ends_in_pool:
                return values[0]
            return combine_window(b, pool_of(site), values, site.lanes)

        with (
            each_panel(b, (lo, hi), out.blocks, out.height) as (block, first, end),
            b.loop(first, end, hint="row") as rows,
        ):
            row = rows.iv

            def body(x: Index, count: int) -> None:
                epilogue.open(b, block, b.imul(row, high), b.imul(x, wide))
                base = out.index(b, block, row, x)
                for t in range(count):
                    value = mask.apply(b, pixel(t), block)
                    b.store(result, base, value, offset=out.offset(0, 0, t))

            for_columns(b, out.width, max(1, _RUN // (high * wide)), body)
        work = out.blocks * out.height
        args = (*epilogue.args, *mask.args, result_arg)
        return [Launch(b.func, args, work, grain_of(work, _operations(site)))]


def _chain(site: Site) -> tuple[Step, ...]:
    """The steps before a pool."""
    return site.steps[:-1] if site.ends_in_pool else site.steps


def _window(site: Site) -> tuple[int, int]:
    """Rows and columns of the chain's values that make a pixel of the result."""
    high, wide = site.steps[-1].attrs.window if site.ends_in_pool else (1, 1)
    return high, wide


def _refuses_shapes(site: Site) -> str:
    out, (high, wide) = site.blocked_out, _window(site)
    for operand, constant in enumerate(site.constants):
        if constant is not None:
            continue
        layout = site.blocked(operand)
        size = layout.height // high, layout.width // wide
        if (layout.height, layout.width) != (1, 1) and size != (out.height, out.width):
            return f"operand {operand} is neither of the result's shape nor [N,C,1,1]"
    return ""


def _operations(site: Site) -> float:
    out, (high, wide) = site.blocked_out, _window(site)
    each = 4.0 * len(_chain(site)) + float(site.ends_in_pool)
    return each * high * wide * out.blocks * out.height * out.width
