"""Running a kernel on a site and judging what it wrote.

`check(kernel, site, arrays)` lowers the site, runs its launches through the LoopIR interpreter into
poisoned buffers, and looks at all that a kernel promises: the numbers (against the operators'
float64 references, within their own bounds), zeros in the padding lanes, nothing written outside of
the picture, no operand touched, and the same bits however the work items are split. `native.py`
offers the same on machine code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cnncc.abi import ALIGNMENT, aligned
from cnncc.ir import tolerance
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked
from cnncc.kernels.template import (
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    Packing,
    ResultArg,
    ScratchArg,
    Site,
)
from cnncc.loopir import interp
from cnncc.loopir.arith import DTYPES
from cnncc.loopir.nodes import Bitcast, BufferType, Func, Stmt, sub_bodies
from cnncc.loopir.text import canonical_text
from cnncc.loopir.verify import verify
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.plan.verify import verify_launch
from cnncc.targets import Target, find

TARGETS = tuple(find(name) for name in ("x86-64", "x86-64-v3", "x86-64-v4"))
each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
POISON = np.float32(np.frombuffer(np.uint32(0x7FC0DEAD).tobytes(), np.float32)[0])
# How work is cut: pieces, and in which order they run.
SPLITS = ((1, 1), (2, -1), (3, 1))

Runner = Callable[[Func, list[Any]], None]


def interpret(func: Func, args: list[Any]) -> None:
    """Run a function in the LoopIR interpreter."""
    interp.run(func, args)


def spatial(shape: Sequence[int]) -> tuple[int, int, int]:
    """Channels, height and width of `[1,C,H,W]` or `[1,K]`."""
    return (shape[1], shape[2], shape[3]) if len(shape) == 4 else (shape[1], 1, 1)


def blocked(
    shape: Sequence[int],
    lanes: int,
    *,
    segments: tuple[int, ...] = (),
    halo: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Layout:
    """The usual layout of a value of that shape."""
    channels, height, width = spatial(shape)
    return Layout(lanes, segments or (channels,), height, width, halo)


def dense(shape: Sequence[int], memory: str = "hwc", dtype: DType = DType.F32) -> DenseLayout:
    """A caller's array of that shape."""
    return DenseLayout(dtype, *spatial(shape), memory)


def make_site(
    op: str,
    attrs: Any,
    arrays: Sequence[np.ndarray],
    layouts: Sequence[Any],
    out: Any,
    target: Target,
    *,
    steps: tuple[Step, ...] = (),
    in_place: int | None = None,
) -> Site:
    """A site whose operands without a layout are constants; `steps` follow the anchor.

    The anchor reads the leading operands that no later step reads, in order.
    """
    later = {a for s in steps for a in s.args if a >= 0}
    own = tuple(i for i in range(len(arrays)) if i not in later)
    every = (Step(op, attrs, own), *steps)
    types = tuple(TensorType(_dtype(a), a.shape) for a in arrays)
    return Site(
        name=f"test.{op}",
        steps=every,
        types=types,
        result=lookup("fused").infer(types, FusedAttrs(every)),
        layouts=tuple(layouts),
        out=out,
        constants=tuple(a if p is None else None for a, p in zip(arrays, layouts, strict=True)),
        target=target,
        in_place=in_place,
    )


def _dtype(array: np.ndarray) -> DType:
    return next(d for d in DType if d.numpy == array.dtype)


def reference(
    site: Site, arrays: Sequence[np.ndarray], algorithm: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """The float64 result and the bound on the error of each element."""
    exact = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    op, attrs = ("fused", FusedAttrs(site.steps))
    if len(site.steps) == 1:
        op, attrs = site.anchor.op, site.anchor.attrs
        exact = [exact[a] for a in site.anchor.args]
    with np.errstate(all="ignore"):
        result = lookup(op).reference(exact, attrs)
        return result, tolerance.tolerance(op, attrs, exact, result, algorithm)


def check(
    kernel: Kernel,
    site: Site,
    arrays: Sequence[np.ndarray],
    *,
    runner: Runner = interpret,
    splits: Sequence[tuple[int, int]] = SPLITS,
    vacuous: bool = True,
    proven: bool = True,
) -> np.ndarray:
    """Assert all that a kernel promises; returns the logical result.

    Args:
        kernel: it must not refuse the site.
        site: what to compute.
        arrays: the operands, one sample.
        runner: runs a function; the interpreter by default.
        splits: how often work is cut, and whether the parts run forwards (1) or backwards (-1).
        vacuous: whether a result that proves nothing is accepted.
        proven: whether the verifier must be able to prove every access; the interpreter checks them
            all in any case.
    """
    assert kernel.refuses(site) == ""
    estimate = kernel.estimate(site)
    assert 0 < estimate.seconds < 100
    launches = lowered(kernel, site)
    verify_launches(launches, proven=proven)
    results = [run_launches(site, launches, arrays, runner, s) for s in splits]
    for split, other in zip(splits[1:], results[1:], strict=True):
        same = results[0].view(np.uint32) == other.view(np.uint32)
        assert same.all(), f"{np.count_nonzero(~same)} elements differ for split {split}"
    check_outside(site, results[0])
    expected, bound = reference(site, arrays, kernel.algorithm(site))
    actual = unpack(site.out, results[0]).reshape(expected.shape)
    if not vacuous:
        assert tolerance.vacuity(expected) is None
    mismatch = tolerance.compare(actual, expected, bound)
    assert mismatch is None, f"{site.name}: {mismatch}"
    return actual


def lowered(kernel: Kernel, site: Site) -> list[Launch]:
    """The launches of a site, by way of those that it shares with sites of other numbers."""
    if not kernel.by_shape:
        return kernel.lower(site)
    here = kernel.lower(site)
    shared = [completed(x, site) for x in kernel.lower(replace(site.without_numbers, name="other"))]
    for one, other in zip(here, shared, strict=True):
        assert canonical_text(one.func) == canonical_text(other.func)
        assert (one.work, one.grain) == (other.work, other.grain)
        for arg, same in zip(one.args, other.args, strict=True):
            if isinstance(arg, PackedArg):
                assert arg.array.tobytes() == same.array.tobytes()
            else:
                assert arg == same
    return shared


def completed(launch: Launch, site: Site) -> Launch:
    """A launch with the constants of a site."""
    args = (arg.of(site) if isinstance(arg, Packing) else arg for arg in launch.args)
    return replace(launch, args=tuple(args))


def verify_launches(launches: Sequence[Launch], *, proven: bool = True) -> None:
    """LoopIR's verifier accepts every function, for the items that the launch has.

    Accesses that it cannot prove are masked or go through a table: it looks into neither.
    """
    for launch in launches:
        verify_launch("test", launch)
        ranges = {"lo": (0, launch.work), "hi": (0, launch.work)}
        for param, arg in zip(launch.func.params, launch.args, strict=False):
            if isinstance(arg, int):
                ranges[param.hint] = (arg, arg)
        found = verify(launch.func, ranges=ranges)
        tables = not proven or any(isinstance(s, Bitcast) for s in walk(launch.func.body))
        open_ = [u for u in found if not tables and getattr(u.stmt, "mask", None) is None]
        assert not open_, f"{launch.func.name}: `{open_[0].text}` {open_[0].reason}"


def walk(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """All statements of a body and of those within."""
    for stmt in body:
        yield stmt
        for inner in sub_bodies(stmt):
            yield from walk(inner)


def run_launches(
    site: Site,
    launches: Sequence[Launch],
    arrays: Sequence[np.ndarray],
    runner: Runner,
    split: tuple[int, int],
) -> np.ndarray:
    """The result's buffer after all launches, the work of each cut in parts."""
    operands = [
        None if layout is None else pack(layout, array)
        for layout, array in zip(site.layouts, arrays, strict=True)
    ]
    before = [None if o is None else o.copy() for o in operands]
    result = np.full(site.out.elems, POISON, np.float32)
    if site.in_place is not None:
        result = operands[site.in_place]
    parts, direction = split
    for launch in launches[::direction]:
        args = [_argument(a, operands, result) for a in launch.args]
        cuts = [launch.work * p // parts for p in range(parts + 1)]
        for lo, hi in list(itertools.pairwise(cuts))[::direction]:
            with with_scratch(launch, args) as complete:
                runner(launch.func, [*complete, lo, hi])
    for index, (now, old) in enumerate(zip(operands, before, strict=True)):
        if now is not None and index != site.in_place:
            assert now.tobytes() == old.tobytes(), f"operand {index} was written"
    return result


def _argument(arg: Any, operands: list[Any], result: np.ndarray) -> Any:
    match arg:
        case OperandArg(operand):
            assert operands[operand] is not None, "a constant has no buffer"
            return operands[operand]
        case ResultArg():
            return result
        case PackedArg(array):
            return np.ascontiguousarray(array).reshape(-1)
        case int() | ScratchArg():
            return arg
    raise AssertionError(arg)


@contextmanager
def with_scratch(launch: Launch, args: Sequence[Any]) -> Iterator[list[Any]]:
    """The arguments with poisoned memory for each `ScratchArg`, and guards around it."""
    complete, guards = list(args), []
    for number, (arg, param) in enumerate(zip(launch.args, launch.func.params, strict=False)):
        if isinstance(arg, ScratchArg):
            assert isinstance(param.type, BufferType)
            whole = aligned(arg.words + 2 * ALIGNMENT)
            whole[:] = POISON
            guards += [whole[:ALIGNMENT], whole[-ALIGNMENT:]]
            complete[number] = whole[ALIGNMENT:-ALIGNMENT].view(DTYPES[param.type.kind])
    yield complete
    for guard in guards:
        assert (guard.view(np.uint32) == POISON.view(np.uint32)).all(), "written beyond scratch"


def pack(layout: Any, array: np.ndarray) -> np.ndarray:
    """One sample as the buffer that its layout describes."""
    if isinstance(layout, FlatLayout):
        source = layout.source
        shape = (source.channels, source.height, source.width)
        if layout.order == "hwc":
            shape = (source.height, source.width, source.channels)
            return source.pack(array.reshape(shape).transpose(2, 0, 1))
        return source.pack(array.reshape(shape))
    logical = array.reshape(layout.channels, layout.height, layout.width)
    if isinstance(layout, Layout | Picked):
        return layout.pack(logical)
    ordered = logical if layout.memory == "chw" else logical.transpose(1, 2, 0)
    return np.ascontiguousarray(ordered).reshape(-1)


def unpack(layout: Any, buffer: np.ndarray) -> np.ndarray:
    """The logical elements of a result."""
    if isinstance(layout, Layout):
        return layout.unpack(buffer)
    if layout.memory == "chw":
        return buffer.reshape(layout.channels, layout.height, layout.width)
    return buffer.reshape(layout.height, layout.width, layout.channels).transpose(2, 0, 1)


def check_outside(site: Site, buffer: np.ndarray) -> None:
    """Padding lanes are zero inside the picture; the halo was not written."""
    layout = site.out
    if not isinstance(layout, Layout):
        return
    top, left, bottom, right = layout.halo
    planes = buffer.reshape(
        layout.blocks, top + layout.height + bottom, left + layout.width + right, layout.block
    )
    inside = np.zeros(planes.shape, bool)
    inside[:, top : top + layout.height, left : left + layout.width] = True
    halo = planes[~inside].view(np.uint32)
    fill = np.uint32(0) if site.in_place is not None else POISON.view(np.uint32)
    assert (halo == fill).all(), f"{np.count_nonzero(halo != fill)} halo elements were written"
    picture = planes[:, top : top + layout.height, left : left + layout.width]
    padding = (layout.slot_channels < 0).reshape(layout.blocks, layout.block)
    spare = picture.transpose(0, 3, 1, 2)[padding]
    assert (spare == 0).all(), f"{np.count_nonzero(spare != 0)} padding lanes are not zero"
