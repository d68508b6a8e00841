"""Elements at places that are given as values: gathers, scatters, samples, selections."""

from __future__ import annotations

import math

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Array, Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.movement import expanded, sliced
from cnncc.onnx.rules.windows import listed
from cnncc.onnx.table import rule

_MOST_PLACES = 2**26  # of a constant grid


@rule("Gather", summary="slices at given places along an axis; places outside are brought inside")
def gather(call: Call) -> int:
    """A slice where one place is known, else one operator of the graph."""
    x, places = call.operand(0), call.operand(1)
    shape = call.type_of(x).shape
    axis = call.axis(call.integer("axis", 0), len(shape))
    if not shape:
        raise Refused("a number has no places")
    known = call.graph.constant(places)
    if known is not None:
        _check_places(known, shape[axis])
    if known is not None and known.size == 1 and call.graph.constant(x) is None:
        place = int(known.reshape(-1)[0]) % shape[axis]
        starts = [place if a == axis else 0 for a in range(len(shape))]
        sizes = [1 if a == axis else n for a, n in enumerate(shape)]
        part = sliced(call, x, starts, [1] * len(shape), sizes)
        return call.reshape(part, (*shape[:axis], *known.shape, *shape[axis + 1 :]))
    return call.add("gather", [x, places], lookup("gather").Attrs(axis))


def _check_places(places: Array, extent: int) -> None:
    if places.size and not (-extent <= places.min() and places.max() < extent):
        raise Refused(f"places from {places.min()} to {places.max()} of {extent}")


@rule("GatherElements", summary="elements at given places along an axis")
def gather_elements(call: Call) -> int:
    """One operator of the graph."""
    axis = call.axis(call.integer("axis", 0), len(call.type(0).shape))
    attrs = lookup("gather_elements").Attrs(axis)
    return call.add("gather_elements", [call.operand(0), call.operand(1)], attrs)


@rule("GatherND", summary="slices at given tuples of places")
def gather_nd(call: Call) -> int:
    """One operator of the graph."""
    attrs = lookup("gather_nd").Attrs(call.integer("batch_dims", 0))
    return call.add("gather_nd", [call.operand(0), call.operand(1)], attrs)


_REDUCTIONS = ("none", "add", "mul", "max", "min")


@rule("ScatterElements", "Scatter", summary="elements written to given places along an axis")
def scatter_elements(call: Call) -> int:
    """One operator of the graph."""
    axis = call.axis(call.integer("axis", 0), len(call.type(0).shape))
    attrs = lookup("scatter_elements").Attrs(axis, call.text("reduction", "none", _REDUCTIONS))
    return call.add("scatter_elements", call.operands(), attrs)


@rule("ScatterND", summary="slices written to given tuples of places")
def scatter_nd(call: Call) -> int:
    """One operator of the graph."""
    attrs = lookup("scatter_nd").Attrs(call.text("reduction", "none", _REDUCTIONS))
    return call.add("scatter_nd", call.operands(), attrs)


@rule("OneHot", summary="two values, the second at the place that each index names")
def one_hot(call: Call) -> int:
    """A comparison with all places."""
    depth = int(call.number(1, "depth"))
    indices, values = call.operand(0), call.operand(2)
    shape = call.type_of(indices).shape
    axis = call.axis(call.integer("axis", -1), len(shape) + 1)
    if not 1 <= depth <= _MOST_PLACES:
        raise Refused(f"`depth` is {depth}")
    wanted = call.cast(indices, DType.I64)
    negative = call.add("less", [wanted, call.like(0, wanted)])
    wanted = call.add(
        "where", [negative, call.add("add", [wanted, call.like(depth, wanted)]), wanted]
    )
    wanted = call.reshape(wanted, (*shape[:axis], 1, *shape[axis:]))
    places = np.arange(depth).reshape((depth,) + (1,) * (len(shape) - axis))
    chosen = call.add("equal", [wanted, call.array(places, DType.I64)])
    off, on = (sliced(call, values, [k], [1], [1]) for k in (0, 1))
    return call.add("where", [chosen, on, off])


@rule("ReverseSequence", summary="the first elements of each sequence in reverse order")
def reverse_sequence(call: Call) -> int:
    """One operator of the graph."""
    attrs = lookup("reverse_sequence").Attrs(
        call.integer("batch_axis", 1), call.integer("time_axis", 0)
    )
    return call.add("reverse_sequence", [call.operand(0), call.operand(1)], attrs)


@rule("GridSample", summary="pixels at places of a grid, by nearest, linear or cubic interpolation")
def grid_sample(call: Call) -> int:
    """Opset 16 calls the modes bilinear and bicubic."""
    words = {"bilinear": "linear", "bicubic": "cubic"}
    mode = call.text("mode", "linear", ("linear", "bilinear", "cubic", "bicubic", "nearest"))
    padding = call.text("padding_mode", "zeros", ("zeros", "border", "reflection"))
    attrs = lookup("grid_sample").Attrs(words.get(mode, mode), padding, call.flag("align_corners"))
    return call.add("grid_sample", [call.operand(0), call.operand(1)], attrs)


@rule("AffineGrid", summary="the grid that samples a map as an affine transform moves it")
def affine_grid(call: Call) -> int:
    """Constant places (x, y, 1) times the transposed matrices [N,2,3]; with D likewise."""
    theta, size = call.type(0), call.whole(1, "size")
    extents, align = size[2:], call.flag("align_corners")
    if len(extents) not in (2, 3) or theta.shape != (size[0], len(extents), len(extents) + 1):
        raise Refused(f"matrices {theta} for a map {list(size)}")
    if min(extents) < 1 or math.prod(extents) > _MOST_PLACES:
        raise Refused(f"a grid of {list(extents)} places")
    ends = [np.linspace(-1, 1, n) if align else (2 * np.arange(n) + 1) / n - 1 for n in extents]
    axes = [*reversed(np.meshgrid(*ends, indexing="ij")), np.ones(extents)]
    places = np.stack([a.reshape(-1) for a in axes], axis=1)
    turned = call.transpose(call.operand(0), (0, 2, 1))
    made = call.add("matmul", [call.array(places, theta.dtype), turned])
    return call.reshape(made, (size[0], *extents, len(extents)))


@rule("Col2Im", summary="blocks put back to where they lie in an image, overlaps added")
def col2im(call: Call) -> int:
    """[N,C·K,L] as [N,C,...]: a scatter with constant places; those in the padding are left out."""
    image, block = call.whole(1, "image_shape"), call.whole(2, "block_shape")
    taps, rank = math.prod(block), len(block)
    pads = _pairs(call.integers("pads"), rank)
    strides, dilations = (listed(call, word, rank, 1) for word in ("strides", "dilations"))
    if len(call.type(0).shape) != 3 or len(image) != rank or min((*block, *image), default=0) < 1:
        raise Refused(f"{call.type(0)} as blocks {list(block)} of an image {list(image)}")
    n, stacked, count = call.type(0).shape
    if stacked % taps or n * stacked * math.prod(image) > _MOST_PLACES * taps:
        raise Refused(f"{call.type(0)} as blocks {list(block)} of an image {list(image)}")
    places = np.zeros((1, 1), np.int64)
    inside = np.ones((1, 1), bool)
    for axis, k in enumerate(block):
        (low, high), stride, dilation = pads[axis], strides[axis], dilations[axis]
        room = image[axis] + low + high - dilation * (k - 1) - 1
        if not 0 <= room <= _MOST_PLACES:
            raise Refused(f"blocks {list(block)} do not fit an image {list(image)}")
        starts = np.arange(room // stride + 1) * stride - low
        at = np.arange(k)[:, None] * dilation + starts
        whole = (places.shape[0] * k, places.shape[1] * at.shape[1])
        places = (places[:, None, :, None] * image[axis] + at[:, None]).reshape(whole)
        fits = (at >= 0) & (at < image[axis])
        inside = (inside[:, None, :, None] & fits[:, None]).reshape(whole)
    if places.shape != (taps, count):
        raise Refused(f"{count} blocks given, {places.shape[1]} lie in the image")
    channels, total = stacked // taps, math.prod(image)
    beyond = np.where(inside, places, total).reshape(1, 1, -1)  # a scatter skips places outside
    index = np.broadcast_to(beyond, (n, channels, taps * count))
    made = call.add(
        "scatter_elements",
        [
            call.array(np.zeros((n, channels, total)), call.type(0).dtype),
            call.array(index, DType.I64),
            call.reshape(call.operand(0), (n, channels, taps * count)),
        ],
        lookup("scatter_elements").Attrs(2, "add"),
    )
    return call.reshape(made, (n, channels, *image))


def _pairs(pads: tuple[int, ...] | None, rank: int) -> list[tuple[int, int]]:
    """Padding in front and behind, by axis."""
    found = (0,) * (2 * rank) if pads is None else pads
    if len(found) != 2 * rank or min(found, default=0) < 0:
        raise Refused(f"`pads` is {list(found)} for {rank} axes")
    return list(zip(found[:rank], found[rank:], strict=True))


@rule("TensorScatter", summary="new rows written into a cache, from a place of each sample on")
def tensor_scatter(call: Call) -> int:
    """A scatter along the axis, at the place of the sample plus 0, 1, ..."""
    cache, update = call.type(0), call.type(1)
    axis = call.axis(call.integer("axis", -2), len(cache.shape))
    circular = call.text("mode", "linear", ("linear", "circular")) == "circular"
    if not axis or len(update.shape) != len(cache.shape):
        raise Refused(f"rows {update} along axis {axis} of {cache}")
    behind = (1,) * (len(cache.shape) - axis - 1)
    places = call.array(np.arange(update.shape[axis]).reshape(-1, *behind), DType.I64)
    if call.has(2):
        first = call.cast(call.operand(2), DType.I64)
        first = call.reshape(first, (cache.shape[0], *(1,) * (len(cache.shape) - 1)))
        places = call.add("add", [first, places])
    if circular:
        places = call.add(
            "mod", [places, call.like(cache.shape[axis], places)], lookup("mod").Attrs(False)
        )
    operands = [call.operand(0), expanded(call, places, update.shape), call.operand(1)]
    return call.add("scatter_elements", operands, lookup("scatter_elements").Attrs(axis, "none"))


@rule("RoiAlign", summary="averages or maxima over a grid of bins of each region")
def roi_align(call: Call) -> int:
    """One operator of the graph; before opset 16 coordinates count from pixels' centres."""
    default = "half_pixel" if call.version >= 16 else "output_half_pixel"
    words = ("half_pixel", "output_half_pixel")
    half = call.text("coordinate_transformation_mode", default, words) == "half_pixel"
    attrs = lookup("roi_align").Attrs(
        (call.integer("output_height", 1), call.integer("output_width", 1)),
        call.text("mode", "avg", ("avg", "max")),
        call.integer("sampling_ratio", 0),
        call.real("spatial_scale", 1.0),
        half,
    )
    return call.add("roi_align", call.operands(), attrs)


@rule("NonMaxSuppression", summary="boxes that no better one of their class overlaps too much")
def non_max_suppression(call: Call) -> int:
    """One operator of the graph; rows beyond those found hold -1 and are cut off by the caller."""
    most = int(call.number(2, "max_output_boxes_per_class")) if call.has(2) else 0
    boxes, scores = call.operand(0), call.operand(1)
    if most < 1:
        raise Refused("`max_output_boxes_per_class` is 0, so that nothing is selected")
    attrs = lookup("non_max_suppression").Attrs(
        most,
        call.number(3, "iou_threshold") if call.has(3) else 0.0,
        call.number(4, "score_threshold") if call.has(4) else None,
        call.integer("center_point_box", 0) == 1,
    )
    return call.add("non_max_suppression", [boxes, scores], attrs)
