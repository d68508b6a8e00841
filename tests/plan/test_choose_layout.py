"""Layout choice: joins without copies, views, halos, narrow blocks, copies where needed."""

from __future__ import annotations

import pytest

from cnncc import driver
from cnncc.errors import UnsupportedError
from cnncc.ir.types import DType, f32
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked
from cnncc.options import Options
from cnncc.plan.site import dimensions
from cnncc.targets import find
from tests.passes.nets import Net
from tests.plan.planning import SSE, by, check, computed, copies, laid_out

SAME = {"pads": (1, 1, 1, 1)}


def layout_of(graph, node_id):
    return graph[node_id].notes["layout"]


def test_inception_joins_without_copies():
    """Four branches, each computed where it belongs, within the next layer's halo."""
    net = Net()
    x = net.conv(net.input(1, 5, 6, 6), 8, 1)
    branches = [
        net.conv(x, 8, 1),
        net.conv(net.conv(x, 6, 1), 12, 3, **SAME),
        net.conv(net.conv(x, 3, 1), 4, 5, pads=(2, 2, 2, 2)),
        net.conv(net.pool(x, 3, 1, 1), 4, 1),
    ]
    joined = net.add("concat", *branches)
    graph = net.outputs(net.conv(joined, 5, 3, **SAME))
    plan = check(graph)
    assert copies(plan.graph) == 0
    assert "concat" not in computed(plan.graph)
    join = next(i for i, n in plan.graph.nodes() if n.op == "concat")
    assert layout_of(plan.graph, join) == Layout(4, (28,), 6, 6, (1, 1, 1, 1))
    operands = plan.graph.operands(join)
    assert [plan.graph[o].notes["alias"] for o in operands] == [
        (join, 0),
        (join, 2),
        (join, 5),
        (join, 6),
    ]
    assert all(layout_of(plan.graph, o).halo == (1, 1, 1, 1) for o in operands)


def test_dense_blocks_nest():
    """Each join is a prefix of the next: one buffer for the whole block, no copy at all."""
    net = Net()
    x = net.conv(net.input(1, 3, 5, 5), 8, 1)
    for _ in range(4):
        x = net.add("concat", x, net.conv(net.add("relu", x), 4, 3, **SAME))
    plan = check(net.outputs(net.conv(x, 3, 1)))
    assert copies(plan.graph) == 0
    joins = [i for i, n in plan.graph.nodes() if n.op == "concat"]
    chain = [plan.graph[j].notes.get("alias") for j in joins]
    assert chain == [(joins[1], 0), (joins[2], 0), (joins[3], 0), None]
    assert len({plan.graph[j].notes["place"] for j in joins}) == 1


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_ragged_segments(name):
    """Channel counts that fill no block: segments carry through convolutions, pools and sums."""
    target, net = find(name), Net()
    x = net.input(1, 3, 5, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 7, 1), net.conv(x, 1, 1))
    pooled = net.pool(joined, 2, 1)
    depthwise = net.conv(pooled, 11, 3, groups=11, **SAME)
    total = net.add("add", depthwise, pooled)
    plan = check(net.outputs(net.conv(net.add("relu", total), 4, 1)), target)
    assert copies(plan.graph) == 0
    segments = {
        layout_of(plan.graph, i).segments
        for i, n in plan.graph.nodes()
        if isinstance(n.notes.get("layout"), Layout) and layout_of(plan.graph, i).channels == 11
    }
    assert segments == {(3, 7, 1)}


def test_the_other_operand_of_a_sum_is_brought_into_line():
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    other = net.conv(x, 8, 1)
    graph = laid_out(net.outputs(net.add("add", joined, other)))
    assert copies(graph) == 1
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    check(net.outputs(net.add("tanh", net.add("mul", net.pool(x, 1, 1), net.conv(joined, 3, 1)))))


def test_convolutions_adapt_to_what_their_epilogue_reads():
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    summed = net.add("add", net.conv(net.add("tanh", joined), 8, 3, **SAME), joined)
    plan = check(net.outputs(summed))
    assert copies(plan.graph) == 0
    fused = [i for i, n in plan.graph.nodes() if n.op == "fused"]
    assert layout_of(plan.graph, fused[-1]).segments == (3, 5)


def test_gaps_of_a_join_are_neither_closed_nor_multiplied():
    """Eight maps of one channel each: a reduction stops behind the channels of each block."""
    net = Net()
    x = net.input(1, 3, 24, 24)
    joined = net.add("concat", *[net.conv(x, 1, 1) for _ in range(8)])
    graph = laid_out(net.outputs(net.conv(joined, 8, 5, pads=(2, 2, 2, 2))), find("x86-64-v4"))
    conv = next(i for i, n in graph.nodes() if n.op == "conv2d" and n.type == net_type(8, 24))
    assert layout_of(graph, graph.operands(conv)[0]).segments == (1,) * 8
    assert copies(graph) == 0


def net_type(channels, size):
    return f32(1, channels, size, size)


def test_few_channels_that_only_leave_the_network_lie_in_planes():
    net = Net()
    deep = net.conv(net.input(1, 3, 6, 6), 40, 1)
    graph = laid_out(
        net.outputs(net.conv(deep, 1, 3, **SAME), net.conv(deep, 40, 1)), find("x86-64-v4")
    )
    blocks = {n.type.shape[1]: layout_of(graph, i).block for i, n in graph.nodes()
              if n.op == "conv2d"}  # fmt: skip
    assert blocks == {1: 1, 40: 16}
    assert any("one channel a block" in d.choice for d in by(graph, "choose-layout"))


def test_planes_only_where_nothing_else_reads_them():
    net = Net()
    few = net.conv(net.conv(net.input(1, 3, 6, 6), 40, 1), 1, 3, **SAME)
    graph = laid_out(net.outputs(few, net.conv(few, 4, 3, **SAME)), find("x86-64-v4"))
    assert all(layout_of(graph, i).block == 16 for i, n in graph.nodes() if n.op == "conv2d")


FIVE = {"pads": (2, 2, 2, 2)}


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4", "aarch64"])
def test_few_filters_over_a_plane_write_planes_for_large_windows(name):
    net = Net()
    few = net.conv(net.input(1, 1, 28, 28), 6, 5, **FIVE)
    pooled = net.add("avg_pool2d", net.add("tanh", few), window=(2, 2), strides=(2, 2))
    plan = check(net.outputs(net.conv(pooled, 16, 5)), find(name))
    kernels = [n.notes["kernel"] for _, n in plan.graph.nodes() if "kernel" in n.notes]
    assert kernels[1] in ("conv_columns", "conv_filtered_columns")


@pytest.mark.parametrize("why", ["small windows", "leaves the network", "few columns", "blocks"])
def test_few_filters_stay_in_blocks(why):
    net, target = Net(), find("x86-64-v4")
    size, depth = (10 if why == "few columns" else 28), (3 if why == "blocks" else 1)
    few = net.conv(net.input(1, depth, size, size), 6, 5, **FIVE)
    last = net.conv(few, 16, 3, **SAME) if why == "small windows" else net.conv(few, 16, 5)
    outputs = (last, net.add("relu", few)) if why == "leaves the network" else (last,)
    graph = laid_out(net.outputs(*outputs), target)
    blocks = [layout_of(graph, i).block for i, n in graph.nodes() if n.op == "conv2d"]
    assert blocks == [16, 16]


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v4"])
def test_groups_that_share_a_block_need_no_segments(name):
    net = Net()
    x = net.conv(net.input(1, 3, 5, 7), 32, 1)
    grouped = net.conv(net.add("relu", net.conv(x, 32, 3, groups=16, **SAME)), 8, 1)
    plan = check(net.outputs(grouped), find(name))
    assert copies(plan.graph) == 0
    assert "conv_grouped" in {n.notes.get("kernel") for _, n in plan.graph.nodes()}


# -- joins that need a copy ----------------------------------------------------------------------


def test_a_value_in_two_joins():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 4, 1)
    y = net.conv(net.input(1, 3, 4, 4), 4, 1)
    first, second = net.add("concat", x, y), net.add("concat", y, x)
    ends = [net.conv(join, 2, 3, **SAME) for join in (first, second)]
    plan = check(net.outputs(*ends))
    assert copies(plan.graph) == 2
    reasons = [d.reason for d in by(plan.graph, "choose-layout") if "copy" in d.choice]
    assert sum("already lies in another buffer" in r for r in reasons) == 2


def test_a_value_twice_in_a_join():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 5, 1)
    join = net.add("concat", x, x, x)
    plan = check(net.outputs(net.conv(join, 2, 3, **SAME)))
    assert copies(plan.graph) == 2
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 5, 1)
    plan = check(net.outputs(net.conv(net.add("concat", x, x, x), 2, 1)))
    assert copies(plan.graph) == 0


def test_inputs_and_constants_in_a_join():
    net = Net()
    x = net.input(1, 3, 4, 4)
    plan = check(net.outputs(net.conv(net.add("concat", x, net.param(1, 2, 4, 4), x), 2, 1)))
    assert len(by(plan.graph, "choose-layout")) >= 2


def test_joins_along_the_map_copy():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 5, 1)
    plan = check(net.outputs(net.add("concat", x, x, axis=3)))
    assert "concat" in computed(plan.graph)


# -- views ---------------------------------------------------------------------------------------


def test_slices_on_block_boundaries_are_views():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 16, 1)
    low = net.add("slice_channels", x, start=0, stop=8)
    high = net.add("slice_channels", x, start=8, stop=16)
    graph = net.outputs(net.add("concat", net.conv(high, 4, 3, **SAME), net.add("tanh", low)))
    plan = check(graph)
    slices = [n for _, n in plan.graph.nodes() if n.op == "slice_channels"]
    assert [n.notes["alias"][1] for n in slices] == [0, 2]
    assert "slice_channels" not in computed(plan.graph)
    # The reader of one slice wants a halo; both views and the whole have it.
    assert {n.notes["layout"].halo for n in slices} == {(1, 1, 1, 1)}


@pytest.mark.parametrize(("start", "stop"), [(2, 8), (4, 6), (0, 3), (5, 16), (8, 15)])
def test_other_slices_copy_for_readers_of_whole_blocks(start, stop):
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 16, 1)
    plan = check(net.outputs(net.add("tanh", net.add("slice_channels", x, start=start, stop=stop))))
    assert "slice_channels" not in computed(plan.graph)
    assert copies(plan.graph) == 1


def test_joined_channels_are_mixed_and_cut_where_they_lie():
    """Moves that pick single channels read segments of any size without a copy before them."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 5, 1), net.conv(x, 5, 1))
    mixed = net.add("channel_shuffle", joined, groups=2)
    parts = [net.add("slice_channels", v, start=1, stop=7) for v in (mixed, joined)]
    plan = check(net.outputs(net.add("add", *parts)))
    assert copies(plan.graph) == 2  # one before each operand of the sum


def shuffle_net(units=3):
    """Units that split their channels in two, compute on one half, join and mix."""
    net = Net()
    x = net.input(1, 3, 6, 5)
    whole = net.add("concat", net.conv(x, 10, 1), net.conv(x, 10, 1))
    for _ in range(units):
        mixed = net.add("channel_shuffle", whole, groups=2)
        left = net.add("slice_channels", mixed, start=0, stop=10)
        right = net.add("slice_channels", mixed, start=10, stop=20)
        deep = net.conv(net.conv(net.conv(right, 10, 1), 10, 3, groups=10, **SAME), 10, 1)
        whole = net.add("concat", left, net.add("relu", deep))
    mixed = net.add("channel_shuffle", whole, groups=2)
    return net, mixed


@pytest.mark.parametrize("name", ["x86-64", "x86-64-v3", "x86-64-v4"])
def test_shuffle_units_move_nothing(name):
    """Shuffles, cuts and joins have no memory: convolutions find every channel where it lies."""
    net, mixed = shuffle_net()
    plan = check(net.outputs(net.conv(mixed, 4, 1)), find(name), threads=2)
    assert copies(plan.graph) == 0
    assert not {"channel_shuffle", "slice_channels", "concat"} & set(computed(plan.graph))
    last = next(n for _, n in reversed(list(plan.graph.nodes())) if n.op == "channel_shuffle")
    assert isinstance(last.notes["layout"], Picked)
    assert len(last.notes["picks"]) == 4  # what each unit made, and the first join


def test_one_copy_serves_all_readers_of_whole_blocks():
    net, mixed = shuffle_net(1)
    deep = net.conv(mixed, 20, 3, groups=20, **SAME)
    plan = check(net.outputs(net.add("add", deep, net.add("tanh", mixed)), net.conv(mixed, 3, 1)))
    assert copies(plan.graph) == 1


def test_switched_off_moves_copy():
    net, mixed = shuffle_net(1)
    options = Options(frozenset({"gather"}))
    model = driver.Model(net.outputs(net.conv(mixed, 4, 1)), ())
    plan = driver.plan_model(model, find("x86-64-v3"), options=options).plan
    assert not any("picks" in n.notes for _, n in plan.graph.nodes())
    assert "channel_shuffle" in computed(plan.graph)
    assert "conv_gather" not in {n.notes.get("kernel") for _, n in plan.graph.nodes()}


def test_a_value_that_two_joins_take_is_read_where_it_lies():
    """The second join cannot have it in its own buffer; its 1x1 convolution does not mind."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    one, two, three = (net.conv(x, n, 1) for n in (5, 6, 7))
    first = net.add("concat", one, two)
    second = net.add("concat", one, three)
    wide = net.conv(first, 4, 3, **SAME)  # its halo is everyone's
    plan = check(net.outputs(net.add("add", wide, net.conv(second, 4, 1))))
    assert copies(plan.graph) == 0
    layout = layout_of(plan.graph, second)
    assert isinstance(layout, Picked)
    assert {part.halo for part in layout.parts} == {(1, 1, 1, 1)}
    net = Net()
    x = net.input(1, 3, 4, 4)
    one, two, three = (net.conv(x, n, 1) for n in (5, 6, 7))
    joins = [net.add("concat", one, other) for other in (two, three)]
    plan = check(net.outputs(*(net.conv(join, 4, 3, **SAME) for join in joins)))
    assert copies(plan.graph) == 1  # only `one` is copied, not the whole join


def test_values_without_memory_at_the_end_of_a_network():
    net, mixed = shuffle_net(1)
    check(net.outputs(mixed, net.add("slice_channels", mixed, start=3, stop=9)))


def test_what_others_are_picked_out_of_is_not_written_over():
    """A sum whose operand dies with it would be written over it, were its channels not read."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    one, other = net.conv(x, 6, 1), net.conv(x, 6, 1)
    mixed = net.add("channel_shuffle", one, groups=2)
    check(net.outputs(net.add("add", net.conv(mixed, 6, 1), one), other))


def test_a_slice_of_a_join_is_its_operand():
    """Segments end within blocks: a slice may take a whole segment, padding lanes and all."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    back = net.add("slice_channels", joined, start=3, stop=8)
    graph = laid_out(net.outputs(net.add("tanh", back), net.add("tanh", joined)))
    node = graph[back]
    assert node.notes["alias"] == (joined, 1)
    assert node.notes["layout"].segments == (5,)
    net = Net()
    x = net.input(1, 3, 4, 4)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    back = net.add("slice_channels", joined, start=3, stop=8)
    check(net.outputs(net.conv(back, 2, 3, **SAME), net.add("tanh", joined)))


def test_a_slice_of_an_input():
    net = Net()
    x = net.input(1, 8, 4, 4)
    check(net.outputs(net.add("slice_channels", x, start=4, stop=8)))


@pytest.mark.parametrize("order", ["hwc", "chw"])
def test_flattened_maps_are_read_in_place(order):
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 6, 3)
    flat = net.add("flatten", x, order=order)
    graph = net.outputs(net.dense(flat, 5), net.conv(x, 2, 3, **SAME))
    plan = check(graph)
    node = next(n for _, n in plan.graph.nodes() if n.op == "flatten")
    assert isinstance(node.notes["layout"], FlatLayout)
    assert node.notes["layout"].source.halo == (1, 1, 1, 1)  # the other reader's
    assert "flatten" not in computed(plan.graph)


def test_a_flattened_map_that_others_read_is_copied():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 6, 3)
    flat = net.add("flatten", x)
    plan = check(net.outputs(net.dense(flat, 5), net.add("softmax", flat)))
    assert "flatten" in computed(plan.graph)
    for graph in (_flat_input(), _flat_output()):
        check(graph)


def _flat_input():
    net = Net()
    return net.outputs(net.dense(net.add("flatten", net.input(1, 3, 4, 4)), 5))


def _flat_output():
    net = Net()
    return net.outputs(net.add("flatten", net.conv(net.input(1, 3, 4, 4), 6, 3)))


def test_a_dense_layer_on_a_join():
    net = Net()
    x = net.input(1, 3, 3, 3)
    joined = net.add("concat", net.conv(x, 3, 1), net.conv(x, 5, 1))
    check(net.outputs(net.dense(net.add("flatten", joined), 4)))


# -- ends of the network -------------------------------------------------------------------------


def test_bytes_are_normalised_into_blocks():
    net = Net()
    x = net.add("input", dtype=DType.U8, shape=(1, 3, 5, 5))
    y = net.add("normalize", x, scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    plan = check(net.outputs(net.conv(y, 4, 3, **SAME)))
    assert copies(plan.graph) == 0


def test_results_come_in_the_order_of_the_input():
    for memory in ("hwc", "chw"):
        net = Net()
        x = net.add("input", dtype=DType.F32, shape=(1, 3, 4, 5), memory=memory)
        plan = check(net.outputs(net.conv(x, 2, 1)))
        assert plan.interface.outputs[0].memory == memory
        assert plan.interface.outputs[0].shape == ((4, 5, 2) if memory == "hwc" else (2, 4, 5))


def test_odd_ends():
    """Input returned, output also read, one node as two outputs, nothing but constants."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    y = net.conv(x, 5, 3, **SAME)
    plan = check(net.outputs(x, y, y, net.add("relu", y)))
    assert [p.name for p in plan.interface.outputs] == ["y0", "y1", "y2", "y3"]
    assert len({n for _, n in plan.graph.outputs}) == 4
    for _, n in plan.graph.outputs:
        assert isinstance(layout_of(plan.graph, n), DenseLayout)
    net = Net()
    check(net.outputs(net.param(1, 3, 2, 2), net.add("relu", net.param(1, 7))))


def test_groups_that_end_within_blocks_get_segments():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 12, 1)
    plan = check(net.outputs(net.conv(x, 18, 3, groups=2, **SAME)))
    grouped = next(
        n
        for _, n in plan.graph.nodes()
        if n.op == "conv2d" and n.attrs.groups == 2
    )  # fmt: skip
    assert grouped.notes["layout"].segments == (9, 9)


def test_depthwise_multiplier():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 5, 1)
    check(net.outputs(net.conv(x, 10, 3, groups=5, **SAME)))


# -- small parts ---------------------------------------------------------------------------------


def test_dimensions():
    assert dimensions(f32(1, 3, 4, 5)) == (3, 4, 5)
    assert dimensions(f32(1, 7)) == (7, 1, 1)
    with pytest.raises(UnsupportedError, match="have no layout"):
        dimensions(f32(2, 3, 4))


def test_every_choice_has_a_reason():
    net = Net()
    x = net.conv(net.input(1, 3, 4, 4), 16, 1)
    graph = net.outputs(net.add("concat", x, net.add("slice_channels", x, start=4, stop=8)))
    found = by(laid_out(graph), "choose-layout")
    assert len(found) >= 2
    assert all(d.reason and d.subject for d in found)
    assert SSE.lanes() == 4


def test_constants_as_values():
    """A constant map in a sum, in a product, in a join, as an operand of everything."""
    for op in ("add", "mul"):
        for shape in ((1, 5, 4, 4), (1, 5, 1, 1)):
            net = Net()
            x = net.conv(net.input(1, 3, 4, 4), 5, 3, **SAME)
            check(net.outputs(net.add(op, x, net.param(*shape)), net.add(op, net.param(*shape), x)))
