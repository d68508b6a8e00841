"""Nodes of random attributes and operands: every rule takes them, or refuses them by name."""

from __future__ import annotations

import contextlib
import random
import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import defs, helper, numpy_helper

from cnncc.errors import CnnccError
from cnncc.onnx.convert import to_graph
from cnncc.onnx.read import read
from cnncc.onnx.table import Rule, rows

SEED, CASES = 20, 12
TYPES = [*[np.float32] * 5, *[np.int64] * 2, np.float64, np.int32, np.uint8, np.int8, np.bool_]
WORDS = ["", "linear", "nearest", "cubic", "reflect", "edge", "VALID", "SAME_UPPER", "LEFT", "DCR"]
WORDS += ["ij->ji", "ij,jk->ik", "ii->i", "zeros", "add", "bidirectional", "half_pixel", "Tanh"]
WILD = (-(2**63), -5, -1, 0, 1, 7, 2**31, 2**62)


def whole(rng: random.Random) -> int:
    return rng.choice(WILD) if rng.random() < 0.3 else rng.choice((0, 1, 1, 2, 3))


def array(rng: random.Random) -> np.ndarray:
    shape = [rng.choice((1, 2, 3, 4)) for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4, 4, 5)))]
    if shape and rng.random() < 0.15:
        shape[rng.randrange(len(shape))] = 0
    values = np.random.default_rng(rng.randrange(2**32)).integers(-3, 6, shape)
    return values.astype(rng.choice(TYPES))


def attribute(rng: random.Random, kind: str) -> Any:
    match kind:
        case "INT":
            return whole(rng)
        case "FLOAT":
            return rng.choice((float("nan"), float("inf"), -1.0, 0.0, 0.5, 2.0, 1e38))
        case "STRING":
            return rng.choice(WORDS)
        case "INTS":
            return [whole(rng) for _ in range(rng.choice((1, 2, 2, 4, 6)))]
        case "FLOATS":
            return [float(whole(rng)) for _ in range(rng.choice((1, 2, 4)))]
        case "STRINGS":
            return [rng.choice(WORDS)]
        case "TENSOR":
            return numpy_helper.from_array(array(rng))
    return None


def node(rng: random.Random, rule: Rule) -> onnx.ModelProto | None:
    """A model of one node, or None where the opset that was drawn has no such operator."""
    opset = rng.choice((6, 7, 9, 10, 11, 12, 13, 16, 18, 20, 21, 24, defs.onnx_opset_version()))
    try:
        schema = defs.get_schema(rule.op_type, opset, rule.domain)
    except defs.SchemaError:
        return None
    drawn = {
        name: attribute(rng, a.type.name)
        for name, a in schema.attributes.items()
        if a.required or rng.random() < 0.4
    }
    given = {name: value for name, value in drawn.items() if value is not None}
    count = rng.randint(schema.min_input, max(schema.min_input, min(schema.max_input, 9)))
    first = array(rng)
    operands = [first if rng.random() < 0.25 else array(rng) for _ in range(count)]
    held = [k > 0 and rng.random() < 0.6 for k in range(count)]
    names = [f"x{k}" for k in range(count)]
    outputs = [f"y{k}" for k in range(max(1, schema.min_output))]
    graph = helper.make_graph(
        [helper.make_node(rule.op_type, names, outputs, domain=rule.domain, **given)],
        "malformed",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a, constant in zip(names, operands, held, strict=True)
            if not constant
        ],
        [helper.make_empty_tensor_value_info(n) for n in outputs],
        [
            numpy_helper.from_array(a, n)
            for n, a, constant in zip(names, operands, held, strict=True)
            if constant
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.mark.parametrize("rule", [r for r in rows() if not r.domain], ids=lambda r: r.op_type)
def test_taken_or_refused_by_name(rule: Rule) -> None:
    rng = random.Random(f"{SEED} {rule.op_type}")
    judged = 0
    for _ in range(4 * CASES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # drawn numbers overflow while they are written
            try:
                model = node(rng, rule)
            except (ValueError, OverflowError):  # no file can hold such an attribute
                continue
        if model is None:
            continue
        judged += 1
        with contextlib.suppress(CnnccError):
            to_graph(read(model.SerializeToString()))
        if judged == CASES:
            break
    assert judged
