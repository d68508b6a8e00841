"""A program's `main` on threads: segments between barriers, and the ways of running them.

From `main(buffers..., thread, threads)` come, with `NAME` its name and `buffers` an array of
pointers in the order of its parameters:

    void NAME_run(void *const *buffers, void *pool);     on a pool of `pool_code`, or null: alone
    void NAME_serial(void *const *buffers);              on the calling thread
    void NAME_forkjoin(void *const *buffers, int32_t threads, P parallel_for, void *host);
         with P = void (*)(void *host, int32_t n, void (*task)(void *arg, int32_t i), void *arg)
         the host's own loop over tasks, called once a segment

`NAME_run` forks once, and hands the pool its phases: a segment each, or several where the first
thread alone has work in all of them. All give the same bits, whatever the caller's rounding mode.
Index arithmetic of `main` is repeated in each segment that needs it.
"""

from __future__ import annotations

from dataclasses import fields

from cnncc.errors import EmitError
from cnncc.llvm.emit import (
    declaration,
    emit_body,
    emit_function,
    module_text,
    new_writer,
    walk,
)
from cnncc.llvm.pool_code import pool_functions
from cnncc.llvm.rounding import in_default_mode
from cnncc.llvm.types import symbol
from cnncc.loopir.nodes import (
    Barrier,
    Binary,
    BufferType,
    Call,
    Compare,
    Const,
    Convert,
    Func,
    Kind,
    Program,
    Select,
    Stmt,
    Type,
    Value,
    View,
)
from cnncc.targets import Target

_INDEX = Type(Kind.INDEX)
_REPEATABLE = (Binary, Compare, Const, Convert, Select, View)
PREFIX = "cnncc"
_POOL_NAME = f"declare void @{PREFIX}_pool_run(ptr, ptr, i64, ptr) #0"


def emit_main_unit(program: Program, target: Target) -> str:
    """The module of a program's `main` for loading; kernels and pool come from other objects.

    Raises:
        EmitError: `main` is not the straight line that LoopIR asks for.
    """
    main = program.funcs[-1]
    called = {stmt.callee for stmt in walk(main.body) if isinstance(stmt, Call)}
    declared = [declaration(program.func(name)) for name in sorted(called)]
    return module_text([*declared, _POOL_NAME, *main_functions(main, target)], target)


def emit_pool_unit(target: Target) -> str:
    """The module of the thread pool, for loading beside a program.

    Raises:
        EmitError: there is no pool for the target.
    """
    return module_text(pool_functions(target, prefix=PREFIX), target)


def kernel_functions(program: Program, target: Target, *, linkage: str) -> list[str]:
    """All functions of a program but `main`."""
    return [emit_function(func, target, linkage=linkage) for func in program.funcs[:-1]]


def main_functions(
    main: Func,
    target: Target,
    *,
    linkage: str = "",
    pool: bool = True,
    prefix: str = PREFIX,
) -> list[str]:
    """The functions that `main` becomes; without `pool` there is no `NAME_run`.

    Raises:
        EmitError: `main` is not the straight line that LoopIR asks for.
    """
    _check(main)
    segments = split_at_barriers(main)
    names = [symbol(f"{main.name}_seg{number}") for number in range(len(segments))]
    parts = [
        _segment(main, name, stmts, target) for name, stmts in zip(names, segments, strict=True)
    ]
    parts += [_serial(main.name, names, linkage, target), _task(main.name, target)]
    parts.append(_forkjoin(main.name, names, linkage))
    if pool:
        phases = _phases(names, [_is_for_one(main, part) for part in segments])
        parts += [*_body(main.name, phases), _run(main.name, len(phases), linkage, prefix)]
    return parts


def split_at_barriers(main: Func) -> list[list[Stmt]]:
    """The statements of each segment: its calls, and the index arithmetic that they need.

    Segments without calls vanish, with their barriers.
    """
    segments: list[list[Stmt]] = []
    makers: dict[Value, Stmt] = {}
    calls: list[Stmt] = []
    for stmt in [*main.body, Barrier()]:
        if isinstance(stmt, Call):
            calls.append(stmt)
        elif isinstance(stmt, _REPEATABLE):
            makers[stmt.out] = stmt
        elif isinstance(stmt, Barrier) and calls:
            segments.append([*_needed(calls, makers), *calls])
            calls = []
    return segments


def _is_for_one(main: Func, segment: list[Stmt]) -> bool:
    """Whether no call has items for another thread: they are `0 ..< select(thread == 0, n, 0)`."""
    makers = {stmt.out: stmt for stmt in segment if isinstance(stmt, _REPEATABLE)}
    thread = main.params[-2]

    def is_for_one(call: Call) -> bool:
        lo, hi = call.args[-2:]
        items = makers.get(hi) if isinstance(hi, Value) else None
        if lo != 0 or not isinstance(items, Select) or items.b != 0:
            return False
        test = makers.get(items.cond)
        return isinstance(test, Compare) and (test.op, test.a, test.b) == ("eq", thread, 0)

    return all(is_for_one(stmt) for stmt in segment if isinstance(stmt, Call))


def _needed(calls: list[Stmt], makers: dict[Value, Stmt]) -> list[Stmt]:
    """The arithmetic that the arguments of calls rest on, in the order of the program."""
    seen: set[Value] = set()
    open_: list[Stmt] = list(calls)
    while open_:
        for value in _operands(open_.pop()):
            if value in makers and value not in seen:
                seen.add(value)
                open_.append(makers[value])
    return [stmt for value, stmt in makers.items() if value in seen]


def _operands(stmt: Stmt) -> list[Value]:
    if isinstance(stmt, Call):
        return [arg for arg in stmt.args if isinstance(arg, Value)]
    found = (getattr(stmt, entry.name) for entry in fields(stmt) if entry.name != "out")
    return [value for value in found if isinstance(value, Value)]


def _check(main: Func) -> None:
    kinds = [param.type for param in main.params]
    if len(kinds) < 2 or kinds[-2:] != [_INDEX, _INDEX]:
        raise EmitError(f"`{main.name}` must end in the index parameters `thread` and `threads`")
    if not all(isinstance(kind, BufferType) for kind in kinds[:-2]):
        raise EmitError(f"`{main.name}` may take only buffers before `thread` and `threads`")
    for stmt in main.body:
        if not isinstance(stmt, (Call, Barrier, *_REPEATABLE)):
            raise EmitError(
                f"`{main.name}` may hold calls, index arithmetic, views and barriers, "
                f"but no {type(stmt).__name__}"
            )


def _segment(main: Func, name: str, stmts: list[Stmt], target: Target) -> str:
    """`name(buffers, thread, threads)`: what one thread does between two barriers."""
    w = new_writer(target)
    for number, param in enumerate(main.params[:-2]):
        place = w.let(f"getelementptr ptr, ptr %buffers, i64 {number}")
        w.names[param] = w.let(f"load ptr, ptr {place}, align 8")
    w.names.update(zip(main.params[-2:], ("%thread", "%threads"), strict=True))
    emit_body(w, stmts)
    w.do("ret void")
    params = "ptr %buffers, i64 %thread, i64 %threads"
    return f"define internal void {name}({params}) #0 {{\n{w.body()}\n}}"


def _serial(main: str, segments: list[str], linkage: str, target: Target) -> str:
    calls = [f"  call void {name}(ptr %buffers, i64 0, i64 1)" for name in segments]
    return _define(linkage, f"{main}_serial", "ptr %buffers", in_default_mode(calls, target))


def _phases(segments: list[str], alone: list[bool]) -> list[list[str]]:
    """Segments in groups before which all threads meet: not between two for the first thread."""
    groups: list[list[str]] = []
    for number, name in enumerate(segments):
        if number and alone[number - 1] and alone[number]:
            groups[-1].append(name)
        else:
            groups.append([name])
    return groups


def _body(main: str, phases: list[list[str]]) -> list[str]:
    """What the pool calls for a share of a phase, through a table of distances to the code."""
    params = "ptr %buffers, i64 %thread, i64 %threads"
    made, parts = [], []
    for number, segments in enumerate(phases):
        made.append(segments[0] if len(segments) == 1 else symbol(f"{main}_phase{number}"))
        if len(segments) > 1:
            calls = [f"  call void {segment}({params})" for segment in segments]
            parts.append(_define("internal", f"{main}_phase{number}", params, calls))
    table = symbol(f"{main}_phases")
    starts = [f"i64 ptrtoint (ptr {p} to i64), i64 ptrtoint (ptr {table} to i64)" for p in made]
    rows = ", ".join(f"i32 trunc (i64 sub ({start}) to i32)" for start in starts)
    parts.append(f"{table} = internal constant [{len(made)} x i32] [{rows}], align 4")
    lines = [
        f"  %row = getelementptr i32, ptr {table}, i64 %phase",
        "  %distance = load i32, ptr %row, align 4",
        "  %wide = sext i32 %distance to i64",
        f"  %code = getelementptr i8, ptr {table}, i64 %wide",
        f"  tail call void %code({params})",
    ]
    return [*parts, _define("internal", f"{main}_body", f"{params}, i64 %phase", lines)]


def _task(main: str, target: Target) -> str:
    """What a host's loop calls; `arg` holds the array of buffers, the threads and the segment."""
    lines = [
        "  %buffers = load ptr, ptr %arg, align 8",
        "  %threads.at = getelementptr i8, ptr %arg, i64 8",
        "  %threads = load i64, ptr %threads.at, align 8",
        "  %segment.at = getelementptr i8, ptr %arg, i64 16",
        "  %segment = load ptr, ptr %segment.at, align 8",
        "  %thread = sext i32 %i to i64",
        "  call void %segment(ptr %buffers, i64 %thread, i64 %threads)",
    ]
    body = in_default_mode(lines, target)
    return _define("internal", f"{main}_task", "ptr %arg, i32 %i", body)


def _forkjoin(main: str, segments: list[str], linkage: str) -> str:
    lines = [
        "  %arg = alloca [3 x i64], align 8",
        "  store ptr %buffers, ptr %arg, align 8",
        "  %threads.at = getelementptr i8, ptr %arg, i64 8",
        "  %wide = sext i32 %threads to i64",
        "  store i64 %wide, ptr %threads.at, align 8",
        "  %segment.at = getelementptr i8, ptr %arg, i64 16",
    ]
    call = f"  call void %loop(ptr %host, i32 %threads, ptr {symbol(f'{main}_task')}, ptr %arg)"
    for name in segments:
        lines += [f"  store ptr {name}, ptr %segment.at, align 8", call]
    params = "ptr %buffers, i32 %threads, ptr %loop, ptr %host"
    return _define(linkage, f"{main}_forkjoin", params, lines)


def _run(main: str, phases: int, linkage: str, prefix: str) -> str:
    args = f"ptr %pool, ptr {symbol(f'{main}_body')}, i64 {phases}, ptr %buffers"
    lines = [f'  call void @"{prefix}_pool_run"({args})']
    return _define(linkage, f"{main}_run", "ptr %buffers, ptr %pool", lines)


def _define(linkage: str, name: str, params: str, lines: list[str]) -> str:
    body = "\n".join([*lines, "  ret void"])
    return f"define {linkage} void {symbol(name)}({params}) #0 {{\nentry:\n{body}\n}}"
