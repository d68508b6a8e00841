"""How far minimal filtering rounds: the table of docs/decisions/026-winograd.md.

`python -m tests.kernels.winograd.winograd_rounding` computes single tiles in f32, over eight kinds
of data, and prints the worst error against float64 in units of u T (rule C), beside the K that the
tolerances use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from cnncc.kernels.winograd.cook_toom import CookToom
from cnncc.kernels.winograd.winograd_choice import IDENTITY, rounding_of

U = 2.0**-24
OUTPUTS, TILES = 8, 64
CHANNELS = (1, 3, 16, 64, 256)
SEEDS = 3

Pair = tuple[CookToom, CookToom]
PAIRS: tuple[Pair, ...] = (
    (CookToom(2, 3), CookToom(2, 3)),
    (CookToom(4, 3), CookToom(4, 3)),
    (CookToom(2, 3), CookToom(4, 3)),
    (CookToom(2, 5), CookToom(2, 5)),
    (CookToom(3, 4), CookToom(3, 4)),
    (CookToom(3, 4), CookToom(4, 3)),
    (IDENTITY, CookToom(4, 3)),
    (IDENTITY, CookToom(2, 5)),
    (IDENTITY, CookToom(4, 5)),
    (IDENTITY, CookToom(2, 7)),
    (CookToom(2, 3, 2), CookToom(2, 3, 2)),
    (CookToom(4, 3, 2), CookToom(2, 3, 2)),
    (CookToom(4, 3, 2), CookToom(4, 3, 2)),
    (CookToom(2, 5, 2), CookToom(2, 5, 2)),
    (IDENTITY, CookToom(4, 3, 2)),
)
PAIRS += tuple((replace(v, expands=True), replace(h, expands=True)) for v, h in PAIRS)


def _spike(x: np.ndarray) -> np.ndarray:
    x[..., x.shape[-2] // 2, x.shape[-1] // 2] = 1e6
    return x


# From normal numbers and filters to what is filtered.
DATA: dict[str, Callable[[np.random.Generator, np.ndarray, np.ndarray], tuple]] = {
    "normal": lambda rng, x, w: (x, w),
    "positive": lambda rng, x, w: (np.abs(x), w),
    "after relu": lambda rng, x, w: (np.maximum(x, 0), w),
    "eight decades": lambda rng, x, w: (x * 10 ** rng.uniform(-4, 4, x.shape), w),
    "filters of six decades": lambda rng, x, w: (x, w * 10 ** rng.uniform(-3, 3, w.shape)),
    "a spike": lambda rng, x, w: (_spike(x), w),
    "signs": lambda rng, x, w: (np.sign(x), w),
    "ones": lambda rng, x, w: (np.ones_like(x), w),
}


def _transform(matrix: np.ndarray, x: np.ndarray, axis: int) -> np.ndarray:
    """Rows of a matrix times f32 numbers, one operation after the other."""
    source, made = np.moveaxis(x, axis, 0), []
    for row in matrix.astype(np.float32):
        terms = [row[k] * source[k] for k in np.nonzero(row)[0]]
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        made.append(total)
    return np.moveaxis(np.stack(made), 0, axis)


def _filters(pair: Pair, w: np.ndarray) -> np.ndarray:
    """Transformed filters [rows,columns,O,C] in f32, from f64 or from scaled taps in f32."""
    down, across = pair
    if down.expands:
        scaled = (w * np.outer(down.tap_scales, across.tap_scales)).astype(np.float32)
        made = _transform(across.expansion, _transform(down.expansion, scaled, 2), 3)
        return made.transpose(2, 3, 0, 1)
    return np.einsum(
        "ip,ocpq,jq->ijoc", down.filter_matrix, w, across.filter_matrix, optimize=True
    ).astype(np.float32)


def error(pair: Pair, channels: int, kind: str, seed: int) -> float:
    """The worst error of some tiles, in units of u T."""
    down, across = pair
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((channels, TILES, down.inputs, across.inputs))
    w = rng.standard_normal((OUTPUTS, channels, down.taps, across.taps))
    x, w = (a.astype(np.float32) for a in DATA[kind](rng, x, w))
    exact_x, exact_w = x.astype(np.float64), w.astype(np.float64)
    filters = _filters(pair, exact_w)
    planes = _transform(across.input_matrix, _transform(down.input_matrix, x, 2), 3)
    sums = np.zeros((down.products, across.products, OUTPUTS, TILES), np.float32)
    for c in range(channels):
        sums = sums + filters[..., c, None] * planes[c].transpose(1, 2, 0)[:, :, None, :]
    y = _transform(across.output_matrix, _transform(down.output_matrix, sums, 0), 1)
    worst = 0.0
    most = np.abs(exact_x).max(axis=(2, 3))
    scale = U * np.einsum("oc,cn->on", np.abs(exact_w).sum(axis=(2, 3)), most)
    for i, j in np.ndindex(down.outputs, across.outputs):
        rows = slice(i * down.stride, i * down.stride + down.taps)
        columns = slice(j * across.stride, j * across.stride + across.taps)
        wanted = np.einsum("ocpq,cnpq->on", exact_w, exact_x[:, :, rows, columns], optimize=True)
        gap = np.abs(y[i, j] - wanted)  # none where all inputs of a tile are zero
        worst = max(worst, float((gap[scale > 0] / scale[scale > 0]).max()))
    return worst


def main() -> None:
    """Print the table."""
    print(f"{'transforms':43}{'worst error / (u T)':>20}{'K':>6}  on")
    for down, across in PAIRS:
        cases = [(c, kind, seed) for c in CHANNELS for kind in DATA for seed in range(SEEDS)]
        found = max((error((down, across), *case), *case) for case in cases)
        name = (
            f"F({down.outputs}x{across.outputs}, {down.taps}x{across.taps})"
            f" stride {down.stride}x{across.stride}{' expanded' * down.expands}"
        )
        k = rounding_of(down, across)
        print(f"{name:43}{found[0]:20.1f}{k:6.0f}  {found[2]}, {found[1]} channels")


if __name__ == "__main__":
    main()
