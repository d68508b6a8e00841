"""Makers: given an operator and its first operand's type, the other types and the attributes.

They are all that a new operator has to add to the tests. Decisions come from `Choices`, which
hypothesis or a NumPy generator makes; shapes come from the lists of nasty ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from hypothesis import strategies as st

from cnncc import ops
from cnncc.ir.op import NoAttrs, Trait, registered
from cnncc.ir.types import TensorType, f32
from cnncc.ops.activation import (
    ClipAttrs,
    HardSigmoidAttrs,
    LeakyReluAttrs,
)
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.elementwise import DropoutAttrs
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.ops.norm import BatchNormAttrs, LrnAttrs, SoftmaxAttrs
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.ops.resize import Upsample2dAttrs
from cnncc.ops.shape import (
    ChannelShuffleAttrs,
    ConcatAttrs,
    Crop2dAttrs,
    FlattenAttrs,
    Pad2dAttrs,
    ReshapeAttrs,
    SliceChannelsAttrs,
    TransposeAttrs,
)
from cnncc.ops.smooth import EluAttrs, GeluAttrs
from cnncc.ops.source import NormalizeAttrs

T = TypeVar("T")

CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 19, 23, 31, 32, 33, 40)
EXTENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 13)
BATCHES = (1, 1, 1, 2, 3, 5)
WINDOWS = (1, 2, 3, 3, 4, 5, 7, 11)
MAX_ELEMS = 6000
MAX_MACS = 400_000


class Choices(Protocol):
    """Where random decisions come from."""

    def pick(self, options: Sequence[T]) -> T: ...
    def whole(self, low: int, high: int) -> int: ...


class RngChoices:
    """Decisions of a NumPy generator."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, options: Sequence[T]) -> T:
        return options[int(self.rng.integers(len(options)))]

    def whole(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))


class DrawnChoices:
    """Decisions of hypothesis, which can shrink them."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self.draw = draw

    def pick(self, options: Sequence[T]) -> T:
        return options[self.whole(0, len(options) - 1)]

    def whole(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))


# -- makers: (choices, type of x) -> (types of the other operands, attributes) --------------------

Made = tuple[list[TensorType], Any]
Maker = Callable[[Choices, TensorType], Made]


def _geometry(ch: Choices, n: int) -> tuple[int, int, int, int, int]:
    """Window, stride, dilation, padding before and after, for a convolved axis of n pixels."""
    window, stride, dilation = (
        ch.pick((*WINDOWS, n)),
        ch.pick((1, 1, 2, 3)),
        ch.pick((1, 1, 1, 2, 3)),
    )
    before, after = (ch.pick((0, 0, 1, 1, 2, 3, window)) for _ in range(2))
    lacking = dilation * (window - 1) + 1 - (n + before + after)
    if lacking > 0:
        if ch.pick((False, True)):
            return window, stride, dilation, before, after + lacking
        return 1, stride, 1, before, after
    return window, stride, dilation, before, after


def _pair_geometry(ch: Choices, x: TensorType) -> tuple[tuple[int, int], dict[str, Any]]:
    h = _geometry(ch, x.shape[2])
    w = _geometry(ch, x.shape[3]) if x.shape[2] != x.shape[3] or ch.pick((False, True)) else h
    pads = (h[3], w[3], h[4], w[4])
    return (h[0], w[0]), {"strides": (h[1], w[1]), "dilations": (h[2], w[2]), "pads": pads}


def _grouping(ch: Choices, channels: int) -> tuple[int, int]:
    """Groups and filters for a number of channels."""
    kind = ch.pick(("dense", "dense", "dense", "depthwise", "multiplier", "grouped"))
    if kind == "depthwise":
        return channels, channels
    if kind == "multiplier":
        return channels, channels * ch.pick((2, 3))
    if kind == "grouped":
        groups = ch.pick([d for d in range(1, channels + 1) if channels % d == 0])
        return groups, groups * ch.pick((1, 2, 3, 8))
    return 1, ch.pick(CHANNELS)


def _conv2d(ch: Choices, x: TensorType) -> Made:
    window, geometry = _pair_geometry(ch, x)
    groups, filters = _grouping(ch, x.shape[1])
    depth = x.shape[1] // groups
    out = ops.Conv2d.infer(
        [x, f32(filters, depth, *window)], Conv2dAttrs(groups=groups, **geometry)
    )
    if out.elems * depth * math.prod(window) > MAX_MACS and groups == 1:
        filters = max(1, filters * MAX_MACS // (out.elems * depth * math.prod(window)))
    bias = [f32(filters)] if ch.pick((True, True, False)) else []
    return [f32(filters, depth, *window), *bias], Conv2dAttrs(groups=groups, **geometry)


def _conv2d_transpose(ch: Choices, x: TensorType) -> Made:
    sizes, strides, dilations, extras, pads = [], [], [], [], []
    for n in x.shape[2:]:
        window, stride, dilation = ch.pick((1, 2, 3, 4, 5)), ch.pick((1, 2, 3)), ch.pick((1, 1, 2))
        extra = ch.whole(0, max(stride, dilation) - 1)
        room = (n - 1) * stride + dilation * (window - 1) + 1 + extra
        before = min(ch.pick((0, 0, 1, 2)), room - 1)
        sizes.append(window)
        strides.append(stride)
        dilations.append(dilation)
        extras.append(extra)
        pads.append((before, min(ch.pick((0, 0, 1, 2)), room - 1 - before)))
    groups, filters = _grouping(ch, x.shape[1])
    filters = min(filters, groups * 8)
    attrs = Conv2dTransposeAttrs(
        strides=(strides[0], strides[1]),
        dilations=(dilations[0], dilations[1]),
        pads=(pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
        groups=groups,
        output_pads=(extras[0], extras[1]),
    )
    bias = [f32(filters)] if ch.pick((True, False)) else []
    return [f32(x.shape[1], filters // groups, *sizes), *bias], attrs


def _pool(ch: Choices, x: TensorType) -> dict[str, Any]:
    window, strides, before, after = [], [], [], []
    for n in x.shape[2:]:
        k = ch.pick((1, 2, 2, 3, 3, 4, 5, 7, n))
        pads = [ch.whole(0, min(k - 1, 3)) for _ in range(2)]
        if k > n + sum(pads):
            k, pads = n, [0, 0]
        window.append(k)
        strides.append(ch.pick((1, 2, 2, 3, k)))
        before.append(pads[0])
        after.append(pads[1])
    return {
        "window": tuple(window),
        "strides": tuple(strides),
        "pads": (*before, *after),
        "ceil": ch.pick((False, True)),
    }


def _max_pool(ch: Choices, x: TensorType) -> Made:
    return [], MaxPool2dAttrs(**_pool(ch, x))


def _avg_pool(ch: Choices, x: TensorType) -> Made:
    return [], AvgPool2dAttrs(**_pool(ch, x), count_pad=ch.pick((False, True)))


def _dense(ch: Choices, x: TensorType) -> Made:
    units = ch.pick((*CHANNELS, 65, 127))
    bias = [f32(units)] if ch.pick((True, True, False)) else []
    return [f32(units, x.shape[1]), *bias], NoAttrs()


def _channel_vectors(count: int, attrs: Callable[[Choices], Any]) -> Maker:
    def make(ch: Choices, x: TensorType) -> Made:
        return [f32(x.shape[1])] * count, attrs(ch)

    return make


def _scale(ch: Choices, x: TensorType) -> Made:
    return [f32(x.shape[1])] * ch.pick((1, 2)), NoAttrs()


def _unary(attrs: Callable[[Choices], Any] = lambda ch: NoAttrs()) -> Maker:
    def make(ch: Choices, x: TensorType) -> Made:
        return [], attrs(ch)

    return make


def _join(ch: Choices, x: TensorType) -> Made:
    if x.is_feature_map and ch.pick((False, False, True)):
        return [f32(*x.shape[:2], 1, 1)], NoAttrs()
    return [x], NoAttrs()


def _concat(ch: Choices, x: TensorType) -> Made:
    axis = 1 if not x.is_feature_map else ch.pick((1, 1, 1, 2, 3))
    others = []
    for _ in range(ch.pick((0, 1, 1, 2, 3))):
        shape = list(x.shape)
        shape[axis] = ch.pick(CHANNELS[:10])
        others.append(TensorType(x.dtype, tuple(shape)))
    return others, ConcatAttrs(axis)


def _softmax(ch: Choices, x: TensorType) -> Made:
    return [], SoftmaxAttrs(1)


def _reshape(ch: Choices, x: TensorType) -> Made:
    batch, rest = x.shape[0], math.prod(x.shape[1:])
    first = ch.pick([d for d in range(1, rest + 1) if rest % d == 0])
    return [], ReshapeAttrs(
        ch.pick(((-1, rest), (-1, first, rest // first, 1), (batch, first, -1), (batch, rest)))
    )


def _transpose(ch: Choices, x: TensorType) -> Made:
    rest = list(range(1, len(x.shape)))
    perm = [0]
    while rest:
        perm.append(rest.pop(ch.whole(0, len(rest) - 1)))
    return [], TransposeAttrs(tuple(perm))


def _upsample(ch: Choices, x: TensorType) -> Made:
    factors = (ch.pick((2, 1, 2, 3)), ch.pick((2, 1, 2, 3)))
    return [], Upsample2dAttrs(factors, ch.pick(("nearest", "bilinear")))


def _pad(ch: Choices, x: TensorType) -> Made:
    pads = tuple(ch.pick((0, 1, 2, 3)) for _ in range(4))
    return [], Pad2dAttrs(pads, ch.pick((0.0, 1.0, -2.5)))  # type: ignore[arg-type]


def _crop(ch: Choices, x: TensorType) -> Made:
    top, left = (ch.whole(0, min(2, n - 1)) for n in x.shape[2:])
    bottom, right = (
        ch.whole(0, min(2, n - 1 - cut)) for n, cut in zip(x.shape[2:], (top, left), strict=True)
    )
    return [], Crop2dAttrs((top, left, bottom, right))


def _slice(ch: Choices, x: TensorType) -> Made:
    start = ch.whole(0, x.shape[1] - 1)
    return [], SliceChannelsAttrs(start, ch.whole(start + 1, x.shape[1]))


def _shuffle(ch: Choices, x: TensorType) -> Made:
    return [], ChannelShuffleAttrs(
        ch.pick([d for d in range(1, x.shape[1] + 1) if x.shape[1] % d == 0])
    )


def _normalize(ch: Choices, x: TensorType) -> Made:
    channels = x.shape[1]
    mean = tuple(ch.pick((0.0, 0.25, 0.5)) for _ in range(channels))
    std = tuple(ch.pick((1.0, 0.5, 0.229)) for _ in range(channels))
    return [], NormalizeAttrs(ch.pick((1.0, 1 / 255)), mean, std)


def _clip_bounds(ch: Choices) -> ClipAttrs:
    return ClipAttrs(*ch.pick(((0.0, 6.0), (-1.0, 1.0), (-math.inf, 2.0), (0.5, math.inf))))


POINTWISE_STEPS = ("relu", "clip", "leaky_relu", "hard_swish", "sigmoid", "silu", "tanh", "add")


def _fused(ch: Choices, x: TensorType) -> Made:
    """A convolution, one to three pointwise steps (`add` has a further operand), perhaps a pool."""
    extra, attrs = _conv2d(ch, x)
    steps = [Step("conv2d", attrs, tuple(range(len(extra) + 1)))]
    result = ops.Conv2d.infer([x, *extra], attrs)
    for _ in range(ch.whole(1, 3)):
        name = ch.pick(POINTWISE_STEPS)
        others, step_attrs = _join(ch, result) if name == "add" else MAKERS[name](ch, result)
        places = range(len(extra) + 1, len(extra) + 1 + len(others))
        steps.append(Step(name, step_attrs, (~(len(steps) - 1), *places)))
        extra = [*extra, *others]
    pool = ch.pick(("", "max_pool2d", "avg_pool2d"))
    if pool:
        steps.append(Step(pool, MAKERS[pool](ch, result)[1], (~(len(steps) - 1),)))
    return extra, FusedAttrs(tuple(steps))


MAKERS: dict[str, Maker] = {
    "normalize": _normalize,
    "conv2d": _conv2d,
    "conv2d_transpose": _conv2d_transpose,
    "dense": _dense,
    "max_pool2d": _max_pool,
    "avg_pool2d": _avg_pool,
    "global_avg_pool": _unary(),
    "global_max_pool": _unary(),
    "batch_norm": _channel_vectors(4, lambda ch: BatchNormAttrs(ch.pick((1e-5, 1e-3)))),
    "scale": _scale,
    "lrn": _unary(lambda ch: LrnAttrs(ch.pick((1, 2, 3, 5)), ch.pick((1e-4, 1.0)), 0.75, 1.0)),
    "softmax": _softmax,
    "relu": _unary(),
    "clip": _unary(_clip_bounds),
    "leaky_relu": _unary(lambda ch: LeakyReluAttrs(ch.pick((0.25, 0.01, 2.0)))),
    "prelu": _channel_vectors(1, lambda ch: NoAttrs()),
    "sigmoid": _unary(),
    "tanh": _unary(),
    "silu": _unary(),
    "hard_swish": _unary(),
    "hard_sigmoid": _unary(lambda ch: HardSigmoidAttrs(ch.pick((1 / 6, 0.2)), 0.5)),
    "elu": _unary(lambda ch: EluAttrs(ch.pick((1.0, 0.5)))),
    "gelu": _unary(lambda ch: GeluAttrs(ch.pick((False, True)))),
    "mish": _unary(),
    "softplus": _unary(),
    "add": _join,
    "mul": _join,
    "identity": _unary(),
    "relayout": _unary(),
    "dropout": _unary(lambda ch: DropoutAttrs(ch.pick((0.0, 0.5)))),
    "flatten": _unary(lambda ch: FlattenAttrs(ch.pick(("hwc", "chw")))),
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concat,
    "pad2d": _pad,
    "crop2d": _crop,
    "slice_channels": _slice,
    "channel_shuffle": _shuffle,
    "upsample2d": _upsample,
    "fused": _fused,
}

VECTORS_ONLY = frozenset({"dense"})
EITHER = frozenset(
    {"softmax", "add", "mul", "concat", "flatten", "reshape", "transpose", "batch_norm", "scale"}
    | {"prelu", "slice_channels", "channel_shuffle", "normalize", "identity", "dropout", "relayout"}
)


def takes_vectors(name: str) -> bool:
    """Whether the operator works on `[N,K]` too."""
    pointwise = Trait.POINTWISE in registered()[name].traits
    return name in VECTORS_ONLY or name in EITHER or pointwise
