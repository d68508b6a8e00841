from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from cnncc.errors import EmitError
from cnncc.llvm import program as program_module
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.host import host_target
from cnncc.llvm.program import compile_program, load_program
from cnncc.targets import Target
from tests.llvm.test_parallel import assert_equal, program, start

HOST = host_target()


@pytest.mark.native
def test_a_second_compilation_comes_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ObjectCache(tmp_path / "cache")
    first = compile_program(program(), HOST, cache)
    monkeypatch.setattr(program_module, "emit_object", lambda *_: pytest.fail("compiled twice"))
    second = compile_program(program(), HOST, ObjectCache(tmp_path / "cache"))
    assert first == second
    arrays, buffers = start()
    library = load_program(second, HOST)
    library.function("main_run", ctypes.c_void_p, ctypes.c_void_p)(buffers, None)
    assert_equal(arrays)


@pytest.mark.native
def test_an_edit_recompiles_what_it_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_program(program(), HOST, ObjectCache(tmp_path / "cache"))
    compiled: list[str] = []
    real = program_module.emit_object

    def count(text: str, target: Target, level: int) -> bytes:
        compiled.append(text)
        return real(text, target, level)

    monkeypatch.setattr(program_module, "emit_object", count)
    compile_program(program(steps=3), HOST, ObjectCache(tmp_path / "cache"))
    assert len(compiled) == 1
    assert "main_run" in compiled[0]


def test_a_program_without_its_kernels_does_not_load() -> None:
    with pytest.raises(EmitError, match="step"):
        load_program(compile_program(program(), HOST, None)[-1:], HOST)
