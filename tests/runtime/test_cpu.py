import platform

import pytest

from cnncc.errors import TargetError
from cnncc.runtime import cpu


@pytest.fixture
def listed(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    features = frozenset({"pni", "sse41", "abm", "bmi1", "avx2", "avx512vl"})
    monkeypatch.setattr(cpu, "listed_features", lambda: features)


def test_names_of_llvm_are_found(listed):
    cpu.require("x86_64", ("sse3", "sse4.1", "lzcnt", "bmi", "avx2", "avx512vl"))


def test_what_is_missing_is_listed(listed):
    with pytest.raises(TargetError, match=r"lacks fma, avx512f\n"):
        cpu.require("x86_64", ("avx2", "fma", "avx512f"))


def test_another_architecture_is_refused(listed):
    with pytest.raises(TargetError, match="made for aarch64; this machine is x86_64"):
        cpu.require("aarch64", ())


def test_the_kernels_list_is_read(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("processor : 0\nflags\t\t: fpu sse4_2 avx2\n\nflags : other\n")
    assert cpu.listed_features.__wrapped__(path) == {"fpu", "sse42", "avx2"}
    path.write_text("processor : 0\n")
    with pytest.raises(TargetError, match="lists no features"):
        cpu.listed_features.__wrapped__(path)
    with pytest.raises(TargetError, match="mount /proc"):
        cpu.listed_features.__wrapped__(tmp_path / "none")
