"""A host's loop over tasks that notes the clock before and after each segment of a program.

It is machine code, so that segments of a microsecond can be timed: what it adds to one is the clock
itself, some 20 ns.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from cnncc.llvm.emit import module_text
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.targets import Target

_NAME = "cnncc_stopwatch"
_CLOCK_MONOTONIC = 1  # on Linux
# The host's memory: the number of the next note, then the notes, two a segment, in nanoseconds.
_TEXT = f"""\
declare i32 @clock_gettime(i32, ptr) #0

define internal void @note(ptr %host) #0 {{
entry:
  %time = alloca [2 x i64], align 8
  %bad = call i32 @clock_gettime(i32 {_CLOCK_MONOTONIC}, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %rest.at = getelementptr i8, ptr %time, i64 8
  %rest = load i64, ptr %rest.at, align 8
  %whole = mul i64 %seconds, 1000000000
  %now = add i64 %whole, %rest
  %number = load i64, ptr %host, align 8
  %next = add i64 %number, 1
  store i64 %next, ptr %host, align 8
  %place = getelementptr i64, ptr %host, i64 %next
  store i64 %now, ptr %place, align 8
  ret void
}}

define void @{_NAME}(ptr %host, i32 %count, ptr %task, ptr %arg) #0 {{
entry:
  call void @note(ptr %host)
  br label %tasks
tasks:
  %i = phi i32 [ 0, %entry ], [ %after, %tasks ]
  call void %task(ptr %arg, i32 %i)
  %after = add i32 %i, 1
  %more = icmp slt i32 %after, %count
  br i1 %more, label %tasks, label %done
done:
  call void @note(ptr %host)
  ret void
}}"""


@cache
def _loop(target: Target) -> Library:
    return load([emit_object(module_text([_TEXT], target), target)], [_NAME], target)


class Stopwatch:
    """A loaded program that runs segment by segment on one thread.

    Attributes:
        segments: how many `main` has.
    """

    def __init__(self, library: Library, segments: int, target: Target, main: str = "main") -> None:
        self.segments = segments
        self._loop = _loop(target)
        self._notes = np.zeros(1 + 2 * segments, np.int64)
        self._call = library.function(
            f"{main}_forkjoin",
            ctypes.c_void_p,
            ctypes.c_int32,
            ctypes.c_void_p,
            ctypes.c_void_p,
        )

    def run(self, buffers: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Seconds that each segment takes in one call of `main` on these buffers."""
        pointers = (ctypes.c_void_p * len(buffers))(*[b.ctypes.data for b in buffers])
        self._notes[0] = 0
        self._call(pointers, 1, self._loop[_NAME], self._notes.ctypes.data)
        return (self._notes[2::2] - self._notes[1::2]) / 1e9
