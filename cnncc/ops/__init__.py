"""Operators: what each one means. Importing the room registers them all.

Takes: operand types, attributes, and NumPy arrays for the references.
Gives: type rules, float64 references, costs, error bounds, scalar rules; `OPERATORS`.
May import: `cnncc.errors`, `cnncc.ir`.
Invariants: an operator knows no loop nest, layout or machine; it has exactly one way to run (see
`cnncc.ir.op`); its reference is written from the definition, in float64, for any batch N.

To add an operator, write one class in the file of its family and name it in `OPERATORS`; then give
it a strategy in `tests/strategies.py`. To change a shape rule of windows open `window.py`; a check
or its message `check.py`; preprocessing of inputs `source.py`; fusion `fused.py`.
"""

from cnncc.ir.op import Op, register
from cnncc.ops.activation import (
    Clip,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    PRelu,
    Relu,
    Sigmoid,
    Silu,
    Tanh,
)
from cnncc.ops.conv import Conv2d, Conv2dTranspose
from cnncc.ops.copying import Copy
from cnncc.ops.elementwise import Add, Dropout, Identity, Mul
from cnncc.ops.fused import Fused
from cnncc.ops.indexing import Gather, GatherElements, GatherNd, ReverseSequence
from cnncc.ops.linear import Dense
from cnncc.ops.norm import BatchNorm, Lrn, Scale, Softmax
from cnncc.ops.padding import Pad
from cnncc.ops.pool import AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d
from cnncc.ops.resample import Resample
from cnncc.ops.resize import Upsample2d
from cnncc.ops.roi_align import RoiAlign
from cnncc.ops.sampling import GridSample
from cnncc.ops.scatter import ScatterElements, ScatterNd
from cnncc.ops.selection import CountRows, TopKIndices, TopKValues
from cnncc.ops.shape import (
    ChannelShuffle,
    Concat,
    Crop2d,
    Flatten,
    Pad2d,
    Relayout,
    Reshape,
    SliceChannels,
    Transpose,
)
from cnncc.ops.slicing import Expand, Slice
from cnncc.ops.smooth import Elu, Gelu, Mish, Softplus
from cnncc.ops.source import Constant, Input, Normalize
from cnncc.ops.suppression import NonMaxSuppression

OPERATORS: tuple[type[Op], ...] = (
    *(Input, Constant, Normalize),
    *(Conv2d, Conv2dTranspose, Dense),
    *(MaxPool2d, AvgPool2d, GlobalAvgPool, GlobalMaxPool),
    *(BatchNorm, Scale, Lrn, Softmax),
    *(Relu, Clip, LeakyRelu, PRelu, Sigmoid, Tanh, Silu, HardSwish, HardSigmoid),
    *(Elu, Gelu, Mish, Softplus),
    *(Add, Mul, Identity, Dropout),
    *(
        Copy,
        Relayout,
        Flatten,
        Reshape,
        Transpose,
        Concat,
        Pad2d,
        Crop2d,
        SliceChannels,
        ChannelShuffle,
    ),
    *(Upsample2d, Fused),
    *(Slice, Expand, Pad, Gather, GatherElements, GatherNd, ReverseSequence, Resample),
    *(GridSample, RoiAlign),
    *(ScatterElements, ScatterNd, TopKValues, TopKIndices, NonMaxSuppression, CountRows),
)

for _operator in OPERATORS:
    register(_operator)
