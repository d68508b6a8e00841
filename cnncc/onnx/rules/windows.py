"""What convolutions and pools share: windows over one or two spatial axes, and their padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cnncc.onnx.call import Call
from cnncc.onnx.table import Refused

AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True, slots=True)
class Window:
    """A window over the spatial axes of a node, one entry an axis.

    Attributes:
        kernel: its extents.
        strides: its steps.
        dilations: distances of neighbouring taps.
        before: padding in front.
        after: padding behind.
        lifted: whether the node has one spatial axis, and H = 1 was put in front of it.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    lifted: bool

    @property
    def pads(self) -> tuple[int, int, int, int]:
        """Top, left, bottom, right."""
        return (*self.before, *self.after)


def spatial(call: Call, index: int = 0) -> tuple[int, ...]:
    """The spatial extents of an input [N,C,W] or [N,C,H,W]."""
    shape = call.type(index).shape
    if len(shape) not in (3, 4):
        raise Refused(
            f"{len(shape) - 2} spatial axes ({call.type(index)})",
            "one or two spatial axes are supported",
        )
    return shape[2:]


def window(call: Call, kernel: Sequence[int], extents: Sequence[int], rank: int) -> Window:
    """The window of a node, from its attributes `strides`, `dilations`, `pads`, `auto_pad`."""
    strides = listed(call, "strides", rank, 1)
    dilations = listed(call, "dilations", rank, 1)
    auto = call.text("auto_pad", "NOTSET", AUTO) or "NOTSET"
    pads = call.integers("pads")
    if auto == "NOTSET":
        pads = (0,) * (2 * rank) if pads is None else pads
        if len(pads) != 2 * rank:
            raise Refused(f"`pads` has {len(pads)} numbers, {2 * rank} are wanted")
        before, after = pads[:rank], pads[rank:]
    else:
        if pads is not None and any(pads):
            raise Refused(f"`pads` is given beside auto_pad={auto}")
        before, after = same(auto, kernel, extents, strides, dilations)
    return lift(kernel, strides, dilations, before, after)


def listed(call: Call, name: str, rank: int, least: int) -> tuple[int, ...]:
    """An attribute with one number an axis, `least` by default."""
    found = call.integers(name)
    if found is None:
        return (least,) * rank
    if len(found) != rank or any(not least <= n < 2**31 for n in found):
        raise Refused(f"`{name}` is {list(found)}; {rank} numbers from {least} are wanted")
    return found


def same(
    auto: str,
    kernel: Sequence[int],
    extents: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Padding so that n pixels give ceil(n / stride); an odd one goes where `auto` says."""
    before, after = [], []
    for k, n, s, d in zip(kernel, extents, strides, dilations, strict=True):
        total = max(0, (-(-n // s) - 1) * s + d * (k - 1) + 1 - n) if auto != "VALID" else 0
        small, large = total // 2, total - total // 2
        before.append(small if auto == "SAME_UPPER" else large)
        after.append(large if auto == "SAME_UPPER" else small)
    return tuple(before), tuple(after)


def lift(
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    before: Sequence[int],
    after: Sequence[int],
) -> Window:
    """The window with an axis H = 1 in front when there is only one spatial axis."""
    lifted = len(kernel) == 1
    ones, zeros = ((1,), (0,)) if lifted else ((), ())

    def pair(front: tuple[int, ...], values: Sequence[int]) -> tuple[int, int]:
        high, wide = (*front, *values)
        return high, wide

    return Window(
        pair(ones, kernel),
        pair(ones, strides),
        pair(ones, dilations),
        pair(zeros, before),
        pair(zeros, after),
        lifted,
    )


def as_map(call: Call, node_id: int) -> int:
    """[N,C,W] as [N,C,1,W]; a feature map stays."""
    shape = call.type_of(node_id).shape
    return call.reshape(node_id, (*shape[:2], 1, shape[2])) if len(shape) == 3 else node_id


def as_before(call: Call, node_id: int, lifted: bool) -> int:
    """[N,C,1,W] as [N,C,W] when the node has one spatial axis."""
    shape = call.type_of(node_id).shape
    return call.reshape(node_id, (*shape[:2], shape[3])) if lifted else node_id
