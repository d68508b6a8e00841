"""What element rules may say that few operators say: every form, in vectors and one by one."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.ir import op as ops
from cnncc.ir.op import NoAttrs, Op, Trait
from cnncc.ir.types import DType, TensorType
from cnncc.kernels.rows.row_element import RowElement
from cnncc.loopir.nodes import Store, Type
from tests.kernels.harness import each_target, walk
from tests.kernels.rows.row_sites import check, numbers, row_site
from tests.ops.element_numpy import evaluate

KERNEL = RowElement()
F32, I32, I64 = DType.F32, DType.I32, DType.I64


def number_of_places(b, index):
    """Places as numbers of several types, joined."""
    i, j = index
    wide = b.value_of(b.plus(b.times(i, 100), j), I64)
    small = b.cast(b.value_of(j, I32), I64)
    return b.cast(b.add(b.mul(wide, small), b.cast(b.value_of(j, F32), I64)), F32)


def triangle(b, index):
    """Above the diagonal a number, on and below it an element."""
    i, j = index
    return b.select(b.place_lt(i, j), b.const(-1.0), b.load(0, [i, j]))


def below(b, index):
    """An element where the place of the row allows it, and only then read."""
    i, j = index
    inside = b.bit_and(b.within(j, 1, 30), b.within(i, 1, 9))
    return b.load_if(inside, 0, [b.plus(i, -1), b.plus(j, -1)], b.const(7.0))


def backwards(b, index):
    """A condition on lanes, and elements from right to left."""
    i, j = index
    far = b.plus(36, b.times(j, -1))
    return b.load_if(b.place_lt(i, j), 0, [i, far], b.const(0.5))


def nested(b, index):
    """Loops in loops that carry two values, over rows above and a block of columns."""
    i, j = index

    def rows(k, carried):
        def columns(m, inner):
            value = b.load(0, [k, m])
            return [b.add(inner[0], value), b.max(inner[1], value)]

        total, most = b.loop(3, carried, columns)
        return [b.add(total, b.load(0, [k, j])), most]

    total, most = b.loop(b.plus(i, 1), [b.const(0.0), b.const(-9.0)], rows)
    return b.add(total, most)


def by_number(b, index):
    """A row that is chosen by an element of the operand."""
    i, j = index
    row = b.cast(b.abs(b.mul(b.load(0, [i, 0]), b.const(2.0))), I64)
    place = b.clamp(b.place_of(row), 0, 9)
    return b.load(0, [place, j])


def periods(b, index):
    """Quotients that bend along the row, and along the column."""
    i, j = index
    return b.load(0, [b.remainder(i, 3), b.plus(b.remainder(j, 20), b.quotient(j, 20))])


RULES = (number_of_places, triangle, below, backwards, nested, by_number, periods)


def operator(rule):
    class Ruled(Op):
        name = f"test_{rule.__name__}"
        traits = frozenset({Trait.ELEMENT})

        @staticmethod
        def infer(types, attrs):
            return TensorType(F32, (10, 37))

        @staticmethod
        def reference(arrays, attrs):
            narrow = [np.asarray(a, np.float32) for a in arrays]
            return evaluate(Ruled, narrow, attrs).astype(np.float64)

        @staticmethod
        def element(b, types, result, index, attrs):
            return rule(b, index)

        @classmethod
        def rounding(cls, arrays, result, attrs):
            return 1e-5 * np.abs(result)

    return Ruled


@each_target
@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_vectors(rule, target, monkeypatch):
    made = operator(rule)
    monkeypatch.setitem(ops._REGISTRY, made.name, made)
    x = numbers(4, F32, (10, 37))
    site = row_site(made.name, NoAttrs(), [x], target)
    [launch] = KERNEL.lower(site)
    stores = [s.value.type for s in walk(launch.func.body) if isinstance(s, Store)]
    assert all(isinstance(t, Type) and t.lanes == target.lanes() for t in stores)
    check(KERNEL, site, [x], proven=False, splits=((1, 1), (3, -1)))
