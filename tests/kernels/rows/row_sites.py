"""Sites on row-major arrays, and judging what a kernel wrote for them.

As in `harness.py`, every kernel runs in poisoned buffers with guards on both sides, with its work
cut in different ways, in the interpreter or as machine code.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cnncc.ir import tolerance
from cnncc.ir.op import lookup
from cnncc.ir.types import DType, TensorType
from cnncc.kernels.layout import RowMajor
from cnncc.kernels.template import (
    Kernel,
    Launch,
    OperandArg,
    PackedArg,
    ResultArg,
    ScratchArg,
    Site,
)
from cnncc.loopir import interp
from cnncc.ops.fused import FusedAttrs, Step
from cnncc.targets import Target
from tests.kernels.harness import SPLITS, verify_launches, with_scratch

Runner = Callable[..., None]
_GUARD = 64  # elements around a result that must stay as they are
_FILL = 0xA5


def row_site(
    op: str,
    attrs: Any,
    arrays: Sequence[np.ndarray],
    target: Target,
    *,
    constants: Sequence[int] = (),
    steps: tuple[Step, ...] = (),
    in_place: int | None = None,
) -> Site:
    """A site of row-major arrays; the anchor reads the operands that no later step reads."""
    later = {a for s in steps for a in s.args if a >= 0}
    every = (Step(op, attrs, tuple(i for i in range(len(arrays)) if i not in later)), *steps)
    types = tuple(TensorType(DType.of(a.dtype), a.shape) for a in arrays)
    result = lookup("fused").infer(types, FusedAttrs(every))
    return Site(
        name=f"test.{op}",
        steps=every,
        types=types,
        result=result,
        layouts=tuple(
            None if i in constants else RowMajor(t.dtype, t.shape) for i, t in enumerate(types)
        ),
        out=RowMajor(result.dtype, result.shape),
        constants=tuple(a if i in constants else None for i, a in enumerate(arrays)),
        target=target,
        in_place=in_place,
    )


def run(
    site: Site,
    launches: Sequence[Launch],
    arrays: Sequence[np.ndarray],
    runner: Runner = interp.run,
    split: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """The result after all launches, the work of each cut in parts."""
    operands = [np.ascontiguousarray(a).reshape(-1).copy() for a in arrays]
    dtype, elems = site.result.dtype.numpy, site.result.elems
    whole = np.full((elems + 2 * _GUARD) * dtype.itemsize, _FILL, np.uint8)
    result = whole.view(np.uint8 if dtype.kind == "b" else dtype)[_GUARD : _GUARD + elems].view(
        dtype
    )
    if site.in_place is not None:
        result = operands[site.in_place]
    parts, direction = split
    for launch in launches[::direction]:
        args = [_argument(site, a, operands, result) for a in launch.args]
        cuts = [launch.work * p // parts for p in range(parts + 1)]
        for lo, hi in list(itertools.pairwise(cuts))[::direction]:
            with with_scratch(launch, args) as complete:
                runner(launch.func, [*complete, lo, hi])
    edge = _GUARD * dtype.itemsize
    assert (whole[:edge] == _FILL).all(), "elements in front of the result were written"
    assert (whole[-edge:] == _FILL).all(), "elements behind the result were written"
    for index, (now, given) in enumerate(zip(operands, arrays, strict=True)):
        if index != site.in_place:
            assert now.tobytes() == given.tobytes(), f"operand {index} was written"
    return result.copy()


def _argument(site: Site, arg: Any, operands: list[Any], result: np.ndarray) -> Any:
    match arg:
        case OperandArg(operand):
            assert site.constants[operand] is None, "a constant has no buffer"
            return operands[operand]
        case ResultArg():
            return result
        case PackedArg(array):
            return np.ascontiguousarray(array).reshape(-1)
        case int() | ScratchArg():
            return arg
    raise AssertionError(arg)


def computed(
    kernel: Kernel,
    site: Site,
    arrays: Sequence[np.ndarray],
    *,
    runner: Runner = interp.run,
    splits: Sequence[tuple[int, int]] = SPLITS,
    proven: bool = True,
) -> np.ndarray:
    """The result, once it is the same for all ways to cut the work and lies where it should."""
    assert kernel.refuses(site) == ""
    assert 0 < kernel.estimate(site).seconds < 100
    launches = kernel.lower(site)
    verify_launches(launches, proven=proven)
    found = [run(site, launches, arrays, runner, s) for s in splits]
    for split, other in zip(splits[1:], found[1:], strict=True):
        assert found[0].tobytes() == other.tobytes(), f"other bits for split {split}"
    return found[0].reshape(site.result.shape)


def check(kernel: Kernel, site: Site, arrays: Sequence[np.ndarray], **options: Any) -> np.ndarray:
    """`computed`, held to the float64 reference; whole numbers and truth values are exact."""
    actual = computed(kernel, site, arrays, **options)
    exact = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in arrays]
    op, attrs = "fused", FusedAttrs(site.steps)
    if len(site.steps) == 1:
        op, attrs = site.anchor.op, site.anchor.attrs
        exact = [exact[a] for a in site.anchor.args]
    with np.errstate(all="ignore"):
        expected = lookup(op).reference(exact, attrs)
        if not site.result.dtype.is_float:
            np.testing.assert_array_equal(actual, expected)
            return actual
        bound = tolerance.tolerance(op, attrs, exact, expected)
    mismatch = tolerance.compare(actual, expected, bound)
    assert mismatch is None, f"{site.name}: {mismatch}"
    return actual


def numbers(seed: int, dtype: DType, shape: Sequence[int]) -> np.ndarray:
    """Random numbers of that type: whole ones over their range, floats near 1."""
    rng = np.random.default_rng(seed)
    if dtype is DType.BOOL:
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.is_float:
        return np.asarray(rng.standard_normal(shape), dtype.numpy)
    info = np.iinfo(dtype.numpy)
    low = max(int(info.min), -1000)
    return rng.integers(low, min(int(info.max), 1000), shape, endpoint=True).astype(dtype.numpy)


def constant_operands(draw: Any, case: Any) -> tuple[int, ...]:
    """Which operands of a case the compiler knows: none, or all behind the first."""
    known = draw(st.booleans())
    return tuple(range(1, len(case.arrays))) if known else ()
