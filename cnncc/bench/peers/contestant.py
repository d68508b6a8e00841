"""A process that runs an engine, stopped while it is not its turn."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cnncc.errors import UnsupportedError
from cnncc.private_folder import default_folder

Array = npt.NDArray[Any]
WORKER = Path(__file__).parent / "engines" / "worker.py"
OPEN_SECONDS = 900.0  # conversions of large models
TURN_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Entry:
    """What a contestant runs.

    Attributes:
        engine: name of its file, `run_ENGINE.py`.
        python: the interpreter that has the engine.
        model: an ONNX file; for cnncc a saved network.
        feeds: an array for each input, in the model's order.
        outputs: names of the outputs, in the model's order.
        threads: of the engine.
        key: names the model in the cache of converted models.
        source: the user's file, beside which one in the engine's own format may lie.
    """

    engine: str
    python: str
    model: Path
    feeds: Mapping[str, Array]
    outputs: Sequence[str]
    threads: int
    key: str
    source: Path | None = None


class Contestant:
    """An engine with a model loaded. Use it as a context, or close it.

    Attributes:
        version: of the engine.
        told: its settings, as words.
    """

    def __init__(self, entry: Entry, folder: Path) -> None:
        """Start the process and load the model.

        Args:
            entry: what it runs.
            folder: for arrays on their way, used by this contestant alone.

        Raises:
            UnsupportedError: the engine is not installed there, or does not take the model.
        """
        self._entry, self._folder = entry, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "log.txt").open("w+b")
        command = [entry.python, "-u", str(WORKER), entry.engine]
        environment = dict(os.environ)
        if entry.engine == "cnncc":
            root = str(Path(__file__).parents[3])
            known = environment.get("PYTHONPATH", "")
            environment["PYTHONPATH"] = os.pathsep.join([root, known] if known else [root])
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise UnsupportedError(
                f"{entry.python} cannot be started: {error.strerror}",
                hint="name the Python that has the engines with --python",
            ) from error
        try:
            reply = self._ask(self._request(), OPEN_SECONDS)
        except BaseException:
            self.close()
            raise
        self.version, self.told = str(reply["version"]), str(reply["told"])

    def _request(self) -> dict[str, Any]:
        entry, feeds = self._entry, self._folder / "feeds.npz"
        np.savez(feeds, *entry.feeds.values())
        shared = default_folder()  # where converted models of this one are kept
        cache = (shared / "peers" if shared else self._folder) / f"{entry.engine}-{entry.key}"
        cache.mkdir(parents=True, exist_ok=True)
        return {
            "do": "open",
            "model": str(entry.model),
            "feeds": str(feeds),
            "names": list(entry.feeds),
            "outputs": list(entry.outputs),
            "threads": entry.threads,
            "cache": str(cache),
            "beside": str(entry.source.resolve().parent) if entry.source else None,
            "stem": entry.source.stem if entry.source else "",
        }

    def outputs(self) -> list[Array]:
        """The outputs of one call."""
        file = self._folder / "outputs.npz"
        count = self._ask({"do": "answer", "file": str(file)}, TURN_SECONDS)["outputs"]
        with np.load(file) as stored:
            return [stored[f"arr_{number}"] for number in range(count)]

    def block(self, seconds: float) -> list[float]:
        """Durations of calls, for about so many seconds."""
        reply = self._ask({"do": "block", "seconds": seconds}, seconds + TURN_SECONDS)
        return [float(took) for took in reply["seconds"]]

    def _ask(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        """A reply; the process runs only meanwhile."""
        self._signal(signal.SIGCONT)
        try:
            reply = self._exchange(request, patience)
        finally:
            self._signal(signal.SIGSTOP)
        name = self._entry.engine
        if "missing" in reply:
            raise UnsupportedError(f"{name} is not installed: {reply['missing']}")
        if "error" in reply:
            raise UnsupportedError(f"{name} does not take the model: {reply['error']}")
        return reply

    def _exchange(self, request: dict[str, Any], patience: float) -> dict[str, Any]:
        process, name = self._process, self._entry.engine
        if process.stdin is None or process.stdout is None:
            raise UnsupportedError(f"{name} has no process")
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        line, deadline = b"", time.monotonic() + patience
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not waiting.select(left):
                    raise UnsupportedError(f"{name} did not answer within {patience:.0f} s")
                part = os.read(process.stdout.fileno(), 1 << 16)
                if not part:
                    raise UnsupportedError(f"{name} ended without an answer{self._last_words()}")
                line += part
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _last_words(self) -> str:
        code = self._process.wait(timeout=10)
        self._log.seek(0)
        told = self._log.read()[-300:].decode(errors="replace").strip()
        return f" (exit {code}): {told}" if told else f" (exit {code})"

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def close(self) -> None:
        """End the process."""
        self._signal(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self._log.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
