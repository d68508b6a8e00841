"""The thread pool as LLVM text: Linux threads and futexes, no other library, no memory of its own.

C signatures (`P` is the prefix, `cnncc` for code that is loaded into this process):

    typedef void (*P_spmd)(void *context, int64_t thread, int64_t threads, void *barrier);
    int64_t P_pool_bytes(int64_t threads);
    int64_t P_pool_start(void *memory, int64_t threads, int64_t idle_spins, int64_t wait_spins);
    void    P_pool_run(void *pool, P_spmd body, void *context);
    void    P_pool_stop(void *pool);
    void    P_pool_pause(int64_t spins);
    void    P_barrier(void *barrier);

`P_pool_start` builds the pool in zeroed memory of the caller, aligned to 128 bytes, and gives the
threads it has, the caller of `P_pool_run` included: less than asked for when the system refuses
more. `P_pool_run` calls `body` once on each thread and returns when all are through; where the pool
is null or busy with another caller's work it calls `body(context, 0, 1, NULL)` alone, which gives
the same bits. `P_barrier` returns at once for a null barrier. Workers spin `idle_spins` pauses for
the next job and `wait_spins` within one, then sleep; signals stay with the program's own threads.
A forked child has the memory but not the workers: it must start a pool of its own.
"""

from __future__ import annotations

from cnncc.errors import EmitError
from cnncc.targets import Target

LINE = 128
# Each word that one thread writes and another polls has a line of its own.
_FIELDS = (
    "generation", "idlers", "pending", "callers", "busy", "job", "barrier", "turn", "waiters",
    "limits",
)  # fmt: skip
_AT = {field: LINE * number for number, field in enumerate(_FIELDS)}
_HEAD = LINE * len(_FIELDS)
_FUTEX = {"x86_64": 202, "aarch64": 98}
_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.isb(i32 15)",
}

_EXTERNALS = """\
declare i32 @pthread_create(ptr, ptr, ptr, ptr) #0
declare i32 @pthread_join(i64, ptr) #0
declare i32 @pthread_sigmask(i32, ptr, ptr) #0
declare i32 @sched_yield() #0
declare i64 @syscall(i64, ...) #0"""

_WAITING = """\
define {linkage} void @"{p}_pool_pause"(i64 %spins) #0 {{
entry:
  %some = icmp sgt i64 %spins, 0
  br i1 %some, label %loop, label %done
loop:
  %left = phi i64 [ %spins, %entry ], [ %less, %loop ]
  {pause}
  %less = sub i64 %left, 1
  %more = icmp sgt i64 %less, 0
  br i1 %more, label %loop, label %done
done:
  ret void
}}

; Returns when the word is no longer `old`; `sleepers` counts those that the futex holds.
define internal void @"{p}_wait"(ptr %word, i32 %old, ptr %sleepers, i64 %spins) #0 {{
entry:
  br label %spin
spin:
  %left = phi i64 [ %spins, %entry ], [ %less, %again ]
  %now = load atomic i32, ptr %word acquire, align 4
  %changed = icmp ne i32 %now, %old
  br i1 %changed, label %done, label %tired
tired:
  %more = icmp sgt i64 %left, 0
  br i1 %more, label %again, label %sleep
again:
  {pause}
  %less = sub i64 %left, 1
  br label %spin
sleep:
  %in = atomicrmw add ptr %sleepers, i32 1 seq_cst
  br label %nap
nap:
  %call = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 128, i32 %old, ptr null)
  %woken = load atomic i32, ptr %word seq_cst, align 4
  %same = icmp eq i32 %woken, %old
  br i1 %same, label %nap, label %awake
awake:
  %out = atomicrmw sub ptr %sleepers, i32 1 seq_cst
  br label %done
done:
  ret void
}}

define internal void @"{p}_wake"(ptr %word, ptr %sleepers) #0 {{
entry:
  %asleep = load atomic i32, ptr %sleepers seq_cst, align 4
  %any = icmp sgt i32 %asleep, 0
  br i1 %any, label %call, label %done
call:
  %all = call i64 (i64, ...) @syscall(i64 {futex}, ptr %word, i32 129, i32 2147483647)
  br label %done
done:
  ret void
}}

define {linkage} void @"{p}_barrier"(ptr %barrier) #0 {{
entry:
  %none = icmp eq ptr %barrier, null
  br i1 %none, label %done, label %arrive
arrive:
  %turn = getelementptr i8, ptr %barrier, i64 {turn_of_barrier}
  %waiters = getelementptr i8, ptr %barrier, i64 {waiters_of_barrier}
  %limits = getelementptr i8, ptr %barrier, i64 {limits_of_barrier}
  %spins = load i64, ptr %limits, align 8
  %count.at = getelementptr i8, ptr %limits, i64 8
  %threads = load i32, ptr %count.at, align 4
  %now = load atomic i32, ptr %turn acquire, align 4
  %before = atomicrmw add ptr %barrier, i32 1 seq_cst
  %mine = add i32 %before, 1
  %last = icmp eq i32 %mine, %threads
  br i1 %last, label %open, label %wait
open:
  store atomic i32 0, ptr %barrier monotonic, align 4
  %next = add i32 %now, 1
  store atomic i32 %next, ptr %turn seq_cst, align 4
  call void @"{p}_wake"(ptr %turn, ptr %waiters)
  br label %done
wait:
  call void @"{p}_wait"(ptr %turn, i32 %now, ptr %waiters, i64 %spins)
  br label %done
done:
  ret void
}}"""

_WORKING = """\
define internal ptr @"{p}_worker"(ptr %self) #0 {{
entry:
  %pool.at = getelementptr i8, ptr %self, i64 8
  %thread.at = getelementptr i8, ptr %self, i64 16
  %pool = load ptr, ptr %pool.at, align 8
  %thread = load i64, ptr %thread.at, align 8
{fields}
  br label %idle
idle:
  %seen = phi i32 [ 0, %entry ], [ %next, %again ]
  %spins.at = getelementptr i8, ptr %job, i64 24
  %spins = load i64, ptr %spins.at, align 8
  call void @"{p}_wait"(ptr %generation, i32 %seen, ptr %idlers, i64 %spins)
  %next = add i32 %seen, 1
  %stop.at = getelementptr i8, ptr %job, i64 32
  %stop = load i32, ptr %stop.at, align 4
  %over = icmp ne i32 %stop, 0
  br i1 %over, label %leave, label %work
work:
  %body = load ptr, ptr %job, align 8
  %context.at = getelementptr i8, ptr %job, i64 8
  %context = load ptr, ptr %context.at, align 8
  %threads.at = getelementptr i8, ptr %job, i64 16
  %threads = load i64, ptr %threads.at, align 8
  call void %body(ptr %context, i64 %thread, i64 %threads, ptr %barrier)
  %others = atomicrmw sub ptr %pending, i32 1 seq_cst
  %last = icmp eq i32 %others, 1
  br i1 %last, label %tell, label %again
tell:
  call void @"{p}_wake"(ptr %pending, ptr %callers)
  br label %again
again:
  br label %idle
leave:
  ret ptr null
}}

define {linkage} void @"{p}_pool_run"(ptr %pool, ptr %body, ptr %context) #0 {{
entry:
  %none = icmp eq ptr %pool, null
  br i1 %none, label %alone, label %look
look:
{fields}
  %threads.at = getelementptr i8, ptr %job, i64 16
  %threads = load i64, ptr %threads.at, align 8
  %many = icmp sgt i64 %threads, 1
  br i1 %many, label %lock, label %alone
lock:
  %try = cmpxchg ptr %busy, i32 0, i32 1 seq_cst seq_cst
  %mine = extractvalue {{ i32, i1 }} %try, 1
  br i1 %mine, label %fork, label %alone
fork:
  store ptr %body, ptr %job, align 8
  %context.at = getelementptr i8, ptr %job, i64 8
  store ptr %context, ptr %context.at, align 8
  %others = sub i64 %threads, 1
  %count = trunc i64 %others to i32
  store atomic i32 %count, ptr %pending seq_cst, align 4
  %bump = atomicrmw add ptr %generation, i32 1 seq_cst
  call void @"{p}_wake"(ptr %generation, ptr %idlers)
  call void %body(ptr %context, i64 0, i64 %threads, ptr %barrier)
  %spins = load i64, ptr %limits, align 8
  br label %join
join:
  %left = load atomic i32, ptr %pending seq_cst, align 4
  %through = icmp eq i32 %left, 0
  br i1 %through, label %unlock, label %wait
wait:
  call void @"{p}_wait"(ptr %pending, i32 %left, ptr %callers, i64 %spins)
  br label %join
unlock:
  store atomic i32 0, ptr %busy seq_cst, align 4
  ret void
alone:
  call void %body(ptr %context, i64 0, i64 1, ptr null)
  ret void
}}"""

_LIVING = """\
define {linkage} i64 @"{p}_pool_bytes"(i64 %threads) #0 {{
entry:
  %workers = mul i64 %threads, {line}
  %all = add i64 %workers, {head}
  ret i64 %all
}}

define {linkage} i64 @"{p}_pool_start"(ptr %pool, i64 %wanted, i64 %idle, i64 %spins) #0 {{
entry:
  %blocked = alloca [16 x i64], align 8
  %before = alloca [16 x i64], align 8
  store [16 x i64] [{ones}], ptr %blocked, align 8
{fields}
  %threads.at = getelementptr i8, ptr %job, i64 16
  %idle.at = getelementptr i8, ptr %job, i64 24
  store i64 %idle, ptr %idle.at, align 8
  store i64 %spins, ptr %limits, align 8
  %block = call i32 @pthread_sigmask(i32 2, ptr %blocked, ptr %before)
  br label %next
next:
  %number = phi i64 [ 1, %entry ], [ %following, %made ]
  %enough = icmp sge i64 %number, %wanted
  br i1 %enough, label %done, label %make
make:
  %offset = mul i64 %number, {line}
  %place = add i64 %offset, {head}
  %self = getelementptr i8, ptr %pool, i64 %place
  %pool.at = getelementptr i8, ptr %self, i64 8
  %thread.at = getelementptr i8, ptr %self, i64 16
  store ptr %pool, ptr %pool.at, align 8
  store i64 %number, ptr %thread.at, align 8
  %error = call i32 @pthread_create(ptr %self, ptr null, ptr @"{p}_worker", ptr %self)
  %refused = icmp ne i32 %error, 0
  br i1 %refused, label %done, label %made
made:
  %following = add i64 %number, 1
  br label %next
done:
  %restore = call i32 @pthread_sigmask(i32 2, ptr %before, ptr null)
  store i64 %number, ptr %threads.at, align 8
  %count.at = getelementptr i8, ptr %limits, i64 8
  %count = trunc i64 %number to i32
  store i32 %count, ptr %count.at, align 4
  ret i64 %number
}}

; Waits for a job that runs; afterwards the pool stays busy, so that late callers run alone.
define {linkage} void @"{p}_pool_stop"(ptr %pool) #0 {{
entry:
{fields}
  br label %lock
lock:
  %try = cmpxchg ptr %busy, i32 0, i32 1 seq_cst seq_cst
  %mine = extractvalue {{ i32, i1 }} %try, 1
  br i1 %mine, label %tell, label %later
later:
  %yield = call i32 @sched_yield()
  br label %lock
tell:
  %stop.at = getelementptr i8, ptr %job, i64 32
  store i32 1, ptr %stop.at, align 4
  %bump = atomicrmw add ptr %generation, i32 1 seq_cst
  call void @"{p}_wake"(ptr %generation, ptr %idlers)
  %threads.at = getelementptr i8, ptr %job, i64 16
  %threads = load i64, ptr %threads.at, align 8
  br label %next
next:
  %number = phi i64 [ 1, %tell ], [ %following, %join ]
  %over = icmp sge i64 %number, %threads
  br i1 %over, label %done, label %join
join:
  %offset = mul i64 %number, {line}
  %place = add i64 %offset, {head}
  %self = getelementptr i8, ptr %pool, i64 %place
  %handle = load i64, ptr %self, align 8
  %error = call i32 @pthread_join(i64 %handle, ptr null)
  %following = add i64 %number, 1
  br label %next
done:
  ret void
}}"""


def pool_functions(target: Target, *, prefix: str = "cnncc", linkage: str = "") -> list[str]:
    """The pool's functions and the C functions that they call, as parts of a module.

    Raises:
        EmitError: the target is not Linux on a processor whose system call is known.
    """
    machine = target.triple.split("-", 1)[0]
    if "linux" not in target.triple or machine not in _FUTEX:
        raise EmitError(f"there is no thread pool for `{target.triple}`")
    fields = "\n".join(
        f"  %{field} = getelementptr i8, ptr %pool, i64 {offset}" for field, offset in _AT.items()
    )
    words = {
        "p": prefix,
        "linkage": linkage,
        "pause": _PAUSE[machine],
        "futex": _FUTEX[machine],
        "fields": fields,
        "line": LINE,
        "head": _HEAD,
        "ones": ", ".join(["i64 -1"] * 16),
        **{f"{f}_of_barrier": _AT[f] - _AT["barrier"] for f in ("turn", "waiters", "limits")},
    }
    return [_EXTERNALS, *(part.format(**words) for part in (_WAITING, _WORKING, _LIVING))]
