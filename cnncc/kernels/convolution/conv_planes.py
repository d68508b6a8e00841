"""Convolutions of few output channels: lanes of input channels are multiplied, then added up.

One vector of filters holds a weight of each channel of an input block, one output channel's. So a
multiply-add does a whole block of input channels, and no lane waits for output channels that do not
exist. At the end each accumulator is the sum of its lanes, and a vector of neighbouring pixels of
one channel comes out: the result lies in planes, blocks of one channel.

Transposed convolutions go phase by phase, and the phases of a row are interleaved in registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import gcd
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.kernels.convolution.conv_geometry import conv_halo, refuses_operands
from cnncc.kernels.convolution.conv_transposed import AxisPhase, axis_phases, transposed_halo
from cnncc.kernels.convolution.reduction import resized
from cnncc.kernels.convolution.tile_choice import narrow_lanes
from cnncc.kernels.cost import fma_per_cycle, predict
from cnncc.kernels.epilogue import Epilogue
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import (
    Arg,
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    ResultArg,
    Site,
    per_channel,
)
from cnncc.loopir.build import INDEX, Builder
from cnncc.loopir.nodes import Index, Kind, Type, Value
from cnncc.targets.target import Target

MOST_PLANES = 12  # output channels: beyond, lanes of output channels are full enough
_RUN_OVERHEAD = 30.0
_BLOCK_STORE = 4.0  # cycles that a block of the result costs to write and to read again


@dataclass(frozen=True, slots=True)
class _Axis:
    """How the pixels of one axis of the result read that axis of the input.

    Attributes:
        phases: pixels of the result a step apart, with the taps that reach them.
        out_step: pixels of the result from one of a phase to the next.
        in_step: input pixels from one pixel of a phase to the next.
        tap_step: input pixels from one tap of a phase to the next.
    """

    phases: tuple[AxisPhase, ...]
    out_step: int
    in_step: int
    tap_step: int


def _axis(site: Site, axis: int) -> _Axis:
    a = site.anchor.attrs
    kernel = site.types[site.anchor.args[1]].shape[2 + axis]
    extent = site.result.shape[2 + axis]
    stride, dilation, pad = a.strides[axis], a.dilations[axis], a.pads[axis]
    if site.anchor.op == "conv2d":
        only = AxisPhase(0, extent, tuple(range(kernel)), -pad)
        return _Axis((only,), 1, stride, dilation)
    phases = tuple(axis_phases(stride, dilation, pad, kernel, extent))
    return _Axis(phases, stride, 1, -(dilation // gcd(stride, dilation)))


def plane_cycles(
    target: Target, taps: float, blocks: float, columns: float, steps: tuple[int, int] = (1, 1)
) -> float:
    """Predicted cycles of one pixel of one output channel.

    Args:
        target: the machine.
        taps: how many reach the pixel.
        blocks: of input channels.
        columns: taps of a row, which share the inputs that they read.
        steps: places of the input from one pixel, and from one tap, to the next.
    """
    lanes, run = target.lanes(), run_pixels(target)
    together = max(1.0, columns / len(turns(target, max(1, round(columns)))))
    loads = 1 + min(run, run * steps[0] / together + abs(steps[1]))
    step = max(run, loads) / fma_per_cycle(target)
    return (taps * blocks * step + 3 * run + _RUN_OVERHEAD) / run + lanes / run


def last_block(target: Target, source: Layout) -> int:
    """Lanes of the register for the input's last block; 0 where a whole one costs no more."""
    held = source.slot_channels[-source.block :] >= 0
    return narrow_lanes(target, int(held.sum()))


def input_vectors(target: Target, source: Layout) -> float:
    """Multiply-adds of whole vectors that a tap takes; a narrow last one is half of one."""
    return source.blocks - (0.5 if last_block(target, source) else 0.0)


def run_pixels(target: Target) -> int:
    """Pixels that are computed together: whole vectors of them, in half of the registers."""
    lanes = target.lanes()
    return lanes * max(1, target.vector_registers // 2 // lanes)


def turns(target: Target, taps: int) -> list[range]:
    """The taps of a row in even parts, whose filters are in registers beside a run of pixels."""
    held = target.vector_registers - run_pixels(target) - (2 if target.fma else 3)
    parts = -(-taps // held)
    bounds = [part * taps // parts for part in range(parts + 1)]
    return [range(lo, hi) for lo, hi in pairwise(bounds)]


class ConvPlanes(Kernel):
    """One work item is one row of the result, all its channels; a launch for each phase of rows."""

    name: ClassVar[str] = "conv_planes"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d", "conv2d_transpose"})
    switch: ClassVar[str] = "planes"

    def refuses(self, site: Site) -> str:
        x, attrs = site.anchor.args[0], site.anchor.attrs
        if site.ends_in_pool:
            return "does not pool"
        types = [site.types[a] for a in site.anchor.args]
        result = lookup(site.anchor.op).infer(types, attrs)
        rule = conv_halo if site.anchor.op == "conv2d" else transposed_halo
        reason = refuses_operands(site, rule(attrs, types[0], types[1], result))
        if reason:
            return reason
        if site.blocked_out.block != 1 or site.lanes == 1:
            return "the result must lie in planes"
        if attrs.groups != 1:
            return "does not do groups"
        if site.blocked(x).block != site.lanes:
            return f"the input's blocks must have {site.lanes} channels"
        if any(site.constants[a] is None for s in site.steps[1:] for a in s.args if a >= 0):
            return "the epilogue reads values besides constants"
        return ""

    def estimate(self, site: Site) -> Estimate:
        source, w = site.blocked(site.anchor.args[0]), site.types[site.anchor.args[1]]
        down, across = _axis(site, 0), _axis(site, 1)
        phases = [(p, q) for p in down.phases for q in across.phases]
        pixels = [p.extent * q.extent * site.result.shape[1] for p, q in phases]
        taps = [len(p.taps) * len(q.taps) for p, q in phases]
        vectors, steps = input_vectors(site.target, source), (across.in_step, across.tap_step)
        return predict(
            site,
            sum(
                n * plane_cycles(site.target, t, vectors, len(q.taps), steps)
                for n, t, (_, q) in zip(pixels, taps, phases, strict=True)
            ),
            f"runs of {run_pixels(site.target)} pixels, {site.lanes} input channels at once",
            {},
            fmas=float(sum(n * t * source.blocks for n, t in zip(pixels, taps, strict=True))),
            weights=4.0 * w.elems,
        )

    def lower(self, site: Site) -> list[Launch]:
        return [_Rows(site, phase).launch() for phase in _axis(site, 0).phases]


class _Rows:
    """The rows of one phase."""

    def __init__(self, site: Site, rows: AxisPhase) -> None:
        self.site, self.rows = site, rows
        self.down, self.across = _axis(site, 0), _axis(site, 1)
        self.source, self.out = site.blocked(site.anchor.args[0]), site.blocked_out
        self.lanes = site.lanes
        self.narrow = last_block(site.target, self.source)
        self.epilogue = Epilogue(site)

    def launch(self) -> Launch:
        """One work item a row."""
        site, b = self.site, Builder(ConvPlanes.name)
        self.b = b
        packed = [self._weights(phase) for phase in self.across.phases]
        self.first_weight = np.cumsum([0, *(p[0].size for p in packed)]).tolist()
        weights = np.concatenate([p.reshape(len(p), -1) for p in packed], axis=1)
        self.x = b.buffer("x", extent=self.source.elems)
        self.w = b.buffer("weights", extent=weights.size)
        args: list[Arg] = [OperandArg(site.anchor.args[0]), PackedArg(weights)]
        self.bias: Value | None = None
        if len(site.anchor.args) == 3:
            bias = per_channel(site.constant(site.anchor.args[2]), self.out)
            self.bias = b.buffer("bias", extent=bias.size)
            args.append(PackedArg(bias))
        self.epilogue.declare(b)
        self.result = b.buffer("out", extent=self.out.elems, writable=True)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        run = run_pixels(site.target) * self.across.out_step
        full, left = divmod(self.out.width, run)
        with b.loop(lo, hi, hint="row") as items:
            if full:
                with b.loop(0, full, hint="run") as runs:
                    self._channels(items.iv, runs.iv, run, weights[0].size)
            if left:
                self._channels(items.iv, full, left, weights[0].size)
        return Launch(b.func, (*args, *self.epilogue.args, ResultArg()), self.rows.extent)

    def _weights(self, columns: AxisPhase) -> NDArray[np.float32]:
        """Filters as `[output channel][input block][tap row][tap column][lane]`."""
        w = np.asarray(self.site.constant(self.site.anchor.args[1]), np.float32)
        if self.site.anchor.op == "conv2d_transpose":
            w = w.swapaxes(0, 1)
        taken = w[:, :, list(self.rows.taps)][:, :, :, list(columns.taps)]
        spread = np.zeros((len(w), self.source.blocks * self.lanes, *taken.shape[2:]), np.float32)
        spread[:, self.source.channel_slots] = taken
        blocks = spread.reshape(len(w), self.source.blocks, self.lanes, *taken.shape[2:])
        return np.ascontiguousarray(blocks.transpose(0, 1, 3, 4, 2))

    def _channels(self, row: Value, run: Index, pixels: int, panel: int) -> None:
        """`pixels` columns of all channels of a row; `run` counts the runs before them."""
        b, step = self.b, self.across.out_step
        y = b.iadd(b.imul(row, self.down.out_step), self.rows.phase)
        first = b.imul(run, run_pixels(self.site.target))  # of each phase
        with b.loop(0, self.out.channels, hint="oc") as channels:
            base = self.out.index(b, channels.iv, y, b.imul(first, step))
            self.epilogue.open(b, channels.iv, y, first)
            done = []
            for number, phase in enumerate(self.across.phases):
                at = b.iadd(b.imul(channels.iv, panel), self.first_weight[number])
                count = -(-(pixels - phase.phase) // step)
                sums = self._phase(phase, row, first, at, max(count, 0))
                done.append([self._finish(v, channels.iv) for v in sums])
            self._store(base, done, pixels)

    def _phase(
        self, columns: AxisPhase, row: Value, first: Index, weights: Index, pixels: int
    ) -> list[Value]:
        """The sums of `pixels` neighbours of a phase, as vectors of pixels."""
        b, lanes = self.b, self.lanes
        zero = b.splat(b.const(0.0), lanes)
        if pixels == 0 or not (columns.taps and self.rows.taps):
            return [zero] * -(-pixels // lanes)
        position = self.source.index(
            b,
            0,
            b.iadd(b.imul(row, self.down.in_step), self.rows.first),
            b.iadd(b.imul(first, self.across.in_step), columns.first),
        )
        whole = self.source.blocks - (1 if self.narrow else 0)
        sums = [zero] * pixels
        if self.narrow:  # first: behind it nothing but zeros joins the accumulators
            sums = [resized(b, value, self.narrow) for value in sums]
            ahead = whole * len(self.rows.taps) * len(columns.taps) * lanes
            last = b.iadd(position, whole * self.source.plane_pitch), b.iadd(weights, ahead)
            sums = self._reduce(columns, 1, last, sums, self.narrow)
            sums = [resized(b, value, lanes) for value in sums]
        if whole:
            sums = self._reduce(columns, whole, (position, weights), sums, lanes)
        sums += [zero] * (-pixels % lanes)
        return [sum_lanes(b, sums[i : i + lanes]) for i in range(0, len(sums), lanes)]

    def _reduce(
        self,
        columns: AxisPhase,
        blocks: int,
        first: tuple[Index, Index],
        sums: list[Value],
        width: int,
    ) -> list[Value]:
        """`sums` of neighbouring pixels plus the products of `width` lanes of so many blocks.

        `first` are the elements of the input and of the filters where that begins.
        """
        b = self.b
        extents = (
            ("icb", blocks, self.source.plane_pitch),
            ("kh", len(self.rows.taps), self.down.tap_step * self.source.row_pitch),
        )
        nest = [e for e in extents if e[1] != 1]

        def reduce(level: int, at: Index, carry: list[Value]) -> list[Value]:
            if level < len(nest):
                hint, extent, pitch = nest[level]
                with b.loop(0, extent, carry=carry, hint=hint) as loop:
                    inner = b.iadd(at, b.imul(loop.iv, pitch))
                    loop.yields(reduce(level + 1, inner, loop.carried))
                return loop.results
            cursor, *acc = carry
            taps = len(columns.taps)
            for some in turns(self.site.target, taps):
                acc = self._taps(at, cursor, acc, some, width)
            return [b.binary("add", cursor, taps * self.lanes), *acc]

        cursor = first[1] if isinstance(first[1], Value) else b.const(first[1], INDEX)
        return reduce(0, first[0], [cursor, *sums])[1:]

    def _taps(
        self, at: Index, weights: Value, sums: list[Value], taps: range, width: int
    ) -> list[Value]:
        """`sums` plus the products of some taps of a row; each place of the input is read once."""
        b, lanes, sums = self.b, self.lanes, list(sums)
        filters = {t: b.load(self.w, weights, width, offset=t * lanes) for t in taps}
        step, places = self.across.tap_step, defaultdict(list)
        for pixel in range(len(sums)):
            for tap in taps:
                places[pixel * self.across.in_step + tap * step].append((pixel, tap))
        base = b.iadd(at, min(places) * lanes)
        # In the order of the taps, so that each sum is the same wherever its run begins.
        for place in sorted(places, reverse=step < 0):
            value = b.load(self.x, base, width, offset=(place - min(places)) * lanes)
            for pixel, tap in places[place]:
                sums[pixel] = b.fma(value, filters[tap], sums[pixel])
        return sums

    def _finish(self, value: Value, channel: Value) -> Value:
        """Bias and epilogue of a vector of pixels."""
        b = self.b
        if self.bias is not None:
            value = b.binary("add", value, b.load_splat(self.bias, channel, self.lanes))
        return self.epilogue.apply(b, value)

    def _store(self, base: Index, phases: list[list[Value]], pixels: int) -> None:
        """The pixels of all phases in the order of their columns."""
        b, lanes, step = self.b, self.lanes, len(phases)
        for start in range(0, pixels, lanes):
            places = [divmod(start + i, step) for i in range(lanes)]
            wanted = [
                (phases[phase][q // lanes], q % lanes) if q // lanes < len(phases[phase]) else None
                for q, phase in places
            ]
            mask = None
            if start + lanes > pixels:
                held = tuple(start + i < pixels for i in range(lanes))
                mask = b.const(held, Type(Kind.BOOL, lanes))
            b.store(self.result, base, gathered(b, wanted), offset=start, mask=mask)


def sum_lanes(b: Builder, values: Sequence[Value]) -> Value:
    """A vector whose lane `i` is the sum of the lanes of vector `i`; as many vectors as lanes."""
    lanes, left = len(values), list(values)
    while len(left) > 1:
        left = [
            b.binary(
                "add",
                b.shuffle(x, y, range(0, 2 * lanes, 2)),
                b.shuffle(x, y, range(1, 2 * lanes, 2)),
            )
            for x, y in zip(left[::2], left[1::2], strict=True)
        ]
    return left[0]


def gathered(b: Builder, wanted: Sequence[tuple[Value, int] | None]) -> Value:
    """The vector of these lanes of these vectors; what lies in lanes of None does not matter."""
    lanes = len(wanted)
    made, *others = dict.fromkeys(w[0] for w in wanted if w is not None)
    kept = [w[1] if w is not None and w[0] is made else i for i, w in enumerate(wanted)]
    if not others and kept != list(range(lanes)):
        return b.shuffle(made, made, kept)
    for source in others:
        picked = [lanes + w[1] if w is not None and w[0] is source else None for w in wanted]
        lane_of = [k if p is None else p for k, p in zip(kept, picked, strict=True)]
        made, kept = b.shuffle(made, source, lane_of), list(range(lanes))
    return made


def suits_planes(target: Target, source: Layout, taps: tuple[float, float], filters: int) -> bool:
    """Whether lanes of input channels are the quicker way for a result that may lie in planes.

    Args:
        target: the machine.
        source: layout of the input.
        taps: rows and columns of inputs that an output pixel reads, on average.
        filters: output channels.
    """
    lanes = target.lanes()
    if source.block != lanes or lanes == 1 or filters > MOST_PLANES:
        return False
    rows, columns = taps
    blocks = input_vectors(target, source)
    planes = filters * plane_cycles(target, rows * columns, blocks, columns)
    vectors = -(-filters // lanes)
    wide = vectors - 0.5 if narrow_lanes(target, filters % lanes or lanes) else float(vectors)
    direct = rows * columns * source.channels * wide / fma_per_cycle(target)
    return planes < direct + _BLOCK_STORE * vectors
