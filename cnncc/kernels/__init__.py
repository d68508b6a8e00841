"""Kernels: how a loop nest computes an operator. One template a file.

Takes: a `Site`, one node of the fused graph with its layouts. Gives: `Launch`es, LoopIR functions
with packed constants and a number of work items.
May import: `ir`, `ops`, `loopir`, `targets`, `errors`.
Invariants: a function does the work items `lo <= i < hi` and nothing else; items write disjoint
memory inside the picture, never the halo; padding lanes of a result are zero; an item's bits do not
depend on the split.

To add a kernel write a file with a `Kernel` in its room and name it in `KERNELS`. The rooms:
`convolution` (by the definition), `winograd`, `strassen` and `zones` (with fewer products), `maps`
(other operators on feature maps), `rows` (row-major arrays of any rank and type), `moves` (copies),
`scalars` (arithmetic of one element). Here lies what they share: what a kernel is, `template.py`;
how counts become a predicted time, `cost.py`; what is fused behind an anchor, `epilogue.py` and
`pool_behind.py`, a tile at a time `tile_epilogue.py`; where elements lie, `layout.py`; how they
move, `movement.py`; which of them a thread computes, `shares.py`.
"""

from cnncc.kernels.convolution.conv_block import ConvBlock
from cnncc.kernels.convolution.conv_columns import ConvColumns
from cnncc.kernels.convolution.conv_depthwise import ConvDepthwise
from cnncc.kernels.convolution.conv_depthwise_transposed import ConvDepthwiseTransposed
from cnncc.kernels.convolution.conv_direct import ConvDirect
from cnncc.kernels.convolution.conv_gated import ConvGated
from cnncc.kernels.convolution.conv_gather import ConvGather
from cnncc.kernels.convolution.conv_grouped import ConvGrouped
from cnncc.kernels.convolution.conv_planes import ConvPlanes
from cnncc.kernels.convolution.conv_pool import ConvPoolBand, ConvPoolTile
from cnncc.kernels.convolution.conv_transposed import ConvTransposed
from cnncc.kernels.convolution.dense import Dense
from cnncc.kernels.maps.global_pool import GlobalPool
from cnncc.kernels.maps.lrn import Lrn
from cnncc.kernels.maps.pointwise import Pointwise
from cnncc.kernels.maps.pool import Pool2d
from cnncc.kernels.maps.softmax import Softmax
from cnncc.kernels.maps.upsample_bilinear import UpsampleBilinear
from cnncc.kernels.moves.rearrange import Rearrange
from cnncc.kernels.moves.relayout import Relayout
from cnncc.kernels.rows.row_concat import RowConcat
from cnncc.kernels.rows.row_cumulative import RowCumulative
from cnncc.kernels.rows.row_element import RowElement
from cnncc.kernels.rows.row_matmul import RowMatmul
from cnncc.kernels.rows.row_nms import RowNms
from cnncc.kernels.rows.row_pointwise import RowPointwise
from cnncc.kernels.rows.row_reduce import RowReduce
from cnncc.kernels.rows.row_resample import RowResample
from cnncc.kernels.rows.row_scatter import RowScatter
from cnncc.kernels.rows.row_softmax import RowSoftmax
from cnncc.kernels.rows.row_topk import RowTopK
from cnncc.kernels.rows.row_transpose import RowTranspose
from cnncc.kernels.strassen.conv_strassen import ConvStrassen
from cnncc.kernels.template import Kernel
from cnncc.kernels.winograd.conv_filtered_columns import ConvFilteredColumns
from cnncc.kernels.winograd.conv_long_rows import ConvLongRows
from cnncc.kernels.winograd.conv_phases import ConvPhases
from cnncc.kernels.winograd.conv_row_pairs import ConvRowPairs
from cnncc.kernels.winograd.conv_winograd import ConvWinograd
from cnncc.kernels.zones.conv_zones import ConvZones

KERNELS: tuple[Kernel, ...] = (
    ConvDirect(),
    ConvPlanes(),
    ConvColumns(),
    ConvFilteredColumns(),
    ConvGrouped(),
    ConvWinograd(),
    ConvLongRows(),
    ConvStrassen(),
    ConvZones(),
    ConvPhases(),
    ConvRowPairs(),
    ConvGather(),
    ConvGated(),
    ConvDepthwise(),
    ConvBlock(),
    ConvPoolTile(),
    ConvPoolBand(),
    ConvTransposed(),
    ConvDepthwiseTransposed(),
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
