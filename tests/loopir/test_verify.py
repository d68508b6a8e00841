"""Every rule of LoopIR has a program that breaks it, and its message."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from cnncc.errors import VerifyError
from cnncc.loopir.build import INDEX, Builder, vector
from cnncc.loopir.nodes import Binary, Const, For, Func, Kind, Program, Value
from cnncc.loopir.parse import parse_program
from cnncc.loopir.text import print_func
from cnncc.loopir.verify import verify

from .generate import functions

HEADER = "func f(src: f32[64], dst: f32[64]!, ints: i32[8]!, n: index):\n"


def check(*lines: str, header: str = HEADER, before: str = "") -> list[str]:
    body = "".join(f"  {line}\n" for line in lines)
    return [str(found) for found in verify(parse_program(before + header + body))]


@settings(max_examples=80, deadline=None)
@given(functions())
def test_what_the_builder_makes_is_valid(func: Func) -> None:
    if func.name.isidentifier() or "." in func.name:
        verify(func)


BROKEN = [
    (["x: f32x8 = const (1.0, 2.0)"], "cannot give f32x8 from ()"),
    (["x: u8 = const 256"], "cannot give u8 from ()"),
    (["x: f32 = load src[0]", "y: i32 = neg x"], "cannot give i32 from (f32)"),
    (["x: f32 = load src[0]", "y: f32 = not x"], "cannot give f32 from (f32)"),
    (["x: i32 = load ints[0]", "y: i32 = sqrt x"], "cannot give i32 from (i32)"),
    (["x: f32 = load src[0]", "y: f32 = xor x, x"], "cannot give f32 from (f32, f32)"),
    (["x: f32 = load src[0]", "y: f32 = add x, 1"], "cannot give f32 from (f32, index)"),
    (["x: i32 = load ints[0]", "y: i32 = fma x, x, x"], "cannot give i32 from (i32, i32, i32)"),
    (["x: f32 = load src[0]", "y: bool = lt x, n"], "cannot give bool from (f32, index)"),
    (["x: f32 = load src[0]", "y: boolx2 = lt x, x"], "cannot give boolx2 from (f32, f32)"),
    (["x: f32 = load src[0]", "y: f32 = select x, x, x"], "cannot give f32 from (f32, f32, f32)"),
    (["x: f32 = load src[0]", "y: i32x2 = convert x"], "cannot give i32x2 from (f32)"),
    (["x: f32 = load src[0]", "y: i8 = bitcast x"], "cannot give i8 from (f32)"),
    (["x: f32 = load src[0]", "y: i32x4 = splat x"], "cannot give i32x4 from (f32)"),
    (["x: f32x2 = load src[0]", "y: f32x2 = shuffle x, x, (0, 4)"], "cannot give f32x2"),
    (["x: f32x2 = load src[0]", "y: f32x2 = lookup x, x, x"], "cannot give f32x2"),
    (
        ["x: f32x3 = load src[0]", "i: i32x3 = load ints[0]", "y: f32x3 = lookup x, x, i"],
        "cannot give f32x3 from (f32x3, f32x3, i32x3)",
    ),
    (["x: f32x2 = load src[0]", "y: f32 = extract x, 2"], "cannot give f32 from (f32x2)"),
    (["y: f32 = neg src"], "a buffer is used as a number"),
    (["x: i32 = load src[0]"], "i32 does not fit a buffer of f32"),
    (["x: f32 = load n[0]"], "needs a buffer, got index"),
    (["x: f32 = load src[0]", "y: f32 = load src[x]"], "needs an index, got f32"),
    (["x: f32 = load src[0]", "store src[0], x"], "the buffer is not writable"),
    (["x: boolx2 = const true", "y: f32x4 = load src[0] mask x"], "the mask must be boolx4"),
    (["s: f32[?]! = alloc"], "scratch is a writable buffer with an extent"),
    (["s: f32[4] = alloc"], "scratch is a writable buffer with an extent"),
    (["s: f32[4]! = view src[0]"], "the buffer is not writable"),
    (["s: f32 = view src[0]"], "a part of a buffer cannot be f32"),
    (["s: i32[?] = view src[0]"], "a part of a buffer of f32 as i32[?] needs an extent"),
    (["s: i64[4] = view src[1]"], "does not begin at a multiple of 8 bytes"),
    (["s: f32[8] = view src[7]", "t: i64[2] = view s[2]"], "does not begin at a multiple of 8"),
    (["s: i64[8] = view src[50]"], "reaches elements 50 to 65 of 64"),
    (["s: i64[8] = view src[48]", "x: i64 = load s[8]"], "reaches elements 8 to 8 of 8"),
    (["s: i64[8]! = view src[0]"], "the buffer is not writable"),
    (["for i in 0..n step 0:"], "the step must be positive"),
    (["for i: i32 in 0..n step 1:"], "must be an index"),
    (
        ["x: f32 = load src[0]", "for i in 0..n step 1 carry a: i32 = x -> b:", "  yield x"],
        "carries 'a' with differing types",
    ),
    (["if n:"], "the condition must be a scalar bool"),
    (["for i in 0..n step 1:", "  x: f32 = load src[0]", "store dst[0], x"], "outside of the body"),
    (["x: bool = lt n, 1", "if x:", "  y: index = add n, 1", "else:", "  z: index = add y, 1"],
     "outside of the body"),
    (["call g(n)"], "there is no function 'g'"),
    (["barrier"], "stands only in the straight line of 'main'"),
    (["x: f32x4 = load src[61]"], "reaches elements 61 to 64 of 64"),
    (["x: f32x4 = load src[-1]"], "reaches elements -1 to 2 of 64"),
    (["for i in 0..65 step 1:", "  x: f32 = load src[i]"], "reaches elements 0 to 64 of 64"),
    (["for i in 0..n step 1:", "  x: f32 = load src[i + 64]"], "reaches elements 64 to inf of 64"),
    (["v: f32[8] = view src[57]"], "reaches elements 57 to 64 of 64"),
    (["v: f32[8] = view src[56]", "x: f32 = load v[8]"], "reaches elements 8 to 8 of 8"),
    (["v: f32[?] = view src[56]", "x: f32 = load v[8]"], "reaches elements 64 to 64 of 64"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), BROKEN, ids=[str(i) for i in range(len(BROKEN))])
def test_broken_rules_name_function_and_statement(lines: list[str], message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        check(*lines)
    assert message in str(caught.value)
    assert str(caught.value).startswith("f: `")
    assert any(f"`{line.strip()}`" in str(caught.value) for line in lines)


CALLEE = "func g(to: f32[8]!, from: f32[?], k: index):\n\n"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("call g(dst, src)", "'g' takes 3 arguments"),
        ("call g(src, dst, 1)", "f32[64] does not fit parameter 'to': f32[8]!"),
        ("call g(ints, dst, 1)", "i32[8]! does not fit parameter 'to'"),
        ("call g(dst, src, src)", "f32[64] does not fit parameter 'k': index"),
        ("call g(dst, dst, 1)", "gives 'dst' twice, though one is unique"),
    ],
)
def test_calls(call: str, message: str) -> None:
    with pytest.raises(VerifyError) as caught:
        check(call, before=CALLEE)
    assert message in str(caught.value)
    assert check("call g(dst, src, 1)", before=CALLEE) == []


def test_a_callee_needs_its_extent() -> None:
    part = "part: f32[4]! = view dst[0]"
    with pytest.raises(VerifyError, match=r"reaches elements 0 to 7 of 4"):
        check(part, "call g(part, src, 1)", before=CALLEE)


def test_programs() -> None:
    first, second = Builder("f"), Builder("f")
    with pytest.raises(VerifyError, match="same name"):
        verify(Program([first.func, second.func]))
    with pytest.raises(VerifyError, match="main: must be the last"):
        verify(Program([Builder("main").func, first.func]))
    with pytest.raises(VerifyError, match="cannot be printed"):
        verify(Builder("a b").func)
    loop = Builder("loop")
    loop.call("loop", [])
    with pytest.raises(VerifyError, match="calls itself"):
        verify(loop.func)
    scalar = Func("f", [Value(vector(4), "x")])
    with pytest.raises(VerifyError, match="'x' is neither a buffer nor an index"):
        verify(scalar)


def test_values_are_defined_once_and_before_use() -> None:
    x, y = Value(INDEX, "x"), Value(INDEX, "y")
    with pytest.raises(VerifyError, match="'x' is defined twice"):
        verify(Func("f", [], [Const(x, 1), Const(x, 1)]))
    with pytest.raises(VerifyError, match="uses 'y' before it is defined"):
        verify(Func("f", [], [Binary(x, "add", y, 1), Const(y, 1)]))
    with pytest.raises(VerifyError, match="does not pair what it carries"):
        verify(Func("f", [], [Const(x, 1), For(y, 0, 1, 1, inits=[x])]))


def test_a_barrier_in_main() -> None:
    main = "func main(thread: index, threads: index):\n"
    assert check("barrier", header=main) == []
    with pytest.raises(VerifyError, match="straight line"):
        check("for i in 0..2 step 1:", "  barrier", header=main)


def test_text_is_checked_as_it_is_printed() -> None:
    func = parse_program(HEADER + "  x: f32 = load src[n]\n").funcs[0]
    (found,) = verify(func)
    assert found.text == "x: f32 = load src[n]"
    assert found.text in print_func(func)
    assert str(found) == "f: `x: f32 = load src[n]` reaches elements -inf to inf of 64"
    assert found.stmt is func.body[0]


def test_kinds_of_buffers_by_builder() -> None:
    b = Builder("f")
    b.load(b.buffer("x", Kind.U8, 4), 0, 4)
    assert verify(b.func) == []
