from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace

import pytest

from cnncc.llvm import rates
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.rates import measure, remembered
from tests.llvm.native import RUNNABLE

TARGET = RUNNABLE[0]
OURS = replace(TARGET.machine, hertz=1.25e9, memory_bytes_per_cycle=1.25, l3_bytes=12345)


@pytest.mark.native
def test_rates_are_plausible_and_quick() -> None:
    start = time.perf_counter()
    made = measure(TARGET)
    assert time.perf_counter() - start < 10
    assert 0.3e9 < made.hertz < 10e9
    assert made.fmas in (0.5, 1, 2, 3, 4)
    assert made.loads in (0.5, 1, 2, 3, 4)
    near = made.loads * TARGET.vector_bits / 8
    assert 1.1 * near >= made.l2_bytes_per_cycle >= made.l3_bytes_per_cycle
    assert made.l3_bytes_per_cycle >= made.memory_bytes_per_cycle > 0.1
    assert made.l3_bytes >= 1 << 18


def test_a_machine_is_measured_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rates, "measure", lambda target: OURS)
    assert remembered(TARGET, ObjectCache(tmp_path / "c")) == OURS
    monkeypatch.delattr(rates, "measure")
    assert remembered(TARGET, ObjectCache(tmp_path / "c")) == OURS


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'"x"',
        json.dumps(asdict(OURS) | {"hertz": "fast"}).encode(),
        json.dumps(asdict(OURS) | {"loads": 0}).encode(),
        json.dumps(asdict(OURS) | {"fmas": float("nan")}).encode(),
        json.dumps(asdict(OURS) | {"color": 1}).encode(),
    ],
)
def test_an_entry_without_sense_is_measured_anew(tmp_path, monkeypatch, entry) -> None:
    cache = ObjectCache(tmp_path / "c")
    cache.put(rates._key(TARGET), entry)
    monkeypatch.setattr(rates, "measure", lambda target: OURS)
    assert remembered(TARGET, cache) == OURS


def test_a_damaged_entry_is_measured_anew(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rates, "measure", lambda target: OURS)
    remembered(TARGET, ObjectCache(tmp_path / "c"))
    (entry,) = (tmp_path / "c").iterdir()
    entry.write_bytes(entry.read_bytes()[:-1])
    later = replace(OURS, hertz=2e9)
    monkeypatch.setattr(rates, "measure", lambda target: later)
    assert remembered(TARGET, ObjectCache(tmp_path / "c")) == later


def test_without_a_memory_the_rates_are_nominal(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rates, "measure", lambda target: OURS)
    (tmp_path / "file").write_text("")
    assert remembered(TARGET, ObjectCache(tmp_path / "file")) == TARGET.machine
    monkeypatch.setenv("CNNCC_CACHE", "off")
    assert remembered(TARGET, ObjectCache()) == TARGET.machine


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(rates, "measure", lambda target: OURS)
    folder = tmp_path / "c"
    folder.mkdir(mode=0o500)
    assert remembered(TARGET, ObjectCache(folder)) == TARGET.machine


def test_rates_lie_on_a_coarse_grid() -> None:
    assert rates._rounded(8.3) == rates._rounded(7.6) == 8.0
    assert rates._rounded(9.0) == 9.51
    assert rates._nearest(1.1) == 1.0
    assert rates._nearest(1.9) == 2.0
