"""LiteRT with XNNPACK, on a `.tflite` file beside the model."""

from __future__ import annotations

import importlib.metadata

from ai_edge_litert.interpreter import Interpreter
from job import Array, EngineError, Job


class Engine:
    """An interpreter."""

    def __init__(self, job: Job) -> None:
        path = job.own_format(".tflite")
        self.version = importlib.metadata.version("ai-edge-litert")
        self.told = f"num_threads={job.threads}, XNNPACK"
        self._net = Interpreter(str(path), num_threads=job.threads)
        self._net.allocate_tensors()
        self._inputs = []
        for detail, feed in zip(self._net.get_input_details(), job.feeds.values(), strict=True):
            wanted = tuple(detail["shape"])
            turned = feed.transpose(0, 2, 3, 1) if feed.ndim == 4 and feed.shape != wanted else feed
            if turned.shape != wanted:
                raise EngineError(f"takes {wanted}, not {feed.shape}")
            self._inputs.append((detail["index"], turned.copy()))
        self._outputs = [detail["index"] for detail in self._net.get_output_details()]

    def run(self) -> list[Array]:
        """One call."""
        for index, feed in self._inputs:
            self._net.set_tensor(index, feed)
        self._net.invoke()
        made = [self._net.get_tensor(index) for index in self._outputs]
        return [m.transpose(0, 3, 1, 2) if m.ndim == 4 else m for m in made]
