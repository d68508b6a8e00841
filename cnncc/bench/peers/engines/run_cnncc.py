"""cnncc itself, on a saved network: it needs no compiler in this process."""

from __future__ import annotations

from job import Array, Job

import cnncc


class Engine:
    """A network."""

    def __init__(self, job: Job) -> None:
        self.version = cnncc.__version__
        self.told = f"threads={job.threads}"
        self._network = cnncc.load(job.model, threads=job.threads)
        self._feeds = list(job.feeds.values())

    def run(self) -> list[Array]:
        """One call."""
        answer = self._network(*self._feeds)
        return list(answer) if isinstance(answer, tuple) else [answer]
