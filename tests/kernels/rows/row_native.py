"""Random cases of every operator on row-major arrays, in a process of their own, as they may crash.

    python -m tests.kernels.rows.row_native --target x86-64-v3 --cases 5 --seed 1

runs so many cases of every operator in every kernel that takes them, and says which one failed.
"""

from __future__ import annotations

import argparse

import numpy as np

from cnncc.ir.op import Trait, lookup
from cnncc.kernels import KERNELS
from cnncc.kernels.template import Kernel, Site
from cnncc.targets import Target, find
from tests.kernels.native import Native
from tests.kernels.rows.row_sites import Runner, check, row_site
from tests.op_makers import RngChoices
from tests.strategies import ANY_RANK, Case, general_case

ROW_KERNELS = tuple(k for k in KERNELS if k.rows)
OPERATORS = sorted({a for k in ROW_KERNELS for a in k.anchors} & set(ANY_RANK))


def site_of(case: Case, rng: np.random.Generator, target: Target) -> Site:
    """A site for a case: constants are drawn, and whether it works in place."""
    known = len(case.arrays) > 1 and rng.integers(3) == 0
    constants = tuple(range(1, len(case.arrays))) if known else ()
    site = row_site(case.op, case.attrs, case.arrays, target, constants=constants)
    pointwise = Trait.POINTWISE in lookup(case.op).traits
    if pointwise and site.result == site.types[0] and rng.integers(3) == 0:
        return row_site(case.op, case.attrs, case.arrays, target, constants=constants, in_place=0)
    return site


def offers(site: Site) -> list[Kernel]:
    """All kernels that take a site."""
    return [k for k in ROW_KERNELS if site.anchor.op in k.anchors and not k.refuses(site)]


def run_case(name: str, values: str, seed: int, target: Target, runner: Runner) -> int:
    """One case, a function of its arguments alone, in all kernels that take it; how many do."""
    rng = np.random.default_rng(seed)
    case = general_case(RngChoices(rng), rng, name, values)
    site = site_of(case, rng, target)
    kernels = offers(site)
    for kernel in kernels:
        check(kernel, site, case.arrays, runner=runner, splits=((1, 1), (3, -1)), proven=False)
    return len(kernels)


def main() -> None:
    """Run cases until one fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", required=True)
    parser.add_argument("--cases", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    target, done = find(options.target), 0
    for name in OPERATORS:
        for number in range(options.cases if options.only in name else 0):
            values, seed = ("float", "special")[number % 2], options.seed * 1000 + number
            print(f"{name} {values} {seed}", flush=True)
            done += run_case(name, values, seed, target, Native(target))
    print(f"{done} cases")


if __name__ == "__main__":
    main()
