"""Targets are data: frozen records, found by name or alias."""

from __future__ import annotations

import dataclasses

import pytest

from cnncc.errors import TargetError
from cnncc.ir.types import DType
from cnncc.llvm.optimize import machine
from cnncc.targets import ALIASES, TARGETS, find
from cnncc.targets.target import Target


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_records_are_plain_and_sound(target):
    assert find(target.name) is target
    assert target.vector_bits % 128 == 0
    assert target.lanes() == target.vector_bits // 32
    assert target.lanes(DType.U8) == target.vector_bits // 8
    assert target.l1_bytes < target.l2_bytes
    assert hash(target) == hash(dataclasses.replace(target))
    with pytest.raises(dataclasses.FrozenInstanceError):
        target.name = "other"


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda t: t.name)
def test_llvm_knows_the_machine(target):
    assert machine(target).triple == target.triple


def test_aliases_lead_to_targets():
    assert set(ALIASES.values()) <= set(TARGETS)
    assert not set(ALIASES) & set(TARGETS)
    for alias, name in ALIASES.items():
        assert find(alias) is TARGETS[name]


def test_unknown_names():
    with pytest.raises(TargetError, match="no target is called `x86_64`") as caught:
        find("x86_64")
    assert "did you mean" in caught.value.hint
    with pytest.raises(TargetError) as caught:
        find("@")
    assert "did you mean" not in caught.value.hint
    assert all(name in caught.value.hint for name in TARGETS)


def test_the_record_has_no_behaviour():
    """What differs between machines is a field; only sizes of lanes are computed."""
    methods = [n for n, v in vars(Target).items() if callable(v) and not n.startswith("_")]
    assert methods == ["lanes"]
