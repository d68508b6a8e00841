"""Seven products of blocks for eight: convolutions of one tap by Strassen's identities.

Takes: a site whose anchor is a 1x1 convolution. Gives: its loop nest.
May import: `convolution`, the files above this room.
Invariants: the error of a result stays in the bound that `Rounding` states (rule C).

To change which sums are multiplied open `strassen_pairs.py`; the filters' side,
`strassen_filters.py`; the loops, `strassen_nest.py`.
"""
