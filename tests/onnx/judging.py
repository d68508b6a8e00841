"""An ONNX file compiled and judged: each layer by the oracle, each tensor by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cnncc import driver
from cnncc.errors import UnsupportedError
from cnncc.ir.graph import Graph
from cnncc.llvm.program import compile_program, load_program
from cnncc.onnx.against import check_tensors, drifts, relative_l2
from cnncc.onnx.peer import Peer, feeds_of
from cnncc.verification import LayerCheck, check_layers, native_engine, observe

Array = np.ndarray
RTOL, ATOL = 1e-2, 1e-3  # of whole networks, where rounding errors have grown; NNSmith's own


@dataclass(slots=True)
class Judgement:
    """What was found about a model.

    Attributes:
        wrong: what differs, the first tensor or layer first; empty when nothing does.
        layers: judged by the oracle.
        tensors: judged by onnxruntime.
        worst_ratio: the largest error of a layer, relative to what it is allowed.
        relative: the largest relative L2 difference of an output from onnxruntime's; None when
            onnxruntime does not take the model.
        unstable: an output differs though every layer is right: a rounding error met a jump.
        peer: why onnxruntime has no opinion.
        compilation: the plan.
        objects: machine code of the functions.
    """

    wrong: list[str] = field(default_factory=list)
    layers: int = 0
    tensors: int = 0
    worst_ratio: float = 0.0
    relative: float | None = None
    unstable: bool = False
    peer: str = ""
    compilation: driver.Compilation | None = None
    objects: list[bytes] = field(default_factory=list)


def judge_file(path: Path, inputs: Mapping[str, Array] | None = None) -> Judgement:
    """Compile a file and judge all of it.

    Args:
        path: the ONNX file.
        inputs: arrays by ONNX name; random ones without it.
    """
    found = Judgement()
    model = driver.load_model(path)
    found.compilation = driver.plan_model(model, driver.target_named("host"))
    plan = found.compilation.plan
    found.objects = compile_program(plan.program, plan.target, None)
    library = load_program(found.objects, plan.target)
    samples = samples_of(model.graph, inputs)
    ports = {p.name: samples[p.name].reshape(p.shape) for p in plan.interface.inputs}
    for layer in check_layers(plan, native_engine(library), ports):
        found.layers += 1
        found.worst_ratio = max(found.worst_ratio, _ratio(layer.max_error, layer.allowed))
        if layer.mismatch is not None and not _overflowed(layer):
            found.wrong.append(f"layer {layer.path} ({layer.op}): {layer.mismatch}")
    values = observe(plan, native_engine(library), ports)
    try:
        _beside_peer(found, model.graph, path, samples, values)
    except UnsupportedError as error:
        found.peer = error.message
    return found


def _overflowed(layer: LayerCheck) -> bool:
    """A number between the steps of a group was too large for f32, which f64 does not notice."""
    wrong = layer.mismatch
    if wrong is None or layer.op != "fused" or wrong.kind != "class":
        return False
    return not np.isfinite(wrong.actual) and abs(wrong.expected) > 1e30


def samples_of(graph: Graph, inputs: Mapping[str, Array] | None, seed: int = 0) -> dict[str, Array]:
    """An array for each input of an imported graph, by the graph's name, in its shape."""
    rng = np.random.default_rng(seed)
    made = {}
    for node_id in graph.inputs:
        node, type_ = graph[node_id], graph.type_of(node_id)
        if inputs is not None:
            given = np.asarray(inputs[graph.meta["tensors"][node.name]])
            # The plan is for one sample where the file is fixed to several.
            made[node.name] = (given if given.shape == type_.shape else given[:1]).reshape(
                type_.shape
            )
        elif type_.dtype.numpy.kind == "f":
            made[node.name] = rng.standard_normal(type_.shape).astype(type_.dtype.numpy)
        else:
            made[node.name] = rng.integers(0, 2, type_.shape).astype(type_.dtype.numpy)
    return made


def _beside_peer(
    found: Judgement,
    graph: Graph,
    path: Path,
    samples: Mapping[str, Array],
    values: Mapping[int, Array],
) -> None:
    peer = Peer(path)
    tensors = peer.tensors(feeds_of(graph, samples))
    for check in check_tensors(graph, samples, tensors):
        found.tensors += 1
        if check.mismatch is not None:
            found.wrong.append(f"tensor {check.tensor} ({check.op}): {check.mismatch}")
    assert found.compilation is not None
    planned = found.compilation.plan.graph
    found.relative, far = 0.0, []
    for name, node_id in planned.outputs:
        actual, expected = _value(planned, node_id, values), tensors[name]
        if actual.size != expected.size:  # several samples in the file, one in the plan
            expected = expected[:1]
        if actual.shape != expected.shape:
            found.wrong.append(f"output {name}: {actual.shape}, onnxruntime {expected.shape}")
            continue
        if not np.allclose(actual, expected, RTOL, ATOL, equal_nan=True):
            far.append(name)
        found.relative = max(found.relative, relative_l2(actual, expected))
    if not found.wrong:
        drift = list(drifts(graph, planned, samples, tensors)) if far else []
        wild = [d.output for d in drift if not d.is_sound]
        found.wrong += [f"output {name}: the passes have changed its numbers" for name in wild]
        found.unstable = bool(far) and not wild


def _value(graph: Graph, node_id: int, values: Mapping[int, Array]) -> Array:
    constant = graph.constant(node_id)
    return values[node_id] if constant is None else constant


def _ratio(error: float, allowed: float) -> float:
    if error == 0:
        return 0.0
    return error / allowed if allowed > 0 else float("inf")


def as_json(found: Judgement) -> dict[str, Any]:
    """The plain part of a judgement."""
    words = ("wrong", "layers", "tensors", "worst_ratio", "relative", "unstable", "peer")
    return {word: getattr(found, word) for word in words}
