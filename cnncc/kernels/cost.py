"""The arithmetic of predictions: what a kernel counts, as time on a machine.

A kernel states the cycles that its instructions take while all data is close by, and how many of
them its multiply-adds need at the peak; this file adds the way of the data from the memory that it
lives in, and what a stage costs beside its work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from cnncc.ir.op import lookup
from cnncc.kernels.layout import DenseLayout, Layout
from cnncc.kernels.scalars.scalar_math import SHORT, count_operations
from cnncc.kernels.template import Bound, Estimate, Site
from cnncc.loopir.nodes import Binary, Fma, Stmt
from cnncc.targets.target import Target

_FIRST_TOUCH = 0.6  # of a cache's pace, for data that comes in short runs
_OVERLAP = 0.8  # of the shorter of computing and moving hides behind the longer
# What an operation takes of the units of the multiply-adds, measured on a Zen 4, where additions,
# minima, selections and whole numbers have units of their own.
STORE_CYCLES = 2  # of a vector of the result
TILE_OVERHEAD = 40.0  # cycles
_PLACES = {"mul": 1, "div": 2}


def predict(
    site: Site,
    cycles: float,
    choice: str,
    figures: Mapping[str, float],
    *,
    fmas: float = 0.0,
    weights: float = 0.0,
    moved: float | None = None,
    close: float = 0.0,
) -> Estimate:
    """The time of one thread.

    Args:
        site: its operands and its result move once.
        cycles: of the core's units, with all data close by; without the steps behind convolutions.
        choice: words for `explain`.
        figures: numbers behind it.
        fmas: vector multiply-adds of the algorithm, and what takes as long, for the bound.
        weights: bytes of packed constants that are read once.
        moved: bytes of feature maps that move, where it is not operands and result, once each.
        close: cycles of traffic inside the caches that overlap like that with memory.
    """
    machine = site.target.machine
    cycles += long_step_cycles(site)
    memory = data_cycles(site, moved) + weights / weight_pace(site)
    both = (cycles, memory + close)
    total = max(both) + (1 - _OVERLAP) * min(both) + machine.stage_cycles
    bound = Bound(fmas / machine.fmas / machine.hertz, memory / machine.hertz)
    shown = {**figures, "cycles": cycles, "memory_cycles": round(memory, 1)}
    return Estimate(total / machine.hertz, choice, shown, bound)


def vector_cycles(site: Site, operations: float) -> float:
    """Cycles of vector operations that do not wait for each other: two start at a time."""
    return operations / 2 if site.target.vector_bits < 512 else operations * 0.6


def long_step_cycles(site: Site) -> float:
    """Cycles of long steps behind convolutions; short ones hide between the multiply-adds."""
    if site.anchor.op != "conv2d":
        return 0.0
    cycles, result = 0.0, site.result
    steps = site.steps[:-1] if site.ends_in_pool else site.steps
    starts = [k for k, step in enumerate(steps) if step.op == "conv2d"]
    for start, end in zip(starts, [*starts[1:], len(steps)], strict=True):
        conv = steps[start]
        types = [site.types[a] if a >= 0 else result for a in conv.args]
        result = lookup(conv.op).infer(types, conv.attrs)
        operations = count_operations(steps[start + 1 : end], site.lanes)
        if operations > SHORT:
            _, channels, rows, columns = result.shape
            vectors = -(-channels // site.lanes) * rows * columns
            if isinstance(site.out, Layout) and site.out.block == 1:
                vectors = channels * rows * -(-columns // site.lanes)
            cycles += vector_cycles(site, operations) * vectors
    return cycles


def places(body: Iterable[Stmt]) -> int:
    """Multiply-adds that would take the units of the multiply-adds as long as these statements."""
    return sum(
        _PLACES.get(stmt.op, 0) if isinstance(stmt, Binary) else isinstance(stmt, Fma)
        for stmt in body
    )


def data_cycles(site: Site, moved: float | None = None) -> float:
    """Cycles of moving feature maps: operands are read once, the result is written once.

    A stage finds its operands where the stages before it left them. What all of them take tells
    how far away that is. A caller's array is as far away as the weights.
    """
    values = [k for k in range(len(site.types)) if site.constants[k] is None]
    near = far = 0.0
    for size, layout in [
        *((value_bytes(site, k), site.layouts[k]) for k in values),
        (value_bytes(site, None), site.out),
    ]:
        if isinstance(layout, DenseLayout):
            far += size
        else:
            near += size
    scale = 1.0 if moved is None else moved / max(1.0, near + far)
    cycles = near / pace(site.target, (near + far) * scale) + far / weight_pace(site)
    return cycles * scale


def value_bytes(site: Site, operand: int | None) -> float:
    """Bytes of an operand's, or the result's, picture, without its halo."""
    layout = site.out if operand is None else site.layouts[operand]
    type_ = site.result if operand is None else site.types[operand]
    if isinstance(layout, Layout):
        return 4.0 * layout.blocks * layout.block * layout.height * layout.width
    return float(prod(type_.shape) * type_.dtype.size_bytes)


def weight_pace(site: Site) -> float:
    """Bytes a cycle at which weights come: all weights of a network pass between two uses.

    Feature maps pass as well, and take their part of the cache. Each run of weights is new to the
    prefetcher, which is not as quick as in a loop over one array.
    """
    found = pace(site.target, 1.5 * site.network_bytes)
    machine = site.target.machine
    return max(machine.memory_bytes_per_cycle, _FIRST_TOUCH * found)


def pace(target: Target, working_set: float) -> float:
    """Bytes a cycle at which data comes that is used again after so many bytes."""
    machine = target.machine
    if working_set <= target.l2_bytes * 3 // 4:
        return machine.l2_bytes_per_cycle
    if working_set <= machine.l3_bytes * 3 // 4:
        return machine.l3_bytes_per_cycle
    return machine.memory_bytes_per_cycle


def tile_cycles(
    target: Target, pixels: int, vectors: float, steps: int, *, splat: float = 1.0
) -> float:
    """Predicted cycles of one tile; the part of a vector that is not whole is a narrow one.

    Each step takes as long as the slowest of its multiply-adds, its loads, the latency of a chain
    of multiply-adds, and the filters' way from the cache that a panel of them stays in. A splat
    counts for `splat` loads.
    """
    fma = pixels * vectors / fma_per_cycle(target)
    loads = (splat * pixels + vectors) / target.machine.loads
    vector_bytes = target.vector_bits // 8
    panel_bytes = steps * vectors * vector_bytes
    filters = vectors * vector_bytes / bytes_per_cycle(target, panel_bytes)
    return (
        steps * max(fma, loads, target.machine.fma_latency, filters)
        + TILE_OVERHEAD
        + STORE_CYCLES * pixels * vectors
    )


def bytes_per_cycle(target: Target, working_set: float) -> float:
    """How fast numbers come that are read again and again and take so many bytes."""
    if working_set <= target.l1_bytes // 2:  # the input wants room too
        return target.machine.loads * target.vector_bits / 8
    return pace(target, working_set)


def fma_per_cycle(target: Target) -> float:
    """Vector multiply-adds that start in a cycle."""
    return target.machine.fmas
