"""Sites out of the operators' random cases: layouts are drawn, constants recognised."""

from __future__ import annotations

from typing import Any

import numpy as np

from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Site
from cnncc.ops.fused import Step
from cnncc.targets import Target
from tests.kernels.harness import blocked, make_site
from tests.strategies import Case

HALOS = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 3))
FREE_SEGMENTS = frozenset({"concat", "slice_channels", "channel_shuffle", "transpose", "relayout"})


def single(case: Case) -> bool:
    """Whether the case has one sample, which is what kernels see."""
    return case.types[0].shape[0] == 1


def random_segments(rng: np.random.Generator, channels: int) -> tuple[int, ...]:
    """A random cut of the channels in one to three segments."""
    cuts = sorted(set(rng.integers(1, channels + 1, int(rng.integers(0, 3))).tolist()) | {channels})
    return tuple(b - a for a, b in zip([0, *cuts], cuts, strict=False))


def site_of(
    case: Case,
    target: Target,
    rng: np.random.Generator,
    *,
    steps: tuple[Step, ...] = (),
    arrays: tuple[np.ndarray, ...] = (),
    in_place: int | None = None,
) -> Site:
    """A site for the case: vectors [C] are constants, all else is blocked."""
    arrays = arrays or case.arrays
    lanes = target.lanes()
    channels = case.types[0].shape[1]
    shared = random_segments(rng, channels)

    def layout(array: np.ndarray) -> Any:
        if array.ndim not in (2, 4):
            return None
        one = array.shape[1]
        if case.op in FREE_SEGMENTS and array.ndim == 4:
            segments = random_segments(rng, one)
        else:
            segments = shared if one == channels and array.ndim == 4 else (one,)
        halo = HALOS[int(rng.integers(len(HALOS)))] if array.ndim == 4 else HALOS[0]
        return blocked(array.shape, lanes, segments=segments, halo=halo)

    layouts = [layout(a) for a in arrays]
    draft = make_site(case.op, case.attrs, arrays, layouts, None, target, steps=steps)
    out = _result_layout(case, draft, layouts, shared, rng)
    if in_place is not None:
        out = layouts[in_place]
    return make_site(
        case.op, case.attrs, arrays, layouts, out, target, steps=steps, in_place=in_place
    )


def _result_layout(
    case: Case, site: Site, layouts: list[Any], shared: tuple[int, ...], rng: np.random.Generator
) -> Layout:
    shape, lanes = site.result.shape, site.lanes
    segments: tuple[int, ...] = (shape[1],)
    if case.op == "concat" and case.attrs.axis == 1:
        segments = tuple(s for p in layouts for s in p.segments)
    elif case.op in FREE_SEGMENTS and len(shape) == 4:
        segments = random_segments(rng, shape[1])
    elif len(shape) == 4 and shape[1] == sum(shared):
        segments = shared
    halo = HALOS[int(rng.integers(len(HALOS)))] if len(shape) == 4 else HALOS[0]
    return blocked(shape, lanes, segments=segments, halo=halo)
