"""Minimal filtering (Winograd, Cook-Toom): fewer multiplications for windows of several taps.

Takes: a site whose anchor is a convolution of stride 1 or 2. Gives: transforms and products of
blocks of tiles that stay in cache.
May import: `convolution`, the files above this room.
Invariants: the error of a result stays in the bound that `Rounding` states (rule C); filters are
transformed in f64.

To change the points open `cook_toom.py`; which F(m, r) a layer gets, `winograd_candidates.py`; what
it costs, `winograd_cycles.py`; its nest, `winograd_nest.py`. Strides are `phase_*.py`, filters
transformed on the way `winograd_expand.py`, small pictures `conv_row_pairs.py` and
`conv_filtered_columns.py`.
"""
