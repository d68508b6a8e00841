"""Other engines on the same model, side by side in one run.

Takes: an ONNX file, arrays, a Python that has the engines. Gives: durations of calls, outputs,
versions, and what each engine was told. May import: `errors`, `ir.types`; NumPy.
Invariants: each engine, ours too, has a process of its own, which is stopped while it is not its
turn, so threads that spin hold no core; an engine that is missing or fails is reported, and the
others go on.

To add an engine write `engines/run_NAME.py` and name it in `PEERS`; the rounds are in `contest.py`,
the processes in `contestant.py`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine that may be installed.

    Attributes:
        name: what users call it.
        install: packages that bring it.
        needs: its own format, if it does not take ONNX, and who makes it.
    """

    name: str
    install: str
    needs: str = ""


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer("onnxruntime", "onnxruntime"),
        Peer("openvino", "openvino"),
        Peer("ncnn", "ncnn pnnx"),
        Peer("mnn", "MNN"),
        Peer("torch", "torch", "a TorchScript file NAME.pt beside NAME.onnx"),
        Peer("litert", "ai-edge-litert", "a file NAME.tflite beside NAME.onnx"),
    )
}

__all__ = ["PEERS", "Peer"]
