"""The graph level: typed values, nodes, the interpreter, texts, verifiers, rewriting.

Takes: operators from the registry (`op.py`), arrays.
Gives: `Graph`, typed construction, float64 interpretation, texts that parse back, error bounds.
May import: `cnncc.errors`; NumPy; networkx in `graph.py` only.
Invariants: a node has one result; ids are never reused; shapes are logical ([N,C,H,W], [N,K]);
`attrs` change results, `notes` never do; nothing here knows an operator's name but `input`,
`constant` and `fused`, or anything of a machine.

To build a typed node open `build.py`; to run a graph in float64 `interp.py`; to change the text
form `text.py` (nodes) and `values.py` (attributes and notes); a level's invariants `verify.py`; a
rewriting pass's driver `rewrite.py`; recorded decisions `decisions.py`; error bounds `op.py` (of
one operator) and `tolerance.py` (how they judge).
"""
