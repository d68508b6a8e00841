from __future__ import annotations

import pytest

from cnncc.errors import EmitError
from cnncc.llvm.elf import code_bytes, fill_section, sections, symbols, undefined_symbols
from cnncc.llvm.optimize import emit_object
from cnncc.targets import find

TEXT = """
@data = hidden externally_initialized constant i64 0, section ".rodata.x", align 64
declare void @other()
define internal void @near() noinline { ret void }
define ptr @far() {
  call void @other()
  call void @near()
  ret ptr @data
}
"""


def test_symbols_and_sections() -> None:
    image = emit_object(TEXT, find("x86-64"))
    found = {s.name: s for s in symbols(image)}
    assert undefined_symbols(image) == {"other"}
    assert found["near"].local
    assert found["near"].function
    assert not found["far"].local
    assert found["data"].hidden
    assert found["data"].size == 8
    assert not found["data"].function
    assert set(code_bytes(image)) == {"near", "far"}
    assert code_bytes(image)["near"] == 1


def test_filling_a_section() -> None:
    image = emit_object(TEXT, find("aarch64"))
    filled = fill_section(image, ".rodata.x", b"weights!")
    section = next(s for s in sections(filled) if s.name == ".rodata.x")
    assert filled[section.offset :][:8] == b"weights!"
    assert len(filled) == len(image)
    for name, data in ((".rodata.x", b"short"), (".rodata.y", b"weights!")):
        with pytest.raises(EmitError, match="no section"):
            fill_section(image, name, data)


def test_other_files_are_refused() -> None:
    for image in (b"", b"\x7fELF", b"MZ" + bytes(100)):
        with pytest.raises(EmitError, match="ELF"):
            sections(image)
