"""Lowering: the planned graph as one LoopIR program, its packed weights and its interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.abi import ALIGNMENT, Interface, Port, aligned
from cnncc.errors import InternalError
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked, RowMajor
from cnncc.kernels.moves.fill_halo import fill_halo
from cnncc.kernels.template import (
    Arg,
    Launch,
    MeansArg,
    OperandArg,
    PackedArg,
    Packing,
    ResultArg,
    ScratchArg,
    Site,
)
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import BufferType, Index, Kind, Program, Value
from cnncc.plan.choose_kernel import kernel_named
from cnncc.plan.nests import Made, Nest, Nests
from cnncc.plan.site import is_computed, site_of
from cnncc.targets.target import Target

_GLANCE = 64
_PACKED_WORDS = 2  # packed for each of the model's; Winograd makes at most four of one
_NUMPY = {Kind[d.name]: d.numpy for d in DType}


# Waking a sleeping thread takes as long as a network of this size.
_TINY_US = 50.0


@dataclass(frozen=True, slots=True)
class Stage:
    """What the threads do between two barriers: the loop nests of one node.

    Attributes:
        node: the node's id in the planned graph.
        name: its path.
        functions: names of the program's functions that it calls.
        work: work items of each.
    """

    node: int
    name: str
    functions: tuple[str, ...]
    work: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """A network ready for code generation.

    Attributes:
        graph: the planned graph, with all notes and decisions.
        program: LoopIR; the last function is `main`.
        weights: the packed constants, aligned to 64 bytes, f32[n].
        interface: ports and sizes.
        stages: in order of execution.
        target: the machine.
        texts: canonical text of the program's functions but `main`, by name.
    """

    graph: Graph
    program: Program
    weights: NDArray[np.float32]
    interface: Interface
    stages: tuple[Stage, ...]
    target: Target
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _PlacedArg:
    """A packed constant in the blob.

    Attributes:
        start: where it lies, in words.
        size: its elements.
    """

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class _Call:
    """A launch whose constants lie in the blob.

    Attributes:
        launch: the loop nest, without its arguments, which hold the constants' own memory.
        name: what the program calls its function.
        args: its arguments.
        result: the value that its `ResultArg` stands for.
    """

    launch: Launch
    name: str
    args: tuple[Arg | _PlacedArg, ...]
    result: int


@dataclass(slots=True)
class _Blob:
    """Packed constants, each once, each aligned, in memory where they stay.

    Each is copied as it comes, so that its own memory serves the next one. Room that is reserved
    and never written costs addresses only.
    """

    memory: NDArray[np.float32]
    elems: int = 0
    known: dict[tuple[int, bytes], list[int]] = field(default_factory=dict)

    def place(self, array: NDArray[Any]) -> int:
        """Where the array lies, in words; one with the same bits is there once."""
        flat = _words(array)
        # Arrays that agree in size and first numbers are rare, so comparing beats a digest of all.
        alike = self.known.setdefault((flat.size, flat[:_GLANCE].tobytes()), [])
        for start in alike:
            other = self.memory[start : start + flat.size]
            if np.array_equal(other.view(np.uint32), flat.view(np.uint32)):
                return start
        start = self.elems
        alike.append(start)
        end = start + flat.size
        self.elems = end + -end % (ALIGNMENT // 4)
        self._reserve(self.elems)
        self.memory[start:end] = flat
        self.memory[end : self.elems] = 0
        return start

    def _reserve(self, elems: int) -> None:
        """Make room for so many words in all."""
        if elems > self.memory.size:
            memory = aligned(max(elems, 2 * self.memory.size))
            memory[: self.memory.size] = self.memory
            self.memory = memory

    def array(self) -> NDArray[np.float32]:
        """All of them in memory aligned to `ALIGNMENT`."""
        return self.memory[: self.elems]


def _words(array: NDArray[Any]) -> NDArray[np.float32]:
    """The bits of an array as words of 4 bytes."""
    flat = np.ascontiguousarray(array).reshape(-1)
    spare = -flat.nbytes % 4
    if spare:
        flat = np.concatenate([flat.view(np.uint8), np.zeros(spare, np.uint8)])
    return flat.view(np.float32)


def lower(graph: Graph, target: Target, made: Made | None = None) -> Plan:
    """The program of a graph whose layouts, kernels and places are chosen.

    Code can be generated of the functions that `made` sees while others are still lowered.
    """
    return _Lowering(graph, target, made).run()


class _Lowering:
    def __init__(self, graph: Graph, target: Target, made: Made | None) -> None:
        self.graph = graph
        self.target = target
        self.nests = Nests(made)
        self.blob = _Blob(
            aligned(_PACKED_WORDS * sum(x.nbytes for x in graph.constants.values()) // 4)
        )
        self.filled: set[int] = set()
        self.scratch_words = 0  # of each thread

    def run(self) -> Plan:
        nodes = [n for n in self.graph.order() if is_computed(self.graph, n)]
        # All code first: it can be turned into objects while constants are packed.
        nests = [(node_id, self._nests(node_id)) for node_id in nodes]
        launches = [(node_id, self._calls(node_id, made)) for node_id, made in nests]
        needs = (sum(map(_room, call.args)) for _, calls in launches for call in calls)
        self.scratch_words = max(needs, default=0)
        b = Builder("main")
        self.buffers = self._declare_ports(b)
        self.thread, self.threads = b.index_param("thread"), b.index_param("threads")
        if self.scratch_words:
            self._split_workspace(b)
        stages = []
        for number, (node_id, calls) in enumerate(launches):
            if number:
                b.barrier()
            stages.append(self._stage(b, node_id, calls))
        program = Program([*self.nests.funcs.values(), b.func])
        weights = self.blob.array()
        self._size_weights(b, weights.size)
        return Plan(
            self.graph,
            program,
            weights,
            self._interface(weights),
            tuple(stages),
            self.target,
            self.nests.texts,
        )

    # -- loop nests --------------------------------------------------------------------------------

    def _nests(self, node_id: int) -> list[tuple[Nest, int]]:
        """The loop nests of a node, each with the value that its `ResultArg` stands for."""
        node, site = self.graph[node_id], self._site(node_id)
        made = [(nest, node_id) for nest in self.nests.of(kernel_named(node.notes["kernel"]), site)]
        owner = self._owner(node_id)
        if owner not in self.filled:
            self.filled.add(owner)
            layout = self.graph[owner].notes["layout"]
            if isinstance(layout, Layout) and any(layout.halo) and "in_place" not in node.notes:
                zeros = fill_halo(layout, self.target.lanes())
                made.append((self.nests.named(site.name, zeros), owner))
        return made

    def _site(self, node_id: int) -> Site:
        in_place = self.graph[node_id].notes.get("in_place")
        return site_of(self.graph, node_id, self.target, in_place)

    def _calls(self, node_id: int, nests: list[tuple[Nest, int]]) -> list[_Call]:
        """The calls of a node's loop nests, with their constants in the blob."""
        site = self._site(node_id)
        calls = []
        for nest, result in nests:
            launch = nest.launch
            params = launch.func.params[: len(launch.args)]
            args = tuple(self._placed(a, p, site) for a, p in zip(launch.args, params, strict=True))
            calls.append(_Call(replace(launch, args=()), nest.name, args, result))
        return calls

    def _placed(self, arg: Arg, param: Value, site: Site) -> Arg | _PlacedArg:
        packed = arg.of(site) if isinstance(arg, Packing) else arg
        if not isinstance(packed, PackedArg):
            return arg
        array = np.asarray(packed.array, _NUMPY[_kind(param)])
        return _PlacedArg(self.blob.place(array), array.size)

    def _owner(self, node_id: int) -> int:
        while "alias" in self.graph[node_id].notes:
            node_id = self.graph[node_id].notes["alias"][0]
        return node_id

    def _stage(self, b: Builder, node_id: int, calls: list[_Call]) -> Stage:
        for call in calls:
            launch = call.launch
            args: list[Index] = []
            taken = 0  # words of scratch
            for arg, param in zip(call.args, launch.func.params, strict=False):
                if isinstance(arg, ScratchArg):
                    args.append(self._scratch(b, arg, param, taken))
                    taken += _room(arg)
                else:
                    args.append(self._argument(b, arg, param, node_id, call.result))
            b.call(call.name, [*args, *self._share(b, launch)])
        label = self.graph[node_id].name or f"{self.graph[node_id].op}{node_id}"
        names, work = zip(*((call.name, call.launch.work) for call in calls), strict=True)
        return Stage(node_id, label, names, work)

    def _share(self, b: Builder, launch: Launch) -> tuple[Index, Index]:
        """This thread's part of the work items; all of it on the first thread when it is little."""
        if launch.work < 2 * launch.grain:
            first = b.compare("eq", self.thread, 0)
            return 0, b.select(first, launch.work, 0)
        lo = b.idiv(b.imul(self.thread, launch.work), self.threads)
        hi = b.idiv(b.imul(b.iadd(self.thread, 1), launch.work), self.threads)
        return lo, hi

    def _argument(self, b: Builder, arg: Any, param: Value, node_id: int, result: int) -> Index:
        match arg:
            case int():
                return arg
            case _PlacedArg():
                return b.view(self.buffers["weights"], arg.start, arg.size, kind=_kind(param))
            case OperandArg():
                return self._value(b, self.graph.operands(node_id)[arg.operand])
            case MeansArg():
                users = {u for u, _ in self.graph.users(node_id)}
                made = [u for u in users if self.graph[u].notes.get("made_by") == node_id]
                return self._value(b, made[0])
            case ResultArg():
                return self._value(b, result)
        raise InternalError(f"unknown argument {arg!r}")

    def _scratch(self, b: Builder, arg: ScratchArg, param: Value, taken: int) -> Value:
        """A part of this thread's scratch memory, behind `taken` words of it."""
        kind = _kind(param)
        elems, first = arg.words * 4 // kind.size_bytes, b.iadd(self.first_scratch, taken)
        part = b.view(self.buffers["scratch"], first, elems, kind=kind)
        part.hint = param.hint
        return part

    def _value(self, b: Builder, value: int) -> Index:
        """The buffer of a value: a port, or its part of the arena."""
        if value in self.buffers:
            return self.buffers[value]
        notes = self.graph[value].notes
        layout = notes["layout"]
        if isinstance(layout, Picked):
            place = min(self.graph[part].notes["place"] for part in notes["picks"])
            return b.view(self.buffers["arena"], place, layout.elems)
        if not isinstance(layout, Layout | FlatLayout | RowMajor):
            raise InternalError(f"node {value} lies in no buffer")
        if isinstance(layout, RowMajor) and "place" not in notes:
            return self.buffers[self._owner(value)]  # another shape of a caller's array
        kind = Kind[layout.dtype.name] if isinstance(layout, RowMajor) else Kind.F32
        return b.view(self.buffers["arena"], notes["place"], layout.elems, kind=kind)

    # -- outside -----------------------------------------------------------------------------------

    def _declare_ports(self, b: Builder) -> dict[Any, Value]:
        """The buffers of `main`, in the order of `abi.Interface`."""
        buffers: dict[Any, Value] = {}
        for node_id in self.graph.inputs:
            layout: DenseLayout | RowMajor = self.graph[node_id].notes["layout"]
            kind = Kind[layout.dtype.name]
            buffers[node_id] = b.buffer(f"input_{node_id}", kind, layout.elems)
        for name, node_id in self.graph.outputs:
            layout = self.graph[node_id].notes["layout"]
            kind = Kind[layout.dtype.name]
            buffers[node_id] = b.buffer(f"output_{name}", kind, layout.elems, writable=True)
        buffers["weights"] = b.buffer("weights", extent=self.blob.elems)
        # Scratch memory lies behind, for a number of threads that only the caller knows.
        arena = None if self.scratch_words else self.graph.meta["arena_elems"]
        buffers["arena"] = b.buffer("arena", extent=arena, writable=True)
        return buffers

    def _split_workspace(self, b: Builder) -> None:
        """The workspace as the arena and, behind it, scratch memory of one thread after another."""
        self.buffers["scratch"], arena = self.buffers["arena"], self.graph.meta["arena_elems"]
        self.buffers["arena"] = b.view(self.buffers["arena"], 0, arena)
        self.first_scratch = b.iadd(b.imul(self.thread, self.scratch_words), arena)

    def _size_weights(self, b: Builder, elems: int) -> None:
        """Check that the blob did not grow after `main` was declared."""
        declared = self.buffers["weights"].type
        if not isinstance(declared, BufferType) or declared.extent != elems:
            raise InternalError("weights were packed after the program was sized")

    def _interface(self, weights: NDArray[np.float32]) -> Interface:
        meta = self.graph.meta
        inputs = tuple(self._input_port(i) for i in self.graph.inputs)
        outputs = tuple(self._output_port(name, i) for name, i in self.graph.outputs)
        return Interface(
            name=self.graph.name,
            inputs=inputs,
            outputs=outputs,
            weights_bytes=weights.nbytes,
            workspace_bytes=meta["arena_elems"] * 4,
            parameters=meta.get("parameters", 0),
            macs=meta.get("macs", 0),
            target=self.target.name,
            requires=self.target.requires,
            most_threads=1 if self._predicted_us() < _TINY_US else 0,
            batched=self._batched,
            scratch_bytes=self.scratch_words * 4,
        )

    @property
    def _batched(self) -> bool:
        """Whether the leading axis of all arrays is a batch, which ports do not show."""
        return bool(self.graph.meta.get("batched", True))

    def _predicted_us(self) -> float:
        """Predicted time of one sample on one thread."""
        return float(sum(node.notes.get("predicted_us", 0.0) for _, node in self.graph.nodes()))

    def _input_port(self, node_id: int) -> Port:
        node = self.graph[node_id]
        shape, memory = self._array(node_id)
        return Port(
            name=self._port_name(node_id),
            dtype=node.attrs.dtype,
            shape=shape,
            memory=memory,
            format=node.attrs.format,
        )

    def _output_port(self, name: str, node_id: int) -> Port:
        shape, memory = self._array(node_id)
        return Port(
            name=name,
            dtype=self.graph[node_id].notes["layout"].dtype,
            shape=shape,
            memory=memory,
            labels=tuple(self.graph.meta.get("labels", {}).get(name, ())),
            top=int(self.graph.meta.get("top", {}).get(name, 0)),
            rows=self.graph.meta.get("rows", {}).get(name, ""),
        )

    def _port_name(self, node_id: int) -> str:
        """The name by which callers know an input: its name in the model's file."""
        name = self.graph[node_id].name
        known: str = self.graph.meta.get("tensors", {}).get(name, name)
        return known or f"input{self.graph.inputs.index(node_id)}"

    def _array(self, node_id: int) -> tuple[tuple[int, ...], str]:
        """Shape and order of the caller's array."""
        layout, shape = self.graph[node_id].notes["layout"], self.graph.type_of(node_id).shape
        lead = () if self._batched else shape[:1]
        if isinstance(layout, DenseLayout) and len(shape) == 4:
            if layout.memory == "hwc":
                return (*lead, layout.height, layout.width, layout.channels), "hwc"
            return (*lead, *shape[1:]), "chw"
        memory = "chw" if self._batched and len(shape) == 4 else ""
        return (*lead, *shape[1:]), memory


def _room(arg: Arg | _PlacedArg) -> int:
    """Words that an argument takes of a thread's scratch memory, so that the next is aligned."""
    return -(-arg.words * 4 // ALIGNMENT) * ALIGNMENT // 4 if isinstance(arg, ScratchArg) else 0


def _kind(param: Value) -> Kind:
    """The element kind of a buffer parameter."""
    if not isinstance(param.type, BufferType):
        raise InternalError(f"parameter `{param.hint}` is no buffer")
    return param.type.kind
