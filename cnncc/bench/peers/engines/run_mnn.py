"""MNN, on a model that its converter made: f32; the quicker of its two interfaces."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import MNN
import numpy as np
from job import Array, EngineError, Job

_TRIALS = 5


class Engine:
    """A session or a module, whichever takes less time."""

    def __init__(self, job: Job) -> None:
        self.version = MNN.version()
        model = convert(job.model, job.cache)
        ways: dict[str, Session | Module] = {
            "session": Session(model, job),
            "module": Module(model, job),
        }
        took = {name: _best(way) for name, way in ways.items()}
        chosen = min(took, key=took.__getitem__)
        self.told = f"numThread={job.threads}, precision=high, CPU; {chosen} interface"
        self._way = ways[chosen]

    def run(self) -> list[Array]:
        """One call."""
        return self._way.run()


class Session:
    """MNN's older interface."""

    def __init__(self, model: Path, job: Job) -> None:
        self._net = MNN.Interpreter(str(model))
        config = {"backend": "CPU", "precision": "high", "numThread": job.threads}
        self._session = self._net.createSession(config)
        self._inputs = [
            (self._net.getSessionInput(self._session, name), feed)
            for name, feed in job.feeds.items()
        ]
        for tensor, feed in self._inputs:
            self._net.resizeTensor(tensor, feed.shape)
        self._net.resizeSession(self._session)
        self._outputs = [self._net.getSessionOutput(self._session, n) for n in job.outputs]

    def run(self) -> list[Array]:
        """One call."""
        caffe, kind = MNN.Tensor_DimensionType_Caffe, MNN.Halide_Type_Float
        for tensor, feed in self._inputs:
            tensor.copyFrom(MNN.Tensor(feed.shape, kind, feed, caffe))
        self._net.runSession(self._session)
        outputs = []
        for tensor in self._outputs:
            shape = tensor.getShape()
            host = MNN.Tensor(shape, kind, np.empty(shape, np.float32), caffe)
            tensor.copyToHostTensor(host)
            outputs.append(host.getNumpyData().reshape(shape).copy())
        return outputs


class Module:
    """MNN's newer interface."""

    def __init__(self, model: Path, job: Job) -> None:
        config = ({"backend": 0, "precision": "high", "numThread": job.threads},)
        self._runtime: Any = MNN.nn.create_runtime_manager(config)
        self._feeds = job.feeds
        self._module = MNN.nn.load_module_from_file(
            str(model), list(job.feeds), job.outputs, runtime_manager=self._runtime
        )

    def run(self) -> list[Array]:
        """One call."""
        expr = MNN.expr
        given = [expr.const(f, list(f.shape), expr.NCHW) for f in self._feeds.values()]
        made = self._module.onForward(given)
        return [
            (expr.convert(v, expr.NCHW) if v.data_format == expr.NC4HW4 else v).read() for v in made
        ]


def _best(way: Session | Module) -> float:
    best = float("inf")
    for _ in range(_TRIALS):
        start = time.perf_counter()
        way.run()
        best = min(best, time.perf_counter() - start)
    return best


def convert(model: Path, cache: Path) -> Path:
    """The converted model."""
    made = cache / "m.mnn"
    if not made.exists():
        import _tools  # of MNN; its Python wrapper asks for a package of telemetry first

        words = ["", "-f", "ONNX", "--modelFile", str(model), "--MNNModel", str(made)]
        _tools.mnnconvert([*words, "--bizCode", "cnncc"])
        if not made.exists():
            raise EngineError("the converter made no model")
    return made
