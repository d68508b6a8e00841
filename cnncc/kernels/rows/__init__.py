"""Kernels on row-major arrays of any rank and type, which imported graphs have beside feature maps.

Takes: sites whose values lie dense. Gives: loops over the rows of the last axis.
May import: `scalars`, `moves`, the files above this room.
Invariants: as of all kernels; any rank from 0 to 8, any extent, also 0.

Buffers, axes and pieces of rows are in `row_major.py`, fused steps in `row_steps.py`; to let an
operator run by a rule for one element open `element_code.py` and `place_code.py`.
"""
