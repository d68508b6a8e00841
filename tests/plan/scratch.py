"""A kernel that leaves traces in its scratch memory, and a network with it."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnncc.kernels import KERNELS
from cnncc.kernels.template import (
    Estimate,
    Kernel,
    Launch,
    OperandArg,
    Site,
    out_buffer,
    scratch_buffer,
)
from cnncc.loopir.build import Builder, vector
from cnncc.loopir.nodes import Kind, Type
from cnncc.plan import choose_kernel
from cnncc.plan.lower import Plan
from cnncc.targets import Target
from tests.passes.nets import Net
from tests.plan.planning import plan_of

STAMPS = 37
POISON = np.uint32(0xA5A5A5A5)
_LINE = 16  # words of 64 bytes


class TracedRelu(Kernel):
    """A work item copies a plane to scratch, back to front, and stamps more scratch with 1 + it."""

    name: ClassVar[str] = "traced_relu"
    anchors: ClassVar[frozenset[str]] = frozenset({"relu"})

    def refuses(self, site: Site) -> str:
        return "" if site.layouts[0] == site.out and len(site.steps) == 1 else "other layouts"

    def estimate(self, site: Site) -> Estimate:
        return Estimate(1e-12, "traced", {})

    def lower(self, site: Site) -> list[Launch]:
        out, lanes = site.blocked_out, site.lanes
        b = Builder(self.name)
        x = b.buffer("x", extent=out.elems, unique=site.in_place is None)
        copy, copy_arg = scratch_buffer(b, "copy", out.plane_pitch)
        result, result_arg = out_buffer(b, site)
        stamps, stamps_arg = scratch_buffer(b, "stamps", STAMPS, Kind.I32)
        lo, hi = b.index_param("lo"), b.index_param("hi")
        zero, one = b.const(0.0, vector(lanes)), b.const(1, Type(Kind.I32))
        with b.loop(lo, hi, hint="plane") as planes:
            first = b.imul(planes.iv, out.plane_pitch)
            with b.loop(0, out.plane_pitch, step=lanes, hint="at") as places:
                back = b.isub(out.plane_pitch - lanes, places.iv)
                b.store(copy, back, b.load(x, b.iadd(first, places.iv), lanes))
            stamp = b.binary("add", b.convert(planes.iv, Kind.I32), one)
            with b.loop(0, STAMPS) as i:
                b.store(stamps, i.iv, stamp)
            with b.loop(0, out.plane_pitch, step=lanes, hint="at") as places:
                back = b.isub(out.plane_pitch - lanes, places.iv)
                value = b.load(copy, back, lanes)
                value = b.select(b.compare("lt", value, zero), zero, value)
                b.store(result, b.iadd(first, places.iv), value)
        return [Launch(b.func, (OperandArg(0), copy_arg, result_arg, stamps_arg), out.blocks)]


def install(monkeypatch) -> None:
    """Let every relu on blocks be a `TracedRelu`."""
    monkeypatch.setattr(choose_kernel, "KERNELS", (TracedRelu(), *KERNELS))


def traced_plan(target: Target) -> Plan:
    """A network whose relu is traced; no later layer has scratch memory."""
    net = Net()
    x = net.add("lrn", net.input(1, 61, 3, 5), size=3)
    plan = plan_of(net.outputs(net.add("relu", x)), target)
    assert traced(plan).functions[0].startswith("traced_relu")
    return plan


def traced(plan: Plan):
    """The stage of the traced relu."""
    return next(s for s in plan.stages if plan.graph[s.node].op == "relu")


def check_traces(plan: Plan, scratch: np.ndarray, threads: int) -> None:
    """Each thread's scratch holds its own last plane and stamp, and nothing else was written.

    Args:
        plan: of `traced_plan`.
        scratch: what lies behind the arena, u32, poisoned before the run.
        threads: how many shared the work.
    """
    layout = plan.graph[traced(plan).node].notes["layout"]
    (work,) = traced(plan).work
    plane = layout.plane_pitch
    room, stamps = -(-plane // _LINE) * _LINE, -(-STAMPS // _LINE) * _LINE
    assert plan.interface.scratch_bytes == 4 * (room + stamps)
    assert work >= threads
    for thread in range(threads):
        own = scratch[thread * (room + stamps) :][: room + stamps]
        last = (thread + 1) * work // threads
        assert not (own[:plane] == POISON).any(), thread
        assert (own[plane:room] == POISON).all(), thread
        assert (own[room : room + STAMPS] == last).all(), (thread, own[room])
        assert (own[room + STAMPS :] == POISON).all(), thread
    copies = [scratch[t * (room + stamps) :][:plane].tobytes() for t in range(threads)]
    assert len(set(copies)) == threads, "each thread had another plane"
    assert (scratch[threads * (room + stamps) :] == POISON).all(), "written behind all scratch"
