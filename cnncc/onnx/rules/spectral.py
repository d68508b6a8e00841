"""Spectra: discrete Fourier transforms as matrix products with constants."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import DTYPES, Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.arithmetic import dtype_name
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.table import rule

_MOST_FACTORS = 2**26  # of a matrix


@rule(
    "DFT",
    summary="discrete Fourier transforms along an axis, and back to real signals",
    limits="n² multiply-adds; inverse ones are one-sided",
)
def dft(call: Call) -> int:
    """The axis is an attribute before opset 20, an operand from it on."""
    x, rank = call.operand(0), len(call.type(0).shape)
    if rank < 2:
        raise Refused(f"a signal with its parts on the last axis is wanted, got {call.type(0)}")
    if call.version < 20:
        wanted = call.integer("axis", 1)
    else:
        wanted = call.single(2, "axis") if call.has(2) else -2
    axis = call.axis(wanted, rank)
    inverse, onesided = call.flag("inverse"), call.flag("onesided")
    if inverse and not onesided:
        # ONNX's test wants NumPy's own rounding errors where the exact result is 0.
        raise Refused("an inverse transform to complex numbers", "onesided=1 gives a real signal")
    extent = call.type(0).shape[axis]
    length = 2 * (extent - 1) if inverse else extent
    if call.has(1):
        length = call.single(1, "dft_length")
    return _transformed(call, x, axis, length, onesided, inverse)


def _transformed(call: Call, x: int, axis: int, length: int, onesided: bool, back: bool) -> int:
    """[..., n, ..., 1 or 2] as [..., m, ..., 2], or 1 where a real signal comes back."""
    rank, parts = len(call.type_of(x).shape), call.type_of(x).shape[-1]
    if parts not in (1, 2) or axis == rank - 1 or length < 1:
        raise Refused(f"a transform of length {length} along axis {axis} of {call.type_of(x)}")
    others = [a for a in range(rank - 1) if a != axis]
    perm = (*others, axis, rank - 1)
    turned = call.transpose(x, perm)
    *front, extent, _ = call.type_of(turned).shape
    used = min(extent, length // 2 + 1 if back else length)
    starts, steps = [0] * rank, [1] * rank
    turned = sliced(call, turned, starts, steps, (*front, used, parts))
    matrix = _matrix(used, length, onesided, back)[:, :parts]
    _, _, count, results = matrix.shape
    # In f64, since most of a spectrum is what large numbers leave that cancel.
    wide = call.cast(call.reshape(turned, (*front, used * parts)), DType.F64)
    factors = call.array(matrix.reshape(used * parts, -1))
    made = call.cast(call.add("matmul", [wide, factors]), call.type_of(x).dtype)
    undo = [perm.index(a) for a in range(rank)]
    return call.transpose(call.reshape(made, (*front, count, results)), undo)


def _matrix(used: int, length: int, onesided: bool, back: bool) -> NDArray[np.float64]:
    """How parts (real, imaginary) of each place count in those of each result."""
    count = length // 2 + 1 if onesided and not back else length
    if used * count > _MOST_FACTORS // 4:
        raise Refused(f"a transform of {used} numbers to {count}: too large for a matrix product")
    turns = np.outer(np.arange(used), np.arange(count)) % length  # exact, unlike cos of the whole
    angle = 2 * math.pi * turns / length
    cos, sin = np.cos(angle), np.sin(angle) * (1 if back else -1)
    matrix = np.empty((used, 2, count, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = cos, sin
    matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -sin, cos
    if not back:
        return matrix
    # The side that is left out would add the same, conjugated.
    alone = (np.arange(used) == 0) | (2 * np.arange(used) == length)
    return matrix[..., :1] * np.where(alone, 1.0, 2.0)[:, None, None, None] / length


@rule(
    "STFT", summary="discrete Fourier transforms of overlapping frames", limits="n² multiply-adds"
)
def stft(call: Call) -> int:
    """[B,n,1 or 2] as [B,frames,m,2]; the window multiplies each frame."""
    x, shape = call.operand(0), call.type(0).shape
    if len(shape) != 3:
        raise Refused(f"a signal [B,n,1 or 2] is wanted, got {call.type(0)}")
    step = call.single(1, "frame_step")
    if call.has(3):
        length = call.single(3, "frame_length")
    elif call.has(2):
        length = call.type(2).elems
    else:
        raise Refused("neither `window` nor `frame_length` is given")
    if step < 1 or not 1 <= length <= shape[1]:
        raise Refused(f"frames of {length}, {step} apart, of {call.type(0)}")
    frames = np.arange(1 + (shape[1] - length) // step)[:, None] * step + np.arange(length)
    cut = call.add("gather", [x, call.array(frames, DType.I64)], lookup("gather").Attrs(1))
    if call.has(2):
        if call.type(2).shape != (length,):
            raise Refused(f"a window {call.type(2)} for frames of {length}")
        cut = call.add("mul", [cut, call.reshape(call.operand(2), (length, 1))])
    return _transformed(call, cut, 2, length, call.flag("onesided", True), False)


@rule("MelWeightMatrix", summary="weights that turn spectra into mel bands")
def mel_weight_matrix(call: Call) -> int:
    """A constant [bins,bands], triangles as ONNX's text defines them."""
    words = ("num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz")
    bands, length, rate, low, high = (call.number(i, w) for i, w in enumerate(words))
    sized = bands >= 1 and length >= 1 and bands * length <= _MOST_FACTORS
    if not sized or not rate > 0 or not min(low, high) >= 0 or not max(low, high) < math.inf:
        raise Refused(f"{bands} bands of transforms of {length} numbers, {rate} a second")
    count = int(bands)
    mel = [2595 * math.log10(1 + hertz / 700) for hertz in (low, high)]
    points = mel[0] + np.arange(count + 2) * (mel[1] - mel[0]) / (count + 2)
    ends = ((length + 1) * 700 * (10 ** (points / 2595) - 1) // rate).astype(np.int64)
    bins = np.arange(int(length) // 2 + 1)[:, None]
    left, middle, right = ends[:-2], ends[1:-1], ends[2:]
    with np.errstate(all="ignore"):
        rising = np.where(middle > left, (bins - left) / (middle - left), 1.0)
        falling = (right - bins) / (right - middle)
    weights = np.where((bins >= left) & (bins <= middle), rising, 0.0)
    weights = np.where((bins >= middle) & (bins < right), falling, weights)
    name = dtype_name(call.integer("output_datatype", 1))
    if name not in DTYPES:
        raise Refused(f"`output_datatype` {name}")
    return call.array(weights, DTYPES[name])
