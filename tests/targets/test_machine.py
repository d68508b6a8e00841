from __future__ import annotations

from dataclasses import fields

import pytest

from cnncc.targets import TARGETS
from cnncc.targets.machine import Machine


@pytest.mark.parametrize("target", TARGETS.values(), ids=str)
def test_memory_is_slower_the_further_away_it_is(target):
    m = target.machine
    near = m.loads * target.vector_bits / 8
    assert near >= m.l2_bytes_per_cycle >= m.l3_bytes_per_cycle > m.memory_bytes_per_cycle
    assert m.memory_bytes_per_cycle > m.store_bytes_per_cycle > 0


def test_every_rate_is_a_positive_number():
    made = Machine(hertz=1e9, fmas=1, loads=1)
    assert all(getattr(made, field.name) > 0 for field in fields(made))
