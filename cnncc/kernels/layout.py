"""Layouts: where the elements of a value lie in memory. A layout never changes numbers.

Inside a network every value `[1, C, H, W]` (a vector `[1, K]` counts as `[1, K, 1, 1]`) is stored
as `NCHW{b}c`: blocks of `b` channels, planes of `(top + H + bottom) x (left + W + right)` pixels,
each pixel `b` consecutive floats. The halo around the picture holds zeros, so windows that hang
over the edge need no code of their own. Channels come in *segments*, each beginning on a block
boundary; the lanes that a segment leaves over hold zeros too. A plain value has one segment; the
result of a concatenation has one for each operand, so that operands can be written where they
belong whatever their channel counts. What is put together of channels that lie in several buffers
is `Picked`: it has no memory of its own, readers find its channels through a table.

At the ends of a network the caller's arrays are dense: `DenseLayout`. Values that are no feature
maps or vectors, or no f32, lie in row-major order inside it too: `RowMajor`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from cnncc.ir.types import DType
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

NARROW = 4  # most channels of an input that keeps all of them in one block
Halo = tuple[int, int, int, int]  # top, left, bottom, right, in pixels
NO_HALO: Halo = (0, 0, 0, 0)


@dataclass(frozen=True)
class Layout:
    """A blocked f32 layout.

    Attributes:
        block: channels per block, `b`.
        segments: channel counts; each segment starts on a block boundary.
        height: rows of the picture, without halo.
        width: columns of the picture, without halo.
        halo: zero pixels around it: top, left, bottom, right.
    """

    block: int
    segments: tuple[int, ...]
    height: int
    width: int
    halo: Halo = NO_HALO

    @property
    def channels(self) -> int:
        """Logical channels."""
        return sum(self.segments)

    @cached_property
    def blocks(self) -> int:
        """Number of channel blocks."""
        return sum(-(-s // self.block) for s in self.segments)

    @property
    def row_pitch(self) -> int:
        """Elements from one row to the next."""
        return (self.halo[1] + self.width + self.halo[3]) * self.block

    @property
    def plane_pitch(self) -> int:
        """Elements from one channel block to the next."""
        return (self.halo[0] + self.height + self.halo[2]) * self.row_pitch

    @property
    def elems(self) -> int:
        """Elements of the whole buffer, halo and leftover lanes counted."""
        return self.blocks * self.plane_pitch

    @property
    def words(self) -> int:
        """Its size in the arena, in words of 4 bytes."""
        return self.elems

    @property
    def origin(self) -> int:
        """Element of the first channel of the top left pixel of the picture."""
        return self.halo[0] * self.row_pitch + self.halo[1] * self.block

    @property
    def has_padding_lanes(self) -> bool:
        """Whether some block has lanes that belong to no channel."""
        return any(s % self.block for s in self.segments)

    @cached_property
    def channel_slots(self) -> NDArray[np.int64]:
        """For each logical channel its slot `block_index * b + lane`, as int64[C]."""
        slots: list[NDArray[np.int64]] = []
        start = 0
        for size in self.segments:
            slots.append(np.arange(start, start + size, dtype=np.int64))
            start += -(-size // self.block) * self.block
        return np.concatenate(slots)

    @cached_property
    def slot_channels(self) -> NDArray[np.int64]:
        """For each slot the logical channel, or -1 for a padding lane, as int64[blocks * b]."""
        channels = np.full(self.blocks * self.block, -1, dtype=np.int64)
        channels[self.channel_slots] = np.arange(self.channels)
        return channels

    @property
    def slot_offsets(self) -> NDArray[np.int64]:
        """Element of the top left pixel of each slot, as int64[blocks * b]."""
        block, lane = np.divmod(np.arange(self.blocks * self.block), self.block)
        return np.asarray(block * self.plane_pitch + lane + self.origin)

    def index(self, b: Builder, block: Index, y: Index, x: Index) -> Index:
        """Element of pixel (y, x) of a channel block; negative y and x reach into the halo."""
        return b.iadd(
            b.imul(block, self.plane_pitch),
            b.imul(y, self.row_pitch),
            b.imul(x, self.block),
            self.origin,
        )

    def offset(self, blocks: int, rows: int, columns: int) -> int:
        """Elements between two places that lie so many blocks, rows and columns apart."""
        return blocks * self.plane_pitch + rows * self.row_pitch + columns * self.block

    def with_halo(self, halo: Halo) -> Layout:
        """The same with another halo."""
        return replace(self, halo=halo)

    def pack(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """`array` [C,H,W] as the flat buffer, zeros in halo and leftover lanes."""
        top, left, bottom, right = self.halo
        lanes = np.zeros((self.blocks * self.block, self.height, self.width), np.float32)
        lanes[self.channel_slots] = array.reshape(self.channels, self.height, self.width)
        blocks = lanes.reshape(self.blocks, self.block, self.height, self.width)
        pixels = blocks.transpose(0, 2, 3, 1)
        padded = np.pad(pixels, ((0, 0), (top, bottom), (left, right), (0, 0)))
        return np.ascontiguousarray(padded, np.float32).reshape(-1)

    def unpack(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logical array [C,H,W] out of a flat buffer."""
        top, left, bottom, right = self.halo
        rows, columns = top + self.height + bottom, left + self.width + right
        pixels = buffer[: self.elems].reshape(self.blocks, rows, columns, self.block)
        picture = pixels[:, top : top + self.height, left : left + self.width]
        lanes = picture.transpose(0, 3, 1, 2).reshape(-1, self.height, self.width)
        return np.ascontiguousarray(lanes[self.channel_slots])

    def __str__(self) -> str:
        parts = [f"NCHW{self.block}c"]
        if len(self.segments) > 1:
            parts.append("segments=" + "+".join(map(str, self.segments)))
        if any(self.halo):
            parts.append("halo=" + ",".join(map(str, self.halo)))
        return " ".join(parts)


@dataclass(frozen=True, slots=True)
class DenseLayout:
    """A caller's array of one sample: no halo, no padding lanes.

    Attributes:
        dtype: element type of the array.
        channels: logical channels (the length, for a vector).
        height: rows.
        width: columns.
        memory: `hwc` or `chw`, the order of the axes in memory.
    """

    dtype: DType
    channels: int
    height: int
    width: int
    memory: str

    @property
    def pitches(self) -> tuple[int, int, int]:
        """Elements between neighbours along channel, row and column."""
        if self.memory == "hwc":
            return 1, self.width * self.channels, self.channels
        return self.height * self.width, self.width, 1

    @property
    def elems(self) -> int:
        """Elements of the array."""
        return self.channels * self.height * self.width

    @property
    def words(self) -> int:
        """Its size in words of 4 bytes, the last of which may not be full."""
        return -(-self.elems * self.dtype.size_bytes // 4)

    def __str__(self) -> str:
        return f"{self.memory} {self.dtype}"


@dataclass(frozen=True, slots=True)
class FlatLayout:
    """A feature map read as a vector where it lies: flattening without a copy.

    Attributes:
        source: where the feature map lies.
        order: `hwc` or `chw`, the order in which `flatten` lists its elements.
    """

    source: Layout
    order: str

    @property
    def elems(self) -> int:
        """Elements of the buffer behind it."""
        return self.source.elems

    @property
    def words(self) -> int:
        """Its size in the arena, in words of 4 bytes."""
        return self.elems

    def positions(self) -> NDArray[np.int64]:
        """For each logical element of the vector its element in the buffer, as int64[K]."""
        s = self.source
        block, lane = np.divmod(s.channel_slots, s.block)
        channel = (block * s.plane_pitch + lane)[:, None, None]
        row = (np.arange(s.height) * s.row_pitch)[None, :, None]
        column = (np.arange(s.width) * s.block)[None, None, :]
        place = channel + row + column + s.origin
        ordered = place if self.order == "chw" else place.transpose(1, 2, 0)
        return np.ascontiguousarray(ordered).reshape(-1)

    def __str__(self) -> str:
        return f"flat({self.order}) {self.source}"


@dataclass(frozen=True)
class RowMajor:
    """A dense array in row-major order, of any rank and element type, without halo or padding.

    Attributes:
        dtype: element type.
        shape: all axes, the leading one of a batch too.
    """

    dtype: DType
    shape: tuple[int, ...]

    @cached_property
    def elems(self) -> int:
        """Elements of the array."""
        return math.prod(self.shape)

    @property
    def words(self) -> int:
        """Its size in the arena, in words of 4 bytes."""
        return -(-self.elems * self.dtype.size_bytes // 4)

    @cached_property
    def pitches(self) -> tuple[int, ...]:
        """Elements between neighbours along each axis."""
        return tuple(math.prod(self.shape[axis + 1 :]) for axis in range(len(self.shape)))

    def __str__(self) -> str:
        return f"row-major {self.dtype}"


@dataclass(frozen=True)
class Picked:
    """Channels read where they lie in other buffers: a join, cut or shuffle without a copy.

    Attributes:
        parts: layouts of the values that hold them, equal but for their channels.
        picks: for each channel its part and its slot there.
        starts: the element at which each part begins, counted from the first of all; it is memory
            planning that knows, before it the parts lie one behind the other.
    """

    parts: tuple[Layout, ...]
    picks: tuple[tuple[int, int], ...]
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.starts:
            sizes = [p.elems for p in self.parts]
            object.__setattr__(self, "starts", tuple(accumulate([0, *sizes[:-1]])))

    @property
    def channels(self) -> int:
        """Logical channels."""
        return len(self.picks)

    @property
    def height(self) -> int:
        """Rows of the picture."""
        return self.parts[0].height

    @property
    def width(self) -> int:
        """Columns of the picture."""
        return self.parts[0].width

    @property
    def block(self) -> int:
        """Channels per block of every part."""
        return self.parts[0].block

    @property
    def row_pitch(self) -> int:
        """Elements from one row to the next, the same in every part."""
        return self.parts[0].row_pitch

    @property
    def elems(self) -> int:
        """Elements from the first part's begin to the last one's end; others lie in between."""
        return max(s + p.elems for s, p in zip(self.starts, self.parts, strict=True))

    @property
    def channel_offsets(self) -> NDArray[np.int64]:
        """Element of the top left pixel of each channel, as int64[C]."""
        places = [p.slot_offsets + s for s, p in zip(self.starts, self.parts, strict=True)]
        return np.array([places[part][slot] for part, slot in self.picks], np.int64)

    def pack(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """`array` [C,H,W] as the flat buffer; NaN in between, which nobody may read."""
        buffer = np.full(self.elems, np.nan, np.float32)
        buffer[self._places()] = array.reshape(self.channels, self.height, self.width)
        return buffer

    def unpack(self, buffer: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logical array [C,H,W] out of a flat buffer."""
        return np.ascontiguousarray(buffer[self._places()])

    def _places(self) -> NDArray[np.int64]:
        row, column = np.arange(self.height) * self.row_pitch, np.arange(self.width) * self.block
        return self.channel_offsets[:, None, None] + row[:, None] + column

    def __str__(self) -> str:
        return f"{self.channels} channels of {len(self.parts)} x NCHW{self.block}c"


AnyLayout = Layout | DenseLayout | FlatLayout | RowMajor | Picked
