"""Rules: each ONNX operator as nodes of the graph, one file a family.

Takes: a `Call`. Gives: graph ids of the node's outputs.
May import: `errors`, `ir`, `ops`, and from `cnncc.onnx` only `call`, `table` and `model`.
Invariants: a rule refuses (`Refused`) what it does not do exactly as the opset of its node says; it
asks for every attribute that the opset defines, since the others are refused; it never looks at the
shapes that the file declares.

Importing the room enters all rules into `cnncc.onnx.table`.
"""

from cnncc.onnx.rules import (
    activation,
    arithmetic,
    convolution,
    indexing,
    movement,
    normalization,
    pooling,
    products,
    quantized,
    recurrent,
    reduction,
    resize,
    shape,
    spectral,
)

__all__ = [
    "activation",
    "arithmetic",
    "convolution",
    "indexing",
    "movement",
    "normalization",
    "pooling",
    "products",
    "quantized",
    "recurrent",
    "reduction",
    "resize",
    "shape",
    "spectral",
]
