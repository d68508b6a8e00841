"""Why a node cannot be taken: what rules raise, and what becomes of it."""

from __future__ import annotations

from cnncc.errors import UnsupportedError


class Refused(Exception):
    """Raised by a rule: this node cannot be taken.

    Args:
        reason: what is not supported, in words that the model's author understands.
        nearest: the nearest form that is, or what to do instead.
    """

    def __init__(self, reason: str, nearest: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.nearest = nearest


class WantsConstant(Refused):
    """Raised by a rule: an operand must be known when the model is compiled.

    Args:
        node_id: the operand's id in the graph; the inputs that it depends on are found from it.
        word: the operand's name in ONNX's documents.
    """

    def __init__(self, node_id: int, word: str) -> None:
        super().__init__(
            f"`{word}` is computed from the model's inputs; it must be known at compile time",
            "make it a constant of the model, or bind the input that it comes from",
        )
        self.node_id = node_id


class NeedsConstant(UnsupportedError):
    """A model that can be compiled once some of its inputs are bound to values.

    Attributes:
        inputs: names of these inputs.
    """

    def __init__(self, message: str, inputs: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.inputs = inputs
