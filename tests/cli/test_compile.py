import ctypes
import errno
import shutil

import pytest

from cnncc.cli import compile as module
from cnncc.errors import TargetError
from tests.cli.conftest import DIGITS, TINY, answer

EXPORTED = ["digits.o", "libdigits.a", "libdigits.so", "digits.h", "main.c", "CMakeLists.txt"]
needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")


@needs_cc
def test_all_files(run, tmp_path):
    made = answer(run("compile", DIGITS, "-o", tmp_path / "b", "--json"), "cnncc.files/1")
    assert [f["path"] for f in made["files"]] == [str(tmp_path / "b" / n) for n in EXPORTED]
    assert [f["bytes"] for f in made["files"]] == [
        (tmp_path / "b" / name).stat().st_size for name in EXPORTED
    ]
    library = ctypes.CDLL(str(tmp_path / "b" / "libdigits.so"))
    assert library.digits_abi_version() >= 1


def test_some_files(run, tmp_path):
    shown = run("compile", DIGITS, "-o", tmp_path, "--emit", "obj,header", "--name", "x").stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.h", "x.o"]
    assert shown.splitlines()[0].split() == ["file", "size"]


def test_default_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("compile", DIGITS, "--emit", "header", "-q").stdout == ""
    assert (tmp_path / "build" / "digits" / "digits.h").exists()


def test_stages_can_be_fed_back(run, tmp_path):
    run("compile", DIGITS, "-o", tmp_path, "--emit", "graph,loops,llvm,asm")
    assert '@"main_serial"' in (tmp_path / "digits.ll").read_text()
    assert "main_serial:" in (tmp_path / "digits.s").read_text()
    picture = DIGITS.parent / "two.png"
    whole = run("run", DIGITS, "-i", picture, "--json").stdout
    assert run("run", tmp_path / "digits.loops", "-i", picture, "--json").stdout == whole
    assert run("run", tmp_path / "digits.planned.graph", "-i", picture, "--json").stdout == whole
    run("compile", tmp_path / "digits.loops", "-o", tmp_path / "again", "--emit", "asm,loops")
    for name in ("digits.s", "digits.loops"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / name).read_text()
    refused = run("compile", tmp_path / "digits.loops", "-o", "-", "--emit", "graph", code=1)
    assert "has no graph any more" in refused.stderr


def test_text_to_stdout(run):
    assert run("compile", "-", "-o", "-", "--emit", "graph", stdin=TINY).stdout.startswith("graph")
    wrong = run("compile", DIGITS, "-o", "-", "--emit", "obj", code=2)
    assert "can go to stdout" in wrong.stderr


def test_assembly_of_other_machines(run):
    assert "zmm" in run("compile", DIGITS, "-o", "-", "--emit", "asm", "--mcpu", "avx512").stdout
    avx2 = run("compile", DIGITS, "-o", "-", "--emit", "asm", "--mcpu", "haswell").stdout
    assert "ymm" in avx2
    assert "zmm" not in avx2
    arm = run("compile", DIGITS, "-o", "-", "--emit", "asm", "--target", "aarch64").stdout
    assert "fmla" in arm


@needs_cc
def test_the_object_has_the_prefix(run, tmp_path):
    run("compile", DIGITS, "-o", tmp_path, "--emit", "shared,header", "--prefix", "reader")
    assert "reader_run" in (tmp_path / "digits.h").read_text()
    assert ctypes.CDLL(str(tmp_path / "libdigits.so")).reader_abi_version() >= 1


def test_without_a_c_compiler(run, tmp_path, monkeypatch):
    def none(*words):
        raise TargetError("there is no C compiler")

    monkeypatch.setattr("cnncc.export.write.link_shared", none)
    result = run("compile", DIGITS, "-o", tmp_path)
    assert "no shared library: there is no C compiler" in result.stderr
    assert not (tmp_path / "libdigits.so").exists()
    assert (tmp_path / "libdigits.a").exists()
    shown = run("compile", DIGITS, "-o", tmp_path, "--emit", "shared", code=1).stderr
    assert "there is no C compiler" in shown


def test_a_folder_that_cannot_be(run, tmp_path):
    (tmp_path / "file").write_text("")
    for kind in ("header", "asm"):
        shown = run("compile", DIGITS, "-o", tmp_path / "file" / "x", "--emit", kind, code=1)
        assert "Not a directory" in shown.stderr


def test_a_full_disk(run, tmp_path, monkeypatch):
    def full(*words):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cnncc.runtime.atomic.os.write", full)
    shown = run("compile", DIGITS, "-o", tmp_path, "--emit", "header", code=1).stderr
    assert "No space left on device" in shown
    assert list(tmp_path.iterdir()) == []


def test_all_kinds_of_export_are_known():
    from cnncc.export import KINDS

    assert module.EXPORTS == KINDS
