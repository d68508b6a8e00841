"""Switches and tuning: what may be asked for, and what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnncc import driver
from cnncc.errors import InputError
from cnncc.kernels import KERNELS
from cnncc.options import SWITCHES, Options

MODEL = Path(__file__).parent.parent / "examples" / "lenet5.cnn"


def test_an_unknown_switch_is_named_with_those_there_are():
    with pytest.raises(InputError, match="no optimisation is called `winogrand`") as caught:
        Options(frozenset({"winogrand"}))
    assert "did you mean `winograd`?" in caught.value.hint


def test_an_unknown_way_of_tuning_is_refused():
    with pytest.raises(InputError, match="no way of tuning is called `slow`"):
        Options(tune="slow")


def test_every_kernel_names_a_switch_there_is():
    assert {kernel.switch for kernel in KERNELS} <= {"", *SWITCHES}


@pytest.mark.parametrize("name", SWITCHES)
def test_switches_are_described(name):
    options = Options(frozenset({name}))
    assert options.uses("")
    assert not options.uses(name)
    assert SWITCHES[name]


def _pools(**asked: frozenset[str]) -> int:
    options = Options(**asked)
    plan = driver.compile_model(MODEL, target="x86-64-v3", options=options).plan
    return [node.notes.get("kernel") for _, node in plan.graph.nodes()].count("pool")


def test_a_pool_stays_apart_when_its_switch_is_off():
    assert _pools() == 0
    assert _pools(without=frozenset({"conv-pool"})) == 2
