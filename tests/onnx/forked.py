"""Cases in children of this process: one that crashes or hangs is a result and not the end."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

_CONTEXT = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Died:
    """What came of a case whose child did not answer.

    Attributes:
        kind: `crash` or `timeout`.
        reason: the signal, the exit code or the seconds.
    """

    kind: str
    reason: str


@dataclass(slots=True)
class _Child:
    """A child with its batch of cases; `done` of them are answered."""

    process: Any
    answers: Connection
    batch: list[int]
    deadline: float
    done: int = 0


def run_forked(
    items: Sequence[Any],
    work: Callable[[Any], Any],
    *,
    jobs: int = 2,
    batch: int = 20,
    seconds: float = 60.0,
) -> Iterator[tuple[int, Any]]:
    """Pairs (index of an item, what `work` gave for it, or `Died`), as they come.

    Args:
        items: the cases; children see them as they are now.
        work: called in a child; what it gives must be picklable.
        jobs: children at a time.
        batch: cases of one child, as long as none ends it.
        seconds: time for each case.
    """
    todo = deque(list(range(i, min(i + batch, len(items)))) for i in range(0, len(items), batch))
    children: list[_Child] = []
    while todo or children:
        while todo and len(children) < jobs:
            children.append(_start(items, work, todo.popleft(), seconds))
        patience = max(0.0, min(c.deadline for c in children) - time.monotonic())
        ready = wait([c.answers for c in children], patience)
        for child in list(children):
            if child.answers in ready:
                try:
                    index, answer = child.answers.recv()
                except EOFError:
                    child.process.join()
                    died = Died("crash", _ending(child.process.exitcode))
                else:
                    child.done += 1
                    child.deadline = time.monotonic() + seconds
                    yield index, answer
                    continue
            elif time.monotonic() < child.deadline:
                continue
            else:
                child.process.kill()
                child.process.join()
                died = Died("timeout", f"nothing for {seconds:.0f} s")
            child.answers.close()
            children.remove(child)
            if child.done < len(child.batch):
                yield child.batch[child.done], died
                rest = child.batch[child.done + 1 :]
                if rest:
                    todo.appendleft(rest)


def _start(
    items: Sequence[Any], work: Callable[[Any], Any], batch: list[int], seconds: float
) -> _Child:
    receive, send = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_serve, args=(items, work, batch, send), daemon=True)
    process.start()
    send.close()
    return _Child(process, receive, batch, time.monotonic() + seconds)


def _serve(
    items: Sequence[Any], work: Callable[[Any], Any], batch: list[int], send: Connection
) -> None:
    for index in batch:
        send.send((index, work(items[index])))
    send.close()


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"
