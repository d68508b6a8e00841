"""LoopIR: loop nests over buffers, with vectors in registers. The narrow waist of the compiler.

Takes: kernels that build functions with `build.Builder`. Gives: `Program`s that `interp` runs with
NumPy, `text` prints and parses, `verify` checks, and `cnncc.llvm` compiles.
May import: `errors`, `ir.types`.
Invariants: single assignment; a value is used in the body that defines it or a nested one; bounds
hold wherever extents are known; nothing here knows an operator or a CPU.
To see every node open `nodes.py`; to write one, `build.py`; to add one, follow the type checker:
each `match` over `Stmt` is exhaustive (`text`, `interp`, `rules` or `verify`, and the emitter),
`parse` has a table, and tests/loopir/samples.py wants a sample. What an operation computes stands
in `arith.py`, what its operands may be in `rules.py`; how far an access reaches, in `bounds.py`.
"""
