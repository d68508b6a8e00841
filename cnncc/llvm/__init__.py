"""LLVM: a LoopIR program becomes native code, and code becomes callable.

Takes: a `loopir.Program` and a `Target`. Gives: LLVM text, assembly, objects (bytes), addresses.
May import: `loopir`, `targets`, `errors`; llvmlite is imported here and nowhere else.
Invariants: text is emitted once, node by node, without choices of its own; no fast-math flag but
`contract` (and `nsz` on min and max, whose two zeros are interchangeable); objects need no symbol
that their unit does not declare; memory is never writable and executable at once.

To see which instruction a node becomes open `vector.py` (arithmetic), `memory.py` (loads, stores),
`emit.py` (loops, functions); passes and machine: `optimize.py`; threads: `parallel.py` and
`pool.py`; what this machine can run: `host.py`; loading: `jit.py`; export: `aot.py`; the on-disk
store of objects: `cache.py`; counting spills: `asm_stats.py`; the FMA peak: `peak.py`.
"""
