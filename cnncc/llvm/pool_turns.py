"""How threads of the pool share a job: turns, waiting for them, and shares that change hands.

`turn` is odd while a phase is open and even between jobs; it never falls. A share of the phase at
turn `t` belongs to who moves its `begun` word from t - 1 to t + 1: its own thread, or, where that
has not come to a core, one that is through with its own share. So a turn read long ago claims
nothing, and the fields of a job are read under a claim only: the job cannot end before that share.
Sixty-four bits do not wrap around (docs/decisions, 049).
"""

from __future__ import annotations

LINE = 128
# Each word that one thread writes and another polls has a line of its own.
FIELDS = ("turn", "sleepers", "arrived", "busy", "job", "limits")
AT = {field: LINE * number for number, field in enumerate(FIELDS)}
HEAD = LINE * len(FIELDS)
# Within the line of the job, of the limits, and of each thread.
_JOB = {"body": 0, "phases": 8, "context": 16, "first": 24}
LIMITS = {"threads": 0, "idle": 8, "wait": 16, "patience": 24, "stop": 32}
THREAD = {"begun": 0, "handle": 8, "pool": 16, "number": 24, "spent": 32}
_PATIENCE_SHARE = 64  # 60 us of spinning before sleep are 1 us before another's share is taken
FUTEX = {"x86_64": 202, "aarch64": 98}
PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.isb(i32 15)",
}

WAITING = """\
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

; The turn, as soon as it is no longer `seen` or after so many pauses.
define internal i64 @"{p}_spin"(ptr %pool, i64 %seen, i64 %spins) #0 {{
entry:
{fields}
  br label %look
look:
  %left = phi i64 [ %spins, %entry ], [ %less, %again ]
  %now = load atomic i64, ptr %turn acquire, align 8
  %same = icmp eq i64 %now, %seen
  %more = icmp sgt i64 %left, 0
  %stay = and i1 %same, %more
  br i1 %stay, label %again, label %done
again:
  {pause}
  %less = sub i64 %left, 1
  br label %look
done:
  ret i64 %now
}}

; The turn, as soon as it is no longer `seen`; the futex looks at its lower half.
define internal i64 @"{p}_await"(ptr %pool, i64 %seen) #0 {{
entry:
{fields}
{limits}
  %within = trunc i64 %seen to i1
  %spins.at = select i1 %within, ptr %wait.at, ptr %idle.at
  %spins = load i64, ptr %spins.at, align 8
  %soon = call i64 @"{p}_spin"(ptr %pool, i64 %seen, i64 %spins)
  %old = trunc i64 %seen to i32
  br label %check
check:
  %now = phi i64 [ %soon, %entry ], [ %later, %awake ]
  %same = icmp eq i64 %now, %seen
  br i1 %same, label %sleep, label %done
sleep:
  %in = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %error = call i64 (i64, ...) @syscall(i64 {futex}, ptr %turn, i32 128, i32 %old, ptr null)
  %woken = icmp eq i64 %error, 0
  br i1 %woken, label %awake, label %refused
refused:
  %out = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %awake
awake:
  %later = load atomic i64, ptr %turn seq_cst, align 8
  br label %check
done:
  ret i64 %now
}}

; Who wakes others counts them out: until they run, nobody calls the system for them again.
define internal void @"{p}_set_turn"(ptr %pool, i64 %value) #0 {{
entry:
{fields}
  store atomic i64 %value, ptr %turn seq_cst, align 8
  %asleep = load atomic i64, ptr %sleepers seq_cst, align 8
  %any = icmp sgt i64 %asleep, 0
  br i1 %any, label %call, label %done
call:
  %woken = call i64 (i64, ...) @syscall(i64 {futex}, ptr %turn, i32 129, i32 2147483647)
  %out = atomicrmw sub ptr %sleepers, i64 %woken seq_cst
  br label %done
done:
  ret void
}}"""

SHARING = """\
define internal ptr @"{p}_thread"(ptr %pool, i64 %number) #0 {{
entry:
  %offset = mul i64 %number, {line}
  %place = add i64 %offset, {head}
  %thread = getelementptr i8, ptr %pool, i64 %place
  ret ptr %thread
}}

; Whether the share was still to be had; then it is done, and the last one of all ends the phase.
define internal i1 @"{p}_share"(ptr %pool, i64 %share, i64 %at) #0 {{
entry:
{fields}
{limits}
{parts}
  %thread = call ptr @"{p}_thread"(ptr %pool, i64 %share)
  %begun = getelementptr i8, ptr %thread, i64 {begun}
  %before = sub i64 %at, 1
  %after = add i64 %at, 1
  %try = cmpxchg ptr %begun, i64 %before, i64 %after seq_cst seq_cst
  %mine = extractvalue {{ i64, i1 }} %try, 1
  br i1 %mine, label %work, label %done
work:
  %first = load i64, ptr %first.at, align 8
  %passed = sub i64 %at, %first
  %number = lshr i64 %passed, 1
  %body = load ptr, ptr %body.at, align 8
  %context = load ptr, ptr %context.at, align 8
  %threads = load i64, ptr %threads.at, align 8
  call void %body(ptr %context, i64 %share, i64 %threads, i64 %number)
  %others = atomicrmw add ptr %arrived, i64 1 seq_cst
  %all = add i64 %others, 1
  %last = icmp eq i64 %all, %threads
  br i1 %last, label %end, label %done
end:
  store atomic i64 0, ptr %arrived monotonic, align 8
  %phases = load i64, ptr %phases.at, align 8
  %following = add i64 %number, 1
  %more = icmp ult i64 %following, %phases
  %opened = add i64 %at, 2
  %next = select i1 %more, i64 %opened, i64 %after
  call void @"{p}_set_turn"(ptr %pool, i64 %next)
  br label %done
done:
  ret i1 %mine
}}

; A thread's part in a phase: its share, then after a while those that nobody has begun. Where it
; found one last time it is less patient: enough for a thread that spins to come, not more.
define internal void @"{p}_take_part"(ptr %pool, i64 %own, i64 %at) #0 {{
entry:
{limits_only}
  %threads = load i64, ptr %threads.at, align 8
  %before = sub i64 %at, 1
  %self = call ptr @"{p}_thread"(ptr %pool, i64 %own)
  %spent.at = getelementptr i8, ptr %self, i64 {spent}
  %first = call i1 @"{p}_share"(ptr %pool, i64 %own, i64 %at)
  %spent = load i64, ptr %spent.at, align 8
  %none = icmp ne i64 %spent, 0
  %full = load i64, ptr %patience.at, align 8
  %part = lshr i64 %full, 2
  %patience = select i1 %none, i64 %part, i64 %full
  %now = call i64 @"{p}_spin"(ptr %pool, i64 %at, i64 %patience)
  %over = icmp ne i64 %now, %at
  br i1 %over, label %met, label %next
next:
  %number = phi i64 [ %own, %entry ], [ %share, %tried ]
  %taken = phi i64 [ 0, %entry ], [ %sum, %tried ]
  %up = add i64 %number, 1
  %wraps = icmp eq i64 %up, %threads
  %share = select i1 %wraps, i64 0, i64 %up
  %around = icmp eq i64 %share, %own
  br i1 %around, label %done, label %look
look:
  %thread = call ptr @"{p}_thread"(ptr %pool, i64 %share)
  %begun.at = getelementptr i8, ptr %thread, i64 {begun}
  %begun = load atomic i64, ptr %begun.at monotonic, align 8
  %waits = icmp eq i64 %begun, %before
  br i1 %waits, label %try, label %tried
try:
  %got = call i1 @"{p}_share"(ptr %pool, i64 %share, i64 %at)
  %one = zext i1 %got to i64
  %with = add i64 %taken, %one
  br label %tried
tried:
  %sum = phi i64 [ %taken, %look ], [ %with, %try ]
  br label %next
met:
  br label %done
done:
  %found = phi i64 [ %taken, %next ], [ 0, %met ]
  store i64 %found, ptr %spent.at, align 8
  ret void
}}"""


def places() -> dict[str, object]:
    """What the texts put in for offsets, and for the instructions that name the pool's fields."""
    limits = _named("limits", LIMITS)
    return {
        "fields": "\n".join(_field(field) for field in FIELDS),
        "limits": limits,
        "limits_only": f"{_field('limits')}\n{limits}",
        "parts": _named("job", _JOB),
        "line": LINE,
        "head": HEAD,
        "patience_share": _PATIENCE_SHARE,
        **THREAD,
    }


def _field(field: str) -> str:
    return f"  %{field} = getelementptr i8, ptr %pool, i64 {AT[field]}"


def _named(line: str, offsets: dict[str, int]) -> str:
    """Names `%field.at` for the fields that share a line of the pool."""
    return "\n".join(
        f"  %{field}.at = getelementptr i8, ptr %{line}, i64 {offset}"
        for field, offset in offsets.items()
    )
