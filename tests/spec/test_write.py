"""A network that is written as a spec and read back is the same network, to the last bit."""

from __future__ import annotations

import math
import typing
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from cnncc import spec
from cnncc.ir import interp
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph, Node
from cnncc.ir.op import Op, lookup
from cnncc.ir.types import DType
from cnncc.ir.values import format_value
from cnncc.onnx.convert import to_graph
from cnncc.onnx.read import read
from cnncc.ops.source import InputAttrs
from cnncc.spec import ast
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.evaluate import Evaluator
from cnncc.spec.general import attributes, names
from cnncc.spec.general_calls import Flows, GeneralCalls, is_general
from cnncc.spec.layers import LayerBuilder
from cnncc.spec.operations import general
from cnncc.spec.parser import parse
from cnncc.spec.project import Project
from cnncc.spec.scopes import Env, Module, Paths, Scope
from cnncc.spec.weights import WeightSource
from cnncc.spec.write import arrays_of, named, read_back, write
from tests.op_makers import MAKERS
from tests.random_graphs import random_graph
from tests.spec.judge import accepts
from tests.strategies import random_case

SEEDS = st.integers(0, 2**32)


def add_input(graph: Graph, name: str, array: np.ndarray) -> int:
    attrs = InputAttrs(DType.of(array.dtype), array.shape, "chw")
    return add_typed(graph, "input", (), attrs, name=name)


def one_operator(seed: int, op: str, constants: bool) -> Graph:
    """A network of one operator, whose operands behind the first are inputs or constants."""
    case = random_case(np.random.default_rng(seed), op)
    graph = Graph(op)
    graph.meta["batched"] = False
    operands = [add_input(graph, "x", case.arrays[0])] if case.arrays else []
    for index, array in enumerate(case.arrays[1:], 1):
        if constants:
            operands.append(add_constant(graph, f"w{index}", array))
        else:
            operands.append(add_input(graph, f"x{index}", array))
    node = add_typed(graph, op, operands, case.attrs, name="node.0")
    graph.outputs = [("y", node)]
    return graph


def check_law(graph: Graph) -> str:
    """elaborate(parse(print(G))) = G, names included; the weights find their places."""
    legal = named(graph, "w.safetensors")
    text = spec.print_flat(legal)
    assert accepts(text), text
    made = read_back(text)
    assert made is not None, text
    assert arrays_of(legal, made, names=True) is not None, text
    assert spec.print_flat(made) == text
    written = write(graph, "w.safetensors")
    again = spec.load(written.text, weights=written.arrays).graph
    found = arrays_of(graph, again)
    assert found is not None
    assert all(again.constants[k].tobytes() == v.tobytes() for k, v in found.items())
    return text


@pytest.mark.parametrize("op", sorted(set(names()) & set(MAKERS)))
@pytest.mark.parametrize("constants", [False, True])
def test_every_operator(op: str, constants: bool) -> None:
    for seed in range(4):
        check_law(one_operator(seed, op, constants))


NUMBERS = (0.0, -0.0, 1e-5, -2.5, 1.0, 1e300, 5e-324, math.inf, -math.inf, math.nan, 1 / 3)
INTEGERS = (0, 1, -1, 7, 2**31, 2**63 - 1, -(2**63))
WORDS = ("mean", "in", "half pixel", "", "x", "inf", "none", 'a"b', "é")


def any_value(rng: np.random.Generator, hint: Any) -> Any:
    """A value of a type of attributes, whatever the operator makes of it."""
    choices = typing.get_args(hint)
    if typing.get_origin(hint) is tuple:
        if choices[-1] is Ellipsis:
            return tuple(any_value(rng, choices[0]) for _ in range(rng.integers(4)))
        return tuple(any_value(rng, choice) for choice in choices)
    if choices:
        return any_value(rng, choices[rng.integers(len(choices))])
    pools = {float: NUMBERS, int: INTEGERS, str: WORDS, bool: (True, False), DType: tuple(DType)}
    if hint is type(None):
        return None
    pool = pools[hint]
    return pool[rng.integers(len(pool))]


@pytest.mark.parametrize("op", names())
def test_attributes_of_every_operator(op: str) -> None:
    """Whatever an operator declares is written, and read back as it was."""
    rng = np.random.default_rng(1)
    rule = lookup(op)
    for _ in range(20):
        attrs = rule.Attrs(**{a.name: any_value(rng, a.hint) for a in attributes(rule)})
        made = general(Node(op, attrs))
        text = f"cnncc 1\n{made.name}({', '.join(made.arguments(taken={'x'}))})\n"
        assert accepts(text), text
        assert format_value(read_attributes(text, rule)) == format_value(attrs), text


def read_attributes(text: str, rule: type[Op]) -> Any:
    report = Reporter("<text>")
    (statement,) = parse(text, report).items
    assert isinstance(statement, ast.Run)
    call = statement.flow.stages[0].value
    assert isinstance(call, ast.Call)
    evaluator = Evaluator(report, Project("<text>"))
    layers = LayerBuilder(Graph(), report, evaluator, WeightSource())
    env = Env(Module("<text>", ast.File(call.at, 1, ())), Scope(), Paths())
    assert is_general(call, env)
    scope = {"x": ("another value", report.span(call.at))}
    env.scope.names.update(scope)
    found = GeneralCalls(report, evaluator, layers, cast("Flows", None)).attributes(rule, call, env)
    assert found is not None, report.diagnostics
    return rule.Attrs(**found)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SEEDS)
def test_random_networks(seed: int) -> None:
    check_law(random_graph(np.random.default_rng(seed), 8))


def test_arrays_that_layers_share_with_others_are_written_for_each(tmp_path):
    """Exporters keep equal arrays once: here a bias is what is added to the picture, too."""
    nodes = [
        helper.make_node("Add", ["x", "zeros"], ["a"]),
        helper.make_node("Conv", ["a", "w", "zeros"], ["c"], name="conv"),
        helper.make_node("Gemm", ["v", "g", "zeros"], ["y"], name="fc"),
        helper.make_node("Flatten", ["c"], ["v"]),
    ]
    rng = np.random.default_rng(0)
    arrays = {
        "zeros": np.zeros(3, np.float32),
        "w": rng.standard_normal((3, 2, 2, 2)).astype(np.float32),
        "g": rng.standard_normal((12, 3)).astype(np.float32),
    }
    info = helper.make_tensor_value_info("x", 1, [1, 2, 3, 3])
    model = helper.make_model(
        helper.make_graph(
            [nodes[k] for k in (0, 1, 3, 2)],
            "shared",
            [info],
            [helper.make_tensor_value_info("y", 1, None)],
            [numpy_helper.from_array(a, n) for n, a in arrays.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = to_graph(read(model))
    made = spec.written(graph, "shared.safetensors")
    assert {"conv.bias", "fc.bias"} <= set(made.arrays)
    (tmp_path / "shared.cnn").write_text(made.text)
    (tmp_path / "shared.safetensors").write_bytes(spec.weights_bytes(made.arrays))
    again = spec.load(tmp_path / "shared.cnn").graph
    x = rng.standard_normal((1, 2, 3, 3))
    assert np.array_equal(interp.run(graph, {0: x})[0], interp.run(again, {0: x})[0])
