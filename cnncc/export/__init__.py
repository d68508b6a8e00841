"""Export: a plan becomes files that another program embeds, without Python and without a run time.

Takes: program, target, interface, weights. Gives: `NAME.o`, `libNAME.a`, `libNAME.so`, `NAME.h`,
`main.c`, `CMakeLists.txt`. May import: `abi`, `errors`, `ir.types`, `loopir`, `targets`, `llvm`,
`runtime` (for writing files safely).
Invariants: the same network gives the same bytes, whoever writes them and wherever; no text of a
model reaches C but as identifiers, numbers and escaped strings; files appear whole or not at all.

To change what C programs call open `llvm/aot.py` and `header.py`, always both; the names they see,
`names.py`; the example program, `example.py`; the archive, `archive.py`; linking, `shared.py`;
which files there are, `write.py`.
"""

from __future__ import annotations

from cnncc.export.write import KINDS, export

__all__ = ["KINDS", "export"]
