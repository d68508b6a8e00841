"""Copies between orders, and at the ends of a network."""

import numpy as np
import pytest

from cnncc.ir.types import DType
from cnncc.kernels.layout import RowMajor
from tests.passes.nets import Net
from tests.plan.planning import check, copies, laid_out


def chw(net, *shape, dtype=DType.F32):
    return net.add("input", dtype=dtype, shape=shape, memory="chw")


def test_readers_share_a_copy():
    net = Net()
    x = net.conv(chw(net, 1, 3, 4, 4), 4, 1)
    a = net.add("transpose", x, perm=(0, 2, 3, 1))
    b = net.add("transpose", x, perm=(0, 3, 2, 1))
    plan = check(net.outputs(a, b))
    assert sum(n.name.endswith(".rows") for _, n in plan.graph.nodes()) == 1


def test_row_major_results_are_computed_in_the_callers_array():
    net = Net()
    x = chw(net, 1, 3, 4, 4)
    plan = check(net.outputs(net.add("exp", net.add("transpose", x, perm=(0, 2, 3, 1)))))
    assert [len(stage.functions) for stage in plan.stages] == [1, 1]
    assert "place" not in plan.graph[plan.graph.outputs[0][1]].notes


@pytest.mark.parametrize("kind", ["input", "reshape", "twice", "constant"])
def test_results_that_need_memory_of_their_own_are_copied(kind):
    net = Net()
    x = chw(net, 2, 3)
    made = net.add("exp", x)
    outputs = {
        "input": [x],
        "reshape": [net.add("reshape", made, shape=(6,))],
        "twice": [made, made],
        "constant": [made, net.array(np.ones((2, 2)))],
    }[kind]
    graph = laid_out(net.outputs(*outputs))
    assert sum(n.op == "copy" for _, n in graph.nodes()) == 1
    assert len({out for _, out in graph.outputs}) == len(outputs)
    for _, out in graph.outputs:
        assert isinstance(graph[out].notes["layout"], RowMajor)


def test_pictures_pass_through_blocks():
    """An array in hwc order is read by a row-major kernel by way of blocks."""
    net = Net()
    x = net.input(1, 3, 4, 4)
    plan = check(net.outputs(net.add("reduce", x, kind="sum", axes=(3,), keepdims=False)))
    assert copies(plan.graph) >= 1


def kernels(plan):
    return [n.notes["kernel"] for _, n in plan.graph.nodes() if "kernel" in n.notes]


def test_a_transpose_to_maps_is_the_copy_to_blocks():
    net = Net()
    x = net.add("transpose", chw(net, 1, 5, 6, 3), perm=(0, 3, 1, 2))
    plan = check(net.outputs(net.conv(x, 4, 3, pads=(1, 1, 1, 1))))
    assert kernels(plan) == ["relayout", "conv_direct", "relayout"]
    assert plan.graph[plan.graph.inputs[0]].attrs.memory == "chw"


def test_a_transpose_to_pixels_is_the_copy_to_the_callers_array():
    net = Net()
    conv = net.conv(chw(net, 1, 3, 5, 6), 9, 1)
    plan = check(net.outputs(net.add("transpose", conv, perm=(0, 2, 3, 1))))
    assert kernels(plan) == ["relayout", "conv_direct", "relayout"]


def test_transposes_stand_between_blocks_and_rows_within_a_network():
    net = Net()
    conv = net.conv(chw(net, 1, 3, 5, 6), 9, 1)
    rows = net.add("exp", net.add("transpose", conv, perm=(0, 2, 3, 1)))
    rows = net.add("mul", rows, net.param(6, 9))
    back = net.add("transpose", rows, perm=(0, 3, 1, 2))
    plan = check(net.outputs(net.conv(net.add("relu", back), 2, 3)))
    counted = kernels(plan)
    assert counted.count("relayout") == 4
    assert not any(k == "row_transpose" for k in counted)


def test_transposes_of_other_values_stay_in_rows():
    net = Net()
    turned = net.add("transpose", chw(net, 1, 5, 6, 3), perm=(0, 3, 1, 2))
    whole = net.add("transpose", chw(net, 1, 5, 6, 3, dtype=DType.I64), perm=(0, 3, 1, 2))
    plan = check(net.outputs(net.add("mul", turned, net.param(5, 6)), whole))
    assert kernels(plan) == ["row_transpose", "row_transpose", "row_pointwise"]


def test_maps_read_as_pixels_again_go_through_rows():
    """Both transposes turn the same way: the second one is no copy from rows."""
    net = Net()
    conv = net.conv(chw(net, 1, 3, 4, 4), 4, 1)
    turned = net.add("transpose", conv, perm=(0, 3, 1, 2))
    check(net.outputs(net.conv(turned, 2, 1)))


@pytest.mark.parametrize("channels", [1, 3])
def test_maps_in_rows_leave_in_the_order_of_the_first_input(channels):
    """Two outputs of one sum of pictures: one is read by nobody, so nothing asks for blocks."""
    net = Net()
    a, b = net.input(1, channels, 2, 5), net.input(1, channels, 2, 5)
    total = net.add("add", a, b)
    maps, flat = net.add("relu", total), net.add("flatten", total, order="chw")
    plan = check(net.outputs(maps, flat))
    assert plan.interface.outputs[0].shape == (2, 5, channels)
    assert plan.interface.outputs[0].memory == "hwc"
