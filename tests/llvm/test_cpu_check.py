from __future__ import annotations

import ctypes
import dataclasses

import pytest

from cnncc.errors import EmitError
from cnncc.llvm.cpu_check import X86_BITS, cpu_check_function
from cnncc.llvm.emit import module_text
from cnncc.llvm.host import architecture, host_target, usable_features
from cnncc.llvm.jit import load
from cnncc.llvm.optimize import emit_object
from cnncc.targets import TARGETS, Target, find

BASE = find("x86-64")


def asks(requires: tuple[str, ...]) -> bool:
    """What the generated function says on this machine."""
    target: Target = dataclasses.replace(BASE, requires=requires)
    export = 'define i32 @"ask"() #0 {\n  %r = call i32 @"fits"()\n  ret i32 %r\n}'
    text = module_text([cpu_check_function("fits", target), export], target)
    library = load([emit_object(text, target)], ["ask"], BASE)
    return bool(ctypes.CFUNCTYPE(ctypes.c_int)(library["ask"])())


@pytest.mark.native
@pytest.mark.skipif(architecture() != "x86_64", reason="CPUID is of x86-64")
def test_it_agrees_with_llvm_and_the_kernel_on_every_feature() -> None:
    usable = usable_features()
    wrong = [name for name in X86_BITS if asks((name,)) != (name in usable)]
    assert wrong == []
    assert asks(host_target().requires)
    assert asks(())
    lacking = [name for name in X86_BITS if name not in usable]
    if lacking:
        assert not asks((*host_target().requires, lacking[0]))


def test_every_target_can_be_asked_for() -> None:
    for target in TARGETS.values():
        assert 'i32 @"fits"()' in cpu_check_function("fits", target)
        assert set(target.requires) <= set(X86_BITS)


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(EmitError, match="sve"):
        cpu_check_function("f", dataclasses.replace(BASE, requires=("sve",)))
    arm = dataclasses.replace(find("aarch64"), requires=("sve",))
    with pytest.raises(EmitError, match="aarch64"):
        cpu_check_function("f", arm)
