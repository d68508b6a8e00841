"""`python own_format.py ENGINE WEIGHTS.npz FILE`: one convolution with ReLU in an engine's format.

Run by the Python that has the engine; `weights` [O,C,kh,kw] and `bias` [O] are in the archive, the
input is [1,C,`height`,`width`].
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def torchscript(given, path):
    import torch

    filters, channels, *window = given["weights"].shape
    conv = torch.nn.Conv2d(channels, filters, tuple(window))
    with torch.no_grad():
        conv.weight.copy_(torch.from_numpy(given["weights"]))
        conv.bias.copy_(torch.from_numpy(given["bias"]))
    net = torch.nn.Sequential(conv, torch.nn.ReLU()).eval()
    sample = torch.zeros(1, channels, int(given["height"]), int(given["width"]))
    torch.jit.trace(net, sample).save(str(path))


def tflite(given, path):
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    weights = np.ascontiguousarray(given["weights"].transpose(0, 2, 3, 1))  # O, kh, kw, C
    filters, rows, columns, channels = weights.shape
    height, width = int(given["height"]), int(given["width"])
    shapes = {
        "x": (1, height, width, channels),
        "weights": weights.shape,
        "bias": (filters,),
        "y": (1, height - rows + 1, width - columns + 1, filters),
    }
    contents = {"weights": weights, "bias": given["bias"]}
    model, graph = schema.ModelT(version=3), schema.SubGraphT()
    model.buffers, graph.tensors = [schema.BufferT()], []
    for name, shape in shapes.items():
        tensor = schema.TensorT(shape=list(shape), type=schema.TensorType.FLOAT32, name=name)
        tensor.buffer = len(model.buffers)
        data = list(contents[name].tobytes()) if name in contents else None
        model.buffers.append(schema.BufferT(data=data))
        graph.tensors.append(tensor)
    code = schema.OperatorCodeT(builtinCode=schema.BuiltinOperator.CONV_2D, version=1)
    code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    options = schema.Conv2DOptionsT(strideW=1, strideH=1, dilationWFactor=1, dilationHFactor=1)
    options.padding = schema.Padding.VALID
    options.fusedActivationFunction = schema.ActivationFunctionType.RELU
    step = schema.OperatorT(opcodeIndex=0, inputs=[0, 1, 2], outputs=[3], builtinOptions=options)
    step.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
    graph.inputs, graph.outputs, graph.operators = [0], [3], [step]
    model.operatorCodes, model.subgraphs = [code], [graph]
    builder = flatbuffers.Builder(4096)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


if __name__ == "__main__":
    {"torch": torchscript, "litert": tflite}[sys.argv[1]](np.load(sys.argv[2]), Path(sys.argv[3]))
