"""Fully connected layers: one pass over the weights, which is all the memory traffic there is.

The input vector may lie anywhere (a feature map is read where it is): the rows of the weights are
permuted to match, with zeros where the buffer has halo or padding lanes.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.kernels.cost import predict
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.layout import AnyLayout, FlatLayout, Layout
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    Site,
    bias_arg,
    out_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value

_CHAINS = 8  # accumulators in flight
_PIECE = 256  # elements of the input in a chain, before what they give is added to the total


class Dense(Kernel):
    """One work item is one panel of output channels. Also a 1x1 convolution of a single pixel."""

    name: ClassVar[str] = "dense"
    anchors: ClassVar[frozenset[str]] = frozenset({"dense", "conv2d"})
    by_shape: ClassVar[bool] = True

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        if site.ends_in_pool:
            return "does not pool"
        if site.constants[w] is None:
            return "the weights are computed at run time"
        if not isinstance(site.layouts[x], Layout | FlatLayout):
            return "needs its input in a layout of the network"
        if not isinstance(site.out, Layout) or site.out.block != site.lanes:
            return f"the result's blocks must have {site.lanes} channels"
        if site.anchor.op == "conv2d":
            if site.anchor.attrs.groups != 1 or any(site.anchor.attrs.pads):
                return "has groups or padding"
            if site.types[x].shape[2:] != (1, 1) or site.types[w].shape[2:] != (1, 1):
                return "more than one pixel"
        return ""

    def estimate(self, site: Site) -> Estimate:
        elems = _positions(site.layouts[site.anchor.args[0]])[1] * site.blocked_out.blocks
        read = elems * site.lanes * 4
        vectors = panel_vectors(site.blocked_out.blocks)
        loads = elems / site.target.machine.loads
        words = f"panels of {vectors} vectors"
        return predict(site, loads, words, {"bytes": float(read)}, fmas=elems, weights=read)

    def lower(self, site: Site) -> list[Launch]:
        out_layout = site.blocked_out
        vectors = panel_vectors(out_layout.blocks)
        panels, width = out_layout.blocks // vectors, vectors * out_layout.block
        _, depth = _positions(site.layouts[site.anchor.args[0]])
        elems = panels * depth * width
        epilogue = Epilogue(site)
        # Even if the epilogue keeps zeros: NaN times a padding lane's zero weight is NaN.
        mask = LaneMask(site, needed=True)
        b = Builder(self.name)
        x = b.buffer("x", extent=depth)
        w = b.buffer("weights", extent=elems)
        weights = site.packed(elems, partial(pack_dense, vectors=vectors))
        args: list[Arg] = [OperandArg(site.anchor.args[0]), weights]
        bias_param: Value | None = None
        if len(site.anchor.args) == 3:
            bias_param = b.buffer("bias", extent=out_layout.blocks * out_layout.block)
            args.append(bias_arg(site, site.anchor.args[2], out_layout))
        epilogue.declare(b)
        mask.declare(b)
        out, out_arg = out_buffer(b, site)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        with b.loop(lo, hi, hint="panel") as panel:
            sums = _reduce(b, site.lanes, vectors, depth, (x, w), panel.iv)
            first = b.imul(panel.iv, vectors)
            epilogue.open(b, first, 0, 0)
            base = out_layout.index(b, first, 0, 0)
            for v, total in enumerate(sums):
                value = total
                if bias_param is not None:
                    at = b.imul(first, site.lanes)
                    add = b.load(bias_param, at, site.lanes, offset=v * site.lanes)
                    value = b.binary("add", value, add)
                value = epilogue.apply(b, value, blocks=v)
                value = mask.apply(b, value, b.iadd(first, v))
                b.store(out, base, value, offset=out_layout.offset(v, 0, 0))
        args += [*epilogue.args, *mask.args, out_arg]
        return [Launch(b.func, tuple(args), panels, grain=max(1, 16384 // (depth * width)))]


def panel_vectors(blocks: int) -> int:
    """Vectors of output channels that share one load of the input."""
    return next(v for v in (4, 3, 2, 1) if blocks % v == 0)


def _positions(layout: AnyLayout | None) -> tuple[NDArray[np.int64], int]:
    """Where the logical elements lie, and how many elements the buffer has."""
    if isinstance(layout, FlatLayout):
        return layout.positions(), layout.elems
    if isinstance(layout, Layout):
        return FlatLayout(layout, "chw").positions(), layout.elems
    return np.zeros(0, np.int64), 0


def pack_dense(site: Site, vectors: int) -> NDArray[np.float32]:
    """Weights [O,K] as `[panel][buffer element][vectors * lanes]`, zeros where no element is."""
    w = np.asarray(site.constant(site.anchor.args[1]), np.float32)
    places, depth = _positions(site.layouts[site.anchor.args[0]])
    out = site.blocked_out
    spread = np.zeros((out.blocks * out.block, depth), np.float32)
    spread[out.channel_slots[:, None], places[None, :]] = w.reshape(w.shape[0], -1)
    panels = spread.reshape(out.blocks // vectors, vectors * out.block, depth)
    return np.ascontiguousarray(panels.transpose(0, 2, 1))


def _reduce(
    b: Builder, lanes: int, vectors: int, depth: int, params: tuple[Value, Value], panel: Value
) -> list[Value]:
    """Dot products of the input with one panel, in pieces of several chains that are added up.

    Long chains of multiply-adds round more than many short ones: `conv_tile.Pieces`.
    """
    x, w = params
    most = min(_CHAINS // vectors, depth)
    chains = 1 << (most.bit_length() - 1)  # a power of two adds up in pairs
    width = vectors * lanes
    base = b.imul(panel, depth * width)
    zeros = [b.splat(b.const(0.0), lanes)] * vectors

    def step(acc: list[Value], k: Index, count: int) -> list[Value]:
        at = b.iadd(base, b.imul(k, width))
        for c in range(count):
            pixel = b.load_splat(x, k, lanes, offset=c)
            for v in range(vectors):
                weight = b.load(w, at, lanes, offset=c * width + v * lanes)
                acc[c * vectors + v] = b.fma(pixel, weight, acc[c * vectors + v])
        return acc

    def piece(first: Index, count: int) -> list[Value]:
        full = count - count % chains
        with b.loop(0, full, chains, carry=zeros * chains, hint="k") as loop:
            loop.yields(step(loop.carried, b.iadd(first, loop.iv), chains))
        acc = step(loop.results, b.iadd(first, full), count % chains)
        while len(acc) > vectors:
            half = len(acc) // vectors // 2 * vectors
            acc = _added(b, acc[:half], acc[half:])
        return acc

    pieces, rest = divmod(depth, _PIECE)
    if pieces == 0:
        return piece(0, depth)
    with b.loop(0, pieces, carry=zeros, hint="piece") as loop:
        loop.yields(_added(b, loop.carried, piece(b.imul(loop.iv, _PIECE), _PIECE)))
    return _added(b, loop.results, piece(pieces * _PIECE, rest)) if rest else loop.results


def _added(b: Builder, left: list[Value], right: list[Value]) -> list[Value]:
    return [b.binary("add", p, q) for p, q in zip(left, right, strict=True)]
