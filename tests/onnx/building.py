"""ONNX models of a few nodes, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CODES = {np.dtype(k): v for k, v in ((np.float32, 1), (np.int64, 7), (np.bool_, 9), (np.uint8, 2))}


def info(name: str, shape: Sequence[int | str | None], code: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, code, list(shape))


def model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Sequence[int | str | None]],
    outputs: Sequence[str],
    constants: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
    domains: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """Inputs are f32 unless a name ends in `:i64`, `:u8` or `:bool`."""
    codes = {"i64": 7, "u8": 2, "bool": 9}
    made = [info(n, s, codes.get(n.rpartition(":")[2], 1)) for n, s in inputs.items()]
    graph = helper.make_graph(
        list(nodes),
        "tested",
        made,
        [onnx.ValueInfoProto(name=n) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid(d, v) for d, v in (domains or {}).items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(op: str, inputs: str, outputs: str, /, name: str = "", domain: str = "", **attrs: Any):
    return helper.make_node(op, inputs.split(), outputs.split(), name, domain=domain, **attrs)
