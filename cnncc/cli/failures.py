"""From what went wrong to a message on stderr and an exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable

import click

from cnncc.cli.screen import begin, printable, screen
from cnncc.errors import CnnccError, InternalError, SpecError

MODEL, USAGE, INTERNAL = 1, 2, 3
INTERRUPTED, PIPE = 128 + signal.SIGINT, 128 + signal.SIGPIPE
_REPORT = """\
This is a mistake in cnncc, not in your model. Please report it with the model and with what
  CNNCC_DEBUG=1 {command}
prints."""


def exit_code(run: Callable[[], object]) -> int:
    """What a run of the command line answers; its errors are shown here."""
    begin()
    try:
        answer = run()
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.UsageError as error:
        _usage(error)
        return USAGE
    except SystemExit:  # click's own answer to a closed pipe
        _silence_stdout()
        return PIPE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except SpecError as error:
        screen().diagnostics(error.rendered or printable(str(error)))
        return MODEL
    except CnnccError as error:
        screen().error(str(error))
        return MODEL
    except MemoryError:
        screen().error("out of memory")
        return MODEL
    except OSError as error:
        return _system(error)
    except Exception as error:  # the one place that answers for all that nobody foresaw
        return _internal(error)
    return answer if isinstance(answer, int) else 0


def _usage(error: click.UsageError) -> None:
    screen().error(error.format_message())
    if error.ctx is not None:
        screen().note(f"see `{error.ctx.command_path} --help`")


def _system(error: OSError) -> int:
    """The system refused something that no verb foresaw; a closed pipe is no mistake at all."""
    broken = isinstance(error, BrokenPipeError)
    if broken or error.errno in (errno.ENOSPC, errno.EIO, errno.EBADF):
        _silence_stdout()
    if broken:
        return PIPE
    place = f"{error.filename}: " if error.filename else ""
    screen().error(f"{place}{error.strerror or error}")
    return MODEL


def _silence_stdout() -> None:
    """What Python still holds for stdout goes nowhere, so that it does not fail again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        sys.stdout = io.StringIO()


def _internal(error: Exception) -> int:
    shown = screen()
    if os.environ.get("CNNCC_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error)
        return INTERNAL
    kind = "" if isinstance(error, InternalError) else f"{type(error).__name__}: "
    notes = "".join(f"\n  {note}" for note in getattr(error, "__notes__", ()))
    shown.error(f"internal: {kind}{error}{notes}")
    command = " ".join(["cnncc", *map(_quoted, sys.argv[1:])])
    shown.print_error(_REPORT.format(command=command))
    return INTERNAL


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
