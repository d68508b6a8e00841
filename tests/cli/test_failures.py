import errno
import json
import os
import signal
import subprocess
import sys
import time

import click
import pytest

from cnncc.cli import failures
from cnncc.errors import ArtifactError, CnnccError, Diagnostic, InternalError, SpecError
from tests.cli.conftest import DIGITS, ROOT


def fails(error):
    def run():
        raise error

    return failures.exit_code(run)


@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (CnnccError("no", hint="do so"), 1, "error: no\n  help: do so\n"),
        (ArtifactError("a \x1b[31m name"), 1, "error: a \u00b7[31m name\n"),
        (MemoryError(), 1, "error: out of memory\n"),
        (PermissionError(errno.EACCES, "Permission denied", "f.cnn"), 1, "f.cnn: Permission den"),
        (click.UsageError("so not"), 2, "error: so not\n"),
        (InternalError("graph broken"), 3, "error: internal: graph broken\n"),
        (KeyError("x"), 3, "error: internal: KeyError: 'x'\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.exceptions.Exit(7), 7, ""),
    ],
)
def test_codes_and_messages(capsys, monkeypatch, error, code, shown):
    monkeypatch.delenv("CNNCC_DEBUG", raising=False)
    assert fails(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert shown in err
    assert (err == "") == (shown == "")
    assert "Traceback" not in err


def test_spec_errors_are_shown_as_rendered(capsys):
    found = Diagnostic("E0402", "error", "flat", None)
    assert fails(SpecError((found,), "error[E0402]: flat\n  = help: flatten\n")) == 1
    assert capsys.readouterr().err == "error[E0402]: flat\n  = help: flatten\n"


def test_internal_errors_say_how_to_report(capsys, monkeypatch):
    monkeypatch.delenv("CNNCC_DEBUG", raising=False)
    monkeypatch.setattr(sys, "argv", ["cnncc", "run", "my net.cnn"])
    error = InternalError("x")
    error.add_note("in pass 3")
    fails(error)
    shown = capsys.readouterr().err
    assert "in pass 3" in shown
    assert "CNNCC_DEBUG=1 cnncc run 'my net.cnn'" in shown


def test_debug_shows_the_traceback(capsys, monkeypatch):
    monkeypatch.setenv("CNNCC_DEBUG", "1")
    assert fails(InternalError("x")) == 3
    assert "Traceback" in capsys.readouterr().err


def shell(words, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "cnncc", *map(str, words)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **more,
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")
def test_a_full_disk_under_stdout_is_1():
    with open("/dev/full", "w") as full:
        made = shell(["ops", "--json"], stdout=full)
    assert (made.returncode, made.stderr) == (1, "error: No space left on device\n")


def test_a_closed_pipe_is_quiet():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        made = shell(["ops", "--json"], stdout=writer)
    finally:
        os.close(writer)
    assert (made.returncode, made.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_is_quiet():
    process = subprocess.Popen(
        [sys.executable, "-m", "cnncc", "bench", DIGITS, "--seconds", "60", "-v"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stderr is not None
    first = process.stderr.readline()  # it is past its imports
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in first + err
    assert out == ""


def test_results_and_the_rest_go_different_ways():
    made = shell(
        ["check", ROOT / "tests/spec/errors/E0402_dense.cnn", "--message-format", "json"],
        stdout=subprocess.PIPE,
    )
    assert made.returncode == 1
    assert made.stderr == ""
    assert [d["code"] for d in json.loads(made.stdout)] == ["E0402"]


def test_a_closed_stdout_is_no_mistake_of_ours(tiny):
    made = shell(["inspect", tiny], preexec_fn=lambda: os.close(1))
    assert (made.returncode, made.stderr) == (0, "")


def test_characters_that_a_stream_lacks_are_spelled_out(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    made = shell(["check", tmp_path / "n\u2603.cnn"], stdout=subprocess.PIPE)
    assert made.returncode == 1
    assert "n\\u2603.cnn" in made.stdout + made.stderr
