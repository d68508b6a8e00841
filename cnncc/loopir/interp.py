"""Running LoopIR with NumPy: slow, but it checks every access.

Each function is compiled once into closures over a list of registers. Every load and store is
checked against the extent of its buffer, and scratch that was never written may not be read. The
threads of a program run one after the other between two barriers, so that a run is deterministic;
another order of them must give the same numbers, or the program has a race.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, assert_never

import numpy as np

from cnncc.errors import InternalError
from cnncc.loopir import arith
from cnncc.loopir.arith import DTYPES, FROM_ELEMENT, Array, InterpError, Operation
from cnncc.loopir.nodes import (
    MAIN,
    Alloc,
    Barrier,
    Binary,
    Bitcast,
    BufferType,
    Call,
    Compare,
    Const,
    Convert,
    Extract,
    Fma,
    For,
    Func,
    If,
    Index,
    Kind,
    Load,
    Prefetch,
    Program,
    Select,
    Shuffle,
    Splat,
    Stmt,
    Store,
    Type,
    Unary,
    Value,
    View,
)

Registers = list[Any]
Step = Callable[[Registers], None]
Order = Literal["forward", "reversed"]


def run(
    code: Program | Func,
    args: Sequence[Array | int],
    *,
    name: str | None = None,
    threads: int = 1,
    order: Order = "forward",
) -> None:
    """Run a function; results are what it writes into its buffers.

    Args:
        code: a program, or a function that calls no other.
        args: one flat array a buffer parameter, one integer an index parameter. For `main` the last
            two, `thread` and `threads`, are supplied here.
        name: which function of a program; the last by default.
        threads: how many threads run `main`.
        order: in which order they run between two barriers.

    Raises:
        InterpError: an access out of bounds, a read of unwritten scratch, an undefined operation,
            or arguments that do not fit the parameters.
    """
    Interpreter(code).run(args, name=name, threads=threads, order=order)


class Interpreter:
    """A program compiled into closures, to be run several times."""

    def __init__(self, code: Program | Func) -> None:
        funcs = [code] if isinstance(code, Func) else code.funcs
        self._compiled: dict[str, _Compiled] = {}
        for func in funcs:
            self._compiled[func.name] = _Compiled(func, self._compiled)
        self._last = funcs[-1].name

    def run(
        self,
        args: Sequence[Array | int],
        *,
        name: str | None = None,
        threads: int = 1,
        order: Order = "forward",
    ) -> None:
        """As the module's `run`."""
        func = self._compiled.get(name or self._last)
        if func is None:
            raise InterpError(f"the program has no function {name!r}")
        with np.errstate(all="ignore"):
            if func.name == MAIN:
                self._run_main(func, args, threads, order)
            else:
                func.call(func.bind(args))

    def _run_main(
        self, func: _Compiled, args: Sequence[Array | int], threads: int, order: Order
    ) -> None:
        frames = [func.frame(func.bind([*args, thread, threads])) for thread in range(threads)]
        if order == "reversed":
            frames.reverse()
        for steps in func.phases:
            for registers in frames:
                for step in steps:
                    step(registers)


@dataclass(slots=True)
class _Memory:
    """A buffer at run time; `written` marks the elements of scratch that hold something."""

    data: Array
    size: int
    written: Array | None = None

    def part(self, start: int, extent: int | None) -> _Memory:
        stop = self.size if extent is None else start + extent
        written = None if self.written is None else self.written[start:stop]
        return _Memory(self.data[start:stop], stop - start, written)


class _Compiled:
    """One function: its registers' first state and its steps, split at the barriers."""

    def __init__(self, func: Func, program: dict[str, _Compiled]) -> None:
        self.name = func.name
        self.params = func.params
        self._program = program
        self._slots: dict[Value | int, int] = {}
        self._registers: Registers = []
        self._param_slots = [self._slot(p) for p in func.params]
        self.phases = [self._body(phase) for phase in _split_at_barriers(func.body)]

    # -- calling -----------------------------------------------------------------------------------

    def bind(self, args: Sequence[Array | int]) -> list[Any]:
        """The caller's arrays and integers as values, checked against the parameters."""
        if len(args) != len(self.params):
            raise InterpError(f"{self.name}: {len(self.params)} arguments wanted, got {len(args)}")
        return [self._bind_one(p, a) for p, a in zip(self.params, args, strict=True)]

    def _bind_one(self, param: Value, arg: Array | int) -> Any:
        place = f"{self.name}, argument {param.hint!r}"
        if isinstance(param.type, Type):
            if isinstance(arg, np.ndarray):
                raise InterpError(f"{place}: an integer is wanted, got an array")
            return int(arg)
        if not isinstance(arg, np.ndarray) or arg.ndim != 1:
            raise InterpError(f"{place}: a flat array is wanted")
        if arg.dtype != DTYPES[param.type.kind]:
            raise InterpError(f"{place}: {param.type} is wanted, got elements of {arg.dtype}")
        if param.type.writable and not arg.flags.writeable:
            raise InterpError(f"{place}: the array is read-only")
        return _Memory(arg, arg.size)

    def frame(self, args: list[Any]) -> Registers:
        """Fresh registers with the arguments in place."""
        registers = self._registers.copy()
        for slot, param, arg in zip(self._param_slots, self.params, args, strict=True):
            extent = param.type.extent if isinstance(param.type, BufferType) else None
            if extent is not None:
                if arg.size < extent:
                    raise InterpError(
                        f"{self.name}: {param.hint!r} needs {extent} elements, got {arg.size}"
                    )
                arg = arg.part(0, extent)
            registers[slot] = arg
        self._check_overlap([registers[slot] for slot in self._param_slots])
        return registers

    def call(self, args: list[Any]) -> None:
        """Run the whole body."""
        if len(self.phases) > 1:
            raise InterpError(f"{self.name}: a barrier outside of {MAIN!r}")
        registers = self.frame(args)
        for step in self.phases[0]:
            step(registers)

    def _check_overlap(self, args: list[Any]) -> None:
        """`unique` is a promise to the optimiser; only known extents can be held against it."""
        known = [
            (param, param.type, arg.data)
            for param, arg in zip(self.params, args, strict=True)
            if isinstance(param.type, BufferType) and param.type.extent is not None
        ]
        for i, (a, a_type, a_data) in enumerate(known):
            for b, b_type, b_data in known[:i]:
                if not (a_type.writable or b_type.writable) or not (a_type.unique or b_type.unique):
                    continue
                if np.may_share_memory(a_data, b_data):
                    raise InterpError(
                        f"{self.name}: {a.hint!r} and {b.hint!r} overlap, though one is unique"
                    )

    # -- compiling ---------------------------------------------------------------------------------

    def _slot(self, value: Index) -> int:
        """The register of a value; an integer has one that is filled from the start."""
        slot = self._slots.get(value)
        if slot is None:
            slot = self._slots[value] = len(self._registers)
            self._registers.append(value if isinstance(value, int) else None)
        return slot

    def _body(self, body: Sequence[Stmt]) -> tuple[Step, ...]:
        return tuple(self._step(stmt) for stmt in body if not isinstance(stmt, Prefetch))

    def _step(self, stmt: Stmt) -> Step:
        match stmt:
            case Const(out, value):
                return self._apply(out, _always(arith.constant(value, _register(out))))
            case Unary(out, op, a):
                return self._apply(out, arith.unary(op, _register(out)), a)
            case Binary(out, op, a, b):
                place = f"{self.name}: {op} giving {out.hint!r}"
                return self._apply(out, arith.binary(op, _register(out), place), a, b)
            case Fma(out, a, b, c):
                return self._apply(out, arith.fma(_register(out).lanes), a, b, c)
            case Compare(out, op, a, b):
                return self._apply(out, arith.compare(op), a, b)
            case Select(out, cond, a, b):
                return self._apply(out, _select(_register(cond)), cond, a, b)
            case Convert(out, a):
                source = _register(a) if isinstance(a, Value) else Type(Kind.INDEX)
                return self._apply(out, arith.convert(source, _register(out).kind), a)
            case Bitcast(out, a):
                type_ = _register(out)
                return self._apply(out, arith.bitcast(type_.kind, type_.lanes), a)
            case Splat(out, a):
                return self._apply(out, _splat(_register(out)), a)
            case Shuffle(out, a, b, lanes):
                return self._apply(out, _shuffle(_register(out).kind, lanes), a, b)
            case Extract(out, a, lane):
                return self._apply(out, _extract(_register(out).kind, lane), a)
            case Load():
                return self._load(stmt) if stmt.mask is None else self._masked_load(stmt)
            case Store():
                return self._store(stmt) if stmt.mask is None else self._masked_store(stmt)
            case Alloc(out):
                return self._alloc(out)
            case View():
                return self._view(stmt)
            case For():
                return self._for(stmt)
            case If():
                return self._if(stmt)
            case Call():
                return self._call(stmt)
            case Barrier():
                raise InterpError(f"{self.name}: a barrier inside of a loop or branch")
            case Prefetch():
                raise InternalError("a prefetch has no step")
            case _:
                assert_never(stmt)

    def _apply(self, out: Value, operation: Operation, *operands: Index) -> Step:
        target = self._slot(out)
        slots = [self._slot(operand) for operand in operands]
        match slots:
            case []:

                def step(r: Registers) -> None:
                    r[target] = operation()

            case [x]:

                def step(r: Registers) -> None:
                    r[target] = operation(r[x])

            case [x, y]:

                def step(r: Registers) -> None:
                    r[target] = operation(r[x], r[y])

            case [x, y, z]:

                def step(r: Registers) -> None:
                    r[target] = operation(r[x], r[y], r[z])

            case _:
                raise InternalError("an operation takes up to three operands")
        return step

    def _fault(self, stmt: Load | Store, memory: _Memory, start: int, lanes: int) -> NoReturn:
        name, what = stmt.buffer.hint, "load from" if isinstance(stmt, Load) else "store to"
        span = f"[{start}]" if lanes == 1 else f"[{start}..{start + lanes - 1}]"
        place = f"{self.name}: {what} {name!r} {span}"
        if start < 0 or start + lanes > memory.size:
            raise InterpError(f"{place} is out of bounds: it has {memory.size} elements")
        if isinstance(stmt, Store):
            raise InterpError(f"{place}: the array is read-only")
        raise InterpError(f"{place} reads scratch that was never written")

    def _load(self, stmt: Load) -> Step:
        target, buffer, index = (
            self._slot(stmt.out),
            self._slot(stmt.buffer),
            self._slot(stmt.index),
        )
        type_, offset = _register(stmt.out), stmt.offset
        lanes, scalar, fault = type_.lanes, FROM_ELEMENT[type_.kind], self._fault

        def load_element(r: Registers) -> None:
            memory, start = r[buffer], r[index] + offset
            if not 0 <= start < memory.size or not (
                memory.written is None or memory.written[start]
            ):
                fault(stmt, memory, start, 1)
            r[target] = scalar(memory.data[start])

        def load_vector(r: Registers) -> None:
            memory, start = r[buffer], r[index] + offset
            stop = start + lanes
            if (
                start < 0
                or stop > memory.size
                or not (memory.written is None or memory.written[start:stop].all())
            ):
                fault(stmt, memory, start, lanes)
            r[target] = memory.data[start:stop].copy()

        return load_element if lanes == 1 else load_vector

    def _store(self, stmt: Store) -> Step:
        buffer, index, value = (self._slot(v) for v in (stmt.buffer, stmt.index, stmt.value))
        lanes, offset, fault = _register(stmt.value).lanes, stmt.offset, self._fault

        def store(r: Registers) -> None:
            memory, start = r[buffer], r[index] + offset
            stop = start + lanes
            if start < 0 or stop > memory.size or not memory.data.flags.writeable:
                fault(stmt, memory, start, lanes)
            memory.data[start:stop] = r[value]
            if memory.written is not None:
                memory.written[start:stop] = True

        return store

    def _active(self, stmt: Load | Store, mask: Value) -> Callable[[Registers], tuple[Any, Any]]:
        """The numbers of the lanes that the mask leaves, and their checked elements."""
        index, lanes_of, offset = self._slot(stmt.index), self._slot(mask), stmt.offset
        buffer, fault = self._slot(stmt.buffer), self._fault
        loads = isinstance(stmt, Load)

        def active(r: Registers) -> tuple[Any, Any]:
            memory = r[buffer]
            lanes = np.flatnonzero(r[lanes_of])
            elements = lanes + (r[index] + offset)
            for element in elements:
                if not 0 <= element < memory.size or not (
                    memory.written is None or not loads or memory.written[element]
                ):
                    fault(stmt, memory, int(element), 1)
            if not loads and lanes.size and not memory.data.flags.writeable:
                fault(stmt, memory, int(elements[0]), 1)
            return lanes, elements

        return active

    def _masked_load(self, stmt: Load) -> Step:
        target, buffer = self._slot(stmt.out), self._slot(stmt.buffer)
        type_ = _register(stmt.out)
        dtype, scalar, mask = DTYPES[type_.kind], FROM_ELEMENT[type_.kind], stmt.mask
        active = self._active(stmt, _present(mask))

        def load(r: Registers) -> None:
            lanes, elements = active(r)
            value = np.zeros(type_.lanes, dtype)
            value[lanes] = r[buffer].data[elements]
            r[target] = value if type_.lanes > 1 else scalar(value[0])

        return load

    def _masked_store(self, stmt: Store) -> Step:
        buffer, value = self._slot(stmt.buffer), self._slot(stmt.value)
        active = self._active(stmt, _present(stmt.mask))

        def store(r: Registers) -> None:
            lanes, elements = active(r)
            memory = r[buffer]
            memory.data[elements] = np.atleast_1d(r[value])[lanes]
            if memory.written is not None:
                memory.written[elements] = True

        return store

    def _alloc(self, out: Value) -> Step:
        type_ = _buffer(out)
        if type_.extent is None:
            raise InterpError(f"{self.name}: scratch {out.hint!r} without an extent")
        target, extent, dtype = self._slot(out), type_.extent, DTYPES[type_.kind]

        def alloc(r: Registers) -> None:
            r[target] = _Memory(np.zeros(extent, dtype), extent, np.zeros(extent, np.bool_))

        return alloc

    def _view(self, stmt: View) -> Step:
        target, buffer, index = (
            self._slot(stmt.out),
            self._slot(stmt.buffer),
            self._slot(stmt.index),
        )
        name, hint, extent = self.name, stmt.buffer.hint, _buffer(stmt.out).extent

        def view(r: Registers) -> None:
            memory, start = r[buffer], r[index]
            if start < 0 or start + (extent or 0) > memory.size:
                raise InterpError(
                    f"{name}: view of {hint!r} from {start} on ({extent} elements) is out of "
                    f"bounds: it has {memory.size} elements"
                )
            r[target] = memory.part(start, extent)

        return view

    def _for(self, stmt: For) -> Step:
        iv, low, high, stride = (
            self._slot(stmt.iv),
            self._slot(stmt.lo),
            self._slot(stmt.hi),
            stmt.step,
        )
        if stride <= 0:
            raise InterpError(f"{self.name}: loop over {stmt.iv.hint!r} with step {stride}")
        inits = [self._slot(v) for v in stmt.inits]
        carried = [self._slot(v) for v in stmt.carried]
        body = self._body(stmt.body)
        yields = [self._slot(v) for v in stmt.yields]
        results = [self._slot(v) for v in stmt.results]

        def plain(r: Registers) -> None:
            for i in range(r[low], r[high], stride):
                r[iv] = i
                for step in body:
                    step(r)

        def carrying(r: Registers) -> None:
            values = [r[slot] for slot in inits]
            for i in range(r[low], r[high], stride):
                r[iv] = i
                for slot, value in zip(carried, values, strict=True):
                    r[slot] = value
                for step in body:
                    step(r)
                values = [r[slot] for slot in yields]
            for slot, value in zip(results, values, strict=True):
                r[slot] = value

        return carrying if carried else plain

    def _if(self, stmt: If) -> Step:
        cond, then, orelse = self._slot(stmt.cond), self._body(stmt.then), self._body(stmt.orelse)

        def branch(r: Registers) -> None:
            for step in then if r[cond] else orelse:
                step(r)

        return branch

    def _call(self, stmt: Call) -> Step:
        args, program, caller = [self._slot(a) for a in stmt.args], self._program, self.name

        def call(r: Registers) -> None:
            callee = program.get(stmt.callee)
            if callee is None:
                raise InterpError(f"{caller}: call of {stmt.callee!r}, which is not there")
            if len(args) != len(callee.params):
                raise InterpError(f"{caller}: {stmt.callee!r} takes {len(callee.params)} arguments")
            callee.call([r[slot] for slot in args])

        return call


def _split_at_barriers(body: Sequence[Stmt]) -> list[list[Stmt]]:
    phases: list[list[Stmt]] = [[]]
    for stmt in body:
        if isinstance(stmt, Barrier):
            phases.append([])
        else:
            phases[-1].append(stmt)
    return phases


def _always(value: Any) -> Operation:
    return lambda: value


def _select(cond: Type) -> Operation:
    if cond.lanes > 1:
        return lambda chosen, a, b: np.where(chosen, a, b)
    return lambda chosen, a, b: a if chosen else b


def _splat(type_: Type) -> Operation:
    dtype, lanes = DTYPES[type_.kind], type_.lanes
    if lanes == 1:
        return lambda a: a

    def splat(a: Any) -> Array:
        value = np.empty(lanes, dtype)
        value.fill(a)
        return value

    return splat


def _shuffle(kind: Kind, lanes: tuple[int, ...]) -> Operation:
    if len(lanes) == 1:
        scalar, lane = FROM_ELEMENT[kind], lanes[0]
        return lambda a, b: scalar(np.hstack((a, b))[lane])
    picks, dtype = np.array(lanes), DTYPES[kind]
    return lambda a, b: np.hstack((a, b)).astype(dtype)[picks]


def _extract(kind: Kind, lane: int) -> Operation:
    scalar = FROM_ELEMENT[kind]
    return lambda a: scalar(a[lane] if isinstance(a, np.ndarray) else a)


def _register(value: Value) -> Type:
    if not isinstance(value.type, Type):
        raise InterpError(f"the buffer {value.hint!r} is used as a number")
    return value.type


def _buffer(value: Value) -> BufferType:
    if not isinstance(value.type, BufferType):
        raise InterpError(f"the number {value.hint!r} is used as a buffer")
    return value.type


def _present(mask: Value | None) -> Value:
    if mask is None:
        raise InternalError("a masked access without a mask")
    return mask
