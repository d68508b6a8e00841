"""ncnn, on a model that pnnx converted: f32, Winograd and packed layouts on."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import ncnn
import numpy as np
from job import Array, EngineError, Job

CONVERSION_SECONDS = 600


class Engine:
    """A net; each call makes an extractor of it."""

    def __init__(self, job: Job) -> None:
        if any(len(feed) != 1 for feed in job.feeds.values()):
            raise EngineError("has no batches")
        self.version = importlib.metadata.version("ncnn")
        self.told = (
            f"pnnx {importlib.metadata.version('pnnx')} fp16=0; num_threads={job.threads}, fp16 and"
            " bf16 off, winograd, sgemm and packing on"
        )
        base = convert(job.model, job.cache)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = job.threads
        options.lightmode = True
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(options, f"use_{name}", False)
        for name in ("winograd_convolution", "sgemm_convolution", "packing_layout"):
            setattr(options, f"use_{name}", True)
        if self._net.load_param(f"{base}.param") or self._net.load_model(f"{base}.bin"):
            raise EngineError("does not load what pnnx made")
        self._inputs = list(
            zip(self._net.input_names(), (feed[0] for feed in job.feeds.values()), strict=True)
        )

    def run(self) -> list[Array]:
        """One call."""
        extractor = self._net.create_extractor()
        for name, array in self._inputs:
            extractor.input(name, ncnn.Mat(array))
        outputs = []
        for name in self._net.output_names():
            failed, made = extractor.extract(name)
            if failed:
                raise EngineError(f"cannot compute {name}")
            outputs.append(np.array(made)[None])
        return outputs


def convert(model: Path, cache: Path) -> Path:
    """The converted model, as a path without ending."""
    base = cache / "m.ncnn"
    if not base.with_name("m.ncnn.bin").exists():
        copy = cache / "m.onnx"
        shutil.copyfile(model, copy)
        tool = Path(sys.executable).with_name("pnnx")
        done = subprocess.run(
            [str(tool), str(copy), "fp16=0"],
            cwd=cache,
            capture_output=True,
            text=True,
            timeout=CONVERSION_SECONDS,
            check=False,
        )
        if not base.with_name("m.ncnn.bin").exists():
            raise EngineError(f"pnnx made no model: {done.stderr.strip()[-300:]}")
    return base
