"""Elements at places that are given as values: gathers, scatters, samples, selections."""

from __future__ import annotations

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Array, Call
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.table import Refused, rule


@rule("Gather", summary="slices at given places along an axis; places outside are brought inside")
def gather(call: Call) -> int:
    """A slice where one place is known, else one operator of the graph."""
    x, places = call.operand(0), call.operand(1)
    shape = call.type_of(x).shape
    axis = call.axis(call.integer("axis", 0), len(shape))
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
    if depth < 1:
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
