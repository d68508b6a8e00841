"""The pool that ends a site: its windows, from registers or from rows held in scratch memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial, reduce

from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Site
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.ops.fused import Step
from cnncc.ops.pool import windows_apart


@dataclass(frozen=True, slots=True)
class PoolBehind:
    """The pool behind a convolution.

    Attributes:
        step: operator and attributes.
        rows: pooled rows.
        columns: pooled columns.
    """

    step: Step
    rows: int
    columns: int

    @property
    def is_max(self) -> bool:
        """Whether it takes the maximum rather than the mean."""
        return self.step.op == "max_pool2d"

    @property
    def overlaps(self) -> bool:
        """Whether windows share pixels, hang over the edge or may not fill up."""
        return not windows_apart(self.step.attrs)


def pool_of(site: Site) -> PoolBehind:
    """The pool that ends a site."""
    return PoolBehind(site.steps[-1], site.result.shape[2], site.result.shape[3])


def combine_window(b: Builder, pool: PoolBehind, values: list[Value], lanes: int) -> Value:
    """The maximum or mean of the pixels of a window, all of them inside the map."""
    total = values[0]
    for value in values[1:]:
        total = b.binary("max" if pool.is_max else "add", total, value)
    if pool.is_max:
        return total
    return b.binary("div", total, b.splat(b.const(float(len(values))), lanes))


@dataclass(frozen=True, slots=True)
class HeldRows:
    """The rows that a row of windows reads, with their padding, in scratch memory.

    Attributes:
        buffer: where they are.
        starts: the element at which each row begins.
        pixel: elements from one pixel to the next.
        vectors: vectors of a pixel.
        lanes: lanes of each.
    """

    buffer: Value
    starts: Sequence[Index]
    pixel: int
    vectors: int
    lanes: int


def pool_row(
    b: Builder,
    pool: PoolBehind,
    held: HeldRows,
    to: tuple[Value, Layout, Index, Index],
    divisor: Value | None = None,
) -> None:
    """One pooled row.

    Args:
        b: where the code goes.
        pool: the windows.
        held: their rows.
        to: buffer and layout of the result, its first block of channels and its row.
        divisor: by how much to divide each pixel's sum, for a mean.
    """
    window, stride = pool.step.attrs.window, pool.step.attrs.strides[1]
    (buffer, out, block, oy), vectors, lanes = to, held.vectors, held.lanes
    op = "max" if pool.is_max else "add"
    shared = max(0, window[1] - stride)  # columns that the next window takes too

    def column(x: Index, number: int, v: int) -> Value:
        offset = number * held.pixel + v * lanes
        values = [b.load(held.buffer, b.iadd(s, x), lanes, offset=offset) for s in held.starts]
        return reduce(partial(b.binary, op), values)

    carry = [column(0, n, v) for n in range(shared) for v in range(vectors)]
    with b.loop(0, pool.columns, carry=carry, hint="ox") as columns:
        x = b.imul(columns.iv, stride * held.pixel)
        base = out.index(b, block, oy, columns.iv)
        fresh = [column(x, n, v) for n in range(shared, window[1]) for v in range(vectors)]
        seen = [*columns.carried, *fresh]
        if shared:
            columns.yields(seen[-shared * vectors :])
        for v in range(vectors):
            total = reduce(partial(b.binary, op), seen[v::vectors])
            if divisor is not None:
                at = b.iadd(b.imul(oy, pool.columns), columns.iv)
                total = b.binary("div", total, b.load_splat(divisor, at, lanes))
            b.store(buffer, base, total, offset=out.offset(v, 0, 0))
