"""Sites out of the operators' random cases: layouts are drawn, constants recognised."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType, f32
from cnncc.kernels.convolution.conv_geometry import conv_halo, groups_aligned
from cnncc.kernels.convolution.conv_transposed import transposed_halo
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import Site
from cnncc.ops.fused import Step
from cnncc.targets import Target
from tests.kernels.harness import blocked, make_site
from tests.strategies import GENERAL, Case, op_case

HALOS = ((0, 0, 0, 0), (0, 0, 0, 0), (1, 1, 1, 1), (0, 2, 1, 3))
FREE_SEGMENTS = frozenset({"concat", "slice_channels", "channel_shuffle", "transpose", "relayout"})


def single(case: Case) -> bool:
    """Whether the case has one sample, which is what kernels see."""
    return bool(case.types[0].shape) and case.types[0].shape[0] == 1


def takes_maps(name: str) -> bool:
    """Whether a pointwise operator makes an f32 map of f32 maps with its attributes by default."""
    op = lookup(name)
    try:
        count = op.arity[0]
        return op.infer([f32(1, 2, 3, 3)] * count, op.Attrs()).dtype is DType.F32
    except (TypeError, TypeInferenceError):
        return False


@st.composite
def map_case(draw: Any, name: str, values: str) -> Case:
    """A case of one sample, in blocks: that of the operator's maker, else maps of equal shape."""
    if name not in GENERAL:
        return draw(op_case(name, values).filter(single))
    op = lookup(name)
    channels = draw(st.sampled_from([1, 3, 7, 16, 17, 33]))
    shape = draw(st.sampled_from([(1, channels), (1, channels, 1, 5), (1, channels, 4, 3)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(op.arity[0])]
    if values == "special":
        strange = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 3e38], np.float32)
        spots = rng.random(shape) < 0.2
        arrays[0] = np.where(spots, rng.choice(strange, shape), arrays[0])
    return Case(name, (f32(*shape),) * len(arrays), op.Attrs(), tuple(arrays), exact=False)


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


# -- operators with weights --------------------------------------------------------------------


def weighted_site_of(case: Case, target: Target, rng: np.random.Generator) -> Site:
    """A site for a convolution or dense layer, or a group that begins with one."""
    steps = case.attrs.steps if case.op == "fused" else (_alone(case),)
    anchor, lanes = steps[0], target.lanes()
    types = [case.types[a] for a in anchor.args]
    made = lookup(anchor.op).infer(types, anchor.attrs)
    result = lookup(case.op).infer(case.types, case.attrs)
    source, out = _weighted_segments(anchor, types[0], made, lanes, rng)
    layouts: list[Any] = []
    for operand, type_ in enumerate(case.types):
        if operand == 0:
            halo = _grown(_anchor_halo(anchor, types, made), rng)
            block = types[0].shape[1] if source is None else lanes
            layouts.append(blocked(type_.shape, block, segments=source or (), halo=halo))
        elif operand in anchor.args or len(type_.shape) == 1:
            layouts.append(None)
        else:
            halo = HALOS[int(rng.integers(len(HALOS)))]
            layouts.append(blocked(type_.shape, lanes, segments=out, halo=halo))
    halo = HALOS[int(rng.integers(len(HALOS)))]
    whole = blocked(result.shape, lanes, segments=out, halo=halo)
    planes = blocked(result.shape, 1, halo=halo)
    return Site(
        name=f"test.{case.op}",
        steps=steps,
        types=case.types,
        result=result,
        layouts=tuple(layouts),
        out=planes if _may_be_planes(steps, layouts, lanes) and rng.integers(3) == 0 else whole,
        constants=tuple(
            a if p is None else None for a, p in zip(case.arrays, layouts, strict=True)
        ),
        target=target,
    )


def _may_be_planes(steps: tuple[Step, ...], layouts: list[Any], lanes: int) -> bool:
    """Whether a kernel can write the result channel by channel."""
    anchor, values = steps[0], sum(layout is not None for layout in layouts)
    if anchor.op not in ("conv2d", "conv2d_transpose") or anchor.attrs.groups > 1:
        return False
    return values == 1 and layouts[0].block == lanes and not steps[-1].op.endswith("pool2d")


def _alone(case: Case) -> Step:
    return Step(case.op, case.attrs, tuple(range(len(case.types))))


def _anchor_halo(anchor: Step, types: list[TensorType], made: TensorType) -> Any:
    if anchor.op == "dense":
        return (0, 0, 0, 0)
    rule = conv_halo if anchor.op == "conv2d" else transposed_halo
    return rule(anchor.attrs, types[0], types[1], made)


def _grown(halo: Any, rng: np.random.Generator) -> Any:
    """Perhaps wider than needed: another reader may want more."""
    if sum(halo) == 0 and rng.integers(2):
        return halo
    extra = HALOS[int(rng.integers(len(HALOS)))]
    return tuple(a + b for a, b in zip(halo, extra, strict=True))


def _weighted_segments(
    anchor: Step, x: TensorType, made: TensorType, lanes: int, rng: np.random.Generator
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Segments of the input (None: one narrow block) and of the result, as plans choose them."""
    taken, given = x.shape[1], made.shape[1]
    groups = 1 if anchor.op == "dense" else anchor.attrs.groups
    if anchor.op == "dense":
        return (taken,), (given,)
    if groups == 1:
        narrow = anchor.op == "conv2d" and taken < min(lanes, 5) and bool(rng.integers(2))
        return None if narrow else random_segments(rng, taken), random_segments(rng, given)
    if groups == taken == given and anchor.op == "conv2d":
        shared = random_segments(rng, taken)
        return shared, shared

    def cut(channels: int) -> tuple[int, ...]:
        whole = groups_aligned(Layout(lanes, (channels,), 1, 1), groups)
        return (channels,) if whole else (channels // groups,) * groups

    return cut(taken), cut(given)
