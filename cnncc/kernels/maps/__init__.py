"""Kernels on feature maps that are no convolutions: pools, softmax, elementwise steps.

Takes: a site whose values lie in blocks of channels. Gives: loops over rows of one block.
May import: `scalars`, the files above this room.
Invariants: as of all kernels.

What they share is in `row_nest.py`; to change a pool open `pool.py` (windows) or `global_pool.py`.
"""
