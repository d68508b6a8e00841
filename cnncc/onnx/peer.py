"""onnxruntime as a witness: its optimiser is off, and every tensor of a model is an output."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph

Array = NDArray[Any]


class Peer:
    """A model in onnxruntime, every tensor of which can be seen.

    Args:
        source: the model's file, or its bytes.

    Attributes:
        version: onnxruntime's version.
        outputs: names of the model's own outputs.

    Raises:
        UnsupportedError: onnxruntime is not installed, or does not take the model.
    """

    def __init__(self, source: Path | bytes) -> None:
        try:
            import onnx
            import onnxruntime
        except ImportError as error:
            raise UnsupportedError(
                "onnxruntime is not installed", hint="pip install onnx onnxruntime"
            ) from error
        if isinstance(source, bytes):
            model = onnx.load_model_from_string(source)
        else:
            model = onnx.load(source, load_external_data=False)
        self.outputs = tuple(value.name for value in model.graph.output)
        named = {name for node in model.graph.node for name in node.output if name}
        for name in sorted(named - set(self.outputs)):
            model.graph.output.append(onnx.ValueInfoProto(name=name))
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if isinstance(source, Path):
            key = "session.model_external_initializers_file_folder_path"
            options.add_session_config_entry(key, str(source.parent.resolve()))
        self.version: str = onnxruntime.__version__
        try:
            self._session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except failures() as error:
            raise UnsupportedError(f"onnxruntime does not take the model: {error}") from error

    def tensors(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Every tensor by name, for arrays of the model's inputs by name.

        An array of one sample is repeated where the file is fixed to more.

        Raises:
            UnsupportedError: onnxruntime cannot run the model.
        """
        feeds = dict(inputs)
        for port in self._session.get_inputs():
            if port.name in feeds and port.shape and isinstance(port.shape[0], int):
                given = feeds[port.name]
                if given.ndim and given.shape[0] == 1 < port.shape[0]:
                    feeds[port.name] = np.repeat(given, port.shape[0], 0)
        names = [port.name for port in self._session.get_outputs()]
        try:
            made = self._session.run(names, feeds)
        except failures() as error:
            raise UnsupportedError(f"onnxruntime cannot run the model: {error}") from error
        found = {n: a for n, a in zip(names, made, strict=True) if isinstance(a, np.ndarray)}
        return {**feeds, **found}


def failures() -> tuple[type[Exception], ...]:
    """The errors of onnxruntime, which have no base of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    words = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented")
    return tuple(getattr(state, word) for word in (*words, "RuntimeException", "EPFail"))


def feeds_of(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of a graph's inputs by ONNX name, in the shapes of the graph."""
    tensors = graph.meta["tensors"]
    return {
        tensors[graph[i].name]: np.asarray(inputs[graph[i].name]).reshape(graph.type_of(i).shape)
        for i in graph.inputs
    }
