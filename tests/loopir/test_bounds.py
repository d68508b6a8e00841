"""What the analysis of reaches can prove, and what it must leave in doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.errors import VerifyError
from cnncc.loopir.arith import InterpError
from cnncc.loopir.build import Builder
from cnncc.loopir.interp import run
from cnncc.loopir.nodes import Func, Load, Stmt, Store, sub_bodies
from cnncc.loopir.parse import parse_program
from cnncc.loopir.verify import Unproven, verify

from .generate import arguments, functions

HEADER = "func f(src: f32[64], dst: f32[64]!, n: index, k: index):\n"


def findings(text: str, **ranges: tuple[int, int]) -> list[str]:
    body = "".join(f"  {line}\n" for line in text.strip("\n").split("\n"))
    return [found.reason for found in verify(parse_program(HEADER + body), ranges=ranges)]


PROVEN = {
    "tiles": """
for i in 0..4 step 1:
  a: index = mul i, 16
  for j in 0..16 step 4:
    b: index = add a, j
    x: f32x4 = load src[b]
""",
    "backwards": """
for i in 0..64 step 1:
  b: index = sub 63, i
  x: f32 = load src[b]
""",
    "cursor": """
c: index = const 0
for i in 0..4 step 1 carry p = c -> q:
  for j in 0..4 step 1 carry r = p -> s:
    x: f32x4 = load src[r]
    t: index = add r, 4
    yield t
  yield s
d: index = sub q, 1
x_1: f32 = load src[d]
""",
    "quotient and rest": """
for i in 0..32 step 1:
  row: index = div i, 8
  column: index = rem i, 8
  a: index = mul row, 16
  b: index = add a, column
  x: f32x8 = load src[b]
""",
    "shifts and masks": """
for i in 0..16 step 1:
  a: index = shl i, 2
  b: index = shr a, 2
  c: index = and n, 3
  d: index = add a, c
  x: f32 = load src[d]
  y: f32x4 = load src[b + 44]
""",
    "clamped": """
a: index = min n, 60
b: index = max a, 0
x: f32x4 = load src[b]
""",
    "guarded": """
for i in 0..5 step 1:
  last: bool = eq i, 4
  a: index = mul i, 14
  if last:
    x: f32x8 = load src[a]
  else:
    y: f32x14 = load src[a]
  high: bool = ge i, 3
  b: index = select high, 3, i
  z: f32x14 = load src[b]
""",
    "guarded from both sides": """
low: bool = ge n, 0
if low:
  high: bool = lt n, 61
  if high:
    x: f32x4 = load src[n]
""",
    "known mask": """
m: boolx4 = const (true, true, false, false)
x: f32x4 = load src[62] mask m
""",
    "never run": """
for i in 8..8 step 1:
  x: f32 = load src[99]
never: bool = lt 3, 2
if never:
  y: f32 = load src[99]
""",
    "view": """
for i in 0..4 step 1:
  a: index = mul i, 16
  v: f32[16] = view src[a]
  x: f32x4 = load v[12]
  w: f32[?] = view src[a]
  y: f32x4 = load w[12]
""",
    "view as another kind": """
for i in 0..4 step 1:
  a: index = mul i, 16
  v: i64[8] = view src[a]
  x: i64x8 = load v[0]
  rest: f32[?] = view src[a]
  w: bool[61] = view rest[0]
  y: bool = load w[60]
  z: u32[8] = view v[4]
""",
    "small numbers as places": """
bytes: u8[256] = view src[0]
small: u8 = load bytes[0]
a: index = convert small
b: index = div a, 5
x: f32 = load src[b]
""",
}


@pytest.mark.parametrize("text", PROVEN.values(), ids=PROVEN.keys())
def test_proven(text: str) -> None:
    assert findings(text) == []


def test_parameters_have_ranges() -> None:
    loop = "for i in n..k step 1:\n  x: f32x4 = load src[i]"
    assert findings(loop) == ["reaches elements -inf to inf of 64"]
    assert findings(loop, n=(0, 61), k=(0, 61)) == []
    assert findings(loop, n=(0, 62), k=(0, 62)) == ["reaches elements 0 to 64 of 64"]


def test_calls_hand_ranges_over() -> None:
    text = """\
func f(src: f32[64], lo: index, hi: index):
  for i in lo..hi step 1:
    x: f32x4 = load src[i]
func main(src: f32[64], thread: index, threads: index):
  call f(src, 0, 30)
  call f(src, 30, {end})
"""
    assert verify(parse_program(text.format(end=61))) == []
    (found,) = verify(parse_program(text.format(end=62)))
    assert found.reason == "reaches elements 0 to 64 of 64"


DOUBTFUL = {
    "alignment": "a: index = min n, 8\nb: index = max a, 0\nv: f64[4] = view src[b]",
    "maybe": "c: bool = lt n, k\nif c:\n  for i in 0..65 step 1:\n    x: f32 = load src[i]",
    "run-time extent": "for i in 0..n step 16:\n  x: f32x16 = load src[i]",
    "growing cursor": (
        "one: index = const 1\nfor i in 0..3 step 1 carry p = one -> q:\n"
        "  x: f32 = load src[p]\n  t: index = mul p, 2\n  yield t"
    ),
}


@pytest.mark.parametrize("text", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_in_doubt(text: str) -> None:
    assert len(findings(text)) == 1


def test_a_run_time_mask_leaves_doubt() -> None:
    text = """
lanes: indexx4 = const (0, 1, 2, 3)
all: indexx4 = splat n
m: boolx4 = lt lanes, all
x: f32x4 = load src[62] mask m
"""
    assert findings(text) == ["reaches elements 62 to 65 of 64"]


def test_a_store_beyond_is_certain_in_a_certain_loop_only() -> None:
    store = "x: f32 = load src[0]\n{loop}\n  store dst[i], x"
    with pytest.raises(VerifyError, match="reaches elements 0 to 64 of 64"):
        findings(store.format(loop="for i in 0..65 step 1:"))
    assert findings(store.format(loop="for i in 0..n step 1:")) != []


def failure(action: Callable[[], object]) -> str:
    """What an action complains about; nothing, if it succeeds."""
    try:
        action()
    except (VerifyError, InterpError) as error:
        return str(error)
    return ""


@settings(max_examples=150, deadline=None)
@given(functions(), st.integers(0, 99), st.integers(-70, 70))
def test_what_is_proven_runs(func: Func, seed: int, shift: int) -> None:
    """With every access moved by the same distance, no proven one may leave its buffer."""
    for stmt in walk(func.body):
        if isinstance(stmt, (Load, Store)):
            stmt.offset += shift
    unproven: list[Unproven] = []
    refuted = failure(lambda: unproven.extend(verify(func, ranges={"n": (-3, 8)})))
    failed = failure(lambda: run(func, arguments(seed)[0]))
    assert not refuted or "reaches elements" in refuted
    if "out of bounds" in failed:
        assert refuted or unproven


def walk(body: Sequence[Stmt]) -> Iterator[Stmt]:
    for stmt in body:
        yield stmt
        for inner in sub_bodies(stmt):
            yield from walk(inner)


def test_a_sum_of_two_variables_is_narrowed_by_a_test():
    """Rows are counted by two loops; only the last of them is short."""

    def copy(rows: int) -> list:
        b = Builder("rows")
        x = b.buffer("x", extent=5 * 4, writable=True)
        with b.loop(0, 3, hint="pair") as pair, b.loop(0, 2, hint="row") as row:
            y = b.iadd(b.imul(pair.iv, 2), row.iv)
            with b.when(b.compare("ne", y, rows)):
                b.store(x, b.imul(y, 4), b.const(1.0), offset=3)
        return verify(b.func)

    assert copy(5) == []
    assert copy(4) != []
