"""Operators that ONNX itself defines by a function of other operators, written out."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.ir.types import TensorType
from cnncc.onnx.model import Node


def body_of(node: Node, types: Sequence[TensorType | None]) -> list[Node] | None:
    """The nodes that define a node, or None when ONNX gives no definition for its version.

    Args:
        node: an operator without a rule.
        types: types of its inputs; None for those left out.
    """
    return None
