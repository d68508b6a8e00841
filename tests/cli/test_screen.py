import io
import json
import sys
import time

import pytest

from cnncc.cli import screen as module
from cnncc.cli.screen import Column, Progress, Screen, cell, duration, printable, size_text


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("option", "environment", "tty", "expected"),
    [
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1"}, True, False),
        ("auto", {"TERM": "dumb"}, True, False),
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {}, True, False),
    ],
)
def test_colour(monkeypatch, option, environment, tty, expected):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen()
    screen.color = option
    assert screen.colored(Terminal() if tty else io.StringIO()) is expected


def test_tables_align_and_are_plain_in_a_pipe(capsys):
    columns = (Column("name", "name", style="bold"), Column("n", "count", right=True))
    rows = [{"name": "a", "n": 12345}, {"name": "[red]b", "n": 7}, {"name": "total", "n": 12352}]
    Screen().table(columns, rows, totals=1)
    assert capsys.readouterr().out.splitlines() == [
        "name     count",
        "a       12,345",
        "[red]b       7",
        "----     -----",
        "total   12,352",
    ]


def test_narrow_terminals_cut_no_numbers(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", Terminal())
    columns = (Column("name", "name"), Column("n", "count", right=True), Column("m", "m", True))
    Screen().table(columns, [{"name": "conv_pool_tile", "n": 123456, "m": 7654321}])
    written = sys.stdout.getvalue()
    assert "conv_pool_tile  123,456  7,654,321" in written


def test_json_has_no_nan(capsys):
    Screen().json({"scores": (float("nan"), -float("inf"), 1.5), "deep": [{"x": float("inf")}]})
    found = json.loads(capsys.readouterr().out)
    assert found == {"scores": [None, None, 1.5], "deep": [{"x": None}]}


def test_names_cannot_steer_the_terminal(capsys):
    Screen().table((Column("n", "n"),), [{"n": "\x1b[2Jx"}])
    Screen().result("\x1b[2Jy")
    Screen().note("\x1b[2Jz")
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err


def test_colour_only_where_it_is_wanted(capsys):
    screen = Screen()
    screen.diagnostics("error[E0402]: x\nwarning: y\n")
    assert capsys.readouterr().err == "error[E0402]: x\nwarning: y\n"
    screen.color = "always"
    screen.diagnostics("error[E0402]: x\n")
    assert capsys.readouterr().err == "\x1b[31m\x1b[1merror[E0402]\x1b[0m: x\n"


def test_quiet_keeps_errors(capsys):
    screen = Screen()
    screen.verbosity = -1
    screen.note("formatted")
    screen.error("no")
    assert capsys.readouterr().err == "error: no\n"


def test_progress_waits_a_second_and_cleans_up(monkeypatch):
    terminal, now = Terminal(), [0.0]
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = Progress("verifying", 4, enabled=True)
    progress.step("conv1")
    assert terminal.getvalue() == ""
    now[0] = 1.5
    progress.step("conv\x1b2")
    assert "2/4 conv\u00b72" in terminal.getvalue()
    progress.clear()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_waiting_draws_after_a_second_and_makes_room(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "PATIENCE", 0.01)
    screen = Screen()
    with screen.waiting("compiling net.cnn") as status:
        status.step = "behind fuse"
        while "behind fuse" not in terminal.getvalue():
            time.sleep(0.001)
        screen.note("warning")
    shown = terminal.getvalue()
    assert "compiling net.cnn: behind fuse (0 s)" in shown
    assert "\r\x1b[Kwarning\n" in shown
    assert shown.endswith("\r\x1b[K")


def test_quick_work_is_not_mentioned(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Screen().waiting("compiling"):
        pass
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("verbosity", [-1, 1])
def test_neither_quiet_nor_verbose_runs_draw(monkeypatch, verbosity):
    monkeypatch.setattr(sys, "stderr", Terminal())
    screen = Screen()
    screen.verbosity = verbosity
    with screen.waiting("compiling") as status:
        assert not status.enabled


def test_no_progress_in_a_pipe(capsys):
    with Screen().progress("verifying", 1) as progress:
        monotonic = progress._since
        progress._since = monotonic - 10
        progress.step()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.00012345, "0.0001234"),
        (12345.6, "12,346"),
        (["conv2d", "relu"], "conv2d + relu"),
    ],
)
def test_cells(value, text):
    assert cell(value) == text


@pytest.mark.parametrize(
    ("count", "text"), [(7, "7 B"), (1536, "1.5 KiB"), (46 << 20, "46.0 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes(count, text):
    assert size_text(count) == text


def test_lines_stay_printable():
    assert printable("a\nb\tc\u202e") == "a\nb\u00b7c\u00b7"


@pytest.mark.parametrize(
    ("seconds", "text"), [(2.5e-6, "2.5 us"), (0.0123, "12.30 ms"), (1.5, "1.50 s")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text
