"""The structure of graphs: names written once, and before they are read."""

from __future__ import annotations

import random

import pytest

from cnncc.errors import OnnxError
from cnncc.onnx.check import check_scope
from cnncc.onnx.inline import Step
from cnncc.onnx.model import Node
from cnncc.onnx.problems import Problems


def step(index, inputs, outputs):
    return Step(Node(index, "", "Op", "", 17, tuple(inputs), tuple(outputs), {}))


def steps(*rows):
    return [step(n, inputs, outputs) for n, (inputs, outputs) in enumerate(rows)]


def found(rows, given=("x",), outputs=("y",), where=""):
    problems = Problems("m")
    try:
        check_scope(steps(*rows), given, outputs, problems, where=where)
        problems.check()
    except OnnxError as error:
        return list(error.problems)
    return []


def test_sound_graphs():
    assert found([("x", "a"), ("ax", "b"), (["", "b"], ["", "y"])]) == []
    assert found([], outputs="x") == []
    assert found([("xxx", "y")]) == []


def test_every_kind_of_problem_is_named():
    assert found([("z", "y")]) == ["node 0 (Op): nothing computes its input `z`"]
    assert found([("x", "y"), ("x", "y")]) == ["node 1 (Op): it writes `y`, as node 0 (Op) does"]
    assert found([("x", "x")], outputs="x") == [
        "node 0 (Op): it writes `x`, which is an input or a constant"
    ]
    assert found([("x", "a")]) == ["nothing computes the output `y`"]
    assert found([("x", "y")], outputs="yy") == ["`y` is an output twice"]
    assert found([("z", "y")], where="function `f`") == [
        "function `f`, node 0 (Op): nothing computes its input `z`"
    ]


def test_order_and_circles_are_told_apart():
    (text,) = found([("a", "y"), ("x", "a")])
    assert text == "node 0 (Op): it reads `a`, which node 1 (Op) computes only later"
    (text,) = found([("xc", "a"), ("a", "b"), ("b", "c"), ("c", "y")])
    assert text.startswith("nodes need each other in a circle: ")
    assert {w for w in text.split() if w.isdigit()} == {"0", "1", "2"}


def test_an_input_read_twice_is_reported_once():
    assert len(found([("zzz", "y")])) == 1


def test_long_circles_are_cut():
    rows = [([f"v{n}"], [f"v{n + 1}"]) for n in range(50)]
    (text,) = found([*rows, (["v50"], ["v0"])], outputs=["v1"])
    assert text.endswith(" -> ...")
    assert len(text) < 300


@pytest.mark.parametrize("seed", range(20))
def test_a_shuffled_chain_is_out_of_order_and_never_a_circle(seed):
    rng = random.Random(seed)
    rows = [(["x" if n == 0 else f"v{n - 1}"], [f"v{n}"]) for n in range(12)]
    shuffled = rng.sample(rows, len(rows))
    texts = found(shuffled, outputs=["v11"])
    assert bool(texts) == (shuffled != rows)
    assert not any("circle" in text for text in texts)


@pytest.mark.parametrize("seed", range(20))
def test_an_edge_back_makes_a_circle(seed):
    rng = random.Random(seed)
    rows = [(["x" if n == 0 else f"v{n - 1}"], [f"v{n}"]) for n in range(12)]
    first = rng.randrange(11)
    last = rng.randrange(first, 12)
    rows[first][0].append(f"v{last}")
    rng.shuffle(rows)
    (text,) = found(rows, outputs=["v11"])
    assert text.count(" -> ") == min(last - first + 1, 8)
