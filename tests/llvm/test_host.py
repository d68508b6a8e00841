from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cnncc.errors import TargetError
from cnncc.llvm import host
from cnncc.llvm.elf import undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import load
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.targets import TARGETS, find


def test_the_host_is_a_known_target_with_its_own_name_and_caches() -> None:
    found = host.host_target()
    assert found.name == "host"
    assert found.cpu
    assert found.vector_bits in (128, 256, 512)
    assert 8 << 10 <= found.l1_bytes < found.l2_bytes <= 64 << 20
    assert host.missing(found) == []
    levels = [t.vector_bits for t in TARGETS.values() if not host.missing(t)]
    assert found.vector_bits == max(levels)


def test_features_that_the_kernel_does_not_list_are_not_usable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if host.architecture() != "x86_64":
        pytest.skip("the flags below are those of x86-64")
    flags = tmp_path / "cpuinfo"
    flags.write_text("processor\t: 0\nflags\t\t: fpu sse sse2 pni ssse3 sse4_1 sse4_2 popcnt\n")
    monkeypatch.setattr(host, "_CPUINFO", flags)
    for cached in (host.usable_features, host.host_target):
        monkeypatch.setattr(host, cached.__name__, cached.__wrapped__)
    assert {"avx2", "avx512f", "fma"} <= set(host.missing(find("x86-64-v4")))
    assert host.missing(find("x86-64-v3"))[:2] == ["avx", "avx2"]
    assert host.missing(find("x86-64-v2")) == []
    lesser = host.host_target()
    assert lesser.vector_bits == 128
    assert "-avx2" in lesser.features.split(",")
    assert "-avx512f" in lesser.features.split(",")


def test_another_architecture_is_missing_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.platform, "machine", lambda: "riscv64")
    monkeypatch.setattr(host, "host_target", host.host_target.__wrapped__)
    assert host.missing(find("x86-64")) == ["x86_64"]
    with pytest.raises(TargetError, match="riscv64"):
        host.host_target()


def test_code_for_features_that_are_missing_is_refused() -> None:
    b = Builder("f")
    strange = dataclasses.replace(host.host_target(), name="dream", requires=("avx1024",))
    image = emit_object(emit_program(Program([b.func]), find("x86-64")), find("x86-64"))
    assert undefined_symbols(image) == set()
    with pytest.raises(TargetError, match=r"`dream`: it lacks avx1024"):
        load([image], ["f"], strange)


def test_sizes_as_the_kernel_writes_them() -> None:
    assert host.parse_size("32K") == 32768
    assert host.parse_size("1M") == 1 << 20
    assert host.parse_size("512") == 512
    for text in ("", "K", "x", "0", "-4K"):
        assert host.parse_size(text) is None


def test_caches_fall_back_to_the_record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "_CACHES", tmp_path)
    found = host.host_target.__wrapped__()
    assert (found.l1_bytes, found.l2_bytes) in {(t.l1_bytes, t.l2_bytes) for t in TARGETS.values()}
