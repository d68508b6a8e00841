"""x86-64 targets: the four levels of the psABI and what their registers hold.

Tiles: `pixels * vectors` accumulators, `vectors` weight registers and one splat must fit; which of
those fit without spilling was read off the generated code (`docs/performance.md`).
"""

from __future__ import annotations

from cnncc.targets.machine import NARROW, WIDE
from cnncc.targets.target import Target

_TRIPLE = "x86_64-unknown-linux-gnu"
# LLVM may use all that a level has, so all is asked for: hypervisors can hide single features.
_V2 = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
_V3 = (*_V2, "avx", "avx2", "fma", "bmi", "bmi2", "f16c", "lzcnt", "movbe")
_V4 = (*_V3, "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd")
_AVX512_TILES = ((14, 2), (9, 3), (6, 4), (28, 1))
_AVX2_TILES = ((6, 2), (4, 3), (9, 1))
# This scheduling model keeps every tile in registers; those of later CPUs (and `generic`) hoist
# loads into the last free register and spill. Out-of-order cores do not mind.
_SCHEDULING = "haswell"
# Without multiply-add an extra register holds each product: (3, 3), (5, 2) and (10, 1) spill.
_SSE_TILES = ((2, 4), (4, 2), (8, 1))

X86_64_V4 = Target(
    name="x86-64-v4",
    triple=_TRIPLE,
    cpu="skylake-avx512",
    features="",
    requires=_V4,
    vector_bits=512,
    vector_registers=32,
    fma=True,
    l1_bytes=32 << 10,
    l2_bytes=1 << 20,
    tiles=_AVX512_TILES,
    machine=WIDE,
    scheduling=_SCHEDULING,
)

X86_64_V3 = Target(
    name="x86-64-v3",
    triple=_TRIPLE,
    cpu="haswell",
    features="",
    requires=_V3,
    vector_bits=256,
    vector_registers=16,
    fma=True,
    l1_bytes=32 << 10,
    l2_bytes=256 << 10,
    tiles=_AVX2_TILES,
    machine=NARROW,
    scheduling=_SCHEDULING,
)

X86_64_V2 = Target(
    name="x86-64-v2",
    triple=_TRIPLE,
    cpu="nehalem",
    features="",
    requires=_V2,
    vector_bits=128,
    vector_registers=16,
    fma=False,
    l1_bytes=32 << 10,
    l2_bytes=256 << 10,
    tiles=_SSE_TILES,
    machine=NARROW,
    scheduling=_SCHEDULING,
)

X86_64 = Target(
    name="x86-64",
    triple=_TRIPLE,
    cpu="x86-64",
    features="",
    requires=(),
    vector_bits=128,
    vector_registers=16,
    fma=False,
    l1_bytes=32 << 10,
    l2_bytes=256 << 10,
    tiles=_SSE_TILES,
    machine=NARROW,
    scheduling=_SCHEDULING,
)

TARGETS = (X86_64_V4, X86_64_V3, X86_64_V2, X86_64)
