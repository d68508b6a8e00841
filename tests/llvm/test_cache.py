from __future__ import annotations

import dataclasses
import errno
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cnncc.llvm import cache as cache_module
from cnncc.llvm.cache import ObjectCache, full_key, pack, unpack
from cnncc.llvm.program import compile_program
from cnncc.targets import find
from tests.llvm.native import ROOT
from tests.llvm.test_program import program

KEY, PAYLOAD = b"everything that matters", bytes(range(256)) * 40
V2 = find("x86-64-v2")


def entry(folder: Path) -> Path:
    (found,) = folder.glob("*.cnnobj")
    return found


def test_round_trip_and_rights(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "cache"
    cache = ObjectCache(folder)
    assert cache.reason == ""
    assert cache.get(KEY) is None
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) == PAYLOAD
    assert cache.get(b"another key") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert entry(folder).stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == [entry(folder)]


def test_the_key_holds_everything_that_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    base = full_key("text", V2, {"level": 2})
    assert base == full_key("text", dataclasses.replace(V2), {"level": 2})
    others = [
        full_key("text2", V2, {"level": 2}),
        full_key("text", dataclasses.replace(V2, features="+avx"), {"level": 2}),
        full_key("text", V2, {"level": 0}),
    ]
    monkeypatch.setattr(cache_module, "LLVM_VERSION", "99.0.0")
    others.append(full_key("text", V2, {"level": 2}))
    monkeypatch.undo()
    monkeypatch.setattr(cache_module, "emitter_version", lambda: "edited")
    others.append(full_key("text", V2, {"level": 2}))
    assert len({base, *others}) == 6


def test_damage_is_never_believed(tmp_path: Path) -> None:
    """2,000 truncations and byte flips: none gives an object, each removes the entry."""
    rng = random.Random(20)
    whole = pack(KEY, PAYLOAD)
    for _ in range(2000):
        data = bytearray(whole)
        if rng.random() < 0.4:
            del data[rng.randrange(len(data)) :]
        else:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        assert unpack(bytes(data), KEY) is None
    cache = ObjectCache(tmp_path / "cache")
    for size in (0, 10, len(whole) - 1):
        cache.put(KEY, PAYLOAD)
        path = entry(tmp_path / "cache")
        path.write_bytes(whole[:size])
        assert cache.get(KEY) is None
        assert not path.exists()


def test_an_entry_of_another_key_is_a_miss(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache")
    cache.put(KEY, PAYLOAD)
    entry(tmp_path / "cache").write_bytes(pack(b"something else", PAYLOAD))
    assert cache.get(KEY) is None


def test_a_pipe_in_place_of_an_entry_blocks_nobody(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache")
    cache.put(KEY, PAYLOAD)
    path = entry(tmp_path / "cache")
    path.unlink()
    os.mkfifo(path, 0o600)
    assert cache.get(KEY) is None
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) == PAYLOAD


def test_hostile_entries_are_not_read(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache")
    cache.put(KEY, PAYLOAD)
    path = entry(tmp_path / "cache")
    path.chmod(0o666)
    assert cache.get(KEY) is None
    path.unlink(missing_ok=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(pack(KEY, PAYLOAD))
    path.symlink_to(elsewhere)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_folders_that_others_may_write_are_not_used(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    cache = ObjectCache(folder)
    assert "others may write" in cache.reason
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) is None
    assert list(folder.iterdir()) == []


def test_links_files_and_foreign_folders_are_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert "link" in ObjectCache(tmp_path / "link").reason
    (tmp_path / "file").write_text("")
    assert ObjectCache(tmp_path / "file").reason
    assert ObjectCache(tmp_path / "file" / "below").reason
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    assert "another user" in ObjectCache(tmp_path / "real").reason
    monkeypatch.setattr(os, "getuid", lambda: user)
    assert "rights" in ObjectCache(tmp_path / "real").reason


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "replace"])
def test_trouble_with_the_disk_costs_only_the_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, call: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(code, os.strerror(code))

    cache = ObjectCache(tmp_path / "cache")
    monkeypatch.setattr(os, call, fail)
    images = compile_program(program(), V2, cache)
    assert all(image.startswith(b"\x7fELF") for image in images)
    assert os.strerror(code) in cache.reason
    monkeypatch.undo()
    assert list((tmp_path / "cache").iterdir()) == []
    assert compile_program(program(), V2, cache) == images


def test_a_file_size_limit_costs_only_the_entry(tmp_path: Path) -> None:
    script = (
        "import resource, signal, pathlib\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from cnncc.llvm.cache import ObjectCache\n"
        f"cache = ObjectCache(pathlib.Path({str(tmp_path / 'cache')!r}))\n"
        "cache.put(b'key', bytes(100000))\n"
        "print(cache.get(b'key'), 'cannot write' in cache.reason)\n"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "None True\n", done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_compiling_uses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = ObjectCache(tmp_path / "cache")
    images = compile_program(program(), V2, cache)
    monkeypatch.setattr("cnncc.llvm.program.emit_object", lambda *_: pytest.fail("compiled twice"))
    assert compile_program(program(), V2, cache) == images


def test_the_size_is_bounded_and_the_oldest_go_first(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache = ObjectCache(folder, limit=35_000)
    names = [b"a", b"b", b"c"]
    for age, name in enumerate(names):
        cache.put(name, bytes(10_000))
        for path in folder.glob("*.cnnobj"):
            if path.stat().st_mtime > 1e6 + 10:
                os.utime(path, (1e6 + age, 1e6 + age))
    assert cache.get(b"a") is not None  # now the most recently used
    cache.put(b"d", bytes(10_000))
    assert [cache.get(name) is not None for name in (*names, b"d")] == [True, False, True, True]


def test_what_a_crash_left_is_swept(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path / "cache")
    old, new = tmp_path / "cache" / ".new-old", tmp_path / "cache" / ".new-young"
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (time.time() - 1e5,) * 2)
    cache.put(KEY, PAYLOAD)
    assert not old.exists()
    assert new.exists()


def test_the_cache_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNNCC_CACHE", "off")
    cache = ObjectCache()
    assert "CNNCC_CACHE" in cache.reason
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) is None


def test_four_processes_race(tmp_path: Path) -> None:
    """All write and read the same keys in a folder that is always too small."""
    script = (
        "import pathlib, random, sys\n"
        "from cnncc.llvm.cache import ObjectCache\n"
        f"cache = ObjectCache(pathlib.Path({str(tmp_path / 'cache')!r}), limit=30_000)\n"
        "rng = random.Random(int(sys.argv[1]))\n"
        "hits = 0\n"
        "for _ in range(150):\n"
        "    n = rng.randrange(6)\n"
        "    found = cache.get(b'%d' % n)\n"
        "    assert found is None or found == bytes([n]) * 9_000\n"
        "    hits += found is not None\n"
        "    cache.put(b'%d' % n, bytes([n]) * 9_000)\n"
        "assert not cache.reason, cache.reason\n"
        "print(hits > 0)\n"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(seed)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(4)
    ]
    results = [child.communicate(timeout=60) for child in children]
    assert [out for out, _ in results] == ["True\n"] * 4, results
    assert not list((tmp_path / "cache").glob(".new-*"))
