"""The record of a target: facts about a CPU, no behaviour.

`lanes(dtype)` and the register counts are all that kernels and plans ask; instruction selection is
LLVM's, told through `cpu` and `features`.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.ir.types import DType
from cnncc.targets.machine import Machine


@dataclass(frozen=True, slots=True)
class Target:
    """A CPU that code can be made for.

    Attributes:
        name: what the user types, such as `x86-64-v3`.
        triple: LLVM's target triple.
        cpu: LLVM's CPU name, for scheduling and instruction choice.
        features: LLVM feature string, such as `+avx2,+fma`; empty for the CPU's own.
        requires: the CPUID-visible features that code made for this target executes; an artefact
            checks them before its first vector instruction.
        vector_bits: width of the registers that kernels use.
        vector_registers: how many of them there are.
        fma: whether multiply-add is one instruction.
        l1_bytes: level-1 data cache of a core.
        l2_bytes: level-2 cache of a core.
        tiles: register tiles (pixels, vectors of output channels) for multiply-add kernels, the
            best first; each is known to compile without spills in the inner loop.
        scheduling: the CPU whose scheduling model LLVM uses, where that of `cpu` makes tiles spill;
            empty for its own.
        machine: what the cost model knows of a core; no code depends on it, only choices do.
    """

    name: str
    triple: str
    cpu: str
    features: str
    requires: tuple[str, ...]
    vector_bits: int
    vector_registers: int
    fma: bool
    l1_bytes: int
    l2_bytes: int
    tiles: tuple[tuple[int, int], ...]
    machine: Machine
    scheduling: str = ""

    @property
    def multiplies_memory(self) -> bool:
        """Whether a multiply-add takes a number for all lanes from memory, as AVX-512's does."""
        return self.vector_bits == 512

    def lanes(self, dtype: DType = DType.F32) -> int:
        """Elements of a vector register."""
        return self.vector_bits // (8 * dtype.size_bytes)
