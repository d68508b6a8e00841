"""Targets: the machines that code is made for, as data.

Takes: a name. Gives: a frozen `Target`. May import: `ir.types`, `errors`.
Invariants: no behaviour, and no `if target is ...` anywhere: what differs is a field.

`machine` of a target is what the cost model knows; its fields are in `machine.py`. To add a
machine, add a record to a file of this folder and its tuple to `TARGETS` here; the tests
then cross-compile every example for it.
"""

from __future__ import annotations

import difflib

from cnncc.errors import TargetError
from cnncc.targets import aarch64, x86
from cnncc.targets.target import Target

TARGETS: dict[str, Target] = {t.name: t for t in (*x86.TARGETS, *aarch64.TARGETS)}

# Names that people type for the same thing, from GCC's and LLVM's -march and from CPU brochures.
ALIASES = {
    "avx512": "x86-64-v4",
    "skylake-avx512": "x86-64-v4",
    "avx2": "x86-64-v3",
    "haswell": "x86-64-v3",
    "sse4": "x86-64-v2",
    "sse4.2": "x86-64-v2",
    "nehalem": "x86-64-v2",
    "sse2": "x86-64",
    "sse": "x86-64",
    "arm64": "aarch64",
    "neon": "aarch64",
}


def find(name: str) -> Target:
    """The target of that name or alias.

    Raises:
        TargetError: no such target; the message lists those there are.
    """
    found = TARGETS.get(ALIASES.get(name, name))
    if found is None:
        near = difflib.get_close_matches(name, [*TARGETS, *ALIASES], n=1)
        guess = f"did you mean `{near[0]}`? " if near else ""
        raise TargetError(
            f"no target is called `{name}`", hint=f"{guess}known: {', '.join(TARGETS)}"
        )
    return found


__all__ = ["ALIASES", "TARGETS", "Target", "find"]
