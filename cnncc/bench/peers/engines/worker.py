"""A process that runs one engine and answers requests, a line of JSON each.

`python worker.py ENGINE`. Requests: `open` (a job; its arrays in a file), `answer` (one call, its
outputs into a file), `block` (calls for so many seconds; their durations). What an engine prints
goes to stderr.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from job import Job

WARM_CALLS = 3  # after a pause: caches, and threads that slept


class Worker:
    """Answers requests about one engine."""

    def __init__(self, name: str) -> None:
        self._module: Any = importlib.import_module(f"run_{name}")
        self._engine: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to a request."""
        return {"open": self._open, "answer": self._outputs, "block": self._block}[request["do"]](
            request
        )

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        with np.load(request["feeds"]) as stored:
            feeds = {name: stored[key] for key, name in enumerate_keys(request["names"])}
        beside = request.get("beside")
        job = Job(
            Path(request["model"]),
            feeds,
            request["outputs"],
            request["threads"],
            Path(request["cache"]),
            Path(beside) if beside else None,
            request.get("stem", ""),
        )
        self._engine = self._module.Engine(job)
        return {"version": self._engine.version, "told": self._engine.told}

    def _outputs(self, request: dict[str, Any]) -> dict[str, Any]:
        outputs = [np.array(a) for a in self._engine.run()]
        np.savez(request["file"], *outputs)
        return {"outputs": len(outputs)}

    def _block(self, request: dict[str, Any]) -> dict[str, Any]:
        run, clock = self._engine.run, time.perf_counter
        took: list[float] = []
        gc.collect()
        gc.disable()
        for _ in range(WARM_CALLS):
            run()
        start = before = clock()
        while not took or before - start < request["seconds"]:
            run()
            now = clock()
            took.append(now - before)
            before = now
        gc.enable()
        return {"seconds": took}


def enumerate_keys(names: list[str]) -> list[tuple[str, str]]:
    """The names under which `numpy.savez` stores arrays without names, beside ours."""
    return [(f"arr_{number}", name) for number, name in enumerate(names)]


def main() -> None:
    """Answer until the requests end."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    worker: Worker | None = None
    for line in sys.stdin:
        try:
            worker = worker or Worker(sys.argv[1])
            reply = worker.answer(json.loads(line))
        except ImportError as error:
            reply = {"missing": str(error)}
        except Exception as error:  # whatever an engine raises: the host reports it
            reply = {"error": f"{type(error).__name__}: {error}"}
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
