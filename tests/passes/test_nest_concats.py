import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cnncc.ir import interp
from cnncc.ir.verify import verify
from cnncc.passes.nest_concats import NestConcats
from tests.passes.nets import Net, feed
from tests.plan.planning import check, copies


def joins(graph):
    return [len(graph.operands(i)) for i, n in graph.nodes() if n.op == "concat"]


def test_a_dense_block_as_exporters_write_it_needs_no_copy():
    net = Net()
    maps = [net.conv(net.input(1, 3, 5, 5), 8, 1)]
    for _ in range(4):
        joined = net.add("concat", *maps) if len(maps) > 1 else maps[0]
        maps.append(net.conv(net.add("relu", joined), 4, 3, pads=(1, 1, 1, 1)))
    graph = net.outputs(net.conv(net.add("concat", *maps), 3, 1))
    assert joins(graph) == [2, 3, 4, 5]
    plan = check(graph)
    assert joins(plan.graph) == [2, 2, 2, 2]
    assert copies(plan.graph) == 0


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=5), min_size=1, max_size=6))
def test_numbers_stay_and_a_second_run_changes_nothing(operands):
    net = Net()
    x = [net.add("relu", net.input(1, 2, 3, 3)) for _ in range(4)]
    graph = net.outputs(*[net.add("concat", *[x[i] for i in some]) for some in operands])
    inputs = feed(graph)
    before = interp.run(graph, inputs)
    NestConcats().run(graph)
    verify(graph, "typed")
    for want, got in zip(before, interp.run(graph, inputs), strict=True):
        assert np.array_equal(want, got)
    version = graph.version
    NestConcats().run(graph)
    assert graph.version == version
