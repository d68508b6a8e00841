import os

import numpy as np
import pytest

from cnncc.errors import InputError
from cnncc.runtime import threads
from tests.runtime.programs import network


def _groups(tmp_path, own: str, files: dict[str, str]):
    listing = tmp_path / "own"
    listing.write_text(own)
    root = tmp_path / "cgroup"
    root.mkdir()
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root, listing


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000"}, 3.0),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "200000 100000"}, 2.0),
        ("0::/gone\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "rubbish"}, None),
        ("0::/\n", {"cpu.max": "100 0"}, None),
        ("0::/../..\n", {"cpu.max": "100000 100000"}, 1.0),
        (
            "4:cpu,cpuacct:/x\n",
            {
                "cpu,cpuacct/x/cpu.cfs_quota_us": "250000",
                "cpu,cpuacct/x/cpu.cfs_period_us": "100000",
            },
            2.5,
        ),
        (
            "4:cpu:/x\n3:cpuset:/y\n",
            {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"},
            None,
        ),
    ],
)
def test_the_tightest_quota_counts(tmp_path, own, files, cores):
    assert threads.cgroup_cores(*_groups(tmp_path, own, files)) == cores


def test_no_cgroups_no_limit(tmp_path):
    assert threads.cgroup_cores(tmp_path / "none", tmp_path / "neither") is None


def test_the_default_is_what_the_process_may_use(monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(threads, "cgroup_cores", lambda: None)
    assert threads.default_threads() == 8
    assert threads.default_threads(1) == 1
    assert threads.default_threads(20) == 8
    monkeypatch.setattr(threads, "cgroup_cores", lambda: 2.9)
    assert threads.default_threads() == 2
    monkeypatch.setattr(threads, "cgroup_cores", lambda: 0.2)
    assert threads.default_threads() == 1


def test_the_environment_decides(monkeypatch):
    monkeypatch.setenv(threads.VARIABLE, " 3 ")
    assert threads.default_threads() == 3
    for bad in ("0", "-1", "two", "1.5", "99999", "٣"):
        monkeypatch.setenv(threads.VARIABLE, bad)
        with pytest.raises(InputError, match="threads"):
            threads.default_threads()


def test_whole_numbers_of_every_kind():
    counted = threads.checked_threads(np.int64(3))
    assert (counted, type(counted)) == (3, int)


@pytest.mark.parametrize("bad", [0, -1, 1.0, True, "2", 1025])
def test_odd_numbers_of_threads_are_refused(bad):
    with pytest.raises(InputError, match="whole number from 1 to 1024"):
        threads.checked_threads(bad)


@pytest.mark.native
def test_a_pool_starts_late_and_ends_with_its_network():
    import numpy as np

    def count() -> int:
        return len(os.listdir("/proc/self/task"))

    before = count()
    net = network(threads=3)
    assert count() == before
    net(np.zeros((1, 96), np.float32))
    assert count() == before + 2
    del net
    assert count() == before
    with network(threads=2) as net:
        net(np.zeros((1, 96), np.float32))
        assert count() == before + 1
    assert count() == before


@pytest.mark.parametrize("text", ["0", "1025", "1000000000", "9" * 5000])
def test_the_variable_is_named_when_its_number_is_wrong(monkeypatch, text):
    monkeypatch.setenv(threads.VARIABLE, text)
    with pytest.raises(InputError, match=threads.VARIABLE):
        threads.default_threads()
