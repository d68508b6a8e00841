"""Kernels: how a loop nest computes an operator. One template a file.

Takes: a `Site`, one node of the fused graph with its layouts. Gives: `Launch`es, LoopIR functions
with packed constants and a number of work items.
May import: `ir`, `ops`, `loopir`, `targets`, `errors`.
Invariants: a function does the work items `lo <= i < hi` and nothing else; items write disjoint
memory inside the picture, never the halo; padding lanes of a result are zero; an item's bits do not
depend on the split.

To add a kernel write a file with a `Kernel` and name it in `KERNELS`; to change the multiply-add
tile open `conv_tile.py`; which channels it multiplies, `conv_depth.py`; how counts become a
predicted time, `cost.py`; what is fused behind an anchor, `epilogue.py`; where elements lie,
`layout.py`; how they move, `movement.py` (from where to where) and `copy_nest.py` (in which loops);
arithmetic of `scalar` rules, `scalar_arithmetic.py`; its functions, `elementary.py` (f32) and
`elementary_wide.py` (by way of f64). What computes on row-major arrays of any rank and type is
called `row_*`: buffers, axes and pieces of rows are in `row_major.py`, fused steps in
`row_steps.py`, rules for one element in `element_code.py` and `place_code.py`.
"""

from cnncc.kernels.conv_block import ConvBlock
from cnncc.kernels.conv_columns import ConvColumns
from cnncc.kernels.conv_depthwise import ConvDepthwise
from cnncc.kernels.conv_direct import ConvDirect
from cnncc.kernels.conv_filtered_columns import ConvFilteredColumns
from cnncc.kernels.conv_gather import ConvGather
from cnncc.kernels.conv_grouped import ConvGrouped
from cnncc.kernels.conv_phases import ConvPhases
from cnncc.kernels.conv_planes import ConvPlanes
from cnncc.kernels.conv_pool import ConvPoolBand, ConvPoolTile
from cnncc.kernels.conv_row_pairs import ConvRowPairs
from cnncc.kernels.conv_strassen import ConvStrassen
from cnncc.kernels.conv_transposed import ConvTransposed
from cnncc.kernels.conv_winograd import ConvWinograd
from cnncc.kernels.conv_zones import ConvZones
from cnncc.kernels.dense import Dense
from cnncc.kernels.global_pool import GlobalPool
from cnncc.kernels.lrn import Lrn
from cnncc.kernels.pointwise import Pointwise
from cnncc.kernels.pool import Pool2d
from cnncc.kernels.rearrange import Rearrange
from cnncc.kernels.relayout import Relayout
from cnncc.kernels.row_concat import RowConcat
from cnncc.kernels.row_cumulative import RowCumulative
from cnncc.kernels.row_element import RowElement
from cnncc.kernels.row_matmul import RowMatmul
from cnncc.kernels.row_nms import RowNms
from cnncc.kernels.row_pointwise import RowPointwise
from cnncc.kernels.row_reduce import RowReduce
from cnncc.kernels.row_resample import RowResample
from cnncc.kernels.row_scatter import RowScatter
from cnncc.kernels.row_softmax import RowSoftmax
from cnncc.kernels.row_topk import RowTopK
from cnncc.kernels.row_transpose import RowTranspose
from cnncc.kernels.softmax import Softmax
from cnncc.kernels.template import Kernel
from cnncc.kernels.upsample_bilinear import UpsampleBilinear

KERNELS: tuple[Kernel, ...] = (
    ConvDirect(),
    ConvPlanes(),
    ConvColumns(),
    ConvFilteredColumns(),
    ConvGrouped(),
    ConvWinograd(),
    ConvStrassen(),
    ConvZones(),
    ConvPhases(),
    ConvRowPairs(),
    ConvGather(),
    ConvDepthwise(),
    ConvBlock(),
    ConvPoolTile(),
    ConvPoolBand(),
    ConvTransposed(),
    Dense(),
    Pool2d(),
    GlobalPool(),
    Pointwise(),
    Softmax(),
    Lrn(),
    UpsampleBilinear(),
    Rearrange(),
    Relayout(),
    RowPointwise(),
    RowElement(),
    RowMatmul(),
    RowReduce(),
    RowSoftmax(),
    RowCumulative(),
    RowConcat(),
    RowTranspose(),
    RowResample(),
    RowTopK(),
    RowScatter(),
    RowNms(),
)
