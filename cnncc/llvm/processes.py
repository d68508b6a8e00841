"""Objects of many functions at once: processes beside this one take their share of long texts.

LLVM takes about 0.3 s for a megabyte of text, a process about as long to start. So one is started
for each further job where there is more to do than that; all take the longest text that is left,
this process as well. What a process does not bring back is made here.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from cnncc.llvm.optimize import emit_object
from cnncc.targets import TARGETS, Target

log = logging.getLogger(__name__)

WORTH = 2_000_000  # characters of text for each process
COMMAND = "from cnncc.llvm.processes import serve; serve()"
_LENGTH = 8  # bytes of the length before each message
_TOLD = ("name", "triple", "cpu", "features")  # what code generation asks a target for


def emit_objects(texts: Sequence[str], target: Target, level: int, jobs: int = 1) -> list[bytes]:
    """`emit_object` of each text, in order, with up to so many processes.

    Raises:
        EmitError: LLVM refuses a text.
    """
    beside = min(jobs, sum(map(len, texts)) // WORTH) - 1
    work = _Work(texts, target, level)
    processes = [p for p in (_started() for _ in range(beside)) if p is not None]
    threads = [threading.Thread(target=work.give, args=(p,), daemon=True) for p in processes]
    try:
        for thread in threads:
            thread.start()
        while (number := work.take()) is not None:
            work.made[number] = emit_object(texts[number], target, level)
        for thread in threads:
            thread.join()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    for number, text in enumerate(texts):
        if number not in work.made:
            work.made[number] = emit_object(text, target, level)
    return [work.made[number] for number in range(len(texts))]


class _Work:
    """Texts that wait, the longest first, and the objects that were made of others."""

    def __init__(self, texts: Sequence[str], target: Target, level: int) -> None:
        self.texts, self.level = texts, level
        self.made: dict[int, bytes] = {}
        self._told = {name: getattr(target, name) for name in _TOLD}
        self._waiting = deque(sorted(range(len(texts)), key=lambda n: -len(texts[n])))

    def take(self) -> int | None:
        """The number of a text that nobody else takes; None when there is none left."""
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def give(self, process: subprocess.Popen[bytes]) -> None:
        """Give a process one text after the other, as long as it answers."""
        if process.stdin is None or process.stdout is None:
            return
        while (number := self.take()) is not None:
            head = json.dumps({"target": self._told, "level": self.level})
            try:
                _write(process.stdin, head.encode())
                _write(process.stdin, self.texts[number].encode())
                self.made[number] = _read(process.stdout)
            except (OSError, EOFError) as error:
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
    some = next(iter(TARGETS.values()))
    while True:
        try:
            head = json.loads(_read(sys.stdin.buffer))
            text = _read(sys.stdin.buffer).decode()
        except EOFError:
            return
        _write(answers, emit_object(text, replace(some, **head["target"]), head["level"]))


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
