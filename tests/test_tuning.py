"""Timing the best few kernels: what is measured, and what is remembered of it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from cnncc import driver, tuning
from cnncc.errors import TargetError
from cnncc.ir.decisions import decisions
from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.convolution.dense import Dense
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.host import missing
from cnncc.options import Options
from cnncc.plan.site import site_of, steps_of
from cnncc.spec import load
from cnncc.targets import TARGETS
from cnncc.tuning import QuickTuner
from cnncc.verification import random_inputs

TEXT = """\
cnncc 1
weights random
input x: 14x14x32
conv(3x3, filters=64, pad=1) -> relu
conv(3x3, filters=64, pad=1) -> relu
output y
"""
QUICK = Options(tune="quick")


def model():
    return driver.Model(load(TEXT, file="t").graph, ())


@pytest.fixture
def ways():
    """Two ways of a convolution over one pixel."""
    text = "cnncc 1\nweights random\ninput x: 1x1x64\nconv(1x1, filters=64)\noutput y\n"
    target = driver.target_named("host")
    plan = driver.plan_model(driver.Model(load(text, file="t").graph, ()), target).plan
    (node,) = [s.node for s in plan.stages if steps_of(plan.graph, s.node)[0].op == "conv2d"]
    site = site_of(plan.graph, node, target)
    return [(ConvDirect(), site), (Dense(), site)]


def no_measurement(ways):
    raise AssertionError("this was known")


@pytest.mark.native
def test_times_are_positive_and_remembered(ways, tmp_path, monkeypatch):
    cache = ObjectCache(tmp_path / "c")
    found = QuickTuner(cache)(ways)
    assert len(found) == 2
    assert all(0 < t < 1 for t in found)
    monkeypatch.setattr(tuning, "_measure", no_measurement)
    assert QuickTuner(cache)(ways) == found


@pytest.mark.native
def test_weights_that_leave_the_cache_are_read_from_copies(ways, monkeypatch):
    monkeypatch.setattr(tuning, "_FAR_BYTES", 0)
    far = [(kernel, replace(site, network_bytes=1 << 40)) for kernel, site in ways]
    assert [tuning._Loaded(k.lower(s), s).copies for k, s in far] == [tuning._ROUNDS + 1] * 2
    assert [tuning._Loaded(k.lower(s), s).copies for k, s in ways] == [1, 1]
    assert all(t > 0 for t in tuning._measure(far))


def test_other_shapes_and_machines_have_keys_of_their_own(ways):
    known = tuning._key(ways)
    assert tuning._key([(k, replace(s, name="other")) for k, s in ways]) == known
    assert tuning._key(ways[::-1]) != known
    slow = replace(ways[0][1].target.machine, memory_bytes_per_cycle=0.5)
    target = replace(ways[0][1].target, machine=slow)
    assert tuning._key([(k, replace(s, target=target)) for k, s in ways]) != known
    assert tuning._key([(k, replace(s, network_bytes=1 << 40)) for k, s in ways]) != known


@pytest.mark.parametrize(
    "entry", ["", "x", "{}", "[1.0]", "[1.0, 0.0]", '[1.0, "2"]', "[1.0, NaN]"]
)
def test_entries_without_sense_are_measured_anew(ways, tmp_path, monkeypatch, entry):
    cache = ObjectCache(tmp_path / "c")
    cache.put(tuning._key(ways), entry.encode())
    monkeypatch.setattr(tuning, "_measure", lambda ways: [2.0, 1.0])
    assert QuickTuner(cache)(ways) == [2.0, 1.0]
    assert json.loads(cache.get(tuning._key(ways))) == [2.0, 1.0]
    assert tuning._times(b"[1.0, 2.0]", 2) == [1.0, 2.0]


@pytest.mark.native
def test_the_quickest_way_is_taken_and_told(tmp_path, monkeypatch):
    """A tuner that likes the last way best: it runs, computes the same, and explain knows."""
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "c"))
    monkeypatch.setattr(tuning, "_measure", lambda ways: [1e-3 / (k + 1) for k in range(len(ways))])
    target = driver.target_named("host")
    tuned = driver.plan_model(model(), target, options=QUICK)
    told = [d for d in decisions(tuned.plan.graph) if d.reason.startswith("measured")]
    assert told
    for decision in told:
        assert decision.figures["measured_us"] < min(
            float(reason.split()[1]) for _, reason in decision.rejected if "measured" in reason
        )
    with driver.build(driver.plan_model(model(), target)) as plain, driver.build(tuned) as other:
        (x,) = random_inputs(plain.inputs).values()
        assert abs(plain(x) - other(x)).max() < 1e-4 * abs(plain(x)).max()


@pytest.mark.native
def test_quick_tuning_measures_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "c"))
    plan = driver.plan_model(model(), driver.target_named("host"), options=QUICK).plan
    told = [d for d in decisions(plan.graph) if "measured_us" in d.figures]
    assert len(told) == sum("pick" in node.notes for _, node in plan.graph.nodes())
    assert all(0 < d.figures["measured_us"] < math.inf for d in told)


def test_another_machine_cannot_be_tuned_here():
    foreign = [t for t in TARGETS.values() if missing(t)]
    with pytest.raises(TargetError, match="cannot run"):
        driver.plan_model(model(), foreign[0], options=QUICK)
