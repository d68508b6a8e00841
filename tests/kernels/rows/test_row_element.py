"""Element rules: vectors where the rule has that form, one element at a time where not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.ir.op import NoAttrs, Trait, lookup
from cnncc.ir.types import DType
from cnncc.kernels.rows.row_element import RowElement
from cnncc.loopir.nodes import Load, Type
from cnncc.ops.fused import Step
from cnncc.ops.indexing import GatherAttrs
from cnncc.ops.padding import PadAttrs
from cnncc.ops.shape import TransposeAttrs
from cnncc.ops.slicing import ExpandAttrs, SliceAttrs
from cnncc.targets import find
from tests.kernels.harness import TARGETS, each_target, walk
from tests.kernels.rows.row_sites import check, constant_operands, numbers, row_site
from tests.strategies import GENERAL, general_op_case

KERNEL = RowElement()
RULES = sorted(n for n in GENERAL if Trait.ELEMENT in lookup(n).traits)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random(name, data):
    case = data.draw(general_op_case(name))
    target = data.draw(st.sampled_from(TARGETS))
    constants = constant_operands(data.draw, case)
    site = row_site(name, case.attrs, case.arrays, target, constants=constants)
    check(KERNEL, site, case.arrays, splits=((1, 1), (3, -1)), proven=False)


def widest_load(site):
    [launch] = KERNEL.lower(site)
    loads = [s.out.type for s in walk(launch.func.body) if isinstance(s, Load)]
    return max(t.lanes for t in loads if isinstance(t, Type))


@each_target
@pytest.mark.parametrize("dtype", [DType.F32, DType.I64, DType.U8, DType.BOOL, DType.F64])
@pytest.mark.parametrize("step", [1, -1])
def test_vectors_forwards_and_backwards(dtype, step, target):
    x = numbers(1, dtype, (3, 90))
    attrs = SliceAttrs((1, 80 if step < 0 else 3), (1, step), (2, 37))
    site = row_site("slice", attrs, [x], target)
    assert widest_load(site) == target.lanes()
    check(KERNEL, site, [x])


@each_target
def test_what_stands_still_along_the_last_axis_is_loaded_once(target):
    x, rows = numbers(1, DType.F32, (50, 37)), numbers(2, DType.I64, (2, 3)) % 50
    site = row_site("gather", GatherAttrs(0), [x, rows], target, constants=(1,))
    assert widest_load(site) == target.lanes()
    check(KERNEL, site, [x, rows], proven=False)
    column = numbers(3, DType.U8, (4, 1))
    site = row_site("expand", ExpandAttrs((2, 4, 70)), [column], target)
    assert widest_load(site) == 1
    check(KERNEL, site, [column])


def test_other_steps_go_one_by_one():
    x, target = numbers(1, DType.F32, (3, 90)), find("avx2")
    site = row_site("slice", SliceAttrs((0, 1), (1, 2), (3, 40)), [x], target)
    assert widest_load(site) == 1
    check(KERNEL, site, [x])


@each_target
@pytest.mark.parametrize("width", [3, 9001])
def test_short_and_long_rows(width, target):
    x = numbers(1, DType.F32, (2, width))
    check(KERNEL, row_site("pad", PadAttrs("constant", (1, 2), (0, 5), 0.5), [x], target), [x])


@each_target
@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_rows_are_cut_where_borders_begin(mode, target):
    x = numbers(1, DType.F32, (2, 70))
    attrs = PadAttrs(mode, (1, 40), (1, 37), 0.5 if mode == "constant" else 0.0)
    site = row_site("pad", attrs, [x], target)
    assert widest_load(site) == target.lanes()
    check(KERNEL, site, [x], proven=False)


def test_borders_do_not_read_outside():
    """The interpreter fails on any access outside of a buffer."""
    x, target = numbers(1, DType.I32, (1, 2)), find("x86-64-v4")
    site = row_site("pad", PadAttrs("constant", (3, 40), (3, 40), -7), [x], target)
    check(KERNEL, site, [x], proven=False)


@each_target
def test_steps_behind_the_rule(target):
    x, bias = numbers(1, DType.F32, (2, 1, 40)), numbers(2, DType.F32, (2, 7, 40))
    steps = (Step("add", NoAttrs(), (~0, 1)), Step("relu", NoAttrs(), (~1,)))
    for in_place in (None, 1):
        site = row_site(
            "expand", ExpandAttrs((2, 7, 40)), [x, bias], target, steps=steps, in_place=in_place
        )
        check(KERNEL, site, [x, bias])


def test_refusals():
    x, target = numbers(1, DType.F32, (4, 4)), find("avx2")
    site = row_site("transpose", TransposeAttrs((1, 0)), [x], target, in_place=0)
    assert "read at other places" in KERNEL.refuses(site)
    assert "no rule" in KERNEL.refuses(row_site("relu", NoAttrs(), [x], target))


def test_work_is_cut_by_what_an_element_costs():
    x, target = np.zeros((1, 50000), np.float32), find("avx2")
    site = row_site("slice", SliceAttrs((0, 0), (1, 1), (1, 50000)), [x], target)
    [launch] = KERNEL.lower(site)
    assert launch.work > 4
    assert launch.grain < launch.work
