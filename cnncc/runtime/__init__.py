"""Run time: compiled code becomes a network that Python calls, saves and loads.

Takes: an `Image` (linked machine code), an `Interface`, packed weights, tables of explanation.
Gives: a `Network`. May import: `abi`, `errors`, `ir.types`, NumPy and the standard library, so that
a saved network runs without the compiler and without LLVM.
Invariants: a network never changes after it was made; each call in flight has a workspace of its
own; any number of threads may call one network; the same input gives the same bits for any number
of threads, in any place of a batch; memory is never writable and executable at once.

To change what callers see open `network.py`; which arrays are taken, `buffers.py`; one call,
`module.py`, and its shortest way, `direct.py`; worker threads, `threads.py`; executable memory,
`image.py`; the file format of saved networks, `artifact.py`; writing files safely, `atomic.py`;
what this CPU can run, `cpu.py`.
"""
