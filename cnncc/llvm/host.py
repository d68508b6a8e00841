"""The machine that this process runs on: which features are usable, which target suits it best.

A feature counts as usable when the CPU has it *and* the operating system saves its registers. LLVM
looks at CPUID and XGETBV; the kernel's own list is asked as well where there is one, since a kernel
may be told to switch a feature off.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm  # noqa: TID251 - this room is its place

from cnncc.errors import TargetError
from cnncc.llvm.cpu_check import X86_BITS
from cnncc.targets import TARGETS, Target

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_MACHINES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}
# Linux' name of a vector feature, where it differs from LLVM's in more than dots and underscores.
_LINUX_NAMES = {"sse3": "pni", "neon": "asimd"}


def architecture() -> str:
    """The architecture as the first part of LLVM's triples names it, such as `x86_64`."""
    name = platform.machine().lower()
    return _MACHINES.get(name, name)


@cache
def usable_features() -> frozenset[str]:
    """LLVM's names of the features that code in this process may execute."""
    found = {name for name, on in llvm.get_host_cpu_features().items() if on}
    listed = kernel_features(_read(_CPUINFO))
    if listed:
        plain = {name.replace("_", "") for name in listed}
        found = {f for f in found if _linux_name(f) in plain or not _is_vector(f)}
    return frozenset(found)


def kernel_features(cpuinfo: str) -> frozenset[str]:
    """The features that the kernel lists, in its own words; empty when it lists none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def missing(target: Target) -> list[str]:
    """What this machine lacks to run code made for a target; empty when it can."""
    wanted = target.triple.split("-", 1)[0]
    if wanted != architecture():
        return [wanted]
    return [feature for feature in target.requires if feature not in usable_features()]


def require(target: Target) -> None:
    """Refuse a target whose code this machine cannot run.

    Raises:
        TargetError: the message lists what is missing.
    """
    lacks = missing(target)
    if lacks:
        raise TargetError(
            f"this machine cannot run code made for `{target.name}`: it lacks {', '.join(lacks)}",
            hint="compile for `host`, or run on a machine that has it; "
            "writing files for another target needs no such machine",
        )


@cache
def host_target() -> Target:
    """The best target of this machine, with its own CPU name, features and cache sizes.

    Raises:
        TargetError: no target is known for this kind of machine.
    """
    candidates = [t for t in TARGETS.values() if not missing(t)]
    if not candidates:
        known = ", ".join(TARGETS)
        raise TargetError(
            f"cnncc makes no code for this kind of machine ({platform.machine()})",
            hint=f"choose a target to compile files for: {known}",
        )
    best = max(candidates, key=lambda t: (t.vector_bits, t.fma, len(t.requires)))
    return replace(
        best,
        name="host",
        cpu=llvm.get_host_cpu_name(),
        features=_feature_text(),
        requires=tuple(name for name in X86_BITS if name in usable_features()) or best.requires,
        l1_bytes=cache_bytes(1) or best.l1_bytes,
        l2_bytes=cache_bytes(2) or best.l2_bytes,
    )


def _feature_text() -> str:
    on = usable_features()
    names = sorted(llvm.get_host_cpu_features())
    return ",".join(f"{'+' if name in on else '-'}{name}" for name in names)


def _is_vector(feature: str) -> bool:
    return feature.startswith(("sse", "ssse", "avx", "fma", "f16c", "neon", "sve"))


def _linux_name(feature: str) -> str:
    return _LINUX_NAMES.get(feature, feature.replace(".", ""))


def cache_bytes(level: int) -> int | None:
    """The size of a data cache as the system states it; `None` where it does not."""
    for folder in sorted(_CACHES.glob("index*")):
        kind, size = _read(folder / "type").strip(), _read(folder / "size").strip()
        if _read(folder / "level").strip() == str(level) and kind in ("Data", "Unified"):
            return parse_size(size)
    return None


def parse_size(text: str) -> int | None:
    """Bytes of a size such as `32K` or `1M`; None when it is none."""
    scale = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    digits = text[:-1] if scale > 1 else text
    return int(digits) * scale if digits.isascii() and digits.isdigit() and int(digits) else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
