"""One ONNX node, compiled here and run by onnxruntime with its optimiser off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from cnncc.onnx.backend import prepare

onnxruntime = pytest.importorskip("onnxruntime")

Array = np.ndarray
IR_VERSION = 9  # the peer refuses what is newer than itself; the format did not change for nodes


class Refused(Exception):
    """The node cannot be compiled; the suite's own error would count as a skipped test."""


def f32(*shape: int, seed: int = 0, low: float = -2.0, high: float = 2.0) -> Array:
    """Numbers that differ from case to case."""
    drawn = np.random.default_rng((seed, *shape)).uniform(low, high, shape)
    return drawn.astype(np.float32)


def i64(*values: Any) -> Array:
    """A vector of whole numbers."""
    return np.array(values, np.int64)


def single(
    op: str,
    inputs: Sequence[Array | None],
    *,
    opset: int,
    outputs: int = 1,
    constant: Sequence[int] = (),
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node.

    Args:
        op: the operator.
        inputs: its operands; None for one that is left out.
        opset: the version of ONNX's own operators.
        outputs: how many outputs are asked for.
        constant: places of operands that are initialisers; IR 3 wants them as inputs too.
        domain: where the operator comes from.
        attributes: its attributes.
    """
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for i, (n, a) in enumerate(zip(names, inputs, strict=True))
        if a is not None and i not in constant
    ]
    graph = helper.make_graph(
        [helper.make_node(op, names, results, op.lower(), domain=domain, **attributes)],
        "single",
        infos,
        [helper.make_empty_tensor_value_info(n) for n in results],
        [numpy_helper.from_array(inputs[i], names[i]) for i in constant],
    )
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def ours(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """What the compiled network gives; operands that it wants as constants are bound."""
    try:
        return [np.asarray(a) for a in prepare(model).run(list(inputs))]
    except BackendIsNotSupposedToImplementIt as error:
        raise Refused(str(error)) from error


def theirs(model: onnx.ModelProto, inputs: Sequence[Array]) -> list[Array]:
    """What onnxruntime gives."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )
    arrays = [np.asarray(a) for a in inputs]
    fed = dict(zip((i.name for i in session.get_inputs()), arrays, strict=True))
    return [np.asarray(a) for a in session.run(None, fed)]


def run(op: str, inputs: Sequence[Array | None], **how: Any) -> list[Array]:
    """What one compiled node gives; see `single`."""
    constant = how.get("constant", ())
    fed = [a for i, a in enumerate(inputs) if a is not None and i not in constant]
    return ours(single(op, inputs, **how), fed)


def check(
    op: str, inputs: Sequence[Array | None], *, limit: float = 1e-5, steps: int = 0, **how: Any
) -> list[Array]:
    """One compiled node gives what onnxruntime gives.

    Args:
        op: the operator.
        inputs: its operands; None for one that is left out.
        limit: the relative and absolute difference of floats that is allowed.
        steps: the difference of whole numbers that is allowed.
        how: see `single`.
    """
    constant = how.get("constant", ())
    fed = [a for i, a in enumerate(inputs) if a is not None and i not in constant]
    model = single(op, inputs, **how)
    found, wanted = ours(model, fed), theirs(model, fed)
    assert len(found) == len(wanted)
    for mine, other in zip(found, wanted, strict=True):
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        if mine.dtype.kind == "f":
            np.testing.assert_allclose(mine, other, limit, limit)
        else:
            apart = np.abs(mine.astype(np.int64) - other.astype(np.int64))
            assert apart.max(initial=0) <= steps, f"{apart.max()} steps apart"
    return found


def equal(op: str, inputs: Sequence[Array | None], *wanted: Any, **how: Any) -> None:
    """One compiled node gives these numbers, worked out by hand."""
    found = run(op, inputs, outputs=len(wanted), **how)
    for mine, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, np.asarray(other), 1e-5, 1e-6)
        assert mine.shape == np.shape(other)
