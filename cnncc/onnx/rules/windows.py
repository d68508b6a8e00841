"""What convolutions and pools share: windows over one, two or three spatial axes, their padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused

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


@dataclass(frozen=True, slots=True)
class Geometry:
    """A window over any number of spatial axes, one entry an axis; see `Window`."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    def axes(self, start: int, end: int) -> Geometry:
        """The window over some of the axes."""
        cut = slice(start, end)
        return Geometry(
            self.kernel[cut],
            self.strides[cut],
            self.dilations[cut],
            self.before[cut],
            self.after[cut],
        )


def spatial(call: Call, index: int = 0, most: int = 2) -> tuple[int, ...]:
    """The spatial extents of an input [N,C,W], [N,C,H,W] or, if `most` is 3, [N,C,D,H,W]."""
    shape = call.type(index).shape
    if not 3 <= len(shape) <= most + 2:
        raise Refused(
            f"{len(shape) - 2} spatial axes ({call.type(index)})",
            f"{'one or two' if most == 2 else 'one, two or three'} spatial axes are supported",
        )
    return shape[2:]


def window(call: Call, kernel: Sequence[int], extents: Sequence[int]) -> Window:
    """The window of a node with one or two spatial axes."""
    return lift(geometry(call, kernel, extents))


def geometry(call: Call, kernel: Sequence[int], extents: Sequence[int]) -> Geometry:
    """The window of a node, from its attributes `strides`, `dilations`, `pads`, `auto_pad`."""
    rank = len(extents)
    if len(kernel) != rank or min(kernel) < 1:
        raise Refused(f"a window {list(kernel)} over {call.type(0)}")
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
    return Geometry(tuple(kernel), strides, dilations, before, after)


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


def lift(found: Geometry) -> Window:
    """The window with an axis H = 1 in front when there is only one spatial axis."""
    lifted = len(found.kernel) == 1

    def pair(values: Sequence[int], fill: int) -> tuple[int, int]:
        high, wide = (fill, *values) if lifted else values
        return high, wide

    return Window(
        pair(found.kernel, 1),
        pair(found.strides, 1),
        pair(found.dilations, 1),
        pair(found.before, 0),
        pair(found.after, 0),
        lifted,
    )


def _upright(found: Geometry) -> Window:
    """The window over one axis, with an axis W = 1 behind it."""
    across = lift(found)

    def turned(pair: tuple[int, int]) -> tuple[int, int]:
        return pair[1], pair[0]

    return Window(
        turned(across.kernel),
        turned(across.strides),
        turned(across.dilations),
        turned(across.before),
        turned(across.after),
        False,
    )


def swept(call: Call, x: int, found: Geometry, pool: Callable[[int, Window], int]) -> int:
    """A pool over one, two or three spatial axes, by one that knows maps [N,C,H,W].

    A maximum or mean over a box is that over D of those over H and W: [N,C·D,H,W] is pooled, and
    what comes of it as [N,C,D,H·W].
    """
    if len(found.kernel) < 3:
        flat = lift(found)
        return as_before(call, pool(as_map(call, x), flat), flat.lifted)
    n, c, d, h, w = call.type_of(x).shape
    planes = pool(call.reshape(x, (n, c * d, h, w)), lift(found.axes(1, 3)))
    h, w = call.type_of(planes).shape[2:]
    boxes = pool(call.reshape(planes, (n, c, d, h * w)), _upright(found.axes(0, 1)))
    return call.reshape(boxes, (n, c, call.type_of(boxes).shape[2], h, w))


def as_map(call: Call, node_id: int) -> int:
    """[N,C,W] as [N,C,1,W]; a feature map stays."""
    shape = call.type_of(node_id).shape
    return call.reshape(node_id, (*shape[:2], 1, shape[2])) if len(shape) == 3 else node_id


def as_before(call: Call, node_id: int, lifted: bool) -> int:
    """[N,C,1,W] as [N,C,W] when the node has one spatial axis."""
    shape = call.type_of(node_id).shape
    return call.reshape(node_id, (*shape[:2], shape[3])) if lifted else node_id
