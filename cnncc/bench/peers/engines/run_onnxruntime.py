"""ONNX Runtime: one thread pool, all optimisations, spinning threads."""

from __future__ import annotations

import onnxruntime
from job import Array, Job


class Engine:
    """A session."""

    def __init__(self, job: Job) -> None:
        self.version = onnxruntime.__version__
        self.told = f"intra_op_num_threads={job.threads}, ORT_ENABLE_ALL, sequential, spinning"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = job.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        self._session = onnxruntime.InferenceSession(
            str(job.model), options, providers=["CPUExecutionProvider"]
        )
        self._feeds = job.feeds

    def run(self) -> list[Array]:
        """One call."""
        answer: list[Array] = self._session.run(None, self._feeds)
        return answer
