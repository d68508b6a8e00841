"""The linker's arithmetic, on hand-made places and on what LLVM emits."""

import struct

import pytest

from cnncc.abi import PAGES
from cnncc.errors import EmitError
from cnncc.llvm.link import _RULES, _SHAPES, _STUBS, link
from cnncc.llvm.optimize import emit_object
from cnncc.targets import find

X86, ARM = find("x86-64"), find("aarch64")
TEXT = """
@table = internal constant [2 x i32] [i32 3, i32 4]
@pointers = internal constant [2 x ptr] [ptr @first, ptr @second]
define i32 @first(i64 %i) {
  %at = getelementptr i32, ptr @table, i64 %i
  %v = load i32, ptr %at
  ret i32 %v
}
define i32 @second(i64 %i) {
  %v = call i32 @elsewhere(i64 %i)
  ret i32 %v
}
define i32 @through(i64 %which, i64 %i) {
  %at = getelementptr ptr, ptr @pointers, i64 %which
  %f = load ptr, ptr %at
  %v = call i32 %f(i64 %i)
  ret i32 %v
}
define i32 @yields() {
  %v = call i32 @sched_yield()
  ret i32 %v
}
declare i32 @elsewhere(i64)
declare i32 @sched_yield()
"""
OTHER = "define i32 @elsewhere(i64 %i) {\n  %n = trunc i64 %i to i32\n  ret i32 %n\n}\n"
EXPORTS = ("first", "second", "through", "yields")


@pytest.mark.parametrize("target", [X86, ARM], ids=lambda t: t.name)
def test_objects_become_one_image(target):
    image = link([emit_object(TEXT, target), emit_object(OTHER, target)], EXPORTS, target)
    assert image.constants % PAGES[image.machine] == 0
    assert set(image.imports) == {"sched_yield"}
    assert len(image.rebases) == 2
    pointed = [struct.unpack_from("<Q", image.code, at)[0] for at in sorted(image.rebases)]
    assert pointed == [image.exports["first"], image.exports["second"]]
    assert all(at < image.constants for at in image.exports.values())
    assert all(at >= image.constants for at in (*image.imports.values(), *image.rebases))


@pytest.mark.native
def test_linked_code_runs():
    import ctypes

    from cnncc.runtime.image import Loaded

    loaded = Loaded(link([emit_object(TEXT, X86), emit_object(OTHER, X86)], EXPORTS, X86))
    i32, i64 = ctypes.c_int32, ctypes.c_int64
    first = ctypes.CFUNCTYPE(i32, i64)(loaded["first"])
    through = ctypes.CFUNCTYPE(i32, i64, i64)(loaded["through"])
    yields = ctypes.CFUNCTYPE(i32)(loaded["yields"])
    assert [first(0), first(1)] == [3, 4]
    assert [through(0, 1), through(1, 77)] == [4, 77]
    assert yields() == 0


def test_a_missing_function_is_named():
    with pytest.raises(EmitError, match="no object defines elsewhere"):
        link([emit_object(TEXT, X86)], EXPORTS, X86)
    with pytest.raises(EmitError, match="no object defines nothing"):
        link([emit_object(OTHER, X86)], ["nothing"], X86)


def test_a_function_may_be_defined_once():
    with pytest.raises(EmitError, match="`elsewhere` is defined twice"):
        link([emit_object(OTHER, X86)] * 2, ["elsewhere"], X86)


def test_writable_data_is_refused():
    text = "@counter = global i32 1\ndefine ptr @f() {\n  ret ptr @counter\n}\n"
    with pytest.raises(EmitError, match=r"writable data in section `\.data"):
        link([emit_object(text, X86)], ["f"], X86)


def _filled(machine: str, kind: int, word: int, at: int, value: int) -> int:
    data = bytearray(1 << 16)
    struct.pack_into("<I", data, at, word)
    _SHAPES[_RULES[machine][kind][1]](data, at, value)
    return struct.unpack_from("<I", data, at)[0]


@pytest.mark.parametrize(
    ("kind", "word", "at", "value", "result"),
    [
        # Encodings as `as` and `objdump` of binutils give them.
        (283, 0x94000000, 0x100, 0x104, 0x94000001),  # bl .+4
        (283, 0x94000000, 0x100, 0xFC, 0x97FFFFFF),  # bl .-4
        (282, 0x14000000, 0x0, 0x1000, 0x14000400),  # b .+0x1000
        (275, 0x90000000, 0x10, 0x3000, 0xF0000000),  # adrp x0, three pages ahead
        (275, 0x90000001, 0x5000, 0x4000, 0xF0FFFFE1),  # adrp x1, one page back
        (277, 0x91000000, 0x0, 0x1ABC, 0x912AF000),  # add x0, x0, #0xabc
        (286, 0xF9400000, 0x0, 0x1AB8, 0xF9455C00),  # ldr x0, [x0, #0xab8]
        (285, 0xBD400000, 0x0, 0x1AB8, 0xBD4AB800),  # ldr s0, [x0, #0xab8]
        (299, 0x3DC00000, 0x0, 0x1AB0, 0x3DC2AC00),  # ldr q0, [x0, #0xab0]
    ],
)
def test_arm_instructions_get_their_addresses(kind, word, at, value, result):
    assert hex(_filled("aarch64", kind, word, at, value)) == hex(result)


def test_a_distance_must_fit():
    with pytest.raises(EmitError, match="too large"):
        _filled("x86_64", 2, 0, 0, 1 << 31)
    with pytest.raises(EmitError, match="too large"):
        _filled("aarch64", 283, 0x94000000, 0, 1 << 28)


def test_stubs_jump_through_their_slots():
    assert _STUBS["x86_64"](0x1000, 0x10010).hex() == "ff250af00000"
    words = struct.unpack("<III", _STUBS["aarch64"](0x1000, 0x10010))
    assert [hex(w) for w in words] == ["0xf0000070", "0xf9400a10", "0xd61f0200"]
