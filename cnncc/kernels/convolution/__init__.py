"""Convolutions by the definition: every tap is multiplied.

Takes: a site whose anchor is a convolution or a dense layer. Gives: its loop nest.
May import: `scalars`, `moves`, the files above this room.
Invariants: no borders in inner loops (feature maps lie with their halo); sums in pieces as decision
026 says, the bias last.

To change the multiply-add loop open `reduction.py`; what a tile is, `conv_tile.py`; which one is
chosen, `tile_choice.py`; which channels it multiplies, `conv_depth.py`; where tiles lie on a map,
`tile_loops.py`; which layouts a convolution takes, `conv_geometry.py`; the order of its filters,
`filter_panels.py`, times a gate, `gated_filters.py`; what all nests share, `conv_nest.py`; runs of
a depthwise one, `depthwise_runs.py`.
"""
