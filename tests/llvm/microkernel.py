"""A convolution-like micro-kernel: the shape of code that passes and scheduling are judged by."""

from __future__ import annotations

from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Func

STEPS = 4


def conv_tile(pixels: int, vectors: int, lanes: int, channels: int, size: int) -> Func:
    """One row of `pixels` outputs, `vectors` of output channels, a `size`x`size` filter."""
    b = Builder("conv_tile")
    x, w, y = b.buffer("x"), b.buffer("w"), b.buffer("y", writable=True)
    width = (pixels + size - 1) * lanes
    rows = vectors * lanes
    start = [b.const(0.0, vector(lanes)) for _ in range(pixels * vectors)]
    with b.loop(0, channels // lanes, carry=start) as ic:
        with b.loop(0, size, carry=ic.carried) as kh:
            with b.loop(0, size, carry=kh.carried) as kw:
                with b.loop(0, lanes, STEPS, carry=kw.carried) as step:
                    tap = b.iadd(b.imul(b.iadd(b.imul(ic.iv, size), kh.iv), size), kw.iv)
                    weights = b.imul(b.iadd(b.imul(tap, lanes), step.iv), rows)
                    row = b.iadd(b.imul(ic.iv, size), kh.iv)
                    place = b.iadd(b.imul(row, width), b.imul(kw.iv, lanes), step.iv)
                    acc = step.carried
                    for k in range(STEPS):
                        ws = [
                            b.load(w, weights, lanes, offset=k * rows + v * lanes)
                            for v in range(vectors)
                        ]
                        for p in range(pixels):
                            s = b.load_splat(x, place, lanes, offset=p * lanes + k)
                            for v in range(vectors):
                                acc[p * vectors + v] = b.fma(s, ws[v], acc[p * vectors + v])
                    step.yields(acc)
                kw.yields(step.results)
            kh.yields(kw.results)
        ic.yields(kh.results)
    for number, value in enumerate(ic.results):
        b.store(y, number * lanes, value)
    return b.func
