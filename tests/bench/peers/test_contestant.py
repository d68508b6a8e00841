"""Processes of engines: turns, answers, and every way of failing. The engines are made up."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnncc.bench.peers import PEERS, contestant
from cnncc.bench.peers.contestant import Contestant, Entry
from cnncc.errors import UnsupportedError

ENGINES = Path(contestant.__file__).parent / "engines"
DOUBLE = """
import threading, time
class Engine:
    version, told = "1.2", "nothing"
    def __init__(self, job):
        self.feeds, self.path = job.feeds, job.cache / "ticks"
        print("this is no reply")
        def tick():
            while True:
                with self.path.open("a") as file:
                    file.write(".")
                time.sleep(0.005)
        threading.Thread(target=tick, daemon=True).start()
    def run(self):
        time.sleep(0.001)
        return [2 * feed for feed in self.feeds.values()]
"""
BROKEN = {
    "refuses": (
        "class Engine:\n    def __init__(self, job): raise ValueError('no 7-D')\n",
        "no 7-D",
    ),
    "absent": ("import there_is_no_such_engine\n", "is not installed"),
    "dies": ("import os\nos._exit(3)\n", r"ended without an answer \(exit 3\)"),
}


@pytest.fixture
def entry(tmp_path, monkeypatch):
    """An entry for an engine of the given code."""

    def made(code: str, **more) -> Entry:
        engines = tmp_path / "engines"
        engines.mkdir(exist_ok=True)
        for name in ("worker.py", "job.py"):
            (engines / name).write_text((ENGINES / name).read_text())
        (engines / "run_made_up.py").write_text(code)
        monkeypatch.setattr(contestant, "WORKER", engines / "worker.py")
        monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "cache"))
        feeds = {"b": np.arange(3.0), "a": np.ones((2, 2), np.float32)}
        fields = {"model": tmp_path / "m.onnx", "feeds": feeds, "outputs": ["y", "z"]}
        fields |= {"threads": 1, "key": "k", "python": sys.executable, **more}
        return Entry("made_up", **fields)

    return made


def test_answers_and_turns(entry, tmp_path):
    with Contestant(entry(DOUBLE), tmp_path / "here") as engine:
        assert (engine.version, engine.told) == ("1.2", "nothing")
        outputs = engine.outputs()
        assert [a.tolist() for a in outputs] == [[0.0, 2.0, 4.0], [[2.0, 2.0], [2.0, 2.0]]]
        took = engine.block(0.02)
        assert took
        assert min(took) >= 0.001


def test_a_process_that_waits_does_not_run(entry, tmp_path):
    with Contestant(entry(DOUBLE), tmp_path / "here") as engine:
        ticks = tmp_path / "cache" / "peers" / "made_up-k" / "ticks"
        engine.block(0.05)
        time.sleep(0.05)  # a signal takes a moment
        before = ticks.stat().st_size
        time.sleep(0.1)
        assert ticks.stat().st_size == before
        engine.block(0.05)
        assert ticks.stat().st_size > before


@pytest.mark.parametrize("name", BROKEN)
def test_engines_that_fail(entry, tmp_path, name):
    code, message = BROKEN[name]
    with pytest.raises(UnsupportedError, match=message):
        Contestant(entry(code), tmp_path / "here")


def test_an_engine_without_an_end(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(contestant, "OPEN_SECONDS", 0.5)
    with pytest.raises(UnsupportedError, match="did not answer within"):
        Contestant(entry("import time\ntime.sleep(60)\n"), tmp_path / "here")


def test_a_file_in_the_engines_own_format(entry, tmp_path):
    code = """
class Engine:
    version = "1"
    def __init__(self, job):
        self.told = job.own_format(".tflite", ".lite").name
    def run(self):
        return []
"""
    source = tmp_path / "net.onnx"
    with pytest.raises(UnsupportedError, match=r"put net.tflite or .lite beside it"):
        Contestant(entry(code, source=source), tmp_path / "here")
    (tmp_path / "net.lite").touch()
    with Contestant(entry(code, source=source), tmp_path / "here") as engine:
        assert engine.told == "net.lite"


def test_every_peer_has_its_engine():
    files = {path.stem.removeprefix("run_") for path in ENGINES.glob("run_*.py")}
    assert files == {*PEERS, "cnncc"}
