"""The plan: decisions that ask the machine, as notes on the graph, and the program they make.

Takes: a graph at level `fused` and a `Target`. Gives: a graph at level `planned` (notes `layout`,
`alias`, `kernel`, `pick`, `choice`, `predicted_us`, `bound_us`, `place`, `in_place`) and a
`Plan`: LoopIR program, packed weights, interface.
May import: `ir`, `ops`, `loopir`, `targets`, `kernels`, `abi`, `options`, `errors`.
Invariants: notes never change numbers; each decision is recorded with its reason and what it beat;
a value's buffer holds nothing else while the value lives; results do not depend on the number of
threads.

To change how long buffers live open `plan_memory.py`; where they lie, `arena.py`; in what order of
elements, `choose_layout.py`, in another's buffer, `place_views.py`, in several, `pick_channels.py`,
zeros around them, `choose_halo.py`, pictures from outside, `choose_picture.py`; which convolutions
share a loop nest, `fuse_blocks.py`; averages in it, `share_means.py`; which loop nest runs,
`choose_kernel.py`; how it all becomes a program, `lower.py`, each loop nest once, `nests.py`; what
code may take for granted of the notes, `verify.py`.
"""
