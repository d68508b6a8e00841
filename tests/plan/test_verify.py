"""The plan's verifier: sound plans pass, and each broken promise is seen before it becomes code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cnncc.errors import VerifyError
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout
from cnncc.plan.verify import verify_plan
from tests.passes.nets import Net, random_net
from tests.plan.planning import SSE, plan_of

SAME = {"pads": (1, 1, 1, 1)}


def planned():
    """Views of all kinds, a halo, a sum written over its operand; by name, and the graph."""
    net = Net()
    x = net.conv(net.input(1, 3, 6, 6), 12, 3, **SAME)
    both = net.add("concat", net.conv(x, 4, 1), net.conv(x, 8, 3, **SAME))
    low = net.add("slice_channels", x, start=4, stop=8)
    y = net.add("add", net.conv(net.add("tanh", low), 12, 3, **SAME), both)
    flat = net.add("flatten", net.pool(y, 2, 2))
    graph = plan_of(net.outputs(net.dense(flat, 3), net.conv(both, 5, 1))).graph
    verify_plan(graph, SSE)
    return graph


def the(graph, key):
    """The first node with such a note, and its id."""
    return next((n, node) for n, node in graph.nodes() if key in node.notes)


def view(graph, op):
    return next(node for _, node in graph.nodes() if node.op == op and "alias" in node.notes)


def with_layout(graph, kind, **changes):
    node = next(
        node
        for _, node in graph.nodes()
        if type(node.notes.get("layout")) is kind and node.op != "input"
    )
    node.notes["layout"] = replace(node.notes["layout"], **changes)


@pytest.mark.parametrize("seed", range(40))
def test_random_plans_are_sound(seed):
    verify_plan(plan_of(random_net(seed)).graph, SSE)


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (Layout, {"block": 0}, "is no layout"),
        (Layout, {"block": "4"}, "is no layout"),
        (Layout, {"segments": ()}, "is no layout"),
        (Layout, {"halo": (0, 0, -1, 0)}, "is no layout"),
        (Layout, {"segments": (2,)}, "does not lie in"),
        (Layout, {"height": 7}, "does not lie in"),
        (Layout, {"halo": (0, 0, 0, 0)}, "needs a halo"),
        (DenseLayout, {"memory": "whc"}, "does not lie in"),
        (DenseLayout, {"channels": 9}, "does not lie in"),
        (FlatLayout, {"order": "chw"}, "is not how its operand lies"),
    ],
)
def test_a_layout_that_does_not_fit(kind, changes, message):
    graph = planned()
    with_layout(graph, kind, **changes)
    with pytest.raises(VerifyError, match=message):
        verify_plan(graph, SSE)


def test_a_layout_that_is_missing_or_at_the_wrong_end():
    graph = planned()
    _, node = the(graph, "place")
    kept = node.notes.pop("layout")
    with pytest.raises(VerifyError, match="None is no layout"):
        verify_plan(graph, SSE)
    node.notes["layout"] = graph[graph.inputs[0]].notes["layout"]
    with pytest.raises(VerifyError, match="caller's arrays are dense"):
        verify_plan(graph, SSE)
    node.notes["layout"] = kept
    graph[graph.outputs[0][1]].notes["layout"] = kept
    with pytest.raises(VerifyError, match="caller's arrays are dense"):
        verify_plan(graph, SSE)


@pytest.mark.parametrize("blocks", [0, 2, 9])
def test_a_view_of_other_channels(blocks):
    graph = planned()
    node = view(graph, "slice_channels")
    node.notes["alias"] = (node.notes["alias"][0], blocks)
    with pytest.raises(VerifyError, match=f"from block {blocks} on"):
        verify_plan(graph, SSE)


@pytest.mark.parametrize("alias", [(999, 0), (0,), "here", (-1, 0), (1, -1)])
def test_a_view_of_nothing(alias):
    graph = planned()
    view(graph, "slice_channels").notes["alias"] = alias
    with pytest.raises(VerifyError, match=r"cannot be a view|no view of"):
        verify_plan(graph, SSE)


def test_a_view_of_a_stranger():
    graph = planned()
    concat = next(n for n, node in graph.nodes() if node.op == "concat")
    view(graph, "slice_channels").notes["alias"] = (concat, 0)
    with pytest.raises(VerifyError, match="neither a slice nor a part"):
        verify_plan(graph, SSE)


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("nonsense", "no kernel `nonsense`"),
        ("softmax", "`softmax` does not compute"),
        (None, "`None`"),
    ],
)
def test_a_kernel_that_cannot(kernel, message):
    graph = planned()
    _, node = the(graph, "kernel")
    node.notes["kernel"] = kernel
    with pytest.raises(VerifyError, match=message):
        verify_plan(graph, SSE)


def test_a_kernel_that_refuses():
    graph = planned()
    node = next(n for _, n in graph.nodes() if n.notes.get("kernel") == "conv_direct")
    node.notes["kernel"] = "conv_depthwise"
    with pytest.raises(VerifyError, match="not depthwise"):
        verify_plan(graph, SSE)


@pytest.mark.parametrize("pick", [-1, 1000, 0.5, "1", None])
def test_a_way_that_the_kernel_does_not_have(pick):
    graph = planned()
    node = next(n for _, n in graph.nodes() if n.notes.get("kernel") == "conv_direct")
    node.notes["pick"] = pick
    with pytest.raises(VerifyError, match="has no way number"):
        verify_plan(graph, SSE)


@pytest.mark.parametrize("place", [None, -16, 1 << 40, 1.5])
def test_a_place_outside_of_the_arena(place):
    graph = planned()
    the(graph, "place")[1].notes["place"] = place
    with pytest.raises(VerifyError, match="is not in the arena"):
        verify_plan(graph, SSE)


def test_an_arena_that_is_too_small():
    graph = planned()
    graph.meta["arena_elems"] -= 1
    with pytest.raises(VerifyError, match="no multiple of 16"):
        verify_plan(graph, SSE)
    graph.meta["arena_elems"] -= 15
    with pytest.raises(VerifyError, match="is not in the arena"):
        verify_plan(graph, SSE)
    del graph.meta["arena_elems"]
    with pytest.raises(VerifyError, match="the arena has None elements"):
        verify_plan(graph, SSE)


def test_a_place_that_is_not_aligned():
    graph = planned()
    graph.meta["arena_elems"] += 64
    the(graph, "place")[1].notes["place"] += 4
    with pytest.raises(VerifyError, match="is not aligned"):
        verify_plan(graph, SSE)


def test_a_view_that_lies_elsewhere():
    graph = planned()
    view(graph, "flatten").notes["place"] += 16
    graph.meta["arena_elems"] += 64
    with pytest.raises(VerifyError, match="does not lie in the buffer"):
        verify_plan(graph, SSE)


def test_buffers_that_meet():
    """A result moved onto what it is computed from is found out, wherever that happens."""
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4, 3, **SAME)
    for _ in range(3):
        x = net.add("add", net.conv(net.conv(x, 4, 3, **SAME), 4, 3, **SAME), x)
    graph = plan_of(net.outputs(x)).graph
    moved = 0
    for value, node in graph.nodes():
        for user, _ in graph.users(value):
            notes = graph[user].notes
            if "place" not in node.notes or "place" not in notes or "in_place" in notes:
                continue
            kept, notes["place"] = notes["place"], node.notes["place"]
            with pytest.raises(VerifyError, match=r"while it lives|does not lie in the buffer"):
                verify_plan(graph, SSE)
            notes["place"] = kept
            moved += 1
    assert moved >= 6
    verify_plan(graph, SSE)


def test_what_is_read_later_is_not_written_over():
    """Both readers of a value want its buffer: the first must not have it."""
    net = Net()
    x = net.conv(net.input(1, 4, 5, 5), 4, 1)
    y = net.add("tanh", x)
    graph = plan_of(net.outputs(net.add("relu", y), net.pool(y, 2, 1))).graph
    pool = next(n for n, node in graph.nodes() if node.op == "max_pool2d")
    source = graph.operands(pool)[0]
    writer = next(n for n, node in graph.nodes() if node.op == "relu")
    graph[writer].notes["in_place"] = 0
    graph[writer].notes["place"] = graph[source].notes["place"]
    assert graph.operands(writer)[0] == source
    with pytest.raises(VerifyError, match="which is read later"):
        verify_plan(graph, SSE)


def test_only_pointwise_operands_are_written_over():
    graph = planned()
    node = next(n for _, n in graph.nodes() if n.notes.get("kernel") == "conv_direct")
    node.notes["in_place"] = 0
    with pytest.raises(VerifyError, match="cannot be written over operand 0"):
        verify_plan(graph, SSE)


def test_only_equal_layouts_are_written_over():
    net = Net()
    x = net.add("tanh", net.conv(net.input(1, 4, 5, 5), 4, 1))
    graph = plan_of(net.outputs(net.conv(x, 4, 3, **SAME), net.add("relu", x))).graph
    node_id, node = next((n, x) for n, x in graph.nodes() if x.op == "relu")
    node.notes["in_place"] = 0
    node.notes["place"] = graph[graph.operands(node_id)[0]].notes["place"]
    with pytest.raises(VerifyError, match="does not lie like operand 0"):
        verify_plan(graph, SSE)


def shuffled():
    """A join of two buffers whose channels are mixed: the convolution behind finds them."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    halves = [net.conv(x, 6, 1), net.conv(x, 6, 1)]
    kept = net.add("tanh", net.add("concat", *halves))
    mixed = net.add("channel_shuffle", net.add("concat", halves[0], kept), groups=3)
    graph = plan_of(net.outputs(net.conv(mixed, 3, 1), kept)).graph
    verify_plan(graph, SSE)
    return graph


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: {"picks": (p.picks[1], p.picks[0], *p.picks[2:])}, "other channels than"),
        (lambda p: {"picks": p.picks[1:]}, "other channels than"),
        (lambda p: {"parts": p.parts[1:]}, "is picked out of 2 values"),
        (lambda p: {"parts": p.parts[::-1]}, "is not where node"),
        (lambda p: {"starts": (p.starts[0] + 16, *p.starts[1:])}, "does not begin at"),
    ],
)
def test_channels_that_lie_elsewhere(change, message):
    graph = shuffled()
    node = next(n for _, n in graph.nodes() if n.op == "channel_shuffle")
    layout = node.notes["layout"]
    node.notes["layout"] = replace(layout, **{"starts": layout.starts, **change(layout)})
    with pytest.raises(VerifyError, match=message):
        verify_plan(graph, SSE)


def test_picked_channels_and_their_values_belong_together():
    graph = shuffled()
    node = next(n for _, n in graph.nodes() if n.op == "channel_shuffle")
    del node.notes["picks"]
    with pytest.raises(VerifyError, match="belong together"):
        verify_plan(graph, SSE)


def test_what_is_picked_out_of_a_buffer_keeps_it():
    """The convolution reads the first half, long after the join that it was computed in."""
    graph = shuffled()
    mixed = next(n for n, node in graph.nodes() if node.op == "channel_shuffle")
    reader, _ = graph.users(mixed)[0]
    values = graph[mixed].notes["picks"]
    later = next(n for n in reversed(graph.order()) if "place" in graph[n].notes)
    assert reader in graph.order()
    graph[later].notes["place"] = graph[values[0]].notes["place"]
    with pytest.raises(VerifyError):
        verify_plan(graph, SSE)
