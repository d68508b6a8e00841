"""Objects of many functions at once: processes beside this one take their share of long texts.

Texts come one by one while this process plans and lowers what follows, so others begin with the
first of them. LLVM takes 0.3 s for a megabyte of text, a process a third of that to start. The
first is started for as much, a further one where there is more to do than that. All take the
longest text that waits, and in the end this process too. What a process does not bring back is made
here.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple, Self

from cnncc.llvm.optimize import CodeTarget, emit_object

log = logging.getLogger(__name__)

EARLY = 300_000  # characters of text for the first process
WORTH = 1_000_000  # and for each further one
COMMAND = "from cnncc.llvm.processes import serve; serve()"
_LENGTH = 8  # bytes of the length before each message


class _Told(NamedTuple):
    """A target as other processes are told of it: its own record would take NumPy to read."""

    name: str
    triple: str
    cpu: str
    features: str


def emit_objects(
    texts: Sequence[str], target: CodeTarget, level: int, jobs: int = 1
) -> list[bytes]:
    """`emit_object` of each text, in order, with up to so many processes.

    Raises:
        EmitError: LLVM refuses a text.
    """
    with Assembly(target, level, jobs) as assembly:
        for text in texts:
            assembly.add(text)
        return assembly.finish()


class Assembly:
    """Texts that come one by one and become objects meanwhile; a context, for its processes."""

    def __init__(self, target: CodeTarget, level: int, jobs: int = 1) -> None:
        self._target, self._level, self._most = target, level, jobs - 1
        self._told = _Told(target.name, target.triple, target.cpu, target.features)
        self._texts: list[str] = []
        self._made: dict[int, bytes] = {}
        self._waiting: set[int] = set()
        self._whole = False  # whether all texts are here
        self._ended = False  # whether nobody waits for objects any more
        self._changed = threading.Condition()
        self._length = 0  # characters of all texts
        self._processes: list[subprocess.Popen[bytes]] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the processes, whatever they are at."""
        self._ended = True
        self._close()
        for process in self._processes:
            process.kill()
            process.communicate()

    def add(self, text: str) -> None:
        """One more text."""
        with self._changed:
            self._waiting.add(len(self._texts))
            self._texts.append(text)
            self._changed.notify()
        self._length += len(text)
        beside = len(self._processes)
        if beside < self._most and self._length >= EARLY + beside * WORTH:
            self._start()

    def finish(self) -> list[bytes]:
        """The objects of all texts, in order.

        Raises:
            EmitError: LLVM refuses a text.
        """
        self._close()
        while (number := self._take()) is not None:
            self._made[number] = emit_object(self._texts[number], self._target, self._level)
        for thread in self._threads:
            thread.join()
        for number, text in enumerate(self._texts):
            if number not in self._made:
                self._made[number] = emit_object(text, self._target, self._level)
        return [self._made[number] for number in range(len(self._texts))]

    def _start(self) -> None:
        """One more process, with a thread that gives it texts."""
        process = _started()
        if process is None:
            self._most = 0
            return
        thread = threading.Thread(target=self._give, args=(process,), daemon=True)
        thread.start()
        self._processes.append(process)
        self._threads.append(thread)

    def _close(self) -> None:
        """No text will follow."""
        with self._changed:
            self._whole = True
            self._changed.notify_all()

    def _take(self) -> int | None:
        """The number of the longest text that nobody else takes; None when none will follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._whole)
            if not self._waiting:
                return None
            number = max(self._waiting, key=lambda n: (len(self._texts[n]), -n))
            self._waiting.remove(number)
            return number

    def _give(self, process: subprocess.Popen[bytes]) -> None:
        """Give a process one text after the other, as long as it answers."""
        if process.stdin is None or process.stdout is None:
            return
        while (number := self._take()) is not None:
            head = json.dumps({"target": self._told._asdict(), "level": self._level})
            try:
                _write(process.stdin, head.encode())
                _write(process.stdin, self._texts[number].encode())
                self._made[number] = _read(process.stdout)
            except (OSError, EOFError, ValueError) as error:
                if not self._ended:
                    log.warning("a process that generates code ended early: %s", error)
                return


def _started() -> subprocess.Popen[bytes] | None:
    """A process that serves; None where this one is no Python that could start another."""
    program = Path(sys.executable or "")
    if getattr(sys, "frozen", False) or not program.name.startswith("python"):
        return None
    try:
        return subprocess.Popen(
            [str(program), "-c", COMMAND],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
    except OSError as error:
        log.warning("no process beside this one could be started: %s", error)
        return None


def serve() -> None:
    """Answer with the object of each text until the input ends.

    A text that LLVM refuses ends the process: whoever sent it makes it himself, and sees why.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    while True:
        try:
            head = json.loads(_read(sys.stdin.buffer))
            text = _read(sys.stdin.buffer).decode()
        except EOFError:
            return
        _write(answers, emit_object(text, _Told(**head["target"]), head["level"]))


def _write(pipe: IO[bytes], data: bytes) -> None:
    pipe.write(len(data).to_bytes(_LENGTH, "little") + data)
    pipe.flush()


def _read(pipe: IO[bytes]) -> bytes:
    """A message.

    Raises:
        EOFError: there is none, or it is not whole.
    """
    head = pipe.read(_LENGTH)
    data = pipe.read(int.from_bytes(head, "little")) if len(head) == _LENGTH else b""
    if len(head) < _LENGTH or len(data) < int.from_bytes(head, "little"):
        raise EOFError("the other end is closed")
    return data
