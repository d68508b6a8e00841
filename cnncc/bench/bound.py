"""What no loop nest with the same algorithm could beat, stage by stage, on one thread.

Three things of a stage stay whatever the loops look like: its multiply-adds, the arithmetic of the
steps that are fused into it, and its bytes. How far away bytes are follows from the plan: they are
in the smallest cache that holds all that was touched since they were (their stack distance, as
caches drop first what was not used for longest), the call before this one included.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.op import Trait, lookup
from cnncc.ir.types import TensorType
from cnncc.kernels.cost import places
from cnncc.kernels.scalars.scalar_math import VectorScalars
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import BufferType, Call, Func, Value, View
from cnncc.ops.fused import Step
from cnncc.plan.lower import Plan
from cnncc.plan.site import steps_of
from cnncc.targets.target import Target

_PAGE = 4096  # bytes that are near or far together
_NEAR = 32  # pages that any level-2 cache holds
_PORTS_PITCH = 1 << 40  # buffers of a caller lie nowhere near each other


@dataclass(frozen=True, slots=True)
class StageBound:
    """Seconds of one stage, each as if the others took none.

    Attributes:
        multiply: its multiply-adds, of the algorithm that was chosen, at the peak.
        steps: arithmetic of fused steps, which takes the same units.
        memory: its bytes, each at the pace of the cache that still holds it.
        far: its bytes, were the level-3 cache full of other programs' data.
    """

    multiply: float
    steps: float
    memory: float
    far: float

    @property
    def compute(self) -> float:
        """Of the units of the multiply-adds."""
        return self.multiply + self.steps


def stage_bounds(plan: Plan) -> list[StageBound]:
    """The bounds of all stages, in order of execution."""
    machine = plan.target.machine
    cycles = machine.hertz * machine.fmas
    # A level-3 cache that holds nothing is one of no bytes.
    alone = replace(plan.target, machine=replace(machine, l3_bytes=0))
    return [
        StageBound(
            plan.graph[stage.node].notes["bound_us"][0] / 1e6,
            _places(plan, stage.node) / cycles,
            _seconds(plan.target, touched),
            _seconds(alone, touched),
        )
        for stage, touched in zip(plan.stages, distances(stage_accesses(plan)), strict=True)
    ]


# -- arithmetic ------------------------------------------------------------------------------------


def _places(plan: Plan, node_id: int) -> float:
    """Places in the multiply-add units that the pointwise steps of a node take."""
    operands = [plan.graph.type_of(o) for o in plan.graph.operands(node_id)]
    steps, types, total = steps_of(plan.graph, node_id), list[TensorType](), 0.0
    for step in steps:
        taken = [operands[a] if a >= 0 else types[~a] for a in step.args]
        types.append(lookup(step.op).infer(taken, step.attrs))
        if Trait.POINTWISE in lookup(step.op).traits:
            total += places_of(step, plan.target.lanes()) * _vectors(types[-1], plan.target)
    return total


def places_of(step: Step, lanes: int) -> int:
    """Places in the multiply-add units that a step takes on each vector of so many lanes."""
    probe = Builder("probe")
    scalars = VectorScalars(probe, lanes)
    lookup(step.op).scalar(scalars, [scalars.const(0.0) for _ in step.args], step.attrs)
    return places(probe.func.body)


def _vectors(type_: TensorType, target: Target) -> float:
    """Vectors of a value in blocks of channels; of any other array, as if it lay in a row."""
    if len(type_.shape) != 4:
        return type_.elems / target.lanes()
    return -(-type_.shape[1] // target.lanes()) * type_.elems / max(1, type_.shape[1])


# -- memory ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes of a buffer that a stage touches.

    Attributes:
        first: the first, in an address space of the network's own.
        count: how many.
        writes: whether they are written.
    """

    first: int
    count: int
    writes: bool


def _seconds(target: Target, touched: Mapping[tuple[int, bool], int]) -> float:
    """What moving bytes takes; see `distances`."""
    cycles = (n / _pace(target, gap, writes=writes) for (gap, writes), n in touched.items())
    return sum(cycles) / target.machine.hertz


def _pace(target: Target, gap: int, *, writes: bool) -> float:
    """Bytes a cycle that were used so many bytes ago, when no other program fills the caches."""
    machine = target.machine
    levels = (
        (target.l1_bytes, machine.loads * target.vector_bits / 8),
        (target.l2_bytes, machine.l2_bytes_per_cycle),
        (machine.l3_bytes, machine.l3_bytes_per_cycle),
    )
    memory = machine.store_bytes_per_cycle if writes else machine.memory_bytes_per_cycle
    return next((found for size, found in levels if gap <= size), memory)


def stage_accesses(plan: Plan) -> list[list[Access]]:
    """What every stage touches, scratch memory left out: it is small and always near."""
    main = plan.program.funcs[-1]
    functions = {func.name: func for func in plan.program.funcs}
    starts = {id(param): _PORTS_PITCH * k for k, param in enumerate(main.params)}
    calls: list[list[Access]] = []
    for stmt in main.body:
        if isinstance(stmt, View) and id(stmt.buffer) in starts and isinstance(stmt.index, int):
            skipped = _bytes(stmt.buffer, stmt.index)
            starts[id(stmt.out)] = starts[id(stmt.buffer)] + skipped
        elif isinstance(stmt, Call):
            calls.append(list(_accesses(stmt, functions[stmt.callee], starts)))
    rest = iter(calls)
    return [[a for _ in stage.functions for a in next(rest)] for stage in plan.stages]


def _accesses(call: Call, func: Func, starts: dict[int, int]) -> Iterator[Access]:
    for arg, param in zip(call.args, func.params, strict=True):
        if isinstance(arg, Value) and isinstance(param.type, BufferType) and id(arg) in starts:
            yield Access(starts[id(arg)], _bytes(arg), param.type.writable)


def _bytes(buffer: Value, elems: int | None = None) -> int:
    """Bytes of so many elements of a buffer, or of all."""
    if not isinstance(buffer.type, BufferType):
        raise InternalError(f"`{buffer.hint}` is no buffer")
    found = buffer.type.extent if elems is None else elems
    return (found or 0) * buffer.type.kind.size_bytes


def distances(stages: Sequence[Sequence[Access]]) -> list[Counter[tuple[int, bool]]]:
    """Bytes of each stage by how many others were touched since they were, and whether written.

    Stages run round and round; what they share counts once. What a stage reads and then writes
    over comes from afar once; on its way back it leaves the level-1 cache, no more.
    """
    pages = [(_pages(stage, writes=False), _pages(stage, writes=True)) for stage in stages]
    spaces = {page: k for k, page in enumerate(sorted({p for s in pages for u in s for p in u}))}
    last = np.full(len(spaces), -1)
    found: list[Counter[tuple[int, bool]]] = []
    for turn in range(2):
        for number, (read, written) in enumerate(pages):
            own = len(read.keys() | written.keys())
            touched: Counter[tuple[int, bool]] = Counter()
            gaps: dict[int, int] = {}
            for page, count, writes in [
                *((p, c, False) for p, c in read.items()),
                *((p, c, True) for p, c in written.items()),
            ]:
                then = int(last[spaces[page]])
                if then not in gaps:
                    gaps[then] = (int((last > then).sum()) + own) * _PAGE
                again = writes and page in read
                touched[_PAGE * min(own, _NEAR) if again else gaps[then], writes] += count
            last[[spaces[page] for page in read.keys() | written.keys()]] = (
                turn * len(pages) + number
            )
            if turn:
                found.append(touched)
    return found


def _pages(stage: Sequence[Access], *, writes: bool) -> dict[int, int]:
    """How many bytes of each page a stage reads, or writes."""
    found: dict[int, int] = {}
    for access in dict.fromkeys(a for a in stage if a.writes == writes):
        end = access.first + access.count
        for page in range(access.first // _PAGE, -(-end // _PAGE)):
            count = min(end, (page + 1) * _PAGE) - max(access.first, page * _PAGE)
            found[page] = min(_PAGE, found.get(page, 0) + count)
    return found
