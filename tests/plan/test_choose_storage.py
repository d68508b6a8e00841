"""Which values lie in blocks, and which in row-major order."""

import pytest

from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, Layout, RowMajor
from cnncc.plan.choose_storage import Storage, choose_storages
from tests.passes.nets import Net
from tests.plan.planning import check, laid_out

B, R = Storage.BLOCKED, Storage.ROWS


def chw(net, *shape, dtype=DType.F32):
    return net.add("input", dtype=dtype, shape=shape, memory="chw")


def storages(net, *outputs):
    graph = net.outputs(*outputs)
    found = choose_storages(graph)
    return {graph[i].name: s for i, s in found.items()}


def test_layers_lie_in_blocks_and_general_operators_in_rows():
    net = Net()
    x = net.conv(chw(net, 1, 3, 6, 6), 4, 1)
    y = net.add("reduce", x, kind="mean", axes=(3,), keepdims=False)
    z = net.add("exp", y)
    assert storages(net, z) == {"conv2d1": B, "reduce1": R, "exp1": R}


def test_pointwise_operators_follow_their_operands():
    net = Net()
    x = chw(net, 1, 3, 6, 6)
    first = net.add("relu", x)
    conv = net.conv(first, 3, 1)
    behind = net.add("tanh", conv)
    moved = net.add("transpose", behind, perm=(0, 2, 3, 1))
    last = net.add("sigmoid", moved)
    assert storages(net, last) == {
        "relu1": B,  # for the convolution that reads it
        "conv2d1": B,
        "tanh1": B,
        "transpose1": R,
        "sigmoid1": R,
    }


def test_what_no_block_holds():
    net = Net()
    small = net.add("relu", chw(net, 3))
    several = net.add("relu", chw(net, 2, 3, 4, 4))
    whole = net.add("add", *[chw(net, 1, 4, 2, 2, dtype=DType.I64)] * 2)
    assert set(storages(net, small, several, whole).values()) == {R}


def test_broadcasting_beyond_channels_is_done_in_rows():
    net = Net()
    conv = net.conv(chw(net, 1, 3, 4, 6), 4, 1)
    wide = net.add("add", conv, net.array([[1.0, 2, 3, 4, 5, 6]]))
    gate = net.add("mul", conv, net.add("global_avg_pool", conv))
    channels = net.add("add", conv, net.array([[[1.0]], [[2.0]], [[3.0]], [[4.0]]]))
    found = storages(net, wide, gate, channels)
    assert (found["add1"], found["mul1"], found["add2"]) == (R, B, B)


def test_pictures_are_brought_into_blocks():
    """Row-major kernels do not read arrays in hwc order."""
    net = Net()
    assert storages(net, net.add("relu", net.input(1, 3, 4, 4))) == {"relu1": B}


def test_both_orders_in_one_network():
    """conv -> softmax along the width -> conv: two bridges, and the numbers are right."""
    net = Net()
    x = net.conv(chw(net, 1, 3, 4, 6), 4, 1)
    largest = net.add("reduce", x, kind="max", axes=(3,), keepdims=True)
    powers = net.add("exp", net.add("sub", x, largest))
    total = net.add("reduce", powers, kind="sum", axes=(3,), keepdims=True)
    plan = check(net.outputs(net.conv(net.add("div", powers, total), 2, 1)))
    layouts = [n.notes["layout"] for _, n in plan.graph.nodes() if "layout" in n.notes]
    assert {type(layout) for layout in layouts} == {Layout, RowMajor, DenseLayout}


@pytest.mark.parametrize("dtype", [DType.I64, DType.BOOL, DType.F64, DType.U8])
def test_a_reshape_is_no_copy_whatever_the_type(dtype):
    net = Net()
    x = chw(net, 2, 3, dtype=dtype)
    made = net.add("where", net.add("equal", x, x), x, x)
    flat = net.add("reshape", made, shape=(6,))
    twice = net.add("where", net.add("equal", flat, flat), flat, flat)
    graph = laid_out(net.outputs(twice))
    reshaped = next(n for _, n in graph.nodes() if n.op == "reshape")
    assert "alias" in reshaped.notes


def test_moves_of_maps_follow_their_operands():
    """Between operators on rows they need no copy into blocks."""
    net = Net()
    x = net.add("exp", chw(net, 1, 6, 5, 4))
    y = net.add("slice_channels", x, start=1, stop=5)
    y = net.add("crop2d", net.add("pad2d", y, pads=(1, 0, 2, 1), value=0.5), pads=(0, 1, 1, 0))
    y = net.add("channel_shuffle", y, groups=2)
    y = net.add("mul", y, net.param(7, 4))
    plan = check(net.outputs(y))
    assert {type(n.notes["layout"]) for _, n in plan.graph.nodes() if "kernel" in n.notes} == {
        RowMajor
    }
