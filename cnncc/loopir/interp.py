"""Running LoopIR with NumPy: slow, but it checks every access.

Each function is compiled once into closures over a list of registers. Every load and store is
checked against the extent of its buffer, and scratch that was never written may not be read. The
threads of a program run one after the other between two barriers, so that a run is deterministic;
another order of them must give the same numbers, or the program has a race.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, assert_never

import numpy as np

from cnncc.errors import InternalError
from cnncc.loopir import arith
from cnncc.loopir.arith import DTYPES, Array, InterpError, Operation
from cnncc.loopir.memory import (
    Memory,
    Registers,
    Step,
    alloc_step,
    load_step,
    register_type,
    store_step,
    view_step,
)
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
    Lookup,
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
        return Memory(arg, arg.size)

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
                return self._const(out, value)
            case Unary(out, op, a):
                return self._apply(out, arith.unary(op, register_type(out)), a)
            case Binary(out, op, a, b):
                place = f"{self.name}: {op} giving {out.hint!r}"
                return self._apply(out, arith.binary(op, register_type(out), place), a, b)
            case Fma(out, a, b, c):
                return self._apply(out, arith.fma(register_type(out)), a, b, c)
            case Compare(out, op, a, b):
                return self._apply(out, arith.compare(op), a, b)
            case Select(out, cond, a, b):
                return self._apply(out, arith.select(register_type(cond)), cond, a, b)
            case Convert(out, a):
                source = register_type(a) if isinstance(a, Value) else Type(Kind.INDEX)
                return self._apply(out, arith.convert(source, register_type(out).kind), a)
            case Bitcast(out, a):
                type_ = register_type(out)
                return self._apply(out, arith.bitcast(type_.kind, type_.lanes), a)
            case Splat(out, a):
                return self._apply(out, arith.splat(register_type(out)), a)
            case Shuffle(out, a, b, lanes):
                return self._apply(out, arith.shuffle(register_type(out).kind, lanes), a, b)
            case Lookup(out, a, b, index):
                return self._apply(out, arith.lookup, a, b, index)
            case Extract(out, a, lane):
                return self._apply(out, arith.extract(register_type(out).kind, lane), a)
            case Load():
                return load_step(self.name, stmt, self._slot)
            case Store():
                return store_step(self.name, stmt, self._slot)
            case Alloc(out):
                return alloc_step(self.name, out, self._slot)
            case View():
                return view_step(self.name, stmt, self._slot)
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

    def _const(self, out: Value, value: Any) -> Step:
        target, known = self._slot(out), arith.constant(value, register_type(out))

        def step(r: Registers) -> None:
            r[target] = known

        return step

    def _apply(self, out: Value, operation: Operation, *operands: Index) -> Step:
        target = self._slot(out)
        slots = [self._slot(operand) for operand in operands]
        match slots:
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
                raise InternalError("an operation takes one to three operands")
        return step

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
