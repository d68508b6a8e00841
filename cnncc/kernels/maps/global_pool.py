"""Pooling over whole feature maps: one vector a channel block."""

from __future__ import annotations

from typing import ClassVar

from cnncc.kernels.epilogue import Epilogue, LaneMask, refuses_epilogue
from cnncc.kernels.layout import Layout
from cnncc.kernels.maps.row_nest import grain_of, row_estimate
from cnncc.kernels.template import (
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    Site,
    out_buffer,
    refuses_blocks,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Index, Value

_CHAINS = 8  # accumulators, so that additions do not wait for one another


class GlobalPool(Kernel):
    """One work item is one channel block."""

    name: ClassVar[str] = "global_pool"
    anchors: ClassVar[frozenset[str]] = frozenset({"global_avg_pool", "global_max_pool"})
    by_shape: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        """Operand and result lie in equal blocks."""
        return refuses_blocks(site, site.anchor.args) or refuses_epilogue(site)

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic, and a combination a pixel."""
        chains = f"{min(_CHAINS, site.blocked(site.anchor.args[0]).width)} accumulators"
        return row_estimate(site, site.anchor.args, _operations(site), chains)

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        source, out = site.blocked(site.anchor.args[0]), site.blocked_out
        maximum = site.anchor.op == "global_max_pool"
        epilogue = Epilogue(site)
        mask = LaneMask(site, needed=not epilogue.keeps_zero)
        b = Builder(site.anchor.op)
        x = b.buffer("x", extent=source.elems)
        epilogue.declare(b)
        mask.declare(b)
        result, result_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="block") as blocks:
            block = blocks.iv
            start = b.const(-float("inf") if maximum else 0.0, vector(site.lanes))
            acc = [start] * min(_CHAINS, source.width)
            with b.loop(0, source.height, carry=acc, hint="row") as rows:
                line = source.index(b, block, rows.iv, 0)
                rows.yields(_row(b, x, line, source, rows.carried, maximum=maximum))
            value = _together(b, rows.results, maximum=maximum)
            if not maximum:
                pixels = b.const(float(source.height * source.width), vector(site.lanes))
                value = b.binary("div", value, pixels)
            epilogue.open(b, block, 0, 0)
            value = mask.apply(b, epilogue.apply(b, value), block)
            b.store(result, out.index(b, block, 0, 0), value)
        args = (OperandArg(site.anchor.args[0]), *epilogue.args, *mask.args, result_arg)
        return [Launch(b.func, args, out.blocks, grain_of(out.blocks, _operations(site)))]


def _operations(site: Site) -> float:
    source = site.blocked(site.anchor.args[0])
    cost = 3.0 if site.anchor.op == "global_max_pool" else 1.5
    return cost * source.blocks * source.height * source.width


def _row(
    b: Builder, x: Value, line: Index, source: Layout, acc: list[Value], *, maximum: bool
) -> list[Value]:
    """One row added to the accumulators in turn."""
    op, chains, lanes = "max" if maximum else "add", len(acc), source.block

    def step(values: list[Value], column: Index, count: int) -> list[Value]:
        at = b.iadd(line, b.imul(column, lanes))
        for t in range(count):
            values[t] = b.binary(op, values[t], b.load(x, at, lanes, offset=t * lanes))
        return values

    turns, rest = divmod(source.width, chains)
    if turns == 1:
        acc = step(acc, 0, chains)
    else:
        with b.loop(0, turns, carry=acc, hint="x") as columns:
            columns.yields(step(columns.carried, b.imul(columns.iv, chains), chains))
        acc = columns.results
    return step(acc, turns * chains, rest)


def _together(b: Builder, acc: list[Value], *, maximum: bool) -> Value:
    """The accumulators joined pairwise."""
    op = "max" if maximum else "add"
    while len(acc) > 1:
        half = (len(acc) + 1) // 2
        joined = [b.binary(op, p, q) for p, q in zip(acc[:half], acc[half:], strict=False)]
        acc = joined + acc[len(acc) // 2 : half]
    return acc[0]
