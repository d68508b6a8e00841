"""Small programs written by hand, which have all that the run time cares about."""

from __future__ import annotations

from functools import cache

import numpy as np

from cnncc.abi import Image, Interface, Port, aligned
from cnncc.ir.types import DType
from cnncc.llvm.host import host_target
from cnncc.llvm.link import link
from cnncc.llvm.pool import pool_object
from cnncc.llvm.program import compile_program
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Kind, Program
from cnncc.runtime.network import Network
from cnncc.runtime.threads import POOL_EXPORTS

SIZE = 96
EXPORTS = ("main_run", "main_serial", "main_forkjoin", *POOL_EXPORTS)


def weights(size: int = SIZE) -> np.ndarray:
    """`size` floats at an aligned place."""
    blob = aligned(size)
    blob[:] = np.linspace(-1.0, 1.0, size, dtype=np.float32)
    return blob


def expected(x: np.ndarray) -> np.ndarray:
    """What `mirror_program` computes, in the same float32 steps."""
    scaled = x * weights()
    return (scaled + scaled[..., ::-1]).astype(np.float32)


def _scale() -> Func:
    """`y[i] = x[i] * w[i]` for one thread's part."""
    b = Builder("scale")
    x, w = b.buffer("x", extent=SIZE), b.buffer("w", extent=SIZE)
    y = b.buffer("y", extent=SIZE, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    with b.loop(lo, hi) as i:
        b.store(y, i.iv, b.binary("mul", b.load(x, i.iv), b.load(w, i.iv)))
    return b.func


def _mirror() -> Func:
    """`y[i] = x[i] + x[SIZE - 1 - i]`: reads what another thread wrote."""
    b = Builder("mirror")
    x = b.buffer("x", extent=SIZE)
    y = b.buffer("y", extent=SIZE, writable=True)
    lo, hi = b.index_param("lo"), b.index_param("hi")
    with b.loop(lo, hi) as i:
        other = b.load(x, b.isub(SIZE - 1, i.iv))
        b.store(y, i.iv, b.binary("add", b.load(x, i.iv), other))
    return b.func


def mirror_program() -> Program:
    """Two segments with a barrier between them; the second reads across the threads."""
    b = Builder("main")
    x = b.buffer("x", extent=SIZE)
    y = b.buffer("y", extent=SIZE, writable=True)
    w = b.buffer("w", extent=SIZE)
    arena = b.buffer("arena", Kind.F32, SIZE, writable=True)
    thread, threads = b.index_param("thread"), b.index_param("threads")
    lo = b.idiv(b.imul(thread, SIZE), threads)
    hi = b.idiv(b.imul(b.iadd(thread, 1), SIZE), threads)
    b.call("scale", [x, w, arena, lo, hi])
    b.barrier()
    b.call("mirror", [arena, y, lo, hi])
    return Program([_scale(), _mirror(), b.func])


def interface(name: str = "mirror", shape: tuple[int, ...] = (SIZE,)) -> Interface:
    """The interface of `mirror_program`, with any shape of `SIZE` elements."""
    labels = ("cat", "dog")
    return Interface(
        name=name,
        inputs=(Port("x", DType.F32, shape, "hwc" if len(shape) == 3 else ""),),
        outputs=(Port("y", DType.F32, shape, labels=labels, top=2),),
        weights_bytes=4 * SIZE,
        workspace_bytes=4 * SIZE,
        parameters=SIZE,
        macs=SIZE,
        target="host",
    )


@cache
def image() -> Image:
    """`mirror_program` with its thread pool, for this machine."""
    target = host_target()
    objects = compile_program(mirror_program(), target, None)
    return link([*objects, pool_object(target)], EXPORTS, target)


def network(threads: int = 1, shape: tuple[int, ...] = (SIZE,)) -> Network:
    """The network of `mirror_program`."""
    return Network(image(), interface(shape=shape), weights(), threads=threads)
