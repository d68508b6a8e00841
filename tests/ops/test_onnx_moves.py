"""Moves, indices, samples and selections against an independent implementation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cnncc.ir.op import lookup
from cnncc.ir.tolerance import compare, tolerance
from cnncc.ops.deform_conv import DeformConvAttrs
from cnncc.ops.grid_taps import GridSampleAttrs
from cnncc.ops.indexing import GatherAttrs, GatherNdAttrs, ReverseSequenceAttrs
from cnncc.ops.padding import PadAttrs
from cnncc.ops.roi_align import RoiAlignAttrs
from cnncc.ops.scatter import ScatterElementsAttrs, ScatterNdAttrs
from cnncc.ops.selection import TopKAttrs
from cnncc.ops.slicing import ExpandAttrs, SliceAttrs
from cnncc.ops.suppression import NonMaxSuppressionAttrs
from tests.strategies import Case, random_case

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

CASES = 80
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
REFUSED = (_STATE.NotImplemented, _STATE.InvalidArgument, _STATE.Fail)


def judge(
    op_type: str, arrays: list[Any], attributes: dict[str, Any], dtypes: tuple[Any, ...] = ()
) -> list[np.ndarray]:
    """The results of one ONNX node, of given element types or one of the first operand's."""
    helper = onnx.helper
    names = [f"i{k}" if a is not None else "" for k, a in enumerate(arrays)]
    given = {n: a for n, a in zip(names, arrays, strict=True) if n}
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in given.items()
    ]
    made = [
        helper.make_tensor_value_info(f"y{k}", helper.np_dtype_to_tensor_dtype(dtype), None)
        for k, dtype in enumerate(map(np.dtype, dtypes or [arrays[0].dtype]))
    ]
    node = helper.make_node(op_type, names, [m.name for m in made], **attributes)
    graph = helper.make_graph([node], "one", inputs, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)  # type: ignore[no-any-return]


def ends(attrs: SliceAttrs) -> list[int]:
    """One past the last place on each axis, as ONNX counts (before the first: very negative)."""
    per_axis = zip(attrs.starts, attrs.steps, attrs.sizes, strict=True)
    stops = [start + step * size for start, step, size in per_axis]
    return [stop if stop >= 0 else -(2**31) for stop in stops]


def whole(values: Any) -> np.ndarray:
    return np.array(values, np.int64)


def ask(case: Case) -> list[np.ndarray]:
    """What ONNX's operator of the same meaning gives; the last of the results is meant."""
    x, *others = case.arrays
    match case.attrs:
        case SliceAttrs() as a:
            axes = range(x.ndim)
            return judge("Slice", [x, *map(whole, (a.starts, ends(a), axes, a.steps))], {})
        case ExpandAttrs() as a:
            return judge("Expand", [x, whole(a.shape)], {})
        case PadAttrs() as a:
            value = np.array(a.value, x.dtype) if a.mode == "constant" else None
            return judge("Pad", [x, whole([*a.before, *a.after]), value], {"mode": a.mode})
        case GatherAttrs() as a:
            name = {"gather": "Gather", "gather_elements": "GatherElements"}[case.op]
            return judge(name, [x, *others], {"axis": a.axis})
        case GatherNdAttrs() as a:
            indices = others[0].astype(np.int64)
            return judge("GatherND", [x, indices], {"batch_dims": a.batch_dims})
        case ReverseSequenceAttrs() as a:
            lengths = others[0].astype(np.int64)
            axes = {"batch_axis": a.batch_axis, "time_axis": a.time_axis}
            return judge("ReverseSequence", [x, lengths], axes)
        case GridSampleAttrs() as a:
            how = {"mode": a.mode, "padding_mode": a.padding, "align_corners": a.align_corners}
            return judge("GridSample", [x, *others], how)
        case RoiAlignAttrs() as a:
            how = {
                "mode": a.mode,
                "output_height": a.output_size[0],
                "output_width": a.output_size[1],
                "sampling_ratio": a.sampling_ratio,
                "spatial_scale": a.spatial_scale,
                "coordinate_transformation_mode": "half_pixel"
                if a.half_pixel
                else "output_half_pixel",
            }
            return judge("RoiAlign", [x, *others], how)
        case DeformConvAttrs() as a:
            how = {
                "strides": a.strides,
                "pads": a.pads,
                "dilations": a.dilations,
                "group": a.groups,
                "offset_group": a.offset_groups,
            }
            w, offset, *mask = others
            return judge("DeformConv", [x, w, offset, None, *mask] if mask else [x, w, offset], how)
        case ScatterElementsAttrs() as a:
            how = {"axis": a.axis, "reduction": a.reduction}
            return judge("ScatterElements", [x, *others], how)
        case ScatterNdAttrs() as a:
            indices = others[0].astype(np.int64)
            return judge("ScatterND", [x, indices, others[1]], {"reduction": a.reduction})
        case TopKAttrs() as a:
            how = {"axis": a.axis, "largest": int(a.largest)}
            both = judge("TopK", [x, whole([a.k])], how, (x.dtype, np.int64))
            return both if case.op == "topk_indices" else both[:1]
        case NonMaxSuppressionAttrs() as a:
            return [suppress(case, a)]
    raise AssertionError(case.attrs)


def suppress(case: Case, attrs: NonMaxSuppressionAttrs) -> np.ndarray:
    """The rows of ONNX's operator, filled up with -1."""
    threshold = attrs.score_threshold
    scalars = [whole([attrs.max_output]), np.float32([attrs.iou_threshold])]
    if threshold is not None:
        scalars.append(np.float32([threshold]))
    how = {"center_point_box": int(attrs.center_point)}
    rows = judge("NonMaxSuppression", [*case.arrays, *scalars], how, (np.int64,))[0]
    made = np.full(lookup(case.op).infer(case.types, attrs).shape, -1, np.int64)
    made[: len(rows)] = rows
    return made


def legal_only(case: Case) -> Case | None:
    """The case, if its indices are ones that ONNX allows."""
    if case.op in ("gather", "gather_elements", "scatter_elements"):
        extents: Any = case.types[0].shape[case.attrs.axis]
    elif case.op in ("gather_nd", "scatter_nd"):
        first = getattr(case.attrs, "batch_dims", 0)
        extents = case.types[0].shape[first : first + case.types[1].shape[-1]]
    elif case.op == "reverse_sequence":
        extents = case.types[0].shape[case.attrs.time_axis]
        return case if np.all((case.arrays[1] >= 1) & (case.arrays[1] <= extents)) else None
    elif case.op == "roi_align":
        extents = case.types[0].shape[0]
        return case if np.all((case.arrays[2] >= 0) & (case.arrays[2] < extents)) else None
    else:
        return case
    held = (case.arrays[1] >= -np.array(extents)) & (case.arrays[1] < extents)
    return case if held.all() else None


@pytest.mark.parametrize(
    "name",
    [
        *("slice", "expand", "pad", "gather", "gather_elements", "gather_nd", "reverse_sequence"),
        *(
            "grid_sample",
            "roi_align",
            "deform_conv",
            "scatter_elements",
            "scatter_nd",
            "topk_values",
        ),
        *("topk_indices", "non_max_suppression"),
    ],
)
def test_agrees(name: str) -> None:
    rng = np.random.default_rng(7)
    judged = 0
    for _ in range(CASES):
        case = legal_only(random_case(rng, name))
        if case is None:
            continue
        try:
            wanted = ask(case)[-1]
        except REFUSED:
            continue  # types, ranks and sizes that the peer has no code for
        found = lookup(name).reference(case.operands, case.attrs)
        bound = tolerance(name, case.attrs, case.operands, found)
        judged += 1
        assert compare(wanted, found, bound) is None, (case, compare(wanted, found, bound))
    assert judged >= CASES // 8
