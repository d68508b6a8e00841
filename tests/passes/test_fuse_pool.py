from __future__ import annotations

import pytest

from cnncc.ir.types import f32
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2d, MaxPool2dAttrs
from cnncc.passes.fuse_pool import (
    MAX_HELD_PIXELS,
    prevents_tiles,
    recomputed,
    refuses_pool,
)


def _share(rows: int, k: int, s: int, pad: int = 0) -> float:
    attrs = MaxPool2dAttrs((k, k), (s, s), (pad,) * 4)
    conv = f32(1, 8, rows, 32)
    return recomputed(conv, MaxPool2d.infer([conv], attrs), attrs)


@pytest.mark.parametrize(
    ("k", "s", "share"),
    [(2, 2, 1.0), (3, 3, 1.0), (2, 3, 1.0), (3, 2, 1.25), (2, 1, 1.5), (3, 1, 2.0)],
)
def test_rows_are_recomputed_as_often_as_bands_overlap(k: int, s: int, share: float) -> None:
    assert _share(400, k, s) == pytest.approx(share, abs=0.02)


def test_padding_is_not_computed() -> None:
    assert _share(4, 3, 2, 1) == 1.0
    assert _share(112, 3, 2, 1) == (112 + 27) / 112


def test_rows_that_no_window_reads_do_not_count() -> None:
    assert _share(9, 2, 4) == 1.0


def test_a_row_too_wide_for_the_cache_is_refused_only_where_windows_overlap() -> None:
    wide = f32(1, 8, 64, MAX_HELD_PIXELS)
    for attrs, word in (
        (MaxPool2dAttrs((2, 2), (2, 2)), ""),
        (MaxPool2dAttrs((2, 2), (2, 2), (1, 1, 1, 1)), "held back"),
        (MaxPool2dAttrs((2, 2), (2, 2), ceil=True), "held back"),
        (MaxPool2dAttrs((3, 3), (2, 2)), "held back"),
    ):
        reason = refuses_pool(wide, MaxPool2d.infer([wide], attrs), attrs, 1)
        assert word in reason
        assert bool(word) == bool(reason)


@pytest.mark.parametrize(
    ("conv", "filters", "pool", "found"),
    [
        (Conv2dAttrs(), (64, 64, 3, 3), MaxPool2dAttrs((3, 3), (2, 2)), True),
        (Conv2dAttrs(), (64, 64, 3, 3), MaxPool2dAttrs((2, 2), (2, 2)), False),
        (Conv2dAttrs(), (64, 64, 3, 3), MaxPool2dAttrs((3, 3), (3, 3)), True),
        (Conv2dAttrs(), (64, 3, 3, 3), MaxPool2dAttrs((3, 3), (2, 2)), False),
        (Conv2dAttrs(), (64, 64, 5, 5), MaxPool2dAttrs((3, 3), (2, 2)), True),
        (Conv2dAttrs(), (64, 64, 5, 5), MaxPool2dAttrs((2, 2), (2, 2)), False),
        (Conv2dAttrs(), (64, 64, 5, 5), MaxPool2dAttrs((4, 4), (4, 4)), True),
        (Conv2dAttrs(), (64, 64, 7, 7), MaxPool2dAttrs((3, 3), (2, 2)), False),
        (Conv2dAttrs((2, 2)), (64, 64, 3, 3), MaxPool2dAttrs((3, 3), (2, 2)), False),
    ],
)
def test_pools_that_would_prevent_minimal_filtering(conv, filters, pool, found):
    assert prevents_tiles(conv, f32(*filters), pool) is found
