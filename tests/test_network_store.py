"""Networks on disk: the same answers, nothing stale, nothing damaged, nothing from others."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnncc import driver, network_store, spec
from cnncc.network_store import _PIECE, NetworkStore, key_of, processor, sources
from cnncc.runtime.network import Network

TEXT = """cnncc 1
weights random { seed = 1 }
input x: 6x6x4
conv(3x3, filters=5)
output y
"""
KEY = b"everything that matters"


@pytest.fixture(scope="module")
def network() -> Network:
    model = driver.Model(spec.load(TEXT, file="tiny").graph, ())
    return driver.build(driver.plan_model(model, driver.target_named("host")), threads=1)


def entry(folder: Path) -> Path:
    (found,) = folder.glob("*.cnncnet")
    return found


def test_a_stored_network_is_the_same(tmp_path: Path, network: Network) -> None:
    store = NetworkStore(tmp_path / "store")
    assert store.get(KEY, 1) is None
    store.put(KEY, network)
    found = store.get(KEY, 1)
    assert found is not None
    x = np.random.default_rng(0).standard_normal((2, 6, 6, 4)).astype(np.float32)
    np.testing.assert_array_equal(found(x), network(x))
    assert found.to_bytes() == network.to_bytes()
    assert (found.explain(), found.summary()) == (network.explain(), network.summary())
    assert store.get(b"another key", 1) is None
    assert entry(tmp_path / "store").stat().st_mode & 0o777 == 0o600


def test_damage_is_never_believed(tmp_path: Path, network: Network) -> None:
    store = NetworkStore(tmp_path)
    store.put(KEY, network)
    path = entry(tmp_path)
    good, rng = path.read_bytes(), random.Random(1)
    padding = 0
    for turn in range(200):
        place = rng.randrange(len(good))
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        path.write_bytes(good[:place] if turn % 2 else bytes(bad))
        path.chmod(0o600)
        found = store.get(KEY, 1)
        if found is not None:  # zeros between parts, which nobody reads
            padding += 1
            assert turn % 2 == 0
            assert found.to_bytes() == network.to_bytes()
        else:
            assert not path.exists()
    assert padding < 100
    path.write_bytes(good)
    path.chmod(0o666)
    assert store.get(KEY, 1) is None  # others may have written it


def test_an_entry_of_another_key_is_not_taken(tmp_path: Path, network: Network) -> None:
    store = NetworkStore(tmp_path)
    store.put(KEY, network)
    entry(tmp_path).rename(store._path(b"everything that matterz"))
    assert store.get(b"everything that matterz", 1) is None


def test_the_size_is_bounded_and_the_oldest_go_first(tmp_path: Path, network: Network) -> None:
    NetworkStore(tmp_path).put(KEY, network)
    size = entry(tmp_path).stat().st_size
    os.utime(entry(tmp_path), (1e6, 1e6))
    store = NetworkStore(tmp_path, limit=2 * size + 100)
    store.put(b"b", network)
    store.put(b"c", network)
    assert [store.get(key, 1) is not None for key in (KEY, b"b", b"c")] == [False, True, True]
    small = NetworkStore(tmp_path, limit=2 * size - 100)
    small.put(b"d", network)
    assert small.get(b"d", 1) is None  # more than half of all room
    assert small.reason == ""


def test_a_full_disk_costs_only_the_entry(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    store = NetworkStore(tmp_path)
    monkeypatch.setattr(os, "write", full)
    store.put(KEY, network)
    monkeypatch.undo()
    assert "No space left" in store.reason
    assert list(tmp_path.iterdir()) == []


def test_an_entry_that_is_being_written_is_waited_for(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, whole = threading.Event(), network_store.write_whole

    def slowly(*given: Any) -> None:
        assert going_on.wait(30)
        whole(*given)

    monkeypatch.setattr(network_store, "write_whole", slowly)
    store = NetworkStore(tmp_path)
    store.put_beside(KEY, network)
    assert list(tmp_path.iterdir()) == []
    threading.Timer(0.05, going_on.set).start()
    found = NetworkStore(tmp_path).get(KEY, 1)
    assert found is not None
    assert found.to_bytes() == network.to_bytes()


def test_at_the_end_of_a_program_entries_are_written_at_once(
    tmp_path: Path, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refused)
    NetworkStore(tmp_path).put_beside(KEY, network)
    assert entry(tmp_path).stat().st_size > 0


# -- keys ------------------------------------------------------------------------------------------


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("CNNCC_DUMP", "CNNCC_VERIFY"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_key_holds_everything_that_matters(tmp_path: Path, quiet: pytest.MonkeyPatch) -> None:
    path, asked = tmp_path / "m.onnx", {"target": "host", "shapes": None}
    path.write_bytes(b"one model")
    base = key_of(path, asked)
    assert base is not None
    assert base == key_of(path, dict(asked))
    others = [
        key_of(path, asked | {"target": "x86-64-v2"}),
        key_of(path, asked | {"tune": "quick"}),
    ]
    others.append(key_of(path, asked | {"shapes": {"x": (1, 2)}}))
    other = tmp_path / "n.onnx"  # the name of the file is that of a network without one
    other.write_bytes(b"one model")
    others.append(key_of(other, asked))
    path.write_bytes(b"two model")
    others.append(key_of(path, asked))
    path.write_bytes(b"one model")
    for number in range(4):
        now = list(network_store.surroundings())
        now[number] += " changed"
        quiet.setattr(network_store, "surroundings", lambda now=now: tuple(now))
        others.append(key_of(path, asked))
        quiet.undo()
    assert None not in others
    assert len({base, *others}) == 1 + len(others)


def test_what_may_be_stale_has_no_key(tmp_path: Path, quiet: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"a model")
    assert key_of(path, {}) is not None
    for name in ("CNNCC_DUMP", "CNNCC_VERIFY"):
        quiet.setenv(name, "2")
        assert key_of(path, {}) is None
        quiet.delenv(name)
    assert key_of(path, {"shapes": {"x": np.int64(3)}}) is None
    # The word is found wherever it lies in the pieces that are read.
    for before in (11, *range(_PIECE - 9, _PIECE + 2), 3 * _PIECE - 4):
        path.write_bytes(bytes(before) + b"location\x12\x05w.bin")
        assert key_of(path, {}) is None, before
        path.write_bytes(bytes(before) + b"locatiom\x12\x05w.bin")
        assert key_of(path, {}) is not None, before
    path.write_bytes(b"location")
    assert key_of(path, {}) is None
    text = tmp_path / "m.cnn"
    text.write_bytes(b"cnncc 1")
    assert key_of(text, {}) is None
    assert key_of(tmp_path / "none.onnx", {}) is None
    assert key_of(Path("a\0b.onnx"), {}) is None
    os.mkfifo(tmp_path / "pipe.onnx")
    assert key_of(tmp_path / "pipe.onnx", {}) is None


def test_every_source_counts(tmp_path: Path) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "a.py").write_text("x = 1")
    digests = {sources(tmp_path)}
    (tmp_path / "room" / "b.py").write_text("y = 1")
    digests.add(sources(tmp_path))
    (tmp_path / "a.py").write_text("x = 2")
    digests.add(sources(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    digests.add(sources(tmp_path))
    assert len(digests) == 4


def test_the_processor_without_what_changes(tmp_path: Path) -> None:
    cpuinfo, caches = tmp_path / "cpuinfo", tmp_path / "cache"
    (caches / "index0").mkdir(parents=True)
    (caches / "index0" / "size").write_text("32K\n")
    cpuinfo.write_text("processor: 0\nflags: fma avx2\ncpu MHz: 3500\n\nprocessor: 1\n")
    first = processor(cpuinfo, caches)
    cpuinfo.write_text("processor: 0\nflags: fma avx2\ncpu MHz: 1200\n\nprocessor: 1\nflags: x\n")
    assert processor(cpuinfo, caches) == first
    cpuinfo.write_text("processor: 0\nflags: fma\ncpu MHz: 3500\n\nprocessor: 1\n")
    assert processor(cpuinfo, caches) != first
    assert processor(tmp_path / "none", caches)
