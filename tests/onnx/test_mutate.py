"""Changed ONNX files end in success or a typed error; the judge sees whatever else there is.

Short by default; `CNNCC_LONG=1` judges 5,000. A failure names its case: `--only N` runs it again.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from cnncc import driver
from cnncc.errors import InternalError, OnnxError
from tests.onnx import mutate
from tests.onnx.mutate import GOOD, bases, judge, mutated, run

COUNT = 5000 if os.environ.get("CNNCC_LONG", "") not in ("", "0") else 150
SOUND = bases()[0][0].SerializeToString()


def test_changed_files_end_in_success_or_a_typed_error():
    found = run(COUNT, 1)
    assert len(found) == COUNT
    bad = {number: verdict for number, verdict in found.items() if verdict.kind not in GOOD}
    assert not bad, f"seed 1: {bad}"
    counts = Counter(verdict.kind for verdict in found.values())
    assert min(counts[kind] for kind in GOOD) > COUNT // 20, counts


def test_a_case_is_known_by_its_seed_and_number():
    assert mutated(1, 5) == mutated(1, 5)
    assert len({mutated(seed, number) for seed in (1, 2) for number in range(20)}) > 35


def test_the_files_without_changes_are_sound():
    for base in bases()[0]:
        assert judge(base.SerializeToString()).kind == "success"


@pytest.mark.parametrize("change", mutate.CHANGES, ids=lambda c: c.__name__)
def test_every_change_changes_some_file(change):
    rng = random.Random(1)
    changed = 0
    for base in [b for group in bases() for b in group[:40]] * 3:
        proto = type(base)()
        proto.CopyFrom(base)
        try:
            change(proto, rng)
        except (IndexError, ValueError):
            continue
        changed += proto.SerializeToString() != base.SerializeToString()
    assert changed >= 3


def _slow(*_: object) -> None:
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


def _large(*_: object) -> None:
    bytearray(64 * 2**20)


def _raises(error):
    def run(*_: object) -> None:
        raise error

    return run


@pytest.mark.parametrize(
    ("work", "kind"),
    [
        (_raises(OnnxError("m", ("wrong",))), "typed error"),
        (_raises(InternalError("wrong")), "traceback"),
        (_raises(KeyError("wrong")), "traceback"),
        (_raises(MemoryError()), "traceback"),
        (_raises(RecursionError()), "traceback"),
        (_slow, "too slow"),
        (_large, "too much memory"),
    ],
)
def test_the_judge_sees_what_is_wrong(monkeypatch, work, kind):
    mutate._forget_peak()
    monkeypatch.setattr(mutate, "MOST_SECONDS", 0.2 if work is _slow else 60.0)
    monkeypatch.setattr(mutate, "MOST_BYTES", mutate._peak() + 32 * 2**20)
    monkeypatch.setattr(driver, "load_model", work)
    monkeypatch.setattr(driver, "plan_model", lambda *_: None)
    assert judge(SOUND).kind == kind


def test_a_signal_is_seen_and_the_other_cases_go_on(monkeypatch):
    def ends(path):
        if path.read_bytes() == mutated(1, 3):
            os.kill(os.getpid(), signal.SIGSEGV)

    monkeypatch.setattr(driver, "load_model", ends)
    monkeypatch.setattr(driver, "plan_model", lambda *_: None)
    found = run(6, 1)
    assert {number for number, verdict in found.items() if verdict.kind == "signal"} == {3}
    assert found[3].reason == "SIGSEGV"
    assert len(found) == 6
