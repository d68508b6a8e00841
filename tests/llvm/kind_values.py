"""Numbers of every element kind at which arithmetic changes its ways, and pairs of them."""

from __future__ import annotations

import numpy as np

from cnncc.loopir.arith import DTYPES
from cnncc.loopir.nodes import Kind
from cnncc.loopir.rules import integer_range

BLOCK = 64  # arrays are filled up to a multiple of this


def floats(kind: Kind) -> np.ndarray:
    """Numbers at which conversions, roundings or comparisons change their ways."""
    dtype = DTYPES[kind]
    info = np.finfo(dtype)
    edges = [0.5, 1.0, 1.5, 2.5, 3.5, 127.0, 128.0, 255.0, 256.0, 2.0**15, 2.0**16, 2.0**22]
    edges += [2.0**23, 2.0**24, 2.0**31, 2.0**32, 2.0**51, 2.0**52, 2.0**53, 2.0**63, 2.0**64]
    near = np.array(edges, dtype)
    near = np.concatenate([near, np.nextafter(near, 0, dtype=dtype), near + dtype.type(0.5)])
    near = np.concatenate([near, np.nextafter(near, np.inf, dtype=dtype)])
    odd = [0.0, info.tiny, info.smallest_subnormal, info.max, np.inf, 1e-30, 3e38, 16777217.0]
    some = np.concatenate([near, np.array(odd, dtype)])
    return np.concatenate([some, -some, np.array([np.nan], dtype)])


def integers(kind: Kind) -> np.ndarray:
    """Limits, and neighbours of powers of two: ties when they become floats."""
    low, high = integer_range(kind)
    numbers = {low, low + 1, high, high - 1, 0, 1, 2, 3, 5, 7, 100, high // 2, high // 3}
    for power in range(3, kind.bits):
        numbers |= {1 << power, (1 << power) - 1, (1 << power) + 1}
    for precision in (24, 53):
        for more in range(1, kind.bits - precision):
            numbers |= {(((1 << precision) | 1) << more) + d for d in (-1, 0, 1)}
            numbers |= {(1 << precision + more) + (1 << more - 1) + d for d in (-1, 0, 1)}
    numbers |= {-n for n in numbers}
    return np.array(sorted(n for n in numbers if low <= n <= high), DTYPES[kind])


def special(kind: Kind) -> np.ndarray:
    if kind is Kind.BOOL:
        return np.array([False, True])
    if kind is Kind.INDEX:  # beyond, sums and products of scalars are undefined
        return np.array([0, 1, -1, 2, 3, 7, -7, 100, 2**30, -(2**30), 2**31 - 1])
    return floats(kind) if kind.is_float else integers(kind)


def random(kind: Kind, rng: np.random.Generator, count: int) -> np.ndarray:
    """Numbers of all magnitudes; floats of all bits, and some within the integers' ranges."""
    if kind is Kind.BOOL:
        return rng.integers(0, 2, count).astype(bool)
    if kind is Kind.INDEX:
        return rng.integers(-(2**31), 2**31, count)
    dtype = DTYPES[kind]
    bits = rng.integers(0, 1 << 64, count, np.uint64).view(np.int64)
    if kind.is_float:
        plain = (
            bits.view(np.float64) if kind is Kind.F64 else bits.astype(np.int32).view(np.float32)
        )
        scaled = bits * 2.0 ** -rng.integers(0, 64, count)
        return np.where(rng.integers(0, 2, count), plain, scaled.astype(dtype)).astype(dtype)
    return (bits >> rng.integers(0, 64, count)).astype(dtype)


def whole_blocks(values: np.ndarray) -> np.ndarray:
    return np.resize(values, -(-values.size // BLOCK) * BLOCK)


def singles(kind: Kind) -> np.ndarray:
    return whole_blocks(
        np.concatenate([special(kind), random(kind, np.random.default_rng(1), 512)])
    )


def pairs(kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    values = special(kind)
    if values.size > 40:
        values = rng.choice(values, 40, replace=False)
    a, b = (x.reshape(-1) for x in np.meshgrid(values, values))
    a, b = (np.concatenate([x, random(kind, rng, 512), special(kind)]) for x in (a, b))
    return whole_blocks(a), whole_blocks(b)


def divisible(kind: Kind, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs whose quotient LoopIR defines."""
    if kind.is_float:
        return a, b
    if kind is Kind.INDEX:
        a, b = abs(a), abs(b)
    unfit = b == 0
    if not kind.is_unsigned:
        unfit |= (a == integer_range(kind)[0]) & (b == DTYPES[kind].type(-1))
    return a, np.where(unfit, 1, b).astype(b.dtype)
