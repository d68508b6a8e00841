"""torch, on a TorchScript module beside the model."""

from __future__ import annotations

import torch
from job import Array, Job


class Engine:
    """A frozen module."""

    def __init__(self, job: Job) -> None:
        path = job.own_format(".pt")
        self.version = torch.__version__
        self.told = f"set_num_threads({job.threads}), inference_mode, frozen TorchScript"
        torch.set_num_threads(job.threads)
        self._module = torch.jit.optimize_for_inference(
            torch.jit.freeze(torch.jit.load(str(path)).eval())
        )
        self._feeds = list(job.feeds.values())

    def run(self) -> list[Array]:
        """One call."""
        with torch.inference_mode():
            made = self._module(*[torch.from_numpy(feed) for feed in self._feeds])
        several = made if isinstance(made, tuple | list) else [made]
        return [tensor.numpy() for tensor in several]
