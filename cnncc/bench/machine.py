"""What a report says about the machine and the versions that it comes from."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np

import cnncc
from cnncc.llvm.optimize import LLVM_VERSION

_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
_CPUINFO = Path("/proc/cpuinfo")


def facts() -> dict[str, Any]:
    """CPU, usable cores, load average, governor, versions."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "load": round(os.getloadavg()[0], 2),
        "governor": _read(_GOVERNOR).strip() or None,
        "cnncc": cnncc.__version__,
        "llvm": LLVM_VERSION,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def headline(known: dict[str, Any]) -> str:
    """The facts as one line."""
    governor = f", governor {known['governor']}" if known["governor"] else ""
    cores = f"{known['cores']} core{'s' * (known['cores'] != 1)}"
    return (
        f"{known['cpu']}, {cores}, load {known['load']}{governor};"
        f" cnncc {known['cnncc']}, LLVM {known['llvm']}"
    )


def cpu_name() -> str:
    """The CPU as the system names it."""
    for line in _read(_CPUINFO).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
