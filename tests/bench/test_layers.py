from __future__ import annotations

import pytest

from cnncc import driver
from cnncc.bench.layers import Layer, Profile, measure
from cnncc.spec import load
from tests.bench.test_latency import TEXT


def layer(seconds=1.0, predicted=1.0, kernel="k", **bounds):
    parts = dict.fromkeys(("multiply", "steps", "memory", "far"), 0.0) | bounds
    return Layer("path", kernel, "tile", "1x1", 1, seconds, predicted, **parts)


def test_a_stage_is_judged_by_the_longer_of_its_bounds():
    assert layer(multiply=0.5, steps=0.1, memory=0.4).bound_by == "multiply-adds"
    assert layer(multiply=0.1, steps=0.5, memory=0.2).bound_by == "steps"
    assert layer(multiply=0.1, memory=0.2).bound_by == "memory"
    assert layer(seconds=2.0, multiply=0.2, steps=0.3, memory=1.0).share == pytest.approx(0.5)
    assert layer(multiply=0.6, steps=0.09).is_far
    assert not layer(multiply=0.6, steps=0.11).is_far


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (layer(multiply=0.8), ""),
        (layer(seconds=1e-6), "the call"),
        (layer(kernel="relayout"), "shuffles"),
        (layer(multiply=0.4, memory=0.3), "bytes move while nothing is computed"),
        (layer(multiply=0.1, memory=0.2, far=0.7), "the cache is shared"),
        (layer(predicted=0.1, multiply=0.2, memory=0.1, far=0.7), ""),
        (layer(predicted=0.8, multiply=0.6), "as predicted"),
        (layer(seconds=5e-6, predicted=1e-6), "the first bytes"),
        (layer(predicted=0.6, multiply=0.6), ""),
    ],
)
def test_a_stage_far_from_its_bound_is_explained_by_the_first_rule_that_holds(made, words):
    assert made.why.startswith(words) or words in made.why
    assert bool(made.why) == bool(words)


def test_errors_are_relative_to_what_was_measured():
    assert layer(seconds=2.0, predicted=1.0).error == pytest.approx(-0.5)
    made = Profile((layer(predicted=1.1), layer(predicted=0.7), layer(predicted=1.0)), 4.0)
    assert made.median_error == pytest.approx(0.1)
    assert (made.seconds, made.predicted) == (3.0, pytest.approx(2.8))


@pytest.mark.native
def test_a_network_is_measured_stage_by_stage():
    loaded = load(TEXT, file="t")
    compilation = driver.plan_model(driver.Model(loaded.graph, ()), driver.target_named("host"))
    made = measure(compilation, seconds=0.0)
    assert [e.path for e in made.layers] == [stage.name for stage in compilation.plan.stages]
    assert all(e.seconds > 0 and e.predicted > 0 for e in made.layers)
    assert all(max(e.compute, e.memory) > 0 for e in made.layers)
    assert made.call > 0
    convolution = next(e for e in made.layers if e.macs)
    assert convolution.multiply > 0
