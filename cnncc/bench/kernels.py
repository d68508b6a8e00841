"""`python -m cnncc.bench.kernels`: single kernels against the multiply-add peak of this machine.

Each row is a network of one layer, planned like any other; only the loop nest of its convolution is
timed, on one thread, on its own buffers. The peak is measured between the rounds of the same run.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cnncc import driver, spec
from cnncc.abi import aligned
from cnncc.bench import machine
from cnncc.bench.peak import beside_peak
from cnncc.errors import InternalError
from cnncc.ir.counts import node_cost
from cnncc.kernels.template import Arg, Launch, OperandArg, PackedArg, ScratchArg, Site
from cnncc.llvm.asm_stats import spills_in_inner_loops
from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import load
from cnncc.llvm.optimize import emit_assembly, emit_object
from cnncc.loopir.nodes import Program
from cnncc.plan.choose_kernel import kernel_named
from cnncc.plan.lower import Plan
from cnncc.plan.site import site_of, steps_of
from cnncc.runtime.report import table
from cnncc.targets import Target

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A layer to time: its input `HxWxC` and its convolution, as the language writes them."""

    title: str
    shape: str
    layer: str

    @property
    def text(self) -> str:
        """The network."""
        return f"cnncc 1\ninput x: {self.shape}\n{self.layer} -> relu\noutput y\n"


def _case(
    window: int, channels: int, size: int, filters: int, stride: int = 1, groups: int = 1
) -> Case:
    move = f", stride={stride}" if stride > 1 else ""
    pad = f", pad={window // 2}" if window > 1 else ""
    split = f", groups={groups}" if groups > 1 else ""
    return Case(
        f"{window}x{window} s{stride} {channels}->{filters}{f' g{groups}' * (groups > 1)} @{size}",
        f"{size}x{size}x{channels}",
        f"conv({window}x{window}, filters={filters}{move}{pad}{split})",
    )


CASES = (
    _case(3, 64, 56, 64),
    _case(3, 128, 28, 128),
    _case(3, 256, 14, 256),
    _case(3, 512, 7, 512),
    _case(3, 64, 56, 128, 2),
    _case(1, 64, 56, 256),
    _case(1, 256, 56, 64),
    _case(1, 1024, 14, 256),
    _case(1, 2048, 7, 512),
    _case(7, 3, 224, 64, 2),
    _case(3, 3, 224, 32, 2),  # few input channels
    _case(3, 3, 224, 24, 2),
    _case(5, 1, 96, 64),
    _case(1, 24, 56, 144),  # channels that fill no whole blocks
    _case(1, 144, 56, 24),
    _case(1, 116, 14, 116),
    _case(1, 58, 28, 58),
    _case(1, 192, 35, 64),  # odd widths
    _case(1, 768, 17, 192),
    _case(3, 64, 96, 1),  # few output channels
    _case(3, 32, 96, 9),
    _case(3, 128, 56, 128, groups=32),  # several groups a block
    _case(3, 64, 56, 64, groups=8),
    _case(9, 32, 64, 32),  # a large window
)


class Bench:
    """One kernel in memory with its buffers.

    Attributes:
        case: what it is.
        choice: kernel and tile.
        gflop: work of a call, 10**9 FLOP.
        spills: in the worst innermost loop.
        call: runs it once.
    """

    def __init__(self, case: Case, target: Target) -> None:
        self.case = case
        plan = driver.plan_model(_model(case), target).plan
        node_id = _convolution(plan)
        site, node = site_of(plan.graph, node_id, target), plan.graph[node_id]
        self.choice = f"{node.notes['kernel']}, {node.notes['choice']}"
        self.gflop = 2 * node_cost(plan.graph, node_id).macs / 1e9
        (launch,) = kernel_named(node.notes["kernel"]).lower(site)
        text = emit_program(Program([launch.func]), target)
        self.spills = max(spills_in_inner_loops(emit_assembly(text, target)).values())
        self.call = _loaded(launch, site, emit_object(text, target))


def _model(case: Case) -> driver.Model:
    loaded = spec.load(case.text, file=case.title)
    return driver.Model(loaded.graph, loaded.diagnostics)


def _convolution(plan: Plan) -> int:
    for stage in plan.stages:
        if steps_of(plan.graph, stage.node)[0].op == "conv2d":
            return stage.node
    raise InternalError("the plan has no convolution")


def _loaded(launch: Launch, site: Site, code: bytes) -> Callable[[], None]:
    library = load([code], [launch.func.name], site.target)
    kept = [_buffer(arg, site) for arg in launch.args]
    arguments = [b.ctypes.data if isinstance(b, np.ndarray) else b for b in kept]
    types = [ctypes.c_void_p if isinstance(b, np.ndarray) else ctypes.c_int64 for b in kept]
    function = library.function(launch.func.name, *types, ctypes.c_int64, ctypes.c_int64)

    def call(_alive: Any = kept) -> None:
        function(*arguments, 0, launch.work)

    return call


def _buffer(arg: Arg, site: Site) -> Array | int:
    """Memory for an argument: random numbers to read, packed weights, scratch, or the result."""
    if isinstance(arg, int):
        return arg
    if isinstance(arg, ScratchArg):
        return aligned(arg.words)
    if isinstance(arg, PackedArg):
        return _placed(arg.array)
    if isinstance(arg, OperandArg):
        shape = site.types[arg.operand].shape[1:]
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        return _placed(site.blocked(arg.operand).pack(values))
    return _placed(np.zeros(site.blocked_out.elems, np.float32))


def _placed(values: Array) -> Array:
    memory = aligned(values.size)
    memory[:] = values.reshape(-1)
    return memory


def measure(
    target: Target, cases: tuple[Case, ...] = CASES, seconds: float = 0.4
) -> list[dict[str, Any]]:
    """One row a case: GFLOP/s and share of the peak at the minimum, spills, kernel and tile."""
    benches = [Bench(case, target) for case in cases]
    calls = {bench.case.title: bench.call for bench in benches}
    timings, peak = beside_peak(calls, target, seconds)
    rows = []
    for bench in benches:
        speed = bench.gflop / timings[bench.case.title].best
        rows.append(
            {
                "kernel": bench.case.title,
                "us": round(timings[bench.case.title].best * 1e6, 1),
                "gflops": round(speed, 1),
                "share_of_peak": round(speed / peak, 3),
                "spills": bench.spills,
                "choice": bench.choice,
                "peak_gflops": round(peak, 1),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Measure on this machine's best target and on forced AVX2, or on those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("targets", nargs="*", default=["host", "x86-64-v3"])
    parser.add_argument("--seconds", type=float, default=0.4, help="for each kernel")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    facts = machine.facts()
    measured: dict[str, list[dict[str, Any]]] = {}
    out = sys.stdout.write
    if not given.json:
        out(f"{machine.headline(facts)}\n1 thread, minima, the peak measured between the rounds\n")
    for name in given.targets:
        target = driver.target_named(name)
        rows = measure(target, seconds=given.seconds)
        measured[name] = rows
        if not given.json:
            shown = [{k: v for k, v in row.items() if k != "peak_gflops"} for row in rows]
            out(f"\n{name} ({target.cpu}): peak {rows[0]['peak_gflops']} GFLOP/s\n{table(shown)}\n")
    if given.json:
        answer = {"schema": "cnncc.bench-kernels/1", "machine": facts, "targets": measured}
        out(json.dumps(answer, indent=2) + "\n")


if __name__ == "__main__":
    main()
