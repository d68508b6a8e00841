"""AArch64 targets: the base instruction set with Advanced SIMD."""

from __future__ import annotations

from cnncc.targets.target import Target

AARCH64 = Target(
    name="aarch64",
    triple="aarch64-unknown-linux-gnu",
    cpu="cortex-a76",
    features="",
    requires=(),
    vector_bits=128,
    vector_registers=32,
    fma=True,
    l1_bytes=64 << 10,
    l2_bytes=512 << 10,
    tiles=((8, 2), (6, 3), (4, 4), (12, 1)),
)

TARGETS = (AARCH64,)
