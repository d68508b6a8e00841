"""What each pass makes of a small graph, as text: before, after, and the decisions it recorded.

A golden text says what a pass does, never that it is right: numbers are compared first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from cnncc.ir.decisions import decisions
from cnncc.ir.graph import Graph
from cnncc.ir.text import print_graph
from cnncc.passes import PASSES
from tests.passes.nets import Net, assert_same_numbers, values

GOLDEN = Path(__file__).parent / "golden"


def _types() -> Graph:
    net = Net()
    graph = net.outputs(net.add("relu", net.conv(net.input(1, 3, 5, 6), 4, 3)))
    for _, node in graph.nodes():
        node.type = None
    return graph


def _dead_branch() -> Graph:
    net = Net()
    x, _ = net.input(1, 3, 5, 6), net.input(1, 2)
    net.add("tanh", net.conv(x, 4, 3))
    return net.outputs(net.add("relu", x))


def _weights_computed() -> Graph:
    net = Net()
    w = net.add("transpose", net.param(3, 3, 2, 4), perm=(3, 2, 0, 1))
    return net.outputs(net.add("conv2d", net.input(1, 2, 5, 6), w))


def _chains() -> Graph:
    net = Net()
    x = net.input(1, 4, 3, 2)
    h = net.add("clip", net.add("relu", net.add("relu", net.add("dropout", x))), low=-1.0, high=6.0)
    h = net.add("concat", net.add("concat", h, x), x)
    h = net.add("slice_channels", h, start=5, stop=7)
    h = net.add("reshape", net.add("flatten", h, order="chw"), shape=(-1, 3, 4))
    return net.outputs(net.add("reshape", h, shape=(-1, 12)))


def _grown() -> Graph:
    net = Net()
    maps = [net.input(1, 2, 3, 4), net.input(1, 1, 3, 4)]
    for _ in range(2):
        maps.append(net.conv(net.add("concat", *maps), 2, 1))
    return net.outputs(net.add("concat", *maps), net.add("concat", *maps[1:]))


def _borders() -> Graph:
    net = Net()
    x = net.input(1, 2, 5, 6)
    border = net.add("pad2d", x, pads=(1, 0, 1, 2))
    conv = net.conv(border, 3, 3, pads=(0, 1, 0, 0))
    return net.outputs(conv, net.pool(border, 2, 1), net.pool(border, 2, 1, op="avg_pool2d"))


def _residual_block() -> Net:
    net = Net()
    x = net.input(1, 4, 6, 6)
    h = net.add("relu", net.batch_norm(net.conv(x, 4, 3, bias=False, pads=(1,) * 4)))
    h = net.batch_norm(net.conv(h, 8, 3, bias=False, pads=(1,) * 4))
    short = net.batch_norm(net.conv(x, 8, 1, bias=False))
    net.outputs(net.add("relu", net.add("add", h, short)))
    return net


def _batch_norms() -> Graph:
    net = Net()
    x = net.input(1, 3, 4, 4)
    h = net.batch_norm(net.conv(net.batch_norm(x), 2, 3, bias=False))
    return net.outputs(net.scale(net.deconv(h, 2)))


def _lone_batch_norm() -> Graph:
    net = Net()
    return net.outputs(net.add("dropout", net.batch_norm(net.input(1, 3, 4, 4))))


def _activations() -> Graph:
    net = Net()
    x = net.input(1, 3, 4, 4)
    line = net.add("add", x, net.array(3.0))
    gate = net.add("minimum", net.add("maximum", line, net.array(0.0)), net.array(6.0))
    h = net.add("div", net.add("mul", x, gate), net.array(6.0))
    below = net.add("mul", net.param(3, 1, 1), net.add("relu", net.add("neg", h)))
    return net.outputs(net.add("sub", net.add("relu", h), below))


def _general_forms() -> Graph:
    net = Net()
    x = net.input(1, 4, 3, 2)
    h = net.add("pad", x, mode="constant", before=(0, 0, 1, 1), after=(0, 0, 0, 0))
    h = net.add("reshape", h, shape=(-1, 2, 2, 4, 3))
    h = net.add("reshape", net.add("transpose", h, perm=(0, 2, 1, 3, 4)), shape=(-1, 4, 4, 3))
    mean = net.add("reduce", h, kind="mean", axes=(2, 3), keepdims=False)
    vector = net.add("reshape", net.add("relu", h), shape=(-1, 48))
    scores = net.add("matmul", vector, net.param(48, 5))
    return net.outputs(net.add("add", scores, net.param(5)), mean)


def _pixels_in_rows() -> Graph:
    net = Net()
    x = net.input(1, 5, 4, 3)  # [N,H,W,C]
    conv = net.conv(net.add("transpose", x, perm=(0, 3, 1, 2)), 6, 1)
    rows = net.add("relu", net.add("transpose", conv, perm=(0, 2, 3, 1)))
    rows = net.add("mul", rows, net.param(6))
    back = net.conv(net.add("transpose", rows, perm=(0, 3, 1, 2)), 2, 1)
    mean = net.add("reduce", rows, kind="mean", axes=(1, 2), keepdims=False)
    return net.outputs(net.add("transpose", back, perm=(0, 2, 3, 1)), mean)


def _two_samples() -> Graph:
    net = Net()
    h = net.add("relu", net.conv(net.input(2, 3, 4, 4), 4, 3))
    graph = net.outputs(net.dense(net.add("flatten", h), 2))
    graph.meta["batched"] = False
    return graph


def _mean_behind() -> Graph:
    net = Net()
    return net.outputs(net.pool(net.conv(net.input(1, 3, 4, 4), 2, 1), 2, 2, op="avg_pool2d"))


def _twins() -> Graph:
    net = Net()
    x = net.input(1, 3, 4, 4)
    w = net.rng.standard_normal((2, 3, 1, 1))
    a, b = (net.add("conv2d", x, net.array(w)) for _ in range(2))
    return net.outputs(net.add("mul", net.add("add", a, x_gate := b), x_gate))


def _fused_residual() -> Graph:
    graph = _residual_block().graph
    for kind in PASSES[:-1]:
        kind().run(graph)
    graph.meta.clear()
    return graph


def _fused_pools() -> Graph:
    net = Net()
    h = net.pool(net.add("relu", net.conv(net.input(1, 1, 12, 12), 4, 5)), 2, 2)
    h = net.pool(net.add("tanh", net.conv(h, 4, 1)), 3, 1)
    gate = net.add("sigmoid", net.add("global_avg_pool", h))
    h = net.add("flatten", net.add("leaky_relu", net.add("mul", h, gate), alpha=0.1))
    return net.outputs(net.add("softmax", net.dense(h, 3)))


CASES: dict[str, Callable[[], Graph]] = {
    "infer-types/conv": _types,
    "eliminate-dead/branch": _dead_branch,
    "fold-constants/weights": _weights_computed,
    "simplify/chains": _chains,
    "channels-first/rows": _pixels_in_rows,
    "split-batch/two": _two_samples,
    "recognise/activations": _activations,
    "specialise/forms": _general_forms,
    "absorb-pad/borders": _borders,
    "fold-batchnorm/residual": lambda: _residual_block().graph,
    "fold-batchnorm/order": _batch_norms,
    "decompose/lone": _lone_batch_norm,
    "pool-order/mean": _mean_behind,
    "common-subexpressions/twins": _twins,
    "nest-concats/grown": _grown,
    "fuse/residual": _fused_residual,
    "fuse/pools": _fused_pools,
}


def _text(graph: Graph) -> str:
    """Without places, facts, and the hashes of arrays."""
    text = print_graph(graph, spans=False, meta=False)
    return re.sub(r' sha256 "[0-9a-f]+"', "", text)


def _story(graph: Graph) -> str:
    lines = []
    for d in decisions(graph):
        figures = ", ".join(f"{key}={value}" for key, value in d.figures.items())
        lines.append(
            f"{d.subject}: {d.choice}, because {d.reason}" + f" ({figures})" * bool(figures)
        )
        lines += [f"  not: {what}, because {why}" for what, why in d.rejected]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", CASES)
def test_a_pass_does_what_its_golden_file_says(case: str, update_golden: bool) -> None:
    name = case.split("/")[0]
    graph = CASES[case]()
    before, want = _text(graph), values(graph)
    next(kind for kind in PASSES if kind.name == name)().run(graph)
    assert_same_numbers(want, values(graph), 1e-6)
    text = f"{before}=====\n{_text(graph)}=====\n{_story(graph)}"
    path = GOLDEN / f"{case}.txt"
    if update_golden:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


def test_every_pass_has_a_golden_case_and_no_file_is_stale() -> None:
    assert {case.split("/")[0] for case in CASES} == {kind.name for kind in PASSES}
    found = {str(p.relative_to(GOLDEN).with_suffix("")) for p in GOLDEN.glob("*/*.txt")}
    assert found == set(CASES)
