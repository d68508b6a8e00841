"""Which rows of a filter lie inside the map, for each row of the result."""

from __future__ import annotations

from dataclasses import dataclass

from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import Index

_FEW = 0.06  # share of rows in the padding that is not worth bounds known at run time only


@dataclass(frozen=True, slots=True)
class KernelRows:
    """Rows of a filter over a map with padding.

    Attributes:
        count: rows of the filter.
        stride: rows of the map from one row of the result to the next.
        dilation: rows of the map from one row of the filter to the next.
        pad: rows of padding above the map.
        extent: rows of the map.
        results: rows of the result.
    """

    count: int
    stride: int
    dilation: int
    pad: int
    extent: int
    results: int

    @property
    def share(self) -> float:
        """The share of rows that is computed: those inside the map, or all of them."""
        total = sum(
            0 <= y * self.stride - self.pad + k * self.dilation < self.extent
            for y in range(self.results)
            for k in range(self.count)
        )
        share = total / (self.results * self.count)
        return share if share < 1 - _FEW else 1.0

    def bounds(self, b: Builder, row: Index) -> tuple[Index, Index]:
        """The first of the filter's rows to compute for a row of the result, and the end."""
        if self.share == 1:
            return 0, self.count
        first = b.imul(row, self.stride)
        return self._from(b, b.isub(self.pad, first)), b.imin(
            self.count, self._from(b, b.isub(self.pad + self.extent, first))
        )

    def _from(self, b: Builder, distance: Index) -> Index:
        """The first of the filter's rows that is at least so many rows of the map below the top."""
        least = b.imax(distance, 0)
        return b.idiv(b.iadd(least, self.dilation - 1), self.dilation)
