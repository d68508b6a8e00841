"""`tune="quick"`: the few kernels that the cost model thinks best, timed on this machine.

What was measured is remembered under everything that it depends on, so the next compilation, and
the next network with a layer of the same shape, ask the cache.
"""

from __future__ import annotations

import ctypes
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.abi import aligned
from cnncc.errors import InternalError
from cnncc.ir.types import DType
from cnncc.kernels.layout import Picked
from cnncc.kernels.template import Arg, Kernel, Launch, OperandArg, PackedArg, ScratchArg, Site
from cnncc.llvm.cache import ObjectCache, full_key
from cnncc.llvm.emit import emit_program
from cnncc.llvm.jit import Library, load
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.nodes import BufferType, Kind, Program, Value
from cnncc.targets import Target

Array = NDArray[Any]
_ROUNDS = 4
_ROUND_SECONDS = 5e-4  # a candidate runs so long before the next has its turn, once at least
_NUMPY = {Kind[d.name]: d.numpy for d in DType}
_FAR_BYTES = 16 << 20  # copies of weights that take turns where a network's weights leave the cache


class QuickTuner:
    """Times ways of computing a site, and remembers.

    Args:
        cache: where measured times are kept.
    """

    def __init__(self, cache: ObjectCache) -> None:
        self._cache = cache
        self._known: dict[bytes, list[float]] = {}

    def __call__(self, ways: Sequence[tuple[Kernel, Site]]) -> list[float]:
        """The shortest time of each way in seconds, on one thread, in interleaved rounds."""
        key = _key(ways)
        found = self._known.get(key) or _times(self._cache.get(key), len(ways))
        if found is None:
            found = _measure(ways)
            self._cache.put(key, json.dumps(found).encode())
        self._known[key] = found
        return found


def _key(ways: Sequence[tuple[Kernel, Site]]) -> bytes:
    """What times depend on: shapes, layouts and attributes, not names and numbers."""
    _, site = ways[0]
    m = site.target.machine
    far = site.network_bytes > m.l3_bytes
    text = repr(
        [
            (site.steps, site.types, site.layouts, site.out, far, m),
            [c is None for c in site.constants],
            [(kernel.name, way.pick, kernel.estimate(way).choice) for kernel, way in ways],
        ]
    )
    return full_key(f"tuning\n{text}", site.target, {})


def _times(data: bytes | None, count: int) -> list[float] | None:
    """The times of an entry; None where there are none that make sense."""
    try:
        found = json.loads(data or b"")
    except ValueError:
        return None
    sound = isinstance(found, list) and len(found) == count
    if not sound or not all(type(t) is float and 0 < t < math.inf for t in found):
        return None
    return list(found)


def _measure(ways: Sequence[tuple[Kernel, Site]]) -> list[float]:
    calls = [_Loaded(kernel.lower(site), site) for kernel, site in ways]
    best = [math.inf] * len(calls)
    for number in range(_ROUNDS):
        for k, call in enumerate(calls):
            call(number)  # brings code and feature maps close
            end = time.perf_counter() + _ROUND_SECONDS
            while True:
                start = time.perf_counter()
                call(number + 1)
                now = time.perf_counter()
                best[k] = min(best[k], now - start)
                if now >= end:
                    break
    return best


class _Loaded:
    """The launches of a site in memory.

    Where the weights of the whole network do not stay in a cache, neither do these between two
    calls of a network. Copies of them that take turns are as far away.
    """

    def __init__(self, launches: Sequence[Launch], site: Site) -> None:
        self.site = site
        self.shared: dict[Arg, Array] = {}
        self.kept: list[Array] = []
        packed = sum(_bytes(arg) for launch in launches for arg in launch.args)
        far = site.network_bytes > site.target.machine.l3_bytes * 3 // 4
        many = far and packed * (_ROUNDS + 1) > _FAR_BYTES
        self.copies = _ROUNDS + 1 if many else 1
        self.calls = [self._prepared(launch) for launch in launches]

    def __call__(self, number: int) -> None:
        """One call of all launches; its number says which copy of the weights it reads."""
        for function, arguments in self.calls:
            function(*arguments[number % self.copies])

    def _prepared(self, launch: Launch) -> tuple[Callable[..., None], list[list[int]]]:
        """The function and its arguments, for each copy of the weights."""
        target, name = self.site.target, launch.func.name
        types = [ctypes.c_int64 if isinstance(a, int) else ctypes.c_void_p for a in launch.args]
        library = _library(emit_program(Program([launch.func]), target), name, target)
        function = library.function(name, *types, ctypes.c_int64, ctypes.c_int64)
        pairs = list(zip(launch.args, launch.func.params, strict=False))
        copies = [[self._argument(a, p) for a, p in pairs] for _ in range(self.copies)]
        return function, [[*arguments, 0, launch.work] for arguments in copies]

    def _argument(self, arg: Arg, param: Value) -> int:
        """A number, or the address of memory: only weights have copies."""
        if isinstance(arg, int):
            return arg
        if isinstance(arg, PackedArg):
            memory = _packed(arg, param)
        else:
            if arg not in self.shared:
                self.shared[arg] = self._room(arg)
            memory = self.shared[arg]
        self.kept.append(memory)
        return int(memory.ctypes.data)

    def _room(self, arg: Arg) -> Array:
        """Random numbers to read, scratch, or room for the result."""
        if isinstance(arg, ScratchArg):
            return aligned(arg.words)
        layout = self.site.layouts[arg.operand] if isinstance(arg, OperandArg) else self.site.out
        if layout is None or isinstance(layout, Picked):
            raise InternalError(f"{self.site.name}: operand {arg} lies in no buffer of its own")
        memory = aligned(layout.words)
        memory[:] = np.random.default_rng(0).standard_normal(memory.size, np.float32)
        return memory


@lru_cache(64)
def _library(text: str, name: str, target: Target) -> Library:
    """A module in memory; convolutions that differ in depth only have the same."""
    return load([emit_object(text, target)], [name], target)


def _bytes(arg: Arg) -> int:
    return int(arg.array.nbytes) if isinstance(arg, PackedArg) else 0


def _packed(arg: PackedArg, param: Value) -> Array:
    """Constants as the function wants them."""
    if not isinstance(param.type, BufferType):
        raise InternalError(f"parameter `{param.hint}` is no buffer")
    array = np.ascontiguousarray(arg.array, _NUMPY[param.type.kind])
    memory = aligned(array.size, array.dtype)
    memory[:] = array.reshape(-1)
    return memory
