"""Arithmetic of one element: what a `scalar` rule of an operator becomes in LoopIR.

Takes: values of any kind and width. Gives: the instructions that compute on them.
May import: `ir`, `loopir`, `targets`, `errors`.
Invariants: a function is within 4 ulp of its definition in f32; what it does to NaN and infinity is
what the reference does.

To add a function open `elementary.py` (f32), with polynomials that are looked up in `pieces.py`, or
`elementary_wide.py` (by way of f64); operators of every kind of element are in
`scalar_arithmetic.py` and `scalar_operations.py`; `scalar_math.py` is what a kernel hands to a
rule. `lane_sums.py` adds up the lanes of a vector.
"""
