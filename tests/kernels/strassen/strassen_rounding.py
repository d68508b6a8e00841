"""How far seven products of blocks round: the table of docs/decisions/035-strassen.md.

`python -m tests.kernels.strassen.strassen_rounding` multiplies pairs of pixels by pairs of output
channels in f32, over eight kinds of data, and prints the worst error against float64 in units of
u T (rule C), beside the K that the tolerances use for so many channels.
"""

from __future__ import annotations

import numpy as np

from cnncc.kernels.strassen.conv_strassen import halves, rounding_of, sums_of_filters
from tests.kernels.winograd.winograd_rounding import DATA, SEEDS, U

PIXELS, OUTPUTS = 32, 8
CHANNELS = (2, 16, 64, 256, 1024)


def _chain(a: np.ndarray, b: np.ndarray, start: np.ndarray | float = 0.0) -> np.ndarray:
    """`start + a b` in f32, one multiply-add after the other."""
    total = np.zeros((a.shape[0], b.shape[1])) + start
    for k in range(a.shape[1]):
        exact = total + a[:, k : k + 1].astype(np.float64) * b[k].astype(np.float64)
        total = exact.astype(np.float32).astype(np.float64)
    return total


def error(channels: int, kind: str, seed: int) -> float:
    """The worst error of some pairs, in units of u T."""
    rng = np.random.default_rng(seed)
    x, w = DATA[kind](
        rng, rng.standard_normal((PIXELS, channels)), rng.standard_normal((channels, OUTPUTS))
    )
    x, w = x.astype(np.float32), w.astype(np.float32)
    a11, a12, a21, a22 = halves(x)
    s1 = a21 + a22
    s2, s3 = s1 - a11, a11 - a21
    s4 = a12 - s2
    b11, b21, t2, t3, minus_t4, t1, b22 = (
        t.astype(np.float32) for t in sums_of_filters(*halves(w.astype(np.float64)))
    )
    p1 = _chain(a11, b11)
    c11 = _chain(a12, b21, p1)
    u2 = _chain(s2, t2, p1)
    u3 = _chain(s3, t3, u2)
    c21 = _chain(a22, minus_t4, u3)
    p5 = _chain(s1, t1)
    c22 = (u3 + p5).astype(np.float32)
    c12 = _chain(s4, b22, (u2 + p5).astype(np.float32))
    got = np.block([[c11, c12], [c21, c22]])
    exact = x.astype(np.float64) @ w.astype(np.float64)
    pixels = sum(np.abs(p) for p in np.split(x.astype(np.float64), 2, axis=0))
    filters = sum(np.abs(f) for f in np.split(w.astype(np.float64), 2, axis=1))
    t = sum(np.split(pixels, 2, axis=1)) @ sum(np.split(filters, 2, axis=0))
    scale, gap = U * np.tile(t, (2, 2)), np.abs(got - exact)
    return float((gap[scale > 0] / scale[scale > 0]).max())  # a pair may be zero


def main() -> None:
    """Print the table."""
    print(f"| channels | {' | '.join(DATA)} | K |")
    print("|--:|" + "--:|" * (len(DATA) + 1))
    for channels in CHANNELS:
        worst = [max(error(channels, kind, seed) for seed in range(SEEDS)) for kind in DATA]
        cells = " | ".join(f"{w:.2f}" for w in worst)
        print(f"| {channels} | {cells} | {rounding_of(channels):.1f} |")


if __name__ == "__main__":
    main()
