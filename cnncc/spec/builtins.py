"""The built-in operations: one row each. The documents and the flat printer read the same rows.

A row says which arguments an operation takes, which weights it creates, and how it becomes an
operator of the graph. Shape rules live in `cnncc.ops`; what is checked here are the mistakes for
which the language has a message of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cnncc.ir.types import DType, TensorType
from cnncc.spec.values import Argument, Kind, listed, shape_text

Takes = Literal["map", "vector", "any", "many"]
Values = Mapping[str, Any]
Init = Literal["fan", "zero", "one", "quarter"]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Weight:
    """One array of a layer.

    Attributes:
        leaf: the last part of its path, as PyTorch names it.
        shape: its shape in the graph.
        init: its random start: `fan` scales with `fan_in`.
        fan_in: how many products one result adds up.
        dtype: its element type.
    """

    leaf: str
    shape: tuple[int, ...]
    init: Init = "fan"
    fan_in: int = 1
    dtype: DType = DType.F32

    @property
    def type(self) -> TensorType:
        """Element type and shape."""
        return TensorType(self.dtype, self.shape)


@dataclass(frozen=True, slots=True)
class Lowered:
    """An operator of the graph: its name, attributes and weights."""

    op: str
    attrs: Mapping[str, Any]
    weights: tuple[Weight, ...] = ()
    uneven: bool = False


@dataclass(frozen=True, slots=True)
class Builtin:
    """A row of the table.

    Attributes:
        name: the operation's name.
        summary: one line for the documents.
        takes: a feature map, a vector, either, or several results (`add`, `mul`, `concat`).
        args: its arguments; where `bare`, the first may be given without its name.
        leaves: the weights it creates.
        lower: from argument values and the operand's type to an operator.
    """

    name: str
    summary: str
    takes: Takes
    args: tuple[Argument, ...]
    lower: Callable[[Values, TensorType], Lowered]
    bare: bool = False
    leaves: tuple[str, ...] = ()


class Misfit(Exception):
    """An operation cannot be applied: code, message, the argument at fault, repair."""

    def __init__(self, code: str, message: str, *, arg: str = "", help: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.arg = arg
        self.help = help


# -- shared rules ----------------------------------------------------------------------------------


def pads_of(pad: str | Pads, x: TensorType, window: Any, stride: Any, dilation: Any) -> Pads:
    """`pad` as [top, left, bottom, right].

    `same` gives o = ceil(n/s): P = max(0, (o-1)s + ek - n), the smaller half before (TensorFlow,
    ONNX SAME_UPPER); `same_lower` puts the larger half before.
    """
    if not isinstance(pad, str):
        return pad
    if pad == "valid":
        return (0, 0, 0, 0)
    halves: list[tuple[int, int]] = []
    for n, k, s, d in zip(x.shape[2:], window, stride, dilation, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n)
        small, large = total // 2, total - total // 2
        halves.append((small, large) if pad == "same" else (large, small))
    (top, bottom), (left, right) = halves
    return (top, left, bottom, right)


def check_window(x: TensorType, window: Any, pads: Pads, dilation: Any = (1, 1)) -> None:
    """E0401 unless the window lies within the padded feature map."""
    spans = [d * (k - 1) + 1 for k, d in zip(window, dilation, strict=True)]
    room = (x.shape[2] + pads[0] + pads[2], x.shape[3] + pads[1] + pads[3])
    if spans[0] > room[0] or spans[1] > room[1]:
        dilated = f" (dilated to {spans[0]}x{spans[1]})" if tuple(dilation) != (1, 1) else ""
        padded = f" (padded to {room[0]}x{room[1]})" if any(pads) else ""
        raise Misfit(
            "E0401",
            f"a {window[0]}x{window[1]} window{dilated} does not fit a "
            f"{x.shape[2]}x{x.shape[3]} input{padded}",
            help="use pad=same, drop a pooling, or start from a larger input",
        )


def check_groups(groups: int, channels: int, what: str) -> None:
    """E0403 unless `groups` divides `channels`."""
    if channels % groups:
        divisors = [n for n in range(1, min(channels, 4096) + 1) if channels % n == 0]
        raise Misfit(
            "E0403",
            f"groups={groups} does not divide {channels} {what}",
            arg="groups",
            help=f"divisors of {channels}: {listed(divisors)}",
        )


def _window_attrs(v: Values, x: TensorType) -> tuple[dict[str, Any], bool]:
    pads = pads_of(v["pad"], x, v["window"], v["stride"], v["dilation"])
    check_window(x, v["window"], pads, v["dilation"])
    attrs = {"strides": v["stride"], "pads": pads, "dilations": v["dilation"]}
    return attrs, _uneven(v["pad"], v["stride"], pads)


def _uneven(pad: str | Pads, stride: tuple[int, int], pads: Pads) -> bool:
    return isinstance(pad, str) and max(stride) > 1 and pads[:2] != pads[2:]


def _bias(v: Values, count: int) -> tuple[Weight, ...]:
    return (Weight("bias", (count,), "zero"),) if v["bias"] else ()


# -- one function a row that is more than a renaming -----------------------------------------------


def _conv(v: Values, x: TensorType) -> Lowered:
    groups, filters, channels = v["groups"], v["filters"], x.shape[1]
    check_groups(groups, channels, "channels")
    check_groups(groups, filters, "filters")
    attrs, uneven = _window_attrs(v, x)
    shape = (filters, channels // groups, *v["window"])
    weight = Weight("weight", shape, fan_in=math.prod(shape[1:]))
    return Lowered("conv2d", attrs | {"groups": groups}, (weight, *_bias(v, filters)), uneven)


def _dwconv(v: Values, x: TensorType) -> Lowered:
    channels = x.shape[1]
    return _conv({**v, "groups": channels, "filters": channels * v["multiplier"]}, x)


def _deconv(v: Values, x: TensorType) -> Lowered:
    groups, filters, channels = v["groups"], v["filters"], x.shape[1]
    check_groups(groups, channels, "channels")
    check_groups(groups, filters, "filters")
    pads = (0, 0, 0, 0) if v["pad"] == "valid" else v["pad"]
    shape = (channels, filters // groups, *v["window"])
    attrs = {
        "strides": v["stride"],
        "pads": pads,
        "dilations": v["dilation"],
        "groups": groups,
        "output_pads": v["out_pad"],
    }
    fan_in = channels // groups * math.prod(v["window"])
    weight = Weight("weight", shape, fan_in=fan_in)
    return Lowered("conv2d_transpose", attrs, (weight, *_bias(v, filters)))


def _dense(v: Values, x: TensorType) -> Lowered:
    features = x.shape[1]
    weight = Weight("weight", (v["units"], features), fan_in=features)
    return Lowered("dense", {}, (weight, *_bias(v, v["units"])))


def _bn(v: Values, x: TensorType) -> Lowered:
    c = (x.shape[1],)
    inits: tuple[tuple[str, Init], ...] = (
        *(("weight", "one"), ("bias", "zero")),
        *(("running_mean", "zero"), ("running_var", "one")),
    )
    weights = tuple(Weight(leaf, c, init) for leaf, init in inits)
    return Lowered("batch_norm", {"eps": v["eps"]}, weights)


def _scale(v: Values, x: TensorType) -> Lowered:
    weight = Weight("weight", (x.shape[1],), "one")
    return Lowered("scale", {}, (weight, *_bias(v, x.shape[1])))


def _prelu(v: Values, x: TensorType) -> Lowered:
    return Lowered("prelu", {}, (Weight("weight", (x.shape[1],), "quarter"),))


def _pool(v: Values, x: TensorType) -> Lowered:
    window, stride = v["window"], v["stride"] or v["window"]
    pads = pads_of(v["pad"], x, window, stride, (1, 1))
    check_window(x, window, pads)
    attrs = {"window": window, "strides": stride, "pads": pads, "ceil": v["round"] == "ceil"}
    uneven = _uneven(v["pad"], stride, pads)
    if "count_pad" not in v:
        return Lowered("max_pool2d", attrs, (), uneven)
    if v["count_pad"] is None and any(pads):
        raise Misfit(
            "E0308",
            "`avgpool` with padding must say `count_pad=true` or `count_pad=false`",
            help="PyTorch counts the padding (true), TensorFlow and ONNX do not (false)",
        )
    return Lowered("avg_pool2d", attrs | {"count_pad": bool(v["count_pad"])}, (), uneven)


def _clip(v: Values, x: TensorType) -> Lowered:
    if v["low"] > v["high"]:
        raise Misfit("E0309", f"`low` {v['low']:g} is above `high` {v['high']:g}", arg="low")
    return Lowered("clip", {"low": v["low"], "high": v["high"]})


def _slice(v: Values, x: TensorType) -> Lowered:
    start, stop, channels = v["start"], v["stop"], x.shape[1]
    if not start < stop <= channels:
        raise Misfit(
            "E0309",
            f"channels {start} to {stop} are not within the {channels} that arrive",
            arg="stop",
            help="`start` counts from 0, `stop` is the first channel left out",
        )
    return Lowered("slice_channels", {"start": start, "stop": stop})


def _pad2d(v: Values, x: TensorType) -> Lowered:
    return Lowered("pad2d", {"pads": v["border"], "value": v["value"]})


def _crop(v: Values, x: TensorType) -> Lowered:
    top, left, bottom, right = v["border"]
    if top + bottom >= x.shape[2] or left + right >= x.shape[3]:
        raise Misfit("E0401", f"nothing is left of {shape_text(x)} after this crop")
    return Lowered("crop2d", {"pads": v["border"]})


def _shuffle(v: Values, x: TensorType) -> Lowered:
    check_groups(v["groups"], x.shape[1], "channels")
    return Lowered("channel_shuffle", {"groups": v["groups"]})


def _lrn(v: Values, x: TensorType) -> Lowered:
    return Lowered("lrn", {key: v[key] for key in ("size", "alpha", "beta", "k")})


def _plain(op: str, **fixed: Any) -> Callable[[Values, TensorType], Lowered]:
    """A row that only renames: argument names are attribute names."""

    def lower(v: Values, x: TensorType) -> Lowered:
        return Lowered(op, {**v, **fixed})

    return lower


# -- the table -------------------------------------------------------------------------------------

_WINDOW = Argument("window", Kind.PAIR, doc="height x width of the window")
_FILTERS = Argument("filters", Kind.COUNT, doc="number of filters, the channels of the result")
_STRIDE = Argument("stride", Kind.PAIR, (1, 1), "step of the window")
_PAD = Argument("pad", Kind.PADS, "valid", "zeros around the map", ("valid", "same", "same_lower"))
_MAX_PAD = replace(_PAD, doc="border around the map that is never the largest")
_PLAIN_PAD = Argument("pad", Kind.PADS, "valid", "rows and columns taken away", ("valid",))
_DILATION = Argument("dilation", Kind.PAIR, (1, 1), "distance of the window's taps")
_GROUPS = Argument("groups", Kind.COUNT, 1, "parts of the channels that do not mix")
_BIAS = Argument("bias", Kind.TRUTH, True, "whether a learned number is added")
_POOL_STRIDE = Argument("stride", Kind.PAIR, None, "step of the window; the window if not given")
_ROUND = Argument("round", Kind.WORD, "floor", "partial windows at the end", ("floor", "ceil"))
_COUNT_PAD = Argument(
    "count_pad", Kind.TRUTH, None, "whether padding counts; required with padding"
)
FROM = Argument("from", Kind.TEXT, "", "path of the weights, if not the layer's own")

_MODE = Argument("mode", Kind.WORD, "nearest", "values between pixels", ("nearest", "bilinear"))
_ORDER = Argument("order", Kind.WORD, None, "order of the numbers; `hwc`", ("hwc", "chw"))
_BN_LEAVES = ("weight", "bias", "running_mean", "running_var")
_WB = ("weight", "bias")

_ROWS = (
    Builtin(
        "conv",
        "convolution",
        "map",
        (_WINDOW, _FILTERS, _STRIDE, _PAD, _DILATION, _GROUPS, _BIAS),
        _conv,
        bare=True,
        leaves=_WB,
    ),
    Builtin(
        "dwconv",
        "depthwise convolution: each channel has filters of its own",
        "map",
        (
            *(_WINDOW, Argument("multiplier", Kind.COUNT, 1, "filters for each channel")),
            *(_STRIDE, _PAD, _DILATION, _BIAS),
        ),
        _dwconv,
        bare=True,
        leaves=_WB,
    ),
    Builtin(
        "deconv",
        "transposed convolution",
        "map",
        (
            *(_WINDOW, _FILTERS, _STRIDE, _PLAIN_PAD, _DILATION, _GROUPS),
            Argument("out_pad", Kind.EXTRA, (0, 0), "rows and columns added at the end"),
            _BIAS,
        ),
        _deconv,
        bare=True,
        leaves=_WB,
    ),
    Builtin(
        "dense",
        "fully connected layer",
        "vector",
        (Argument("units", Kind.COUNT, doc="numbers in the result"), _BIAS),
        _dense,
        bare=True,
        leaves=_WB,
    ),
    Builtin(
        "bn",
        "batch normalisation, with the statistics of training",
        "any",
        (Argument("eps", Kind.NUMBER, 1e-5, "added to the variance"),),
        _bn,
        leaves=_BN_LEAVES,
    ),
    Builtin(
        "lrn",
        "local response normalisation across channels",
        "map",
        (
            Argument("size", Kind.COUNT, doc="channels that take part"),
            Argument("alpha", Kind.NUMBER, 1e-4, "divided by `size`"),
            Argument("beta", Kind.NUMBER, 0.75, "the exponent"),
            Argument("k", Kind.NUMBER, 1.0, "added to the sum"),
        ),
        _lrn,
        bare=True,
    ),
    Builtin("relu", "max(x, 0)", "any", (), _plain("relu")),
    Builtin("relu6", "min(max(x, 0), 6)", "any", (), _plain("clip", low=0.0, high=6.0)),
    Builtin(
        "leaky_relu",
        "x, or alpha*x where x < 0",
        "any",
        (Argument("alpha", Kind.NUMBER, 0.01, "slope below zero"),),
        _plain("leaky_relu"),
    ),
    Builtin(
        "prelu", "x, or a learned slope times x where x < 0", "any", (), _prelu, leaves=("weight",)
    ),
    Builtin("sigmoid", "1 / (1 + exp(-x))", "any", (), _plain("sigmoid")),
    Builtin("tanh", "hyperbolic tangent", "any", (), _plain("tanh")),
    Builtin("silu", "x * sigmoid(x)", "any", (), _plain("silu")),
    Builtin("hswish", "x * min(max(x/6 + 0.5, 0), 1)", "any", (), _plain("hard_swish")),
    Builtin("hsigmoid", "min(max(x/6 + 0.5, 0), 1)", "any", (), _plain("hard_sigmoid")),
    Builtin("softmax", "exp(x) / sum of exp over the channels", "any", (), _plain("softmax")),
    Builtin(
        "clip",
        "min(max(x, low), high)",
        "any",
        (
            Argument("low", Kind.NUMBER, doc="smallest result"),
            Argument("high", Kind.NUMBER, doc="largest result"),
        ),
        _clip,
    ),
    Builtin(
        "maxpool",
        "largest value of each window",
        "map",
        (_WINDOW, _POOL_STRIDE, _MAX_PAD, _ROUND),
        _pool,
        bare=True,
    ),
    Builtin(
        "avgpool",
        "mean of each window",
        "map",
        (_WINDOW, _POOL_STRIDE, _PAD, _ROUND, _COUNT_PAD),
        _pool,
        bare=True,
    ),
    Builtin("global_avgpool", "mean of each channel: 1x1xC", "map", (), _plain("global_avg_pool")),
    Builtin(
        "global_maxpool",
        "largest value of each channel: 1x1xC",
        "map",
        (),
        _plain("global_max_pool"),
    ),
    Builtin("flatten", "a feature map as a vector", "any", (_ORDER,), _plain("flatten")),
    Builtin(
        "dropout",
        "nothing: it matters in training only",
        "any",
        (Argument("rate", Kind.NUMBER, 0.5, "share that training left out"),),
        _plain("dropout"),
        bare=True,
    ),
    Builtin(
        "upsample",
        "more pixels; `bilinear` has half-pixel centres",
        "map",
        (Argument("factors", Kind.PAIR, doc="how many times as high and wide"), _MODE),
        _plain("upsample2d"),
        bare=True,
    ),
    Builtin(
        "pad",
        "a border around the map",
        "map",
        (
            Argument("border", Kind.PADS, doc="its width"),
            Argument("value", Kind.NUMBER, 0.0, "what it is filled with"),
        ),
        _pad2d,
        bare=True,
    ),
    Builtin(
        "crop",
        "the map without its border",
        "map",
        (Argument("border", Kind.PADS, doc="its width"),),
        _crop,
        bare=True,
    ),
    Builtin(
        "slice",
        "some of the channels",
        "any",
        (
            Argument("start", Kind.NATURAL, 0, "first channel, counted from 0"),
            Argument("stop", Kind.COUNT, doc="first channel left out"),
        ),
        _slice,
    ),
    Builtin(
        "channel_shuffle",
        "channels of the groups in turn",
        "map",
        (Argument("groups", Kind.COUNT, doc="number of groups"),),
        _shuffle,
        bare=True,
    ),
    Builtin(
        "scale",
        "a learned factor (and summand) for each channel",
        "any",
        (_BIAS,),
        _scale,
        leaves=_WB,
    ),
    Builtin("add", "sum of equal shapes", "many", (), _plain("add")),
    Builtin("mul", "product of equal shapes, or with 1x1xC", "many", (), _plain("mul")),
    Builtin("concat", "channels behind each other", "many", (), _plain("concat", axis=1)),
)

BUILTINS: dict[str, Builtin] = {row.name: row for row in _ROWS}
# These go element by element, whatever the rank: their operators' own rules decide.
ANY_TENSOR = frozenset(
    {
        *("relu", "relu6", "leaky_relu", "sigmoid", "tanh", "silu", "hswish", "hsigmoid", "clip"),
        *("add", "mul", "concat"),
    }
)
WORDS = frozenset(word for row in _ROWS for arg in row.args for word in arg.words)


def arguments_of(row: Builtin) -> tuple[Argument, ...]:
    """All arguments of a row, `from` of layers with weights included."""
    return (*row.args, FROM) if row.leaves else row.args
