"""AArch64 targets: the base instruction set (Armv8.0-A) with Advanced SIMD.

Nothing asks an AArch64 CPU what it can do, so code must run on the first of them. The name of a CPU
would bring its extensions (`cortex-a76` has half-precision arithmetic), so it only schedules.
"""

from __future__ import annotations

from cnncc.targets.machine import SMALL
from cnncc.targets.target import Target

AARCH64 = Target(
    name="aarch64",
    triple="aarch64-unknown-linux-gnu",
    cpu="generic",
    features="",
    requires=(),
    vector_bits=128,
    vector_registers=32,
    fma=True,
    l1_bytes=64 << 10,
    l2_bytes=512 << 10,
    tiles=((5, 4), (9, 2), (6, 3), (4, 5), (3, 6), (12, 1)),
    machine=SMALL,
    scheduling="cortex-a76",
)

TARGETS = (AARCH64,)
