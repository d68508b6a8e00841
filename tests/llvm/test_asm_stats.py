from __future__ import annotations

from cnncc.llvm.asm_stats import Counts, functions, spills_in_inner_loops
from cnncc.llvm.emit import emit_program
from cnncc.llvm.optimize import emit_assembly
from cnncc.loopir.nodes import Program
from cnncc.targets import find
from tests.llvm.microkernel import conv_tile

ASSEMBLY = """\
	.type	f,@function
f:                                      # @f
# %bb.0:
	vmovups	%zmm0, -72(%rsp)                # 64-byte Spill
.LBB0_1:                                # %outer
                                        # =>This Loop Header: Depth=1
                                        #     Child Loop BB0_2 Depth 2
	addq	$1, %rax
.LBB0_2:                                # %inner
                                        #   Parent Loop BB0_1 Depth=1
                                        # =>  This Inner Loop Header: Depth=2
	vmovups	-72(%rsp), %zmm1                # 64-byte Reload
	vfmadd231ps	%zmm0, %zmm1, %zmm2
	jb	.LBB0_2
# %bb.3:
	vmovups	%zmm0, -72(%rsp)                # 64-byte Spill
	jb	.LBB0_1
# %bb.4:
	retq
.Lfunc_end0:
	.type	g,@function
g:
	retq
.Lfunc_end1:
"""


def test_counts_by_function_and_loop() -> None:
    stats = functions(ASSEMBLY)
    assert list(stats) == ["f", "g"]
    assert stats["f"].counts == Counts(instructions=8, fmas=1, spills=2, reloads=1)
    outer, inner = stats["f"].loops
    assert (outer.label, outer.depth, outer.inner) == (".LBB0_1", 1, False)
    assert outer.counts == Counts(instructions=6, fmas=1, spills=1, reloads=1)
    assert (inner.label, inner.depth, inner.inner) == (".LBB0_2", 2, True)
    assert inner.counts == Counts(instructions=3, fmas=1, spills=0, reloads=1)
    assert stats["g"].loops == ()


def test_a_pair_of_spill_and_reload_counts_once() -> None:
    assert spills_in_inner_loops(ASSEMBLY) == {"f": 1, "g": 0}


def test_a_tile_that_is_too_big_is_seen() -> None:
    for name in ("x86-64-v4", "aarch64"):
        target = find(name)
        text = emit_program(Program([conv_tile(20, 2, target.lanes(), 64, 3)]), target)
        assert spills_in_inner_loops(emit_assembly(text, target))["conv_tile"] > 8
