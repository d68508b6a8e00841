"""The bound on a library's stack: the deepest call, not the sum."""

import re

from cnncc.llvm.emit import emit_function, module_text
from cnncc.llvm.optimize import emit_assembly
from cnncc.llvm.stack import stack_bytes
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Program
from cnncc.targets import find


def _program(*scratch: int) -> Program:
    """A `main` that calls a function for each number of f32 elements of scratch."""
    kernels = []
    for number, elems in enumerate(scratch):
        b = Builder(f"kernel{number}")
        x = b.buffer("x", writable=True)
        if elems:
            memory, first, other = b.alloc(elems), b.index_param("i"), b.index_param("j")
            b.store(memory, first, b.load(x, 0))
            b.store(x, 0, b.load(memory, other))
        kernels.append(b.func)
    m = Builder("main")
    x = m.buffer("x", writable=True)
    for kernel in kernels:
        m.call(kernel.name, [x, *[0] * (len(kernel.params) - 1)])
    return Program([*kernels, m.func])


def test_the_deepest_call_counts():
    bare = stack_bytes(_program(0), 2)
    assert bare % 1024 == 0
    assert stack_bytes(_program(1 << 10, 1 << 14, 1 << 12), 2) == bare + (64 << 10)
    assert stack_bytes(_program(0), 102) > bare


def test_scratch_stays_in_a_frame_of_its_own_that_touches_its_pages():
    with_scratch, without = _program(5000, 0).funcs[:2]
    target = find("x86-64")
    assert "#0 noinline" in emit_function(with_scratch, target)
    assert "noinline" not in emit_function(without, target)
    paged = emit_assembly(module_text([emit_function(with_scratch, target)], target), target)
    assert re.search(r"subq\s+\$4096, %rsp.*\s+movq\s+\$0, \(%rsp\)", paged), paged
