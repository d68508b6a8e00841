"""Random kernel cases on machine code, in a process of their own, as they may crash.

    python -m tests.kernels.native --target x86-64-v3 --cases 5 --seed 1

runs so many cases of every operator that has a kernel here and says which one failed.
"""

from __future__ import annotations

import argparse
import ctypes
import itertools
from typing import Any

import numpy as np

from cnncc.ir.op import NoAttrs
from cnncc.ir.types import DType
from cnncc.kernels import KERNELS
from cnncc.kernels.moves.relayout import Relayout
from cnncc.kernels.template import Kernel, Site
from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.nodes import Func, Program
from cnncc.ops.source import NormalizeAttrs
from cnncc.targets import Target, find
from tests.kernels.cases import single, site_of
from tests.kernels.harness import blocked, check, dense, make_site
from tests.strategies import MAKERS, random_case

# Kernels that need more than the drawn layouts (packed weights, halos) have tests of their own.
OTHERS = frozenset({"conv2d", "conv2d_transpose", "dense"})
OPERATORS = sorted({a for k in KERNELS for a in k.anchors} & set(MAKERS) - OTHERS - {"normalize"})


class Native:
    """Runs functions as machine code; each is compiled once."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self._loaded: dict[int, tuple[Func, Library, Any]] = {}

    def __call__(self, func: Func, args: list[Any]) -> None:
        """Call it with arrays and integers."""
        if id(func) not in self._loaded:
            image = emit_object(emit_program(Program([func]), self.target), self.target)
            library = load([image], [func.name], self.target)
            self._loaded[id(func)] = func, library, ctypes.CFUNCTYPE(None)(library[func.name])
        entry = self._loaded[id(func)][2]
        entry(*(_word(a) for a in args))


def _word(arg: Any) -> Any:
    return ctypes.c_void_p(arg.ctypes.data) if isinstance(arg, np.ndarray) else ctypes.c_int64(arg)


def kernel_for(site: Site) -> Kernel | None:
    """The first kernel that takes the site."""
    offers = [k for k in KERNELS if site.anchor.op in k.anchors and not k.refuses(site)]
    return offers[0] if offers else None


def run_case(name: str, values: str, seed: int, target: Target) -> bool:
    """One case, a function of its arguments alone; False when no kernel takes it."""
    rng = np.random.default_rng(seed)
    case = random_case(rng, name, values)
    while not single(case):
        case = random_case(rng, name, values)
    site = site_of(case, target, rng)
    kernel = kernel_for(site)
    if kernel is None:
        return False
    check(kernel, site, case.arrays, runner=Native(target))
    return True


def run_ends(target: Target) -> int:
    """Re-layouts between callers' arrays and blocks, with and without scaling; how many."""
    rng, done = np.random.default_rng(0), 0
    sides = itertools.product(
        (DType.U8, DType.I8, DType.I32, DType.F32),
        ((3, 3, 17), (1, 2, 21), (4, 2, 35), (19, 3, 17), (33, 1, 1)),
        ("hwc", "chw"),
        (False, True),
    )
    for dtype, shape, memory, narrow in sides:
        x = rng.integers(0, 120, (1, *shape)).astype(dtype.numpy)
        outer = dense(x.shape, memory, dtype)
        inner = blocked(x.shape, shape[0] if narrow else target.lanes(), halo=(1, 2, 3, 1))
        std = tuple(0.5 + 0.1 * c for c in range(shape[0]))
        pairs = [("normalize", NormalizeAttrs(1 / 255, std, std), outer, inner)]
        pairs.append(("relayout", NoAttrs(), outer, inner))
        if dtype is DType.F32:
            pairs.append(("relayout", NoAttrs(), inner, outer))
        for op, attrs, source, out in pairs:
            site = make_site(op, attrs, [x], [source], out, target)
            check(Relayout(), site, [x], runner=Native(target))
            done += 1
    return done


def main() -> None:
    """Run cases until one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    target, done = find(options.target), 0
    for name in OPERATORS:
        for number in range(options.cases):
            values = ("float", "special", "integers")[number % 3]
            seed = options.seed * 1000 + number
            print(f"{name} {values} {seed}", flush=True)
            done += run_case(name, values, seed, target)
    done += run_ends(target)
    print(f"{done} cases")


if __name__ == "__main__":
    main()
