"""Random operators and networks on machine code of every level, judged by the float64 oracle.

A short run for each level; `make oracle` takes thousands of cases through the same judge.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter

import numpy as np
import pytest

from cnncc.ir.op import lookup
from cnncc.llvm.host import missing
from cnncc.targets import find
from tests import oracle

LEVELS = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")
OPS, GRAPHS = 60, 24
SEED = int(os.environ.get("CNNCC_SEED", "11"))


@pytest.mark.native
@pytest.mark.parametrize("name", LEVELS)
def test_nothing_is_wrong(name):
    """No wrong number, no crash, no refusal; a failure names its case, which `--replay` repeats."""
    target = find(name)
    if missing(target):
        pytest.skip(f"this machine lacks {', '.join(missing(target))}")
    cases = oracle.keys(OPS, GRAPHS, SEED + LEVELS.index(name))
    verdicts = list(oracle.run(cases, target))
    counts = Counter(f"{key.split(':')[0]} {verdict.split(':')[0]}" for key, verdict in verdicts)
    print(f"{name}: {dict(counts)}, seed {SEED}")
    bad = [f"{key}: {verdict}" for key, verdict in verdicts if verdict != "pass"]
    assert not bad, f"{len(bad)} of {len(cases)} on {name}:\n" + "\n".join(bad[:10])
    assert counts == {"op pass": OPS, "graph pass": GRAPHS}
    assert {key for key, _ in verdicts} == set(cases)


def test_cases_are_a_function_of_their_names():
    for key in oracle.keys(len(oracle.OPERATORS), 8, 3):
        first, again = oracle.subject(key), oracle.subject(key)
        assert first.exact == again.exact
        assert first.feed.keys() == again.feed.keys()
        for name, array in first.feed.items():
            assert np.array_equal(array, again.feed[name], equal_nan=array.dtype.kind == "f")


def test_every_operator_is_drawn():
    drawn = {key.split(":")[1] for key in oracle.keys(len(oracle.OPERATORS), 0, 1)}
    assert drawn == set(oracle.OPERATORS)
    assert {"conv2d", "conv2d_transpose", "dense", "softmax", "concat"} <= drawn
    assert all(lookup(name) for name in drawn)


def test_sizes_of_networks_go_from_one_to_twelve():
    sizes = [int(key.split(":")[1]) for key in oracle.keys(0, 24, 1)]
    assert set(sizes) == set(range(1, 13))


# -- the judge itself ----------------------------------------------------------------------------


def test_a_crash_is_a_counted_failure(monkeypatch):
    """A child that dies takes only its case along; the others are still judged."""

    def judge(key, target):
        if key == "b":
            os.kill(os.getpid(), signal.SIGKILL)
        return "wrong: so it is" if key == "d" else "pass"

    monkeypatch.setattr(oracle, "judge", judge)
    found = dict(oracle.run(["a", "b", "c", "d", "e"], find("x86-64")))
    assert found.pop("b").startswith("crash: exit code -9")
    assert found == {"a": "pass", "c": "pass", "d": "wrong: so it is", "e": "pass"}


def test_a_hang_is_a_counted_failure(monkeypatch):
    monkeypatch.setattr(oracle, "SECONDS_PER_CASE", 0.5)
    monkeypatch.setattr(
        oracle, "judge", lambda key, target: time.sleep(60 * (key == "a")) or "pass"
    )
    found = dict(oracle.run(["a", "b"], find("x86-64")))
    assert found == {"a": "timeout: nothing for 0.5 s", "b": "pass"}


def test_an_exception_is_an_error(monkeypatch):
    def judge(key, target):
        raise ZeroDivisionError("in the compiler")

    monkeypatch.setattr(oracle, "judge", judge)
    ((key, verdict),) = oracle.run(["a"], find("x86-64"))
    assert key == "a"
    assert verdict.startswith("error:")
    assert "in the compiler" in verdict


def test_a_wrong_kernel_is_found(monkeypatch):
    """The judge of the long runs sees one dropped tap."""
    from cnncc.kernels.convolution import conv_nest

    target = find("x86-64")
    if missing(target):
        pytest.skip("not an x86 machine")
    pack = conv_nest.pack_panels

    def broken(w, *rest):
        w = w.copy()
        w[..., -1, -1] = 0
        return pack(w, *rest)

    monkeypatch.setattr(conv_nest, "pack_panels", broken)
    found = [v for _, v in oracle.run(oracle.keys(12, 0, 5, ("conv2d",)), target)]
    assert sum(v.startswith("wrong: layer subject") for v in found) >= 3
