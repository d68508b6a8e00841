"""Places in the arena: buffers never overlap, networks need no more than what lives at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.plan.arena import Interval, most_live, place

TRACES = sorted((Path(__file__).parent / "traces").glob("*.txt"))


def assert_sound(intervals, offsets, size):
    for i, a in enumerate(intervals):
        assert offsets[a.owner] >= 0
        assert offsets[a.owner] + a.elems <= size
        for b in intervals[i + 1 :]:
            if a.first <= b.last and b.first <= a.last:
                apart = (
                    offsets[a.owner] + a.elems <= offsets[b.owner]
                    or offsets[b.owner] + b.elems <= offsets[a.owner]
                )
                assert apart, f"{a} and {b} overlap"


def read(trace: Path) -> tuple[list[Interval], int]:
    lines = [x for x in trace.read_text().splitlines() if not x.startswith("#")]
    rows = [tuple(map(int, x.split())) for x in lines[1:]]
    return [Interval(owner, *row) for owner, row in enumerate(rows)], int(lines[0].split()[1])


@pytest.mark.parametrize("trace", TRACES, ids=lambda p: p.stem)
def test_traces(trace):
    """Buffers of real networks: the arena is no larger than what lives at the worst step."""
    intervals, bound = read(trace)
    offsets, size = place(intervals)
    assert_sound(intervals, offsets, size)
    assert size == most_live(intervals) <= bound


def test_there_are_traces():
    assert len(TRACES) >= 12


@st.composite
def interval_lists(draw):
    rows = draw(
        st.lists(st.tuples(st.integers(1, 50), st.integers(0, 20), st.integers(0, 8)), max_size=25)
    )
    return [Interval(n, e, first, first + more) for n, (e, first, more) in enumerate(rows)]


@given(interval_lists())
def test_random_intervals(intervals):
    offsets, size = place(intervals)
    assert_sound(intervals, offsets, size)
    assert most_live(intervals) <= size <= sum(i.elems for i in intervals)


@given(interval_lists(), st.randoms(use_true_random=False))
def test_the_order_of_intervals_does_not_matter(intervals, random):
    shuffled = list(intervals)
    random.shuffle(shuffled)
    assert place(shuffled) == place(intervals)


def test_most_live():
    assert most_live([]) == 0
    assert place([]) == ({}, 0)
    assert most_live([Interval(0, 5, 0, 2), Interval(1, 7, 2, 3), Interval(2, 6, 3, 4)]) == 13


def test_meeting():
    a = Interval(0, 1, 2, 4)
    for first, last, meets in (
        (0, 1, False),
        (0, 2, True),
        (3, 3, True),
        (4, 9, True),
        (5, 6, False),
    ):
        assert a.meets(Interval(1, 1, first, last)) is meets
