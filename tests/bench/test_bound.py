from __future__ import annotations

from collections import Counter

import pytest

from cnncc import driver
from cnncc.bench.bound import Access, distances, places_of, stage_accesses, stage_bounds
from cnncc.ir.op import lookup
from cnncc.ops.fused import Step
from cnncc.spec import load

PAGE = 4096
MAPS = """\
cnncc 1
weights random {{ seed = 1 }}
input x: 64x64x32
conv(1x1, filters=32) {steps}
{more}
output y
"""


def planned(steps="", more="", target="x86-64-v4"):
    loaded = load(MAPS.format(steps=steps, more=more), file="t")
    model = driver.Model(loaded.graph, ())
    return driver.plan_model(model, driver.target_named(target)).plan


def read(page, pages=1):
    return Access(page * PAGE, pages * PAGE, writes=False)


def written(page, pages=1):
    return Access(page * PAGE, pages * PAGE, writes=True)


def test_bytes_are_as_far_as_what_was_touched_since():
    stages = [[read(0), written(1)], [read(1), written(2)], [read(0), read(2), written(3)]]
    last = distances(stages)[2]
    # Pages 1 and 2 were touched since page 0 was, and the stage itself touches three.
    assert last == Counter(
        {(5 * PAGE, False): PAGE, (3 * PAGE, False): PAGE, (6 * PAGE, True): PAGE}
    )


def test_what_is_written_where_it_was_read_does_not_go_far():
    stages = [[read(0, 64), written(0, 64)], [read(100, 1000)]]
    assert distances(stages)[0] == Counter(
        {(1064 * PAGE, False): 64 * PAGE, (32 * PAGE, True): 64 * PAGE}
    )


def test_bytes_of_one_stage_count_once():
    part = Access(100, 200, writes=False)
    assert distances([[part, part], [read(5)]])[0] == Counter({(2 * PAGE, False): 200})


@pytest.mark.parametrize(
    ("name", "places"),
    [
        ("relu", (0, 0)),
        ("add", (0, 0)),
        ("mul", (1, 1)),
        ("hard_swish", (2, 2)),
        ("silu", (11, 8)),
    ],
)
def test_what_steps_take_of_the_multiplying_units(name, places):
    """Sixteen lanes look up what eight multiply."""
    step = Step(name, lookup(name).Attrs(), (~0, 0) if name in ("add", "mul") else (~0,))
    assert tuple(places_of(step, lanes) for lanes in (8, 16)) == places


def test_stages_touch_what_the_plan_says():
    plan = planned("-> relu", "conv(3x3, filters=64, pad=1)")
    accesses = stage_accesses(plan)
    assert len(accesses) == len(plan.stages) == len(stage_bounds(plan))
    maps, filters = 64 * 64 * 32 * 4, 32 * 32 * 4
    inside = next(a for s, a in zip(plan.stages, accesses, strict=True) if "conv" in s.name)
    assert {a.count for a in inside if not a.writes} >= {maps, filters}
    assert any(a.writes and a.count >= maps for a in inside)


def test_steps_are_part_of_the_bound():
    plain, silu = (stage_bounds(planned(steps)) for steps in ("", "-> silu"))
    stage = max(range(len(plain)), key=lambda k: plain[k].multiply)
    machine = driver.target_named("x86-64-v4").machine
    assert plain[stage].steps == 0
    assert silu[stage].steps == pytest.approx(8 * 64 * 64 * 2 / machine.fmas / machine.hertz)
    assert silu[stage].compute == pytest.approx(plain[stage].compute + silu[stage].steps)


def test_far_bytes_take_longer():
    for bound in stage_bounds(planned()):
        assert bound.far >= bound.memory > 0
