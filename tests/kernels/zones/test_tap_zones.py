"""Zones: every result has the taps that see the picture, and each lies in one tile."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.zones.tap_zones import Axis, Zone, ZonesShape, zones_choice, zones_of
from cnncc.targets import find
from tests.kernels.harness import TARGETS

WIDE = find("x86-64-v4")


def test_zones_of_a_wide_dilation():
    assert zones_of(Axis(16, 16, 3, 1, 12, 12)) == (
        Zone(0, 4, (1, 2), (0, 12)),
        Zone(4, 8, (1,), (4,)),
        Zone(12, 4, (0, 1), (0, 12)),
    )


def test_zones_may_see_no_tap_at_all():
    found = zones_of(Axis(1, 9, 3, 1, 5, 1))
    assert [len(zone.taps) for zone in found] == [0, 1, 1, 1, 0][: len(found)]
    assert sum(zone.size for zone in found) == 9


def test_a_transposed_convolution_of_one_pixel_sees_a_tap_each():
    found = zones_of(Axis(1, 7, 7, 1, 0, 1, transposed=True))
    assert found == tuple(Zone(k, 1, (k,), (0,)) for k in range(7))


@st.composite
def axes(draw):
    extent, window = draw(st.integers(1, 20)), draw(st.integers(1, 6))
    stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 9))
    before, after = draw(st.integers(0, 12)), draw(st.integers(0, 12))
    transposed, reach = draw(st.booleans()), (window - 1) * dilation
    if transposed:
        results = (extent - 1) * stride + reach + 1 - before - after
    else:
        results = (extent + before + after - reach - 1) // stride + 1
    return Axis(extent, max(1, results), window, stride, before, dilation, transposed)


@given(axes())
def test_zones_hold_the_taps_that_see_the_picture(axis):
    seen = {}
    for zone in zones_of(axis):
        for n in range(zone.size):
            moved = [at + n * axis.source_step for at in zone.sources]
            place = zone.start + n * axis.result_step
            assert place not in seen
            seen[place] = list(zip(zone.taps, moved, strict=True))
    assert seen == {place: axis.seen(place) for place in range(axis.results)}


@settings(deadline=None)  # the first example of a shape is not cached
@given(axes(), axes(), st.integers(1, 4), st.sampled_from(TARGETS))
def test_each_result_lies_in_one_tile(down, across, blocks, target):
    if down.transposed != across.transposed:
        return
    shape = ZonesShape(down, across, 16, blocks)
    choice = zones_choice(target, shape)
    found = []
    for part in (part for group in choice.groups for part in group):
        for row in range(part.tile.rows):
            for column in range(part.tile.columns):
                y, x = part.y + row * down.result_step, part.x + column * across.result_step
                found.append((y, x))
                want = {(i, k): (p, q) for i, p in down.seen(y) for k, q in across.seen(x)}
                for tap, (p, q) in part.seen:
                    at = p + row * down.source_step, q + column * across.source_step
                    assert want.pop(tap) == at
                assert not want
    assert sorted(found) == [(y, x) for y in range(down.results) for x in range(across.results)]
    assert shape.products <= down.products * across.products


def test_what_has_no_products_saves_none():
    nothing = Axis(1, 1, 1, 3, 1, 1, transposed=True)
    assert nothing.products == 0
    assert ZonesShape(nothing, nothing, 16, 1).share == 1.0


def test_few_panels_are_cut_into_more_items():
    shape = ZonesShape(Axis(28, 28, 3, 1, 12, 12), Axis(28, 28, 3, 1, 12, 12), 512, 4)
    choice = zones_choice(WIDE, shape)
    assert len(choice.groups) * 4 // choice.vectors >= 8
