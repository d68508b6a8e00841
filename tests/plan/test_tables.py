"""Tables: layers as written, groups as planned, decisions; plain data that JSON can hold."""

from __future__ import annotations

import json

from cnncc.ir.types import f32
from cnncc.plan.tables import decision_rows, group_rows, layer_rows, shape_text
from tests.passes.nets import Net
from tests.plan.planning import plan_of


def network():
    net = Net()
    x = net.conv(net.input(1, 3, 6, 6), 5, 3)
    y = net.pool(net.add("relu", net.batch_norm(x)), 2, 2)
    return net.outputs(net.dense(net.add("flatten", y), 4))


def test_layers_as_written():
    rows = layer_rows(network())
    assert [r["op"] for r in rows] == [
        "input",
        "conv2d",
        "batch_norm",
        "relu",
        "max_pool2d",
        "flatten",
        "dense",
    ]
    conv, norm, dense = rows[1], rows[2], rows[-1]
    assert conv["path"] == "conv2d1"
    assert conv["shape"] == "4x4x5"
    assert conv["parameters"] == 5 * 3 * 9 + 5
    assert conv["macs"] == 4 * 4 * 5 * 27
    assert conv["bytes"] == 4 * 4 * 5 * 4
    assert norm["parameters"] == 10  # what is measured is not trained
    assert dense["macs"] == 80
    assert all(r["line"] > 0 for r in rows)


def test_groups_as_planned():
    plan = plan_of(network())
    rows = group_rows(plan)
    assert [r["path"] for r in rows] == [s.name for s in plan.stages]
    conv = next(r for r in rows if "conv2d" in r["ops"])
    assert conv["ops"] == ["conv2d", "relu", "max_pool2d"]
    assert len(conv["members"]) >= 3
    assert conv["kernel"].startswith("conv_pool")
    assert conv["macs"] == 4 * 4 * 5 * 27
    assert conv["bytes"] % 4 == conv["offset_bytes"] % 64 == 0
    assert sum(r["macs"] for r in rows) == 4 * 4 * 5 * 27 + 80


def test_every_row_is_plain_data():
    plan = plan_of(network())
    for rows in (layer_rows(network()), group_rows(plan), decision_rows(plan.graph)):
        assert rows
        assert json.loads(json.dumps(rows)) == rows


def test_decisions_name_what_they_beat():
    rows = decision_rows(plan_of(network()).graph)
    assert {"fuse", "choose-layout", "choose-kernel"} <= {r["by"] for r in rows}
    assert any(r["rejected"] for r in rows)
    assert all(r["reason"] for r in rows)


def test_shapes_read_as_in_the_language():
    assert shape_text(f32(1, 64, 56, 48)) == "56x48x64"
    assert shape_text(f32(1, 10)) == "10"
