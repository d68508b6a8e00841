"""What a kernel is: a template that turns one node of the fused graph into loop nests.

A node reaches a kernel as a `Site`: the anchor operator, the steps fused behind it, types, layouts
and constants. The kernel answers with `Launch`es, each a LoopIR function with its arguments and the
number of work items. The last two parameters of every such function are `lo` and `hi`: it does the
items `lo <= i < hi` and nothing else, items write disjoint memory, and an item's result does not
depend on the split. That is what makes results bit-identical for any number of threads.

Memory that an item needs for a while is a `ScratchArg`, of the caller's workspace; `Alloc` in a
function is memory on the caller's stack, for a few numbers (`MOST_STACK_BYTES`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.layout import AnyLayout, FlatLayout, Layout, Picked
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Func, Kind, Value
from cnncc.ops.fused import Step
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.targets.target import Target


class _Unread:
    """What stands for an array whose numbers may not be read."""

    def __repr__(self) -> str:
        return "unread"


UNREAD: Final[Any] = _Unread()


@dataclass(frozen=True, slots=True)
class Site:
    """One node of the fused graph as a kernel sees it.

    Attributes:
        name: the node's path, for messages.
        steps: the anchor, then what is fused behind it. `args` of a step index the operands when
            they are `>= 0`; `~k` is the result of step `k`.
        types: types of the operands.
        result: type of the result.
        layouts: layouts of the operands; `None` for constants.
        out: layout of the result.
        constants: arrays of the operands; `None` for those that are computed, `UNREAD` for all
            others of a site without its numbers.
        target: the machine.
        in_place: operand whose buffer the result overwrites, or `None`.
        means: layout of the means of the result's rows [1,C,H,1] where the kernel gives them too.
        network_bytes: weights of the whole network, all of which pass between two calls.
        pick: which of a kernel's ways is meant, by rank of predicted time; see `Kernel.picks`.
    """

    name: str
    steps: tuple[Step, ...]
    types: tuple[TensorType, ...]
    result: TensorType
    layouts: tuple[AnyLayout | None, ...]
    out: AnyLayout
    constants: tuple[NDArray[Any] | None, ...]
    target: Target
    in_place: int | None = None
    network_bytes: int = 0
    pick: int = 0
    means: Layout | None = None

    @property
    def anchor(self) -> Step:
        """The first step."""
        return self.steps[0]

    @property
    def ends_in_pool(self) -> bool:
        """Whether the last step takes windows of what the steps before it compute."""
        return self.steps[-1].op in WINDOW_POOLS

    @property
    def last_conv(self) -> int:
        """The last step that is a convolution behind the anchor; 0 where there is none."""
        return max((k for k, step in enumerate(self.steps) if step.op == "conv2d"), default=0)

    @property
    def in_rows(self) -> bool:
        """Whether no value of the site lies in blocks."""
        kinds = Layout | FlatLayout | Picked
        return not any(isinstance(x, kinds) for x in (*self.layouts, self.out))

    @property
    def lanes(self) -> int:
        """f32 lanes of the target's vectors."""
        return self.target.lanes()

    def blocked(self, operand: int) -> Layout:
        """The layout of an operand, which must be a blocked one."""
        found = self.layouts[operand]
        if not isinstance(found, Layout):
            raise InternalError(f"{self.name}: operand {operand} is not in a blocked layout")
        return found

    @property
    def blocked_out(self) -> Layout:
        """The layout of the result, which must be a blocked one."""
        if not isinstance(self.out, Layout):
            raise InternalError(f"{self.name}: the result is not in a blocked layout")
        return self.out

    def constant(self, operand: int) -> NDArray[Any]:
        """The array of an operand, which must be a constant."""
        found = self.constants[operand]
        if found is None:
            raise InternalError(f"{self.name}: operand {operand} is not a constant")
        if found is UNREAD:
            raise InternalError(f"{self.name}: the numbers of operand {operand} are packed later")
        return found

    @property
    def without_numbers(self) -> Site:
        """The same with constants that nobody can read; it can be hashed."""
        return replace(self, constants=tuple(None if c is None else UNREAD for c in self.constants))

    def packed(self, size: int, pack: Callable[[Site], NDArray[Any]]) -> Arg:
        """The argument of so many numbers that `pack` makes of a site's constants.

        It packs those of this site, or later those of another that differs in its numbers only.
        """
        later = Packing(size, pack)
        return later if any(c is UNREAD for c in self.constants) else later.of(self)


@dataclass(frozen=True, slots=True)
class OperandArg:
    """The buffer of an operand, from its first element (halo included)."""

    operand: int


@dataclass(frozen=True, slots=True)
class ResultArg:
    """The buffer of the result, from its first element (halo included)."""


@dataclass(frozen=True, slots=True)
class MeansArg:
    """The buffer of the means of the result's rows, `Site.means`."""


@dataclass(frozen=True, slots=True, eq=False)
class PackedArg:
    """Numbers made at compile time (packed weights, bias vectors), placed in the weight blob."""

    array: NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Packing:
    """Numbers of which only the size is known; see `Site.packed`."""

    size: int
    pack: Callable[[Site], NDArray[Any]]

    def of(self, site: Site) -> PackedArg:
        """The numbers of a site.

        Raises:
            InternalError: there are not as many as the code takes for granted.
        """
        made = self.pack(site)
        if made.size != self.size:
            raise InternalError(f"{site.name}: {made.size} packed numbers instead of {self.size}")
        return PackedArg(made)


@dataclass(frozen=True, slots=True)
class ScratchArg:
    """Memory of the thread that makes the call, at a multiple of 64 bytes.

    What it holds at entry is undefined: another split of the work, another launch or another
    network may have used it. A launch with several has them all at once, apart from each other.

    Attributes:
        words: its size, in words of 4 bytes.
    """

    words: int


Arg = OperandArg | ResultArg | MeansArg | PackedArg | Packing | ScratchArg | int
MOST_STACK_BYTES = 1 << 10  # of `Alloc` in one function: a library's stack stays small


@dataclass(frozen=True, slots=True)
class Launch:
    """One loop nest in place.

    Attributes:
        func: parameters match `args`, then come `lo` and `hi`.
        args: see above; an `int` is an index argument, so that one function can serve many calls.
        work: number of work items to split over threads.
        grain: items below which a second thread does not pay.
    """

    func: Func
    args: tuple[Arg, ...]
    work: int
    grain: int = 1


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds that one thread cannot beat with an algorithm.

    Attributes:
        compute: of its multiply-adds at the peak.
        memory: of its bytes at the pace of the memory that they live in.
    """

    compute: float = 0.0
    memory: float = 0.0

    @property
    def seconds(self) -> float:
        """The longer of both."""
        return max(self.compute, self.memory)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted time of one thread doing all of it, and the choices it stands for.

    Attributes:
        seconds: predicted time.
        choice: words for `explain`, such as `tile 14x2`.
        figures: numbers behind it, such as utilisation of the multiply-add units.
        bound: what no loop nest with the same algorithm could beat.
    """

    seconds: float
    choice: str
    figures: dict[str, float]
    bound: Bound = Bound()


class Kernel(ABC):
    """A template for the loop nests of some operators. Instances carry no state.

    Attributes:
        name: the kernel's name in plans and messages.
        anchors: the operators that it can compute as the first step of a site.
        rows: whether it computes on row-major arrays, not on blocks of channels.
        gives_means: whether it can give the means of the result's rows beside the result.
        by_shape: whether `lower` reads no numbers of a site but through `Site.packed`: sites that
            differ in their numbers only share its loop nests.
        switch: the optimisation of `cnncc.options.SWITCHES` that it is part of, if it is any.
    """

    name: ClassVar[str]
    anchors: ClassVar[frozenset[str]]
    rows: ClassVar[bool] = False
    gives_means: ClassVar[bool] = False
    by_shape: ClassVar[bool] = False
    switch: ClassVar[str] = ""

    @abstractmethod
    def refuses(self, site: Site) -> str:
        """Why this kernel cannot do the site; an empty string when it can."""

    @abstractmethod
    def estimate(self, site: Site) -> Estimate:
        """Predicted time, from the machine's facts alone."""

    def algorithm(self, site: Site) -> Rounding | None:
        """What is added to the tolerance of the site's steps; None for a kernel by definition."""
        return None

    def code_bytes(self, site: Site) -> int:
        """About how long its function is, on a machine with vectors of 512 bits."""
        return 3 << 10

    def picks(self, site: Site) -> int:
        """How many ways of its own are worth timing; `estimate` and `lower` obey `site.pick`."""
        return 1

    @abstractmethod
    def lower(self, site: Site) -> list[Launch]:
        """The loop nests. Launches of one site may run side by side: no barrier between them."""


def scratch_buffer(
    b: Builder, hint: str, elems: int, kind: Kind = Kind.F32
) -> tuple[Value, ScratchArg]:
    """A parameter for scratch memory, and its argument."""
    value = b.buffer(hint, kind, elems, writable=True)
    return value, ScratchArg(-(-elems * kind.size_bytes // 4))


def per_channel(values: NDArray[Any], layout: Layout) -> NDArray[np.float32]:
    """Per-channel numbers [C] in the order of the layout's slots, zeros in padding lanes."""
    packed = np.zeros(layout.blocks * layout.block, np.float32)
    packed[layout.channel_slots] = values.reshape(-1)
    return packed


def bias_arg(site: Site, operand: int, layout: Layout) -> Arg:
    """The argument of a constant operand [C] with one number for each slot of a layout."""

    def pack(site: Site) -> NDArray[np.float32]:
        return per_channel(np.asarray(site.constant(operand), np.float32), layout)

    return site.packed(layout.blocks * layout.block, pack)


def out_buffer(b: Builder, site: Site) -> tuple[Value, Arg]:
    """The parameter for the result; it may be an operand's buffer when the site works in place.

    Between the parts of an operand that was picked out of several buffers it may lie too.
    """
    layout = site.blocked_out
    apart = site.in_place is None and not any(isinstance(x, Picked) for x in site.layouts)
    value = b.buffer("out", extent=layout.elems, writable=True, unique=apart)
    return value, ResultArg()


def refuses_blocks(site: Site, operands: tuple[int, ...]) -> str:
    """Why operands and result do not lie in equal blocks of whole vectors; empty if they do."""
    out = site.out
    if not isinstance(out, Layout) or out.block != site.lanes:
        return f"the result's blocks must have {site.lanes} channels"
    for operand in operands:
        layout = site.layouts[operand]
        if not isinstance(layout, Layout) or layout.block != out.block:
            return f"operand {operand} must lie in blocks of {site.lanes} channels"
        if layout.segments != out.segments:
            return f"operand {operand} has other segments than the result"
    return ""
