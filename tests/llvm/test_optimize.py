from __future__ import annotations

import dataclasses
import threading

import pytest

from cnncc.errors import EmitError
from cnncc.llvm.asm_stats import functions, spills_in_inner_loops
from cnncc.llvm.elf import code_bytes, undefined_symbols
from cnncc.llvm.emit import emit_program
from cnncc.llvm.host import host_target
from cnncc.llvm.optimize import _optimized, emit_assembly, emit_object, machine
from cnncc.loopir.nodes import Program
from cnncc.targets import TARGETS, Target, find
from tests.llvm.microkernel import STEPS, conv_tile

TARGETS_AND_HOST = [host_target(), *TARGETS.values()]


def text_of(target: Target, pixels: int, vectors: int) -> str:
    return emit_program(Program([conv_tile(pixels, vectors, target.lanes(), 64, 3)]), target)


@pytest.mark.parametrize("target", TARGETS_AND_HOST, ids=lambda t: t.name)
def test_the_best_tile_stays_in_registers(target: Target) -> None:
    pixels, vectors = target.tiles[0]
    assembly = emit_assembly(text_of(target, pixels, vectors), target)
    assert spills_in_inner_loops(assembly)["conv_tile"] <= (2 if target.fma else 4)
    inner = next(s for s in functions(assembly)["conv_tile"].loops if s.inner)
    if target.fma:
        fmas = pixels * vectors * STEPS
        assert inner.counts.fmas == fmas
        assert inner.counts.instructions <= 1.8 * fmas


def test_28_accumulators_do_not_spill() -> None:
    target = find("x86-64-v4")
    assert spills_in_inner_loops(emit_assembly(text_of(target, 14, 2), target)) == {"conv_tile": 0}


def test_512_bit_vectors_are_used_whole() -> None:
    target = find("x86-64-v4")
    assembly = emit_assembly(text_of(target, 14, 2), target)
    assert "zmm" in assembly
    assert "ymm" not in assembly


@pytest.mark.parametrize("target", TARGETS_AND_HOST, ids=lambda t: t.name)
def test_objects_are_self_contained_and_repeatable(target: Target) -> None:
    image = emit_object(text_of(target, 4, 2), target)
    assert image == emit_object(text_of(target, 4, 2), target)
    assert undefined_symbols(image) == set()
    assert 200 < code_bytes(image)["conv_tile"] < 6000


def test_refused_text_and_unknown_triples() -> None:
    with pytest.raises(EmitError, match="refuses"):
        emit_object("define void @f( {", find("x86-64"))
    with pytest.raises(EmitError, match="refuses"):
        emit_object("define i32 @f() {\n  %a = add i32 %a, 1\n  ret i32 %a\n}", find("x86-64"))
    strange = dataclasses.replace(find("x86-64"), name="strange", triple="pdp11-unknown-none")
    with pytest.raises(EmitError, match="strange"):
        emit_object("", strange)


def test_threads_may_compile_at_once() -> None:
    target = find("x86-64-v3")
    text = text_of(target, 4, 2)
    images: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: images.append(emit_object(text, target))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(images) == 4
    assert len(set(images)) == 1


def test_strength_reduction_is_off_for_our_code_only() -> None:
    """The pass would fill the loop with pointers; whoever uses LLVM beside us still gets it."""
    target = find("x86-64-v4")
    text = text_of(target, 14, 1)
    ours = emit_object(text, target)
    theirs = machine(target).emit_object(_optimized(text, target))
    assert ours != theirs
    assert emit_object(text, target) == ours
    assert machine(target).emit_object(_optimized(text, target)) == theirs
