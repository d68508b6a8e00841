"""Convolutions of which many taps only see padding: large dilations, small maps, transposed ones.

Takes: a site whose anchor is a convolution, in maps without a halo. Gives: a loop nest in which
each zone of the result multiplies the taps that see the picture.
May import: `convolution`, `winograd` (to compare), the files above this room.
Invariants: a tap that is left out would have multiplied zeros.

To change the zones open `tap_zones.py`.
"""
