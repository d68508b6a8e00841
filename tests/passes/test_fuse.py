from __future__ import annotations

import pytest

from cnncc.ir.decisions import decisions
from cnncc.ir.types import DType
from cnncc.ir.verify import verify
from cnncc.passes import Decompose, Fuse
from tests.passes.nets import Net, assert_same_numbers, node, values


def _fuse(net: Net, *outputs: int, options: Fuse | None = None) -> dict[str, list[str]]:
    """Fuse, hold numbers and level, and return the operators of each node by name."""
    graph = net.outputs(*outputs)
    Decompose().run(graph)
    want = values(graph)
    (options or Fuse()).run(graph)
    verify(graph, "fused", spans=True)
    assert_same_numbers(want, values(graph), 1e-9)
    return {
        n.name: [s.op for s in n.attrs.steps] if n.op == "fused" else [n.op]
        for _, n in graph.nodes()
        if n.op not in ("input", "constant")
    }


def _reasons(net: Net, subject: str) -> dict[str, str]:
    return dict(pair for d in decisions(net.graph, subject) for pair in d.rejected)


@pytest.mark.parametrize(
    "kind",
    [
        "conv2d",
        "conv2d_transpose",
        "dense",
        "max_pool2d",
        "avg_pool2d",
        "global_avg_pool",
        "global_max_pool",
    ],
)
def test_every_anchor_takes_the_pointwise_chain_behind_it(kind: str) -> None:
    net = Net()
    x = net.input(1, 6) if kind == "dense" else net.input(1, 6, 5, 4)
    if kind.startswith("conv2d"):
        h = net.conv(x, 4, 3) if kind == "conv2d" else net.deconv(x, 4)
    elif kind == "dense":
        h = net.dense(x, 4)
    elif kind.startswith("global"):
        h = net.add(kind, x)
    else:
        h = net.pool(x, 2, 2, op=kind)
    slopes = net.param(net.shape(h)[1])
    h = net.add("prelu", net.scale(net.add("hard_swish", h)), slopes)
    assert _fuse(net, h) == {f"{kind}1": [kind, "hard_swish", "scale", "prelu"]}
    assert node(net.graph, f"{kind}1").notes == {
        "members": [f"{kind}1", "hard_swish1", "scale1", "prelu1"]
    }
    assert len(node(net.graph, f"{kind}1").spans) == 4


def test_operands_come_first_in_order_of_use_each_once() -> None:
    net = Net()
    x = net.input(1, 4, 5, 5)
    conv = net.conv(x, 4, 1)
    _fuse(net, net.add("add", net.add("mul", x, conv), x))
    fused = node(net.graph, "conv2d1")
    assert [step.args for step in fused.attrs.steps] == [(0, 1, 2), (0, -1), (-2, 0)]


def test_a_chain_value_may_be_both_operands() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 4, 1)
    assert _fuse(net, net.add("mul", conv, conv)) == {"conv2d1": ["conv2d", "mul"]}


@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_runs_behind_the_convolution_that_lies_deepest(swapped: bool) -> None:
    net = Net()
    x = net.input(1, 4, 5, 5)
    early, late = net.conv(x, 4, 1), net.conv(net.add("tanh", x), 4, 1)
    total = net.add("add", *((late, early) if swapped else (early, late)))
    assert _fuse(net, net.add("relu", total)) == {
        "tanh1": ["tanh"],
        "conv2d1": ["conv2d"],
        "conv2d2": ["conv2d", "add", "relu"],
    }
    assert "which lies deeper" in _reasons(net, "conv2d1")["take add1"]


def test_crossed_residuals_make_no_cycle() -> None:
    net = Net()
    x = net.input(1, 4, 5, 5)
    a = net.add("add", net.conv(x, 4, 1), x)
    b = net.add("add", net.conv(x, 4, 1), a)
    c = net.add("add", net.conv(b, 4, 1), a)
    found = _fuse(net, net.add("add", c, b))
    assert found == {
        "conv2d1": ["conv2d", "add"],
        "conv2d2": ["conv2d", "add"],
        "conv2d3": ["conv2d", "add", "add"],
    }


def test_a_gate_of_one_pixel_is_spread_by_the_chain_that_it_gates() -> None:
    net = Net()
    x = net.input(1, 4, 5, 5)
    gate = net.add("sigmoid", net.conv(net.add("global_avg_pool", x), 4, 1))
    h = net.add("mul", gate, net.conv(x, 4, 1))
    assert _fuse(net, h) == {
        "global_avg_pool1": ["global_avg_pool"],
        "conv2d1": ["conv2d", "sigmoid"],
        "conv2d2": ["conv2d", "mul"],
    }
    assert "is larger than f32[1,4,1,1]" in _reasons(net, "conv2d1")["take mul1"]


def test_outputs_and_values_with_several_readers_end_a_group() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 4, 1)
    relu = net.add("relu", conv)
    a, b = net.add("tanh", relu), net.add("sigmoid", relu)
    assert _fuse(net, a, b) == {
        "conv2d1": ["conv2d", "relu"],
        "tanh1": ["tanh"],
        "sigmoid1": ["sigmoid"],
    }
    assert _reasons(net, "conv2d1") == {
        "take tanh1": "relu1 is read by 2 nodes",
        "take sigmoid1": "relu1 is read by 2 nodes",
    }
    net = Net()
    conv = net.conv(net.input(1, 3, 4, 4), 4, 1)
    assert len(_fuse(net, conv, net.add("relu", conv))) == 2
    assert _reasons(net, "conv2d1") == {"take relu1": "conv2d1 is an output of the network"}


def test_a_constant_map_is_no_operand_of_an_epilogue() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 2, 2), 4, 1)
    assert len(_fuse(net, net.add("add", conv, net.param(1, 4, 2, 2)))) == 2
    assert "more than one value a channel" in _reasons(net, "conv2d1")["take add1"]


def test_per_channel_constants_may_have_four_axes() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 2, 2), 4, 1)
    assert len(_fuse(net, net.add("add", net.param(1, 4, 1, 1), conv))) == 1


def test_per_channel_values_that_are_computed_are_no_operands() -> None:
    net = Net()
    conv = net.conv(net.input(1, 3, 2, 2), 4, 1)
    slope = net.add("tanh", net.param(4))
    found = _fuse(net, net.add("prelu", conv, slope))
    assert found["conv2d1"] == ["conv2d"]
    assert "neither constant nor of the shape" in _reasons(net, "conv2d1")["take prelu1"]


def test_pointwise_chains_without_an_anchor_become_one_node() -> None:
    net = Net()
    a, b = net.input(1, 4, 3, 3), net.input(1, 4, 3, 3)
    h = net.add("relu", net.scale(net.add("mul", a, b)))
    assert _fuse(net, h, net.add("tanh", a)) == {
        "mul1": ["mul", "scale", "relu"],
        "tanh1": ["tanh"],
    }


def test_an_anchored_chain_is_preferred_to_one_without() -> None:
    net = Net()
    x = net.input(1, 4, 3, 3)
    conv, other = net.conv(x, 4, 1), net.add("tanh", net.add("relu", x))
    found = _fuse(net, net.add("add", other, conv))
    assert found == {"relu1": ["relu", "tanh"], "conv2d1": ["conv2d", "add"]}


def test_products_of_matrices_take_steps_whose_operands_are_spread_over_their_rows() -> None:
    net = Net()
    x = net.input(1, 3, 5, 4)
    h = net.add("add", net.add("matmul", x, net.param(4, 6)), net.param(6))
    h = net.add("mul", net.add("gelu", h), net.param(3, 1, 1))
    other = net.add("matmul", x, net.param(4, 6), name="other")
    y = net.add("add", h, other)
    assert _fuse(net, y)["other"] == ["matmul", "add"]
    assert node(net.graph, "matmul1").attrs.steps[0].op == "matmul"
    assert [s.op for s in node(net.graph, "matmul1").attrs.steps] == [
        "matmul",
        "add",
        "gelu",
        "mul",
    ]


def test_steps_that_widen_a_product_or_change_its_type_stay_apart() -> None:
    net = Net()
    x = net.input(1, 1, 5, 4)
    wide = net.add("add", net.add("matmul", x, net.param(4, 6)), net.param(3, 5, 6))
    flags = net.add("cast", net.add("matmul", x, net.param(4, 2)), to=DType.I32)
    found = _fuse(net, wide, flags)
    assert found["matmul1"] == found["matmul2"] == ["matmul"]
    assert "is larger than" in _reasons(net, "matmul1")["take add1"]
    assert "is i32" in _reasons(net, "matmul2")["take cast1"]


def test_max_epilogue_bounds_a_group_and_the_rest_forms_its_own() -> None:
    net = Net()
    h = net.conv(net.input(1, 3, 4, 4), 4, 1)
    for op in ("relu", "tanh", "sigmoid", "silu"):
        h = net.add(op, h)
    found = _fuse(net, h, options=Fuse(max_epilogue=2))
    assert found == {"conv2d1": ["conv2d", "relu", "tanh"], "sigmoid1": ["sigmoid", "silu"]}
    assert "at most 2 steps" in _reasons(net, "conv2d1")["take sigmoid1"]


def test_other_operators_end_a_group_and_say_so() -> None:
    net = Net()
    h = net.add("softmax", net.dense(net.input(1, 4), 3))
    assert _fuse(net, h) == {"dense1": ["dense"], "softmax1": ["softmax"]}
    assert _reasons(net, "dense1") == {"take softmax1": "`softmax` is a loop nest of its own"}


def _conv_pool(net: Net, k: int, s: int, op: str = "max_pool2d", groups: int = 1, **attrs) -> int:
    conv = net.conv(net.input(1, 4, 16, 16), 4, 3, pads=(1, 1, 1, 1), groups=groups)
    return net.pool(net.add("relu", conv), k, s, op=op, **attrs)


@pytest.mark.parametrize(
    ("k", "s", "pad", "op"),
    [
        (2, 2, 0, "max_pool2d"),
        (3, 2, 1, "max_pool2d"),
        (3, 3, 0, "avg_pool2d"),
        (2, 3, 0, "avg_pool2d"),
    ],
)
def test_a_pool_ends_the_loop_nest_of_its_convolution(k: int, s: int, pad: int, op: str) -> None:
    net = Net()
    pool = _conv_pool(net, k, s, op, pad=pad)
    assert _fuse(net, pool) == {"conv2d1": ["conv2d", "relu", op]}
    (decision,) = decisions(net.graph, "conv2d1")
    assert decision.figures["bytes_saved"] == 2 * 2 * 4 * 16 * 16 * 4
    assert 1 <= decision.figures["times_computed_at_most"] <= 1.4


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda n: _conv_pool(n, 3, 1), "computed 1.75 times on average"),
        (lambda n: _conv_pool(n, 4, 4), "its window 4x4 is larger than 3x3"),
        (lambda n: _conv_pool(n, 2, 2, groups=4), "has 4 groups"),
    ],
)
def test_a_pool_that_would_not_pay_stays_outside_with_the_reason(build, reason: str) -> None:
    net = Net()
    found = _fuse(net, net.add("tanh", build(net)))
    assert found == {"conv2d1": ["conv2d", "relu"], "max_pool2d1": ["max_pool2d", "tanh"]}
    assert reason in _reasons(net, "conv2d1")["take max_pool2d1"]


@pytest.mark.parametrize("op", ["avg_pool2d", "max_pool2d"])
def test_a_chain_of_steps_takes_a_pool(op: str) -> None:
    net = Net()
    x = net.input(1, 4, 8, 8)
    pool = net.pool(net.add("relu", net.batch_norm(x)), 2, 2, op=op)
    assert _fuse(net, pool) == {"batch_norm1": ["scale", "relu", op]}


@pytest.mark.parametrize(
    ("k", "s", "reason"), [(3, 2, "its windows overlap"), (4, 4, "more than 8 pixels")]
)
def test_a_chain_takes_only_windows_that_registers_hold(k: int, s: int, reason: str) -> None:
    net = Net()
    chain = net.add("tanh", net.add("relu", net.input(1, 4, 8, 8)))
    found = _fuse(net, net.pool(chain, k, s))
    assert found == {"relu1": ["relu", "tanh"], "max_pool2d1": ["max_pool2d"]}
    assert reason in _reasons(net, "relu1")["take max_pool2d1"]


def test_pools_can_be_switched_off() -> None:
    net = Net()
    found = _fuse(net, _conv_pool(net, 2, 2), options=Fuse(pools=False))
    assert found == {"conv2d1": ["conv2d", "relu"], "max_pool2d1": ["max_pool2d"]}
    assert "switched off" in _reasons(net, "conv2d1")["take max_pool2d1"]


def test_only_convolutions_take_a_pool() -> None:
    net = Net()
    pool = net.pool(net.deconv(net.input(1, 3, 4, 4), 4), 2, 2)
    assert _fuse(net, pool) == {
        "conv2d_transpose1": ["conv2d_transpose"],
        "max_pool2d1": ["max_pool2d"],
    }
    assert "only a conv2d takes a pool" in _reasons(net, "conv2d_transpose1")["take max_pool2d1"]


def test_nothing_follows_a_pool() -> None:
    net = Net()
    found = _fuse(net, net.add("sigmoid", _conv_pool(net, 2, 2)))
    assert found == {"conv2d1": ["conv2d", "relu", "max_pool2d"], "sigmoid1": ["sigmoid"]}
    assert _reasons(net, "conv2d1") == {"take sigmoid1": "a pool ends the loop nest"}
