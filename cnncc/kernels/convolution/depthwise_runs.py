"""Runs of neighbouring pixels of a depthwise convolution: their taps, their cost, their code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cnncc.errors import InternalError
from cnncc.kernels.cost import fma_per_cycle
from cnncc.kernels.epilogue import Epilogue, LaneMask
from cnncc.kernels.template import (
    Arg,
    MeansArg,
    Site,
    out_buffer,
    scratch_buffer,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index, Value
from cnncc.targets.target import Target

_ROW_OVERHEAD = 20.0  # cycles
_LEAST_RUN = 6  # sums side by side that hide the latency of a multiply-add
_PIECE = 8  # taps of a piece of a kernel row


@dataclass(frozen=True, slots=True)
class DepthwiseTaps:
    """How a run of output pixels reads its input and its filters.

    Attributes:
        kernel: rows and columns of the filter.
        stride: input columns from one output pixel to the next.
        dilation: input columns from one tap to the next.
        pixel: elements from one input column to the next.
        lanes: channels of a block.
        piece: taps of a kernel row whose weights are in registers at once.
        order: the lane of the input that each lane sees; empty where it is the same.
    """

    kernel: tuple[int, int]
    stride: int
    dilation: int
    pixel: int
    lanes: int
    piece: int
    order: tuple[int, ...] = ()

    @property
    def elems(self) -> int:
        """Elements of a block's filters."""
        return self.kernel[0] * self.kernel[1] * self.lanes


def piece_length(target: Target, columns: int) -> int:
    """Taps of a kernel row whose weights are held at once: all, if that leaves a run to hold."""
    if target.vector_registers - columns - 2 >= _LEAST_RUN:
        return columns
    return -(-columns // -(-columns // _PIECE))


def run_length(target: Target, taps: DepthwiseTaps, columns: int) -> int:
    """Pixels in a run: what registers hold beside a piece of a kernel row, in even runs."""
    room = target.vector_registers - taps.piece - 2
    most = min(room, 8 if target.vector_registers <= 16 else 14)
    runs = -(-columns // most)
    return -(-columns // runs)


def row_cycles(target: Target, taps: DepthwiseTaps, columns: int, share: float = 1.0) -> float:
    """Predicted cycles of one row of one channel block that is read from the nearest cache.

    Args:
        target: the machine.
        taps: of the convolution.
        columns: of the result.
        share: of the kernel's rows that are computed.
    """
    run = run_length(target, taps, columns)
    macs = columns * taps.kernel[0] * taps.kernel[1] * share
    pixels = (run - 1) * taps.stride + (taps.piece - 1) * taps.dilation + 1
    loads = macs / taps.piece * min(pixels / run, taps.piece) / target.machine.loads
    return max(macs / fma_per_cycle(target), loads) + _ROW_OVERHEAD


def for_each_run(b: Builder, columns: int, run: int, body: Callable[[Index, int], None]) -> None:
    """`body(first column, pixels)` for the runs of a row; the last one may be shorter."""
    full, last = divmod(columns, run)
    if full:
        with b.loop(0, full, hint="run") as runs:
            body(b.imul(runs.iv, run), run)
    if last:
        body(full * run, last)


def emit_run(
    b: Builder,
    taps: DepthwiseTaps,
    run: int,
    source: tuple[Value, Callable[[Value], Index]],
    weights: tuple[Value, Index],
    start: Value,
    rows: tuple[Index, Index],
) -> list[Value]:
    """`run` neighbouring pixels of one channel block, each a sum that begins with `start`.

    Args:
        b: where the code goes.
        taps: of the convolution.
        run: pixels.
        source: the input and, for each kernel row, the element under its first tap.
        weights: the filters, and where those of the block begin.
        start: what each sum begins with.
        rows: the first of the kernel's rows and the end.
    """
    columns, piece = taps.kernel[1], taps.piece
    whole, last = divmod(columns, piece)
    with b.loop(*rows, carry=[start] * run, hint="k") as loop:
        line, acc = source[1](loop.iv), list(loop.carried)
        filters = b.iadd(weights[1], b.imul(loop.iv, columns * taps.lanes))

        def add(first: Index, count: int, acc: list[Value]) -> list[Value]:
            """The sums with so many taps from one on."""
            at = b.iadd(filters, b.imul(first, taps.lanes))
            under = b.iadd(line, b.imul(first, taps.dilation * taps.pixel))
            return _emit_taps(b, taps, count, (source[0], under), (weights[0], at), acc)

        if whole > 1:
            with b.loop(0, whole, carry=acc, hint="piece") as pieces:
                first = b.imul(pieces.iv, piece)
                pieces.yields(add(first, piece, list(pieces.carried)))
            acc = pieces.results
        else:
            acc = add(0, piece, acc)
        loop.yields(add(whole * piece, last, acc) if last else acc)
    return loop.results


def _emit_taps(
    b: Builder,
    taps: DepthwiseTaps,
    count: int,
    source: tuple[Value, Index],
    weights: tuple[Value, Index],
    sums: list[Value],
) -> list[Value]:
    """The sums of a run with `count` neighbouring taps of a kernel row added."""
    acc = list(sums)
    tap = [b.load(*weights, taps.lanes, offset=k * taps.lanes) for k in range(count)]
    for place, uses in sorted(_uses(taps, count, len(acc)).items()):
        pixel = b.load(*source, taps.lanes, offset=place * taps.pixel)
        if taps.order:
            pixel = b.shuffle(pixel, pixel, taps.order)
        for k, t in uses:
            acc[t] = b.fma(pixel, tap[k], acc[t])
    return acc


class RunEnds:
    """What becomes of a run's sums: the steps behind the convolution, then the result's buffer.

    Steps that want many registers run as a loop over the pixels, with the sums in scratch memory.
    Where the site wants means of rows, the finished pixels are added up as well. Pixels of a run
    lie `step` columns apart.
    """

    def __init__(self, b: Builder, site: Site, epilogue: Epilogue, run: int, step: int = 1) -> None:
        self._b, self._site, self._epilogue, self._step = b, site, epilogue, step
        self._mask = LaneMask(site, needed=not epilogue.keeps_zero)
        epilogue.declare(b)
        self._mask.declare(b)
        self._out, out_arg = out_buffer(b, site)
        self.args: list[Arg] = [*epilogue.args, *self._mask.args, out_arg]
        self._sums: Value | None = None
        if epilogue.is_long:
            self._sums, sums = scratch_buffer(b, "run", run * site.lanes)
            self.args.append(sums)
        self._zero = b.splat(b.const(0.0), site.lanes)
        self._means: Value | None = None
        if site.means is not None:
            self._means = b.buffer("means", extent=site.means.elems, writable=True)
            self.args.append(MeansArg())

    def begin_row(self, block: Index, row: Index) -> None:
        """To be called before the first run of a row."""
        if self._means is not None:
            self._b.store(self._means, self._mean(block, row), self._zero)

    def end_row(self, block: Index, row: Index) -> None:
        """To be called behind the last run of a row."""
        if self._means is None:
            return
        b, lanes, at = self._b, self._site.lanes, self._mean(block, row)
        pixels = b.splat(b.const(float(self._site.blocked_out.width)), lanes)
        b.store(self._means, at, b.binary("div", b.load(self._means, at, lanes), pixels))

    def finish(self, acc: list[Value], at: tuple[Index, Index, Index]) -> None:
        """Store the sums of a run that begins at block, row and column `at`."""
        b, lanes, (block, row, column) = self._b, self._site.lanes, at
        if self._sums is None:
            self._open(at)
            step = self._step
            finished = [self._store(value, block, t * step) for t, value in enumerate(acc)]
            total = self._added(finished)
        else:
            for t, value in enumerate(acc):
                b.store(self._sums, t * lanes, value)
            adding = self._means is not None
            start = [self._zero] if adding else []
            with b.loop(0, len(acc), carry=start, hint="pixel") as pixels:
                self._open((block, row, b.iadd(column, b.imul(pixels.iv, self._step))))
                value = b.load(self._sums, b.imul(pixels.iv, lanes), lanes)
                value = self._store(value, block, 0)
                if adding:
                    pixels.yields([b.binary("add", pixels.carried[0], value)])
            total = pixels.results[0] if adding else None
        if self._means is not None and total is not None:
            place = self._mean(block, row)
            known = b.load(self._means, place, lanes)
            b.store(self._means, place, b.binary("add", known, total))

    def _added(self, values: list[Value]) -> Value | None:
        """All values added up pairwise; nothing where no mean is wanted."""
        if self._means is None:
            return None
        while len(values) > 1:
            pairs = zip(values[::2], values[1::2], strict=False)
            rest = values[-1:] if len(values) % 2 else []
            values = [self._b.binary("add", p, q) for p, q in pairs] + rest
        return values[0]

    def _mean(self, block: Index, row: Index) -> Index:
        layout = self._site.means
        if layout is None:
            raise InternalError(f"{self._site.name}: no means of rows are wanted")
        return layout.index(self._b, block, row, 0)

    def _open(self, at: tuple[Index, Index, Index]) -> None:
        self._epilogue.open(self._b, *at)
        self._base = self._site.blocked_out.index(self._b, *at)

    def _store(self, value: Value, block: Index, column: int) -> Value:
        b = self._b
        finished = self._mask.apply(b, self._epilogue.apply(b, value, columns=column), block)
        b.store(self._out, self._base, finished, offset=column * self._site.lanes)
        return finished


def _uses(taps: DepthwiseTaps, count: int, run: int) -> dict[int, list[tuple[int, int]]]:
    """For each input pixel of a line, the (tap, output pixel) pairs of some taps that read it."""
    uses: dict[int, list[tuple[int, int]]] = {}
    for t in range(run):
        for k in range(count):
            uses.setdefault(t * taps.stride + k * taps.dilation, []).append((k, t))
    return uses
