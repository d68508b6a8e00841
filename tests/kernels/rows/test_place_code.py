"""Places that move with the lanes: where bounds and quotients cut a row."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.kernels.rows.place_code import Cut, NotVectorizable, Place, PlaceCode
from cnncc.loopir.build import Builder

ROW = st.integers(1, 30)
STEPS = st.sampled_from((-3, -2, -1, 1, 2, 3))


def values(place, part):
    return [place.step * at + place.start for at in range(*part)]


def parts(code, rule, part):
    """The part, cut until the rule has a form everywhere, and those forms."""
    try:
        return [(part, rule(code(part)))]
    except Cut as cut:
        ends = [part[0], *sorted(cut.points), part[1]]
        return [found for piece in pairwise(ends) for found in parts(code, rule, piece)]


def code(part):
    return PlaceCode(Builder("f"), part)


@given(length=ROW, step=STEPS, start=st.integers(-20, 40), low=st.integers(-5, 9))
def test_clamp(length, step, start, low):
    place = Place(0, step, start)
    found = parts(code, lambda c: c.clamp(place, low, low + 6), (0, length))
    expected = [min(max(v, low), low + 6) for v in values(place, (0, length))]
    assert [v for part, made in found for v in values(made, part)] == expected
    assert len(found) <= 3


@given(length=ROW, step=STEPS, divisor=st.integers(4, 9))
def test_remainders_and_quotients(length, step, divisor):
    start = 3 if step > 0 else -step * length
    place = Place(0, step, start)
    if abs(step) * length > 8 * divisor:
        with pytest.raises(NotVectorizable):
            code((0, 99)).quotient(Place(0, 1, 0), 2)
        return
    for rule, plain in (("remainder", int.__mod__), ("quotient", int.__floordiv__)):
        found = parts(code, lambda c, r=rule: getattr(c, r)(place, divisor), (0, length))
        expected = [plain(v, divisor) for v in values(place, (0, length))]
        assert [v for part, made in found for v in values(made, part)] == expected


def test_what_depends_on_more_than_the_row_cannot_be_cut():
    b = Builder("f")
    place = Place(b.index_param("n"), 1)
    with pytest.raises(NotVectorizable) as caught:
        PlaceCode(b, (0, 9)).clamp(place, 0, 4)
    assert not isinstance(caught.value, Cut)


def test_numbers_are_folded():
    made = code((0, 9)).plus(Place(2), 3, Place(4, 1, 4))
    assert (made.index, made.step) == (9, 1)
    assert code((0, 9)).clamp(17, 0, 4) == Place(4, 0, 4)
