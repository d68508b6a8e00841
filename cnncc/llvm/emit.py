"""LoopIR functions as LLVM text: parameters, loops, branches and calls.

Plain text and not llvmlite's builder, which takes ten times as long. Loops are tested at the
bottom, with a guard before them where the number of turns is not known to be positive; a loop of
one turn is no loop. LLVM is told to leave every loop rolled: kernels unroll where they are made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cnncc.errors import EmitError
from cnncc.llvm.memory import emit_memory
from cnncc.llvm.types import BYTES, register_type, scalar_type, symbol
from cnncc.llvm.vector import emit_arithmetic
from cnncc.llvm.writer import FunctionWriter
from cnncc.loopir.nodes import (
    Alloc,
    Barrier,
    BufferType,
    Call,
    For,
    Func,
    If,
    Kind,
    Load,
    Prefetch,
    Program,
    Stmt,
    Store,
    Type,
    Value,
    View,
)
from cnncc.targets import Target

_INDEX = Type(Kind.INDEX)
_ROUNDING = ("sse4.1", "avx", "avx2", "avx512f")
_LOOP_MARK = ", !llvm.loop !loop"
_ROLLED = '!0 = !{!"llvm.loop.unroll.disable"}'
_SCALAR = '!1 = !{!"llvm.loop.vectorize.enable", i1 false}'


def has_rounding(target: Target) -> bool:
    """Whether the target rounds in one instruction, so that LLVM need not call a library."""
    return not target.triple.startswith("x86_64") or any(
        feature in _ROUNDING for feature in target.requires
    )


def new_writer(target: Target) -> FunctionWriter:
    """A writer for a function of that target."""
    permutes = "avx512f" in target.requires
    return FunctionWriter(rounds=has_rounding(target), permutes=permutes)


def emit_program(program: Program, target: Target) -> str:
    """All functions of a program as one module; `main` may have no barriers (see `parallel`).

    Raises:
        EmitError: a node that breaks LoopIR's rules.
    """
    return module_text((emit_function(func, target) for func in program.funcs), target)


def emit_unit(program: Program, func: Func, target: Target) -> str:
    """One function as a module of its own; those that it calls are declared."""
    called = {stmt.callee for stmt in walk(func.body) if isinstance(stmt, Call)}
    declared = (declaration(program.func(name)) for name in sorted(called - {func.name}))
    return module_text([*declared, emit_function(func, target)], target)


def module_text(parts: Iterable[str], target: Target) -> str:
    """A module of functions and declarations, with the attributes and loop marks they refer to."""
    pieces = "\n\n".join([*parts, _attributes(target)]).split(_LOOP_MARK)
    marked = [f"{piece}, !llvm.loop !{number}" for number, piece in enumerate(pieces[:-1], 2)]
    nodes = [f"!{number} = distinct !{{!{number}, !0, !1}}" for number in range(2, len(pieces) + 1)]
    return "\n".join(["".join(marked) + pieces[-1], "", _ROLLED, _SCALAR, *nodes]) + "\n"


def _attributes(target: Target) -> str:
    tuning = f' "tune-cpu"="{target.scheduling}"' if target.scheduling else ""
    # A large frame touches each page on its way down: it cannot step over the page that guards the
    # end of a thread's stack.
    return f'attributes #0 = {{ nounwind "no-builtins" "probe-stack"="inline-asm"{tuning} }}'


def emit_function(func: Func, target: Target, *, linkage: str = "") -> str:
    """One function; `linkage` goes before its type, such as `internal`."""
    w = new_writer(target)
    header = open_function(w, func.name, func.params, linkage=linkage)
    emit_body(w, func.body)
    w.do("ret void")
    # Inlined, the scratch of several kernels would add up in one frame.
    apart = any(isinstance(stmt, Alloc) for stmt in walk(func.body))
    return f"{header}{' noinline' if apart else ''} {{\n{w.body()}\n}}"


def open_function(
    w: FunctionWriter, name: str, params: Sequence[Value], *, linkage: str = ""
) -> str:
    """Name the parameters and give the function's header."""
    texts = []
    for number, param in enumerate(params):
        w.names[param] = f"%p{number}"
        texts.append(f"{_parameter(param)} %p{number}")
    prefix = f"{linkage} " if linkage else ""
    return f"define {prefix}void {symbol(name)}({', '.join(texts)}) #0"


def declaration(func: Func) -> str:
    """A function that another object defines."""
    return f"declare void {symbol(func.name)}({', '.join(map(_parameter, func.params))}) #0"


def walk(body: Sequence[Stmt]) -> Iterable[Stmt]:
    """All statements, those of a body before the ones nested in them."""
    pending = [body]
    while pending:
        for stmt in pending.pop():
            yield stmt
            if isinstance(stmt, For):
                pending.append(stmt.body)
            elif isinstance(stmt, If):
                pending += (stmt.then, stmt.orelse)


def _parameter(param: Value) -> str:
    if not isinstance(param.type, BufferType):
        return register_type(param.type)
    marks = "noalias " if param.type.unique else ""
    access = "" if param.type.writable else " readonly"
    return f"ptr {marks}captures(none){access} align {BYTES[param.type.kind]}"


def emit_body(w: FunctionWriter, body: Sequence[Stmt]) -> None:
    """Write statements in order.

    Raises:
        EmitError: a barrier, which only `parallel` can place.
    """
    for stmt in body:
        match stmt:
            case Load() | Store() | Alloc() | View() | Prefetch():
                emit_memory(w, stmt)
            case For():
                _for(w, stmt)
            case If():
                _if(w, stmt)
            case Call():
                _call(w, stmt)
            case Barrier():
                raise EmitError("a barrier may stand only in the straight line of `main`")
            case _:
                emit_arithmetic(w, stmt)


def _call(w: FunctionWriter, stmt: Call) -> None:
    texts = []
    for arg in stmt.args:
        if isinstance(arg, Value) and isinstance(arg.type, BufferType):
            texts.append(f"ptr {w.name(arg)}")
        else:
            type_ = scalar_type(arg) if isinstance(arg, Value) else _INDEX
            texts.append(f"{register_type(type_)} {w.operand(arg, type_)}")
    w.do(f"call void {symbol(stmt.callee)}({', '.join(texts)})")


def _if(w: FunctionWriter, stmt: If) -> None:
    then, done = w.fresh("then"), w.fresh("done")
    orelse = w.fresh("else") if stmt.orelse else done
    w.do(f"br i1 {w.name(stmt.cond)}, label %{then}, label %{orelse}")
    for label, body in ((then, stmt.then), (orelse, stmt.orelse)):
        if body or label is then:
            w.start_block(label)
            with w.scope():
                emit_body(w, body)
            w.do(f"br label %{done}")
    w.start_block(done)


def _for(w: FunctionWriter, loop: For) -> None:
    if loop.step <= 0:
        raise EmitError(f"loop `{loop.iv.hint}` has step {loop.step}")
    lo, hi = w.operand(loop.lo, _INDEX), w.operand(loop.hi, _INDEX)
    turns = None
    if not lo.startswith("%") and not hi.startswith("%"):
        turns = max(0, -(-(int(hi) - int(lo)) // loop.step))
    if turns == 0:
        _alias(w, loop.results, loop.inits)
    elif turns == 1:
        w.names[loop.iv] = lo
        _alias(w, loop.carried, loop.inits)
        emit_body(w, loop.body)
        _alias(w, loop.results, loop.yields)
    else:
        _rolled(w, loop, lo, hi, guarded=turns is None)


def _alias(w: FunctionWriter, targets: Sequence[Value], sources: Sequence[Value]) -> None:
    for target, name in zip(targets, [w.name(source) for source in sources], strict=True):
        w.names[target] = name


def _rolled(w: FunctionWriter, loop: For, lo: str, hi: str, *, guarded: bool) -> None:
    inits = [w.name(value) for value in loop.inits]
    body, done = w.fresh("loop"), w.fresh("done")
    before = w.block
    if guarded:
        enter = w.let(f"icmp slt i64 {lo}, {hi}")
        w.do(f"br i1 {enter}, label %{body}, label %{done}")
    else:
        w.do(f"br label %{body}")
    w.start_block(body)
    with w.scope():
        phis = [(w.reserve(), w.fresh("%c")) for _ in (loop.iv, *loop.carried)]
        for value, (_, name) in zip((loop.iv, *loop.carried), phis, strict=True):
            w.names[value] = name
        emit_body(w, loop.body)
    following = w.let(f"add nsw i64 {phis[0][1]}, {loop.step}")
    again = w.let(f"icmp slt i64 {following}, {hi}")
    yields = [w.name(value) for value in loop.yields]
    w.do(f"br i1 {again}, label %{body}, label %{done}{_LOOP_MARK}")
    types = [register_type(scalar_type(value)) for value in (loop.iv, *loop.carried)]
    for (line, name), type_, first, then in zip(
        phis, types, [lo, *inits], [following, *yields], strict=True
    ):
        w.lines[line] = f"  {name} = phi {type_} [ {first}, %{before} ], [ {then}, %{w.block} ]"
    latch = w.block
    w.start_block(done)
    for value, type_, first, last in zip(loop.results, types[1:], inits, yields, strict=True):
        early = f"[ {first}, %{before} ], " if guarded else ""
        w.names[value] = w.let(f"phi {type_} {early}[ {last}, %{latch} ]")
