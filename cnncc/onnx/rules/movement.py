"""Operators that move elements: reshapes, transposes, joins, cuts, borders, repeats."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.table import rule
from cnncc.ops.check import MAX_RANK

_FAR = 2**62  # beyond every extent: "to the end"


@rule("Reshape", summary="the same elements under another shape")
def reshape(call: Call) -> int:
    """0 keeps an axis (unless `allowzero`), -1 takes what is left."""
    call.ignore("consumed_inputs")
    found = call.type(0)
    wanted = call.integers("shape") if call.version < 5 else call.whole(1, "shape")
    keep = not call.flag("allowzero")
    sizes = []
    for axis, n in enumerate(wanted or ()):
        if n == 0 and keep:
            if axis >= len(found.shape):
                raise Refused(f"`shape` keeps axis {axis}, which x {found} does not have")
            n = found.shape[axis]
        sizes.append(n)
    if min(sizes, default=1) < -1 or 0 in sizes or sizes.count(-1) > 1:
        raise Refused(f"`shape` is {sizes}")
    if -1 in sizes:
        known = math.prod(n for n in sizes if n != -1)
        if found.elems % known:
            raise Refused(f"{found} does not fit `shape` {sizes}")
        sizes[sizes.index(-1)] = found.elems // known
    return call.reshape(call.operand(0), sizes)


@rule("Flatten", summary="a matrix: axes before and from one on, each as one")
def flatten(call: Call) -> int:
    """One reshape."""
    sizes = call.type(0).shape
    axis = call.integer("axis", 1)
    if not -len(sizes) <= axis <= len(sizes):
        raise Refused(f"`axis` is {axis}, but there are {len(sizes)} axes")
    axis += len(sizes) if axis < 0 else 0
    return call.reshape(call.operand(0), (math.prod(sizes[:axis]), math.prod(sizes[axis:])))


def axes_of(call: Call, index: int, since: int) -> tuple[int, ...] | None:
    """`axes`: an attribute before opset `since`, an operand from it on; None when left out."""
    if call.version < since:
        return call.integers("axes")
    return call.whole(index, "axes") if call.has(index) else None


@rule("Squeeze", summary="without axes of extent 1")
def squeeze(call: Call) -> int:
    """One reshape."""
    sizes = call.type(0).shape
    axes = axes_of(call, 1, 13)
    if axes is None:
        gone = {a for a, n in enumerate(sizes) if n == 1}
    else:
        gone = {call.axis(a, len(sizes), "axes") for a in axes}
    if any(sizes[a] != 1 for a in gone):
        raise Refused(f"`axes` {sorted(gone)} of {call.type(0)} are not all 1")
    return call.reshape(call.operand(0), [n for a, n in enumerate(sizes) if a not in gone])


@rule("Unsqueeze", summary="with more axes of extent 1")
def unsqueeze(call: Call) -> int:
    """One reshape."""
    axes = axes_of(call, 1, 13) or ()
    rank = len(call.type(0).shape) + len(axes)
    new = {call.axis(a, rank, "axes") for a in axes}
    if len(new) != len(axes):
        raise Refused(f"`axes` {list(axes)} name an axis twice")
    left = iter(call.type(0).shape)
    return call.reshape(call.operand(0), [1 if a in new else next(left) for a in range(rank)])


@rule("Transpose", summary="axes in another order")
def transpose(call: Call) -> int:
    """Reversed by default."""
    rank = len(call.type(0).shape)
    perm = call.integers("perm")
    perm = tuple(reversed(range(rank))) if perm is None else perm
    if sorted(perm) != list(range(rank)):
        raise Refused(f"`perm` is {list(perm)} for {call.type(0)}")
    return call.transpose(call.operand(0), perm)


@rule("Concat", summary="operands one after another along an axis")
def concat(call: Call) -> int:
    """Operands without elements are left out."""
    operands = [o for o in call.operands() if call.type_of(o).elems]
    if not operands:
        return call.operand(0)
    default = 1 if call.version < 4 else None
    axis = call.axis(call.integer("axis", default), len(call.type_of(operands[0]).shape))
    if len(operands) == 1:
        return operands[0]
    return call.add("concat", operands, lookup("concat").Attrs(axis))


def sliced(
    call: Call, node_id: int, starts: Sequence[int], steps: Sequence[int], sizes: Sequence[int]
) -> int:
    """A part of a node; itself when it is the whole.

    A part without elements is an empty constant: nothing can be read from it, and a join drops it.
    """
    shape = call.type_of(node_id).shape
    if 0 in sizes:
        return call.array(np.empty(tuple(sizes), call.type_of(node_id).dtype.numpy))
    whole = all(s == 0 for s in starts) and all(s == 1 for s in steps) and tuple(sizes) == shape
    if whole:
        return node_id
    attrs = lookup("slice").Attrs(tuple(starts), tuple(steps), tuple(sizes))
    return call.add("slice", [node_id], attrs)


@rule("Slice", summary="a part, with steps; negative numbers count from the end")
def slice_(call: Call) -> int:
    """Bounds are attributes up to opset 9, operands from 10 on."""
    found = call.type(0)
    rank = len(found.shape)
    if not rank:
        raise Refused("a number has no parts")
    if call.version < 10:
        starts, ends = call.integers("starts"), call.integers("ends")
        axes, steps = call.integers("axes"), None
    else:
        starts, ends = call.whole(1, "starts"), call.whole(2, "ends")
        axes = call.whole(3, "axes") if call.has(3) else None
        steps = call.whole(4, "steps") if call.has(4) else None
    starts, ends = starts or (), ends or ()
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise Refused("`starts`, `ends`, `axes` and `steps` have different lengths")
    firsts, strides, sizes = [0] * rank, [1] * rank, list(found.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        a = call.axis(axis, rank, "axes")
        if step == 0:
            raise Refused("a step is 0")
        low, high, stride = slice(_near(start), _near(end), step).indices(found.shape[a])
        firsts[a], strides[a], sizes[a] = low, stride, len(range(low, high, stride))
    return sliced(call, call.operand(0), firsts, strides, sizes)


def _near(value: int) -> int:
    return max(-_FAR, min(value, _FAR))


@rule("Split", summary="parts along an axis, equal or of given sizes")
def split(call: Call) -> list[int]:
    """One slice for each output."""
    shape = call.type(0).shape
    axis = call.axis(call.integer("axis", 0), len(shape))
    if not shape:
        raise Refused("a number has no parts")
    count = len(call.node.outputs)
    sizes = call.integers("split") if call.version < 13 else None
    if call.version >= 13 and call.has(1):
        sizes = call.whole(1, "split")
    if sizes is None:
        parts = call.integer("num_outputs", count) if call.version >= 18 else count
        if not count <= parts <= max(count, shape[axis]):
            raise Refused(f"`num_outputs` is {parts}")
        step = -(-shape[axis] // parts)
        sizes = tuple(min(step, shape[axis] - step * k) for k in range(parts))
    else:
        call.ignore("num_outputs")
    if sum(sizes) != shape[axis] or len(sizes) < count or min(sizes) < 0:
        raise Refused(f"parts of {list(sizes)} do not fit {shape[axis]} along axis {axis}")
    starts = itertools.accumulate(sizes, initial=0)
    results = []
    for start, size in zip(starts, sizes, strict=False):
        firsts = [start if a == axis else 0 for a in range(len(shape))]
        extents = [size if a == axis else n for a, n in enumerate(shape)]
        results.append(sliced(call, call.operand(0), firsts, [1] * len(shape), extents))
    return results


@rule("Expand", summary="broadcast to a shape")
def expand(call: Call) -> int:
    """Both shapes spread over each other."""
    wanted = call.whole(1, "shape")
    if len(wanted) > MAX_RANK or min(wanted, default=1) < 1:
        raise Refused(f"`shape` is {list(wanted)}")
    try:
        shape = np.broadcast_shapes(call.type(0).shape, wanted)
    except ValueError:
        raise Refused(f"{call.type(0)} does not spread to {list(wanted)}") from None
    return expanded(call, call.operand(0), shape)


def expanded(call: Call, node_id: int, shape: Sequence[int]) -> int:
    """A node broadcast to a shape; itself when it has it."""
    if call.type_of(node_id).shape == tuple(shape):
        return node_id
    return call.add("expand", [node_id], lookup("expand").Attrs(tuple(shape)))


@rule("Tile", summary="the operand repeated along its axes")
def tile(call: Call) -> int:
    """Each axis n as [1, n], spread to [r, n], as one axis again."""
    shape = call.type(0).shape
    repeats = call.whole(1, "repeats")
    if len(repeats) != len(shape) or min(repeats, default=1) < 1:
        raise Refused(f"`repeats` is {list(repeats)} for {call.type(0)}")
    node_id = call.operand(0)
    for axis, count in enumerate(repeats):
        if count == 1:
            continue
        now = call.type_of(node_id).shape
        front, back = now[:axis], now[axis:]
        apart = call.reshape(node_id, (math.prod(front), 1, math.prod(back)))
        spread = expanded(call, apart, (math.prod(front), count, math.prod(back)))
        node_id = call.reshape(spread, (*front, count * now[axis], *now[axis + 1 :]))
    return node_id


@rule("Pad", summary="a border: constant, reflected, of the edge, or wrapped; negative ones cut")
def pad(call: Call) -> int:
    """Border sizes are attributes up to opset 10, operands from 11 on."""
    node_id, found = call.operand(0), call.type(0)
    rank = len(found.shape)
    mode = call.text("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    value = 0.0
    if call.version < 11:
        sizes = call.integers("pads") or ()
        value = call.real("value", 0.0)
        axes: tuple[int, ...] = tuple(range(rank))
    else:
        sizes = call.whole(1, "pads")
        value = call.number(2, "constant_value") if call.has(2) else 0.0
        given = call.whole(3, "axes") if call.has(3) else None
        axes = tuple(range(rank)) if given is None else given
    if len(sizes) != 2 * len(axes):
        raise Refused(f"`pads` has {len(sizes)} numbers for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for axis, low, high in zip(axes, sizes[: len(axes)], sizes[len(axes) :], strict=True):
        at = call.axis(axis, rank, "axes")
        before[at], after[at] = low, high
    firsts = [max(0, -n) for n in before]
    extents = [
        n - max(0, -b) - max(0, -a) for n, b, a in zip(found.shape, before, after, strict=True)
    ]
    if min(extents, default=1) < 1:
        raise Refused(f"`pads` {list(sizes)} leave nothing of {found}")
    node_id = sliced(call, node_id, firsts, [1] * rank, extents)
    front, back = [max(0, n) for n in before], [max(0, n) for n in after]
    if not any(front) and not any(back):
        return node_id
    exact: float = int(value) if found.dtype.is_integer else value
    attrs = lookup("pad").Attrs(mode, tuple(front), tuple(back), exact)
    if found.dtype is DType.BOOL:
        wide = call.add("pad", [call.cast(node_id, DType.U8)], attrs)
        return call.cast(wide, DType.BOOL)
    return call.add("pad", [node_id], attrs)


@rule("DepthToSpace", summary="blocks of channels spread over H and W (pixel shuffle)")
def depth_to_space(call: Call) -> int:
    """[N,C·b²,H,W] as [N,C,H·b,W·b], in either order of the channels."""
    n, c, h, w = _map(call)
    b = call.integer("blocksize")
    mode = call.text("mode", "DCR", ("DCR", "CRD"))
    if b < 1 or c % (b * b):
        raise Refused(f"`blocksize` {b} does not divide {c} channels")
    depth = c // (b * b)
    first = (n, b, b, depth, h, w) if mode == "DCR" else (n, depth, b, b, h, w)
    perm = (0, 3, 4, 1, 5, 2) if mode == "DCR" else (0, 1, 4, 2, 5, 3)
    apart = call.reshape(call.operand(0), first)
    return call.reshape(call.transpose(apart, perm), (n, depth, h * b, w * b))


@rule("SpaceToDepth", summary="blocks of pixels stacked as channels")
def space_to_depth(call: Call) -> int:
    """[N,C,H·b,W·b] as [N,b²·C,H,W], in either order of the channels."""
    n, c, h, w = _map(call)
    b = call.integer("blocksize")
    mode = call.text("mode", "DCR", ("DCR", "CRD"))
    if b < 1 or h % b or w % b:
        raise Refused(f"`blocksize` {b} does not divide {h} and {w}")
    apart = call.reshape(call.operand(0), (n, c, h // b, b, w // b, b))
    perm = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    return call.reshape(call.transpose(apart, perm), (n, b * b * c, h // b, w // b))


def _map(call: Call) -> tuple[int, int, int, int]:
    shape = call.type(0).shape
    if len(shape) != 4:
        raise Refused(f"a feature map [N,C,H,W] is wanted, got {call.type(0)}")
    n, c, h, w = shape
    return n, c, h, w
