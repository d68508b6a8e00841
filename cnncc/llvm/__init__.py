"""LLVM: a LoopIR program becomes native code, and code becomes callable.

Takes: a `loopir.Program` and a `Target`. Gives: LLVM text, assembly, objects (bytes), images,
addresses. May import: `loopir`, `targets`, `abi`, `errors`; llvmlite is imported here and nowhere
else.
Invariants: text is emitted once, node by node, without choices of its own; no fast-math flag but
`contract` (and `nsz` on min and max, whose two zeros are interchangeable); objects need no symbol
that their unit does not declare; memory is never writable and executable at once.

To see or change open
    which instruction a node becomes: `vector.py` (arithmetic), `memory.py` (loads, stores),
        `emit.py` (functions, loops), with `writer.py` and `types.py` below them
    passes, machine, code generation: `optimize.py`, in several processes: `processes.py`
    what came out: `asm_stats.py`, `elf.py`
    threads: `parallel.py` (what `main` becomes), `pool_code.py` and `pool.py` (the workers),
        `pool_turns.py` (who does which share, and when)
    the caller's rounding mode: `rounding.py`
    a program in this process: `program.py`, `jit.py`, `cache.py` (objects on disk)
    a program elsewhere: `link.py` (saved networks), `aot.py` and `c_api.py` (objects for C)
    what a CPU can run: `host.py` (this machine), `cpu_check.py` (generated code asks)
    the FMA peak: `peak.py`
"""
