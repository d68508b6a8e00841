"""Moves: copies between layouts, and of pieces of a value.

Takes: a site whose operator only says where elements lie. Gives: loops that copy.
May import: the files above this room.
Invariants: an element is never rounded; runs of elements move as vectors, blocks of lanes as
transposes in registers.

From where to where is `movement.py` above this room; to change the loops open `copy_nest.py` (which
loops) and `copy_loops.py` (what one of them does); `fill_halo.py` writes what stands around a map.
"""
