"""The object of the thread pool, which is linked with every program that is loaded or saved."""

from __future__ import annotations

from functools import cache

from cnncc.llvm.optimize import emit_object
from cnncc.llvm.parallel import PREFIX, emit_pool_unit
from cnncc.targets import Target

POOL_EXPORTS = tuple(f"{PREFIX}_pool_{name}" for name in ("bytes", "start", "run", "stop", "pause"))


@cache
def pool_object(target: Target) -> bytes:
    """The pool for a target.

    Raises:
        EmitError: there is no pool for the target's system.
    """
    return emit_object(emit_pool_unit(target), target)
