"""What this machine's CPU can run, asked of the kernel, so that LLVM need not be loaded.

The kernel lists a feature only when the CPU has it and its registers are saved.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from cnncc.errors import TargetError

_CPUINFO = Path("/proc/cpuinfo")
_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# Names of LLVM and of the kernel, where they differ in more than a dot or an underscore.
_KERNEL_NAMES = {"sse3": "pni", "lzcnt": "abm", "bmi": "bmi1", "neon": "asimd"}


def require(machine: str, features: Sequence[str]) -> None:
    """Refuse code that this machine cannot run.

    Args:
        machine: the architecture that the code was made for, such as `x86_64`.
        features: LLVM's names of the CPU features that it executes.

    Raises:
        TargetError: the message lists what is missing.
    """
    here = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    hint = "compile the model for this machine, or for a lesser target that both have"
    if machine != here:
        raise TargetError(f"the network was made for {machine}; this machine is {here}", hint=hint)
    lacks = [name for name in features if not _has(name)]
    if lacks:
        raise TargetError(
            f"this machine cannot run the network: it lacks {', '.join(lacks)}", hint=hint
        )


def _has(feature: str) -> bool:
    name = _KERNEL_NAMES.get(feature, feature)
    return name.replace(".", "").replace("_", "") in listed_features()


@cache
def listed_features(cpuinfo: Path = _CPUINFO) -> frozenset[str]:
    """The kernel's list for the first CPU, without underscores.

    Raises:
        TargetError: the kernel gives no list.
    """
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise TargetError(
            f"cannot find out what this CPU can run: {cpuinfo}: {error.strerror}",
            hint="mount /proc, or compile the network in this process",
        ) from error
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.replace("_", "").split())
    raise TargetError(f"cannot find out what this CPU can run: {cpuinfo} lists no features")
