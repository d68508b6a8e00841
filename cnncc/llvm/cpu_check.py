"""A function that asks the CPU, before any vector instruction, for the features that code executes.

Bit numbers: Intel SDM vol. 2A, CPUID; AMD64 APM vol. 3, appendix E. A feature with vector registers
counts only when the operating system saves them (XGETBV, Intel SDM vol. 1 ch. 13).
"""

from __future__ import annotations

from cnncc.errors import EmitError
from cnncc.targets import Target

_EBX, _ECX, _EDX = 1, 2, 3
_EXTENDED = 0x80000001
# LLVM's name -> (leaf, index of the register, bit); subleaf 0.
X86_BITS = {
    "sse3": (1, _ECX, 0),
    "ssse3": (1, _ECX, 9),
    "fma": (1, _ECX, 12),
    "sse4.1": (1, _ECX, 19),
    "sse4.2": (1, _ECX, 20),
    "movbe": (1, _ECX, 22),
    "popcnt": (1, _ECX, 23),
    "avx": (1, _ECX, 28),
    "f16c": (1, _ECX, 29),
    "bmi": (7, _EBX, 3),
    "avx2": (7, _EBX, 5),
    "bmi2": (7, _EBX, 8),
    "avx512f": (7, _EBX, 16),
    "avx512dq": (7, _EBX, 17),
    "avx512ifma": (7, _EBX, 21),
    "avx512cd": (7, _EBX, 28),
    "avx512bw": (7, _EBX, 30),
    "avx512vl": (7, _EBX, 31),
    "avx512vbmi": (7, _ECX, 1),
    "avx512vbmi2": (7, _ECX, 6),
    "gfni": (7, _ECX, 8),
    "vaes": (7, _ECX, 9),
    "vpclmulqdq": (7, _ECX, 10),
    "avx512vnni": (7, _ECX, 11),
    "avx512bitalg": (7, _ECX, 12),
    "avx512vpopcntdq": (7, _ECX, 14),
    "avx512vp2intersect": (7, _EDX, 8),
    "avx512fp16": (7, _EDX, 23),
    "lzcnt": (_EXTENDED, _ECX, 5),
}
_OSXSAVE = (1, _ECX, 27)
_WIDE = ("avx", "f16c", "fma", "vaes", "vpclmulqdq")
_STATE_AVX, _STATE_AVX512 = 0x6, 0xE6
_CPUID = (
    'call {{ i32, i32, i32, i32 }} asm sideeffect "cpuid", '
    '"={{ax}},={{bx}},={{cx}},={{dx}},{{ax}},{{cx}},~{{dirflag}},~{{fpsr}},~{{flags}}"'
    "(i32 {leaf}, i32 0)"
)
_XGETBV = (
    'call { i32, i32 } asm sideeffect ".byte 0x0f, 0x01, 0xd0", '
    '"={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}"(i32 0)'
)
# The function itself must run everywhere.
BASELINE = '"target-cpu"="x86-64" "target-features"="+sse2"'


def cpu_check_function(name: str, target: Target) -> str:
    """A function `i32 name()` that gives 1 where the target's code can run, else 0.

    Raises:
        EmitError: there is no way to ask for a feature.
    """
    if not target.requires:
        return f'define internal i32 @"{name}"() #0 {{\nentry:\n  ret i32 1\n}}'
    if not target.triple.startswith("x86_64"):
        raise EmitError(f"the features of `{target.name}` cannot be asked for")
    unknown = [feature for feature in target.requires if feature not in X86_BITS]
    if unknown:
        raise EmitError(f"CPUID has no bit for {', '.join(unknown)}")
    lines, blocks = [], []
    for number, (leaf, masks) in enumerate(_masks(target).items()):
        blocks.append(f"leaf{number}")
        lines += _ask(number, leaf, masks)
    state = _state(target)
    if state:
        lines += [
            f"leaf{len(blocks)}:",
            f"  %state = {_XGETBV}",
            "  %saved = extractvalue { i32, i32 } %state, 0",
            f"  %kept = and i32 %saved, {state}",
            f"  %all = icmp eq i32 %kept, {state}",
            "  br i1 %all, label %yes, label %no",
        ]
    else:
        lines += [f"leaf{len(blocks)}:", "  br label %yes"]
    body = "\n".join(lines)
    return (
        f'define internal i32 @"{name}"() nounwind "no-builtins" {BASELINE} {{\n'
        f"entry:\n  br label %leaf0\n{body}\nyes:\n  ret i32 1\nno:\n  ret i32 0\n}}"
    )


def _masks(target: Target) -> dict[int, dict[int, int]]:
    """Leaf -> register -> bits that must be set; leaf 1 first, for it allows XGETBV."""
    bits = [X86_BITS[feature] for feature in target.requires]
    if _state(target):
        bits.append(_OSXSAVE)
    masks: dict[int, dict[int, int]] = {}
    for leaf, register, bit in sorted(bits):
        of_leaf = masks.setdefault(leaf, {})
        of_leaf[register] = of_leaf.get(register, 0) | 1 << bit
    return masks


def _state(target: Target) -> int:
    if any(feature.startswith("avx512") for feature in target.requires):
        return _STATE_AVX512
    wide = any(feature.startswith(_WIDE) for feature in target.requires)
    return _STATE_AVX if wide else 0


def _ask(number: int, leaf: int, masks: dict[int, int]) -> list[str]:
    """One leaf: does it exist, and are all bits set?"""
    n = f"{number}"
    lines = [
        f"leaf{n}:",
        f"  %top{n} = {_CPUID.format(leaf=leaf & 0x80000000)}",
        f"  %max{n} = extractvalue {{ i32, i32, i32, i32 }} %top{n}, 0",
        f"  %has{n} = icmp uge i32 %max{n}, {leaf}",
        f"  br i1 %has{n}, label %ask{n}, label %no",
        f"ask{n}:",
        f"  %got{n} = {_CPUID.format(leaf=leaf)}",
    ]
    good = []
    for register, mask in masks.items():
        tag = f"{n}.{register}"
        lines += [
            f"  %reg{tag} = extractvalue {{ i32, i32, i32, i32 }} %got{n}, {register}",
            f"  %set{tag} = and i32 %reg{tag}, {mask}",
            f"  %ok{tag} = icmp eq i32 %set{tag}, {mask}",
        ]
        good.append(f"%ok{tag}")
    total = good[0]
    for position, other in enumerate(good[1:]):
        lines.append(f"  %both{n}.{position} = and i1 {total}, {other}")
        total = f"%both{n}.{position}"
    lines.append(f"  br i1 {total}, label %leaf{number + 1}, label %no")
    return lines
