"""OpenVINO's CPU plugin: f32, for latency."""

from __future__ import annotations

import openvino
from job import Array, Job


class Engine:
    """An infer request that is used again and again."""

    def __init__(self, job: Job) -> None:
        self.version = openvino.__version__.split("-")[0]
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # else bf16 where the CPU has it
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": job.threads,
            "NUM_STREAMS": 1,
        }
        self.told = ", ".join(f"{key}={value}" for key, value in settings.items())
        model = openvino.Core().compile_model(str(job.model), "CPU", settings)
        self._request = model.create_infer_request()
        self._outputs = model.outputs
        self._feeds = job.feeds

    def run(self) -> list[Array]:
        """One call; neither inputs nor outputs are copied."""
        made = self._request.infer(self._feeds, share_inputs=True, share_outputs=True)
        return [made[output] for output in self._outputs]
