"""The thread pool as LLVM text: Linux threads and futexes, no other library, no memory of its own.

C signatures (`P` is the prefix, `cnncc` for code that is loaded into this process):

    typedef void (*P_body)(void *context, int64_t share, int64_t shares, int64_t phase);
    int64_t P_pool_bytes(int64_t threads);
    int64_t P_pool_start(void *memory, int64_t threads, int64_t idle_spins, int64_t wait_spins);
    void    P_pool_run(void *pool, P_body body, int64_t phases, void *context);
    void    P_pool_stop(void *pool);
    void    P_pool_pause(int64_t spins);

`P_pool_start` builds the pool in zeroed memory of the caller, aligned to 128 bytes, and gives the
threads it has, the caller of `P_pool_run` included: less than asked for when the system refuses
more. `P_pool_run` calls `body` once for each share of each phase, all of one phase before any of
the next, and returns when all are through, in the default floating-point mode; where the pool is
null or busy with another caller's work each phase is one share, which gives the same bits.
Workers spin `idle_spins` pauses for the next job and `wait_spins` within one, then sleep; signals
stay with the program's own threads. A forked child has the memory but not the workers: it must
start a pool of its own.

How they share is in `pool_turns.py`.
"""

from __future__ import annotations

from cnncc.errors import EmitError
from cnncc.llvm.pool_turns import FUTEX, PAUSE, SHARING, WAITING, places
from cnncc.llvm.rounding import in_default_mode
from cnncc.targets import Target

_EXTERNALS = """\
declare i32 @pthread_create(ptr, ptr, ptr, ptr) #0
declare i32 @pthread_join(i64, ptr) #0
declare i32 @pthread_sigmask(i32, ptr, ptr) #0
declare i32 @sched_yield() #0
declare i64 @syscall(i64, ...) #0"""

_WORKING = """\
define internal ptr @"{p}_worker"(ptr %self) #0 {{
entry:
{work_in_default_mode}
  ret ptr null
}}

define internal void @"{p}_work"(ptr %self) #0 {{
entry:
  %pool.at = getelementptr i8, ptr %self, i64 {pool}
  %number.at = getelementptr i8, ptr %self, i64 {number}
  %pool = load ptr, ptr %pool.at, align 8
  %number = load i64, ptr %number.at, align 8
{limits_only}
  br label %idle
idle:
  %seen = phi i64 [ 0, %entry ], [ %now, %look ], [ %now, %work ]
  %now = call i64 @"{p}_await"(ptr %pool, i64 %seen)
  %stop = load atomic i64, ptr %stop.at monotonic, align 8
  %over = icmp ne i64 %stop, 0
  br i1 %over, label %leave, label %look
look:
  %open = trunc i64 %now to i1
  br i1 %open, label %work, label %idle
work:
  call void @"{p}_take_part"(ptr %pool, i64 %number, i64 %now)
  br label %idle
leave:
  ret void
}}

define internal void @"{p}_alone"(ptr %body, i64 %phases, ptr %context) #0 {{
entry:
  br label %next
next:
  %number = phi i64 [ 0, %entry ], [ %following, %work ]
  %more = icmp ult i64 %number, %phases
  br i1 %more, label %work, label %done
work:
  call void %body(ptr %context, i64 0, i64 1, i64 %number)
  %following = add i64 %number, 1
  br label %next
done:
  ret void
}}

define {linkage} void @"{p}_pool_run"(ptr %pool, ptr %body, i64 %phases, ptr %context) #0 {{
entry:
{run_in_default_mode}
  ret void
}}

define internal void @"{p}_run"(ptr %pool, ptr %body, i64 %phases, ptr %context) #0 {{
entry:
  %none = icmp eq ptr %pool, null
  %empty = icmp eq i64 %phases, 0
  %simple = or i1 %none, %empty
  br i1 %simple, label %alone, label %look
look:
{fields}
{limits}
{parts}
  %threads = load i64, ptr %threads.at, align 8
  %many = icmp sgt i64 %threads, 1
  br i1 %many, label %lock, label %alone
lock:
  %try = cmpxchg ptr %busy, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %try, 1
  br i1 %mine, label %fork, label %alone
fork:
  %before = load atomic i64, ptr %turn monotonic, align 8
  %first = add i64 %before, 1
  store ptr %body, ptr %body.at, align 8
  store i64 %phases, ptr %phases.at, align 8
  store ptr %context, ptr %context.at, align 8
  store i64 %first, ptr %first.at, align 8
  call void @"{p}_set_turn"(ptr %pool, i64 %first)
  br label %phase
phase:
  %now = phi i64 [ %first, %fork ], [ %later, %phase ]
  call void @"{p}_take_part"(ptr %pool, i64 0, i64 %now)
  %later = call i64 @"{p}_await"(ptr %pool, i64 %now)
  %open = trunc i64 %later to i1
  br i1 %open, label %phase, label %unlock
unlock:
  store atomic i64 0, ptr %busy seq_cst, align 8
  ret void
alone:
  call void @"{p}_alone"(ptr %body, i64 %phases, ptr %context)
  ret void
}}"""

_LIVING = """\
define {linkage} i64 @"{p}_pool_bytes"(i64 %threads) #0 {{
entry:
  %lines = mul i64 %threads, {line}
  %all = add i64 %lines, {head}
  ret i64 %all
}}

define {linkage} i64 @"{p}_pool_start"(ptr %pool, i64 %wanted, i64 %idle, i64 %spins) #0 {{
entry:
  %blocked = alloca [16 x i64], align 8
  %mask = alloca [16 x i64], align 8
  store [16 x i64] [{ones}], ptr %blocked, align 8
{limits_only}
  %patience = sdiv i64 %spins, {patience_share}
  store i64 %idle, ptr %idle.at, align 8
  store i64 %spins, ptr %wait.at, align 8
  store i64 %patience, ptr %patience.at, align 8
  %block = call i32 @pthread_sigmask(i32 2, ptr %blocked, ptr %mask)
  br label %next
next:
  %number = phi i64 [ 1, %entry ], [ %following, %made ]
  %enough = icmp sge i64 %number, %wanted
  br i1 %enough, label %done, label %make
make:
  %self = call ptr @"{p}_thread"(ptr %pool, i64 %number)
  %handle.at = getelementptr i8, ptr %self, i64 {handle}
  %pool.at = getelementptr i8, ptr %self, i64 {pool}
  %number.at = getelementptr i8, ptr %self, i64 {number}
  store ptr %pool, ptr %pool.at, align 8
  store i64 %number, ptr %number.at, align 8
  %error = call i32 @pthread_create(ptr %handle.at, ptr null, ptr @"{p}_worker", ptr %self)
  %refused = icmp ne i32 %error, 0
  br i1 %refused, label %done, label %made
made:
  %following = add i64 %number, 1
  br label %next
done:
  %restore = call i32 @pthread_sigmask(i32 2, ptr %mask, ptr null)
  store i64 %number, ptr %threads.at, align 8
  ret i64 %number
}}

; Waits for a job that runs; afterwards the pool stays busy, so that late callers run alone.
define {linkage} void @"{p}_pool_stop"(ptr %pool) #0 {{
entry:
{fields}
{limits}
  br label %lock
lock:
  %try = cmpxchg ptr %busy, i64 0, i64 1 seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %try, 1
  br i1 %mine, label %tell, label %later
later:
  %yield = call i32 @sched_yield()
  br label %lock
tell:
  store atomic i64 1, ptr %stop.at monotonic, align 8
  %before = load atomic i64, ptr %turn monotonic, align 8
  %after = add i64 %before, 2
  call void @"{p}_set_turn"(ptr %pool, i64 %after)
  %threads = load i64, ptr %threads.at, align 8
  br label %next
next:
  %number = phi i64 [ 1, %tell ], [ %following, %join ]
  %over = icmp sge i64 %number, %threads
  br i1 %over, label %done, label %join
join:
  %self = call ptr @"{p}_thread"(ptr %pool, i64 %number)
  %handle.at = getelementptr i8, ptr %self, i64 {handle}
  %handle = load i64, ptr %handle.at, align 8
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
    if "linux" not in target.triple or machine not in FUTEX:
        raise EmitError(f"there is no thread pool for `{target.triple}`")
    work = f'  call void @"{prefix}_work"(ptr %self)'
    run = f'  call void @"{prefix}_run"(ptr %pool, ptr %body, i64 %phases, ptr %context)'
    words = {
        "p": prefix,
        "linkage": linkage,
        "pause": PAUSE[machine],
        "futex": FUTEX[machine],
        "ones": ", ".join(["i64 -1"] * 16),
        "work_in_default_mode": "\n".join(in_default_mode([work], target)),
        "run_in_default_mode": "\n".join(in_default_mode([run], target)),
        **places(),
    }
    return [_EXTERNALS, *(p.format(**words) for p in (WAITING, SHARING, _WORKING, _LIVING))]
