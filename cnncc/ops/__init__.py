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
from cnncc.ops.arithmetic import Div, Maximum, Minimum, Mod, Pow
from cnncc.ops.bitwise import BitAnd, BitNot, BitOr, BitXor, Shift
from cnncc.ops.comparison import Equal, Greater, GreaterEqual, IsInf, IsNan, Less, LessEqual
from cnncc.ops.conv import Conv2d, Conv2dTranspose
from cnncc.ops.conversion import Cast
from cnncc.ops.copying import Copy
from cnncc.ops.cumulative import CumProd, CumSum
from cnncc.ops.deform_conv import DeformConv
from cnncc.ops.elementwise import Add, Dropout, Identity, Mul, Sub
from cnncc.ops.fused import Fused
from cnncc.ops.indexing import Gather, GatherElements, GatherNd, ReverseSequence
from cnncc.ops.linear import Dense
from cnncc.ops.logic import LogicalAnd, LogicalNot, LogicalOr, LogicalXor, Where
from cnncc.ops.matmul import MatMul
from cnncc.ops.norm import BatchNorm, Lrn, Scale, Softmax
from cnncc.ops.padding import Pad
from cnncc.ops.piecewise import Celu, Selu, Shrink, Softsign, ThresholdedRelu
from cnncc.ops.pool import AvgPool2d, GlobalAvgPool, GlobalMaxPool, MaxPool2d
from cnncc.ops.pool_places import MaxPoolPlaces
from cnncc.ops.reduction import ArgMax, ArgMin, Reduce
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
from cnncc.ops.unary import (
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Erf,
    Exp,
    Floor,
    Log,
    Neg,
    Reciprocal,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Tan,
)

OPERATORS: tuple[type[Op], ...] = (
    *(Input, Constant, Normalize),
    *(Conv2d, Conv2dTranspose, Dense),
    *(MaxPool2d, MaxPoolPlaces, AvgPool2d, GlobalAvgPool, GlobalMaxPool),
    *(BatchNorm, Scale, Lrn, Softmax),
    *(Relu, Clip, LeakyRelu, PRelu, Sigmoid, Tanh, Silu, HardSwish, HardSigmoid),
    *(Elu, Gelu, Mish, Softplus),
    *(Selu, Celu, Softsign, ThresholdedRelu, Shrink),
    *(Add, Sub, Mul, Div, Pow, Mod, Minimum, Maximum, Identity, Dropout),
    *(Neg, Abs, Sign, Floor, Ceil, Round, Reciprocal, Sqrt, Exp, Log, Erf, Sin, Cos, Tan),
    *(Asin, Acos, Atan, Sinh, Cosh, Asinh, Acosh, Atanh, Cast),
    *(Equal, Less, LessEqual, Greater, GreaterEqual, IsNan, IsInf, Where),
    *(LogicalAnd, LogicalOr, LogicalXor, LogicalNot, BitAnd, BitOr, BitXor, BitNot, Shift),
    *(Reduce, ArgMax, ArgMin, CumSum, CumProd, MatMul),
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
    *(GridSample, RoiAlign, DeformConv),
    *(ScatterElements, ScatterNd, TopKValues, TopKIndices, NonMaxSuppression, CountRows),
)

for _operator in OPERATORS:
    register(_operator)
