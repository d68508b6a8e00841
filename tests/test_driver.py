"""From a model file to a network that answers: the driver, end to end."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import cnncc
from cnncc import driver
from cnncc.errors import InputError, OnnxError, SpecError, TargetError
from cnncc.ir import interp
from cnncc.ir.counts import macs, parameters
from cnncc.ir.text import dump
from cnncc.llvm import host
from cnncc.llvm.cache import ObjectCache
from cnncc.loopir.text import print_program
from cnncc.targets import find

SPEC = """cnncc 1
param filters = 6
weights random { seed = 3 }
input x: 8x8x3
conv(3x3, filters=filters, pad=1, bias=false) -> bn -> relu
maxpool(2x2, stride=2)
flatten -> dense(4) -> softmax
output y
"""
WEIGHTED = """cnncc 1
weights "w.safetensors"
input x: 4x4x2
flatten(order=hwc)
dense(3)
output y
"""


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "small.cnn"
    path.write_text(SPEC)
    return path


def sample(net, seed=0) -> np.ndarray:
    shape = net.inputs[0].shape
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def expected(path: Path, x: np.ndarray, **options) -> np.ndarray:
    """The oracle on the graph as written; `x` [N,H,W,C]."""
    graph = driver.load_model(path, **options).graph
    return interp.run(graph, {"x": x.transpose(0, 3, 1, 2)})[0]


@pytest.mark.native
@pytest.mark.parametrize("target", ["host", "x86-64", "x86-64-v3", "x86-64-v4"])
def test_compile_and_call(model, target):
    if target != "host" and host.missing(find(target)):
        pytest.skip(f"this machine lacks {', '.join(host.missing(find(target)))}")
    with cnncc.compile(model, target=target, threads=2) as net:
        x = np.stack([sample(net, seed) for seed in range(3)])
        y = net(x)
        assert y.shape == (3, 4)
        np.testing.assert_allclose(y, expected(model, x), rtol=1e-4, atol=1e-6)
        assert net.parameters == 6 * 27 + 12 + 4 * 96 + 4
        assert net.macs == 8 * 8 * 6 * 27 + 96 * 4
        assert net(x[1]).tobytes() == y[1].tobytes()


@pytest.mark.native
def test_the_same_bits_for_any_number_of_threads(model):
    x = np.random.default_rng(1).standard_normal((2, 8, 8, 3)).astype(np.float32)
    answers = set()
    for threads in (1, 2, 3, 4):
        with cnncc.compile(model, threads=threads) as net:
            answers.add(net(x).tobytes())
    assert len(answers) == 1


@pytest.mark.native
def test_params(model):
    with cnncc.compile(model, params={"filters": 20}) as net:
        x = sample(net)[None]
        assert net.parameters == 20 * 27 + 40 + 4 * 320 + 4
        want = expected(model, x, params={"filters": 20})
        np.testing.assert_allclose(net(x), want, rtol=1e-4, atol=1e-6)


@pytest.mark.native
def test_weights_by_name(tmp_path):
    path = tmp_path / "dense.cnn"
    path.write_text(WEIGHTED)
    rng = np.random.default_rng(5)
    weights = {
        "dense1.weight": rng.standard_normal((3, 32)).astype(np.float32),
        "dense1.bias": rng.standard_normal(3).astype(np.float32),
    }
    with cnncc.compile(path, weights=weights) as net:
        x = sample(net)
        want = weights["dense1.weight"] @ x.reshape(-1) + weights["dense1.bias"]
        np.testing.assert_allclose(net(x), want, rtol=1e-4, atol=1e-5)
    with pytest.raises(SpecError, match=r"`w\.safetensors` was not found"):
        cnncc.compile(path)
    with pytest.raises(SpecError, match=r"no tensor `dense1\.bias`"):
        cnncc.compile(path, weights={"dense1.weight": weights["dense1.weight"]})


@pytest.mark.native
def test_the_cache_gives_the_same_network(model, tmp_path):
    compilation = driver.compile_model(model)
    cache = ObjectCache(tmp_path / "cache")
    cold, warm = (driver.objects(compilation.plan, cache) for _ in range(2))
    assert cold == warm
    with driver.build(compilation, cache=cache) as net:
        x = sample(net)[None]
        np.testing.assert_allclose(net(x), expected(model, x), rtol=1e-4, atol=1e-6)


def test_every_target_can_be_planned_for(model):
    """Planning asks the record of the machine, never the machine."""
    for name in ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64"):
        plan = driver.compile_model(model, target=name).plan
        assert plan.target.name == plan.interface.target == name
        assert plan.interface.requires == find(name).requires


@pytest.mark.native
def test_code_of_another_machine_is_not_loaded(model):
    with pytest.raises(TargetError, match="cannot run code made for `aarch64`"):
        cnncc.compile(model, target="aarch64")


def test_the_models_graph_stays_as_it_is(model):
    loaded = driver.load_model(model)
    before = [(i, n.op, n.attrs, dict(n.notes)) for i, n in loaded.graph.nodes()]
    meta = dict(loaded.graph.meta)
    first = driver.plan_model(loaded, find("x86-64"))
    assert [(i, n.op, n.attrs, dict(n.notes)) for i, n in loaded.graph.nodes()] == before
    assert loaded.graph.meta == meta
    second = driver.plan_model(loaded, find("x86-64"))
    assert print_program(first.plan.program) == print_program(second.plan.program)
    assert first.plan_seconds > 0


def test_each_pass_leaves_a_record(model, caplog):
    seen = []
    with caplog.at_level(logging.INFO, logger="cnncc.driver"):
        found = driver.compile_model(
            model, target="x86-64", observe=lambda record, graph: seen.append(record.name)
        )
    assert seen == [r.name for r in found.records]
    assert seen == [s.apply.name for s in driver.steps(find("x86-64"))]
    assert seen[-5:] == [
        *("choose-layout", "fuse-blocks", "share-means", "choose-kernel", "plan-memory")
    ]
    assert "planned in" in caplog.text


def test_summary_tells_where_each_layer_went(model):
    rows = driver.summary_rows(driver.compile_model(model, target="x86-64"))
    homes = {row["op"]: row["in"] for row in rows}
    assert homes["conv2d"] == homes["relu"] == homes["max_pool2d"] != ""
    assert homes["dense"] != homes["conv2d"]
    assert {"layer", "op", "shape", "parameters", "macs", "in"} == set(rows[0])


def test_targets_by_name():
    assert driver.target_named("avx512").name == "x86-64-v4"
    assert driver.target_named("native") is driver.target_named("host")
    rates = driver.target_named("host").machine
    assert driver.target_named("host") == replace(host.host_target(), machine=rates)
    assert driver.target_named(find("x86-64")) is find("x86-64")
    with pytest.raises(TargetError, match="did you mean `x86-64-v3`"):
        driver.target_named("x86-64-v33")


def test_what_is_not_a_spec(model, tmp_path):
    with pytest.raises(OnnxError, match="cannot be read: No such file"):
        cnncc.compile(tmp_path / "net.onnx")
    with pytest.raises(InputError, match="declares the shape"):
        cnncc.compile(model, shapes={"x": (1, 3, 8, 8)})
    broken = tmp_path / "broken.cnn"
    broken.write_text("cnncc 1\ninput x: 8x8x3\nconvv(3x3)\noutput y\n")
    with pytest.raises(SpecError):
        cnncc.compile(broken)
    with pytest.raises(cnncc.CnnccError):
        cnncc.compile(tmp_path / "nowhere.cnn")


def test_tables_need_no_arrays(model):
    """Shapes are enough to count; nothing is drawn or read."""
    bare = driver.load_model(model, want_arrays=False).graph
    full = driver.load_model(model).graph
    assert parameters(bare) == parameters(full) > 0
    assert macs(bare) == macs(full) > 0


def test_graphs_are_models_too(model, tmp_path):
    graph = driver.load_model(model).graph
    stage = tmp_path / "stage.graph"
    dump(graph, stage)
    plan = driver.compile_model(stage, target="x86-64").plan
    direct = driver.compile_model(model, target="x86-64").plan
    assert print_program(plan.program) == print_program(direct.program)
