"""Machine-free passes: each makes a graph smaller or its meaning plainer, and knows no machine.

Takes: a `Graph` of the level that the pass `needs`.
Gives: the same network at the level that the pass `gives`; decisions with their reasons in
`graph.meta`.
May import: `cnncc.errors`, `cnncc.ir`, `cnncc.ops`.
Invariants: the numbers stay (within f32 rounding of folded constants); spans of what is replaced
survive; a second run changes nothing; dropping `simplify` from a pipeline is harmless.

To add a pass, write one file with a frozen dataclass (`name`, `needs`, `gives`, `run`), name it in
`PASSES`, and give it a `Step` with its reason in `cnncc/pipeline.py`. To add an equation open
`simplify.py` (moves of elements: `simplify_moves.py`); an activation in pieces `recognise.py`; a
general operator that does what one of CNNs does `specialise.py`; what is computed on maps where a
graph turns them round `channels_first.py` (axes renamed: `views.py`); layers on several samples
`split_batch.py`; to change what may share a loop nest `fuse.py`; when a pool may, `fuse_pool.py`;
what a pass list may say, `listing.py`. A pass that asks the machine belongs to `cnncc.plan`.
"""

import cnncc.ops  # noqa: F401 - the registry that every pass asks
from cnncc.passes.absorb_pad import AbsorbPad
from cnncc.passes.channels_first import ChannelsFirst
from cnncc.passes.common_subexpressions import CommonSubexpressions
from cnncc.passes.decompose import Decompose
from cnncc.passes.eliminate_dead import EliminateDead
from cnncc.passes.fold_batchnorm import FoldBatchNorm
from cnncc.passes.fold_constants import FoldConstants
from cnncc.passes.fuse import Fuse
from cnncc.passes.infer_types import InferTypes
from cnncc.passes.nest_concats import NestConcats
from cnncc.passes.pool_order import PoolOrder
from cnncc.passes.recognise import Recognise
from cnncc.passes.simplify import Simplify
from cnncc.passes.specialise import Specialise
from cnncc.passes.split_batch import SplitBatch

PASSES = (
    InferTypes,
    EliminateDead,
    FoldConstants,
    Simplify,
    ChannelsFirst,
    SplitBatch,
    Recognise,
    Specialise,
    AbsorbPad,
    FoldBatchNorm,
    Decompose,
    PoolOrder,
    NestConcats,
    CommonSubexpressions,
    Fuse,
)
"""All passes of this room, in the order in which they usually run."""

__all__ = [
    "PASSES",
    "AbsorbPad",
    "ChannelsFirst",
    "CommonSubexpressions",
    "Decompose",
    "EliminateDead",
    "FoldBatchNorm",
    "FoldConstants",
    "Fuse",
    "InferTypes",
    "NestConcats",
    "PoolOrder",
    "Recognise",
    "Simplify",
    "Specialise",
    "SplitBatch",
]
