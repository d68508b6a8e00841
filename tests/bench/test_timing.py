import gc
import time

import pytest

from cnncc.bench import timing
from cnncc.bench.timing import Timing, interleaved, quiet


def test_percentiles_are_ranks():
    hundred = Timing(tuple(float(n) for n in range(1, 101)))
    assert [hundred.percentile(p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert (hundred.best, hundred.median) == (1, 50)
    one = Timing((3.0,))
    assert [one.percentile(p) for p in (1, 50, 99)] == [3, 3, 3]


def test_figures_are_milliseconds():
    made = Timing((0.001, 0.002)).figures()
    assert made == {"calls": 2, "min": 1.0, "p50": 1.0, "p90": 2.0, "p99": 2.0}


def test_contestants_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.001)
    order, rounds = [], []
    calls = {name: lambda name=name: (order.append(name), time.sleep(0.002)) for name in "ab"}
    made = interleaved(calls, seconds=0.0, rounds=4, after=lambda: rounds.append(1))
    turns = [name for k, name in enumerate(order) if k == 0 or order[k - 1] != name]
    assert turns == ["a", "b"] * (len(turns) // 2)
    assert len(turns) >= 8
    assert len(rounds) == 4
    assert all(t.best >= 0.002 and list(t.seconds) == sorted(t.seconds) for t in made.values())


def test_the_first_call_of_a_turn_does_not_count(monkeypatch):
    monkeypatch.setattr(timing, "BLOCK_SECONDS", 0.0)
    count = [0]

    def call():
        count[0] += 1

    made = interleaved({"a": call}, seconds=0.0, rounds=5)
    assert len(made["a"].seconds) == 5
    assert count[0] == timing._WARM_CALLS + 2 * 5


def test_the_collector_is_off_inside_and_back_after():
    assert gc.isenabled()
    states = []

    def fail():
        with quiet():
            states.append(gc.isenabled())
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert states == [False]
    assert gc.isenabled()
