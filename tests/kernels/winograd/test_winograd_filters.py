"""Filters as minimal filtering reads them."""

from __future__ import annotations

import numpy as np

from cnncc.kernels.winograd import winograd_filters
from cnncc.kernels.winograd.conv_winograd import ConvWinograd
from cnncc.kernels.winograd.winograd_filters import pack_transformed
from cnncc.ops.conv import Conv2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv

KERNEL = ConvWinograd()
SAME = Conv2dAttrs(pads=(1, 1, 1, 1))
ROOM = (0, 0, 8, 8)  # a halo in which whole tiles of every size fit
WIDE = find("x86-64-v4")


def test_filters_of_channels_that_are_not_there_are_not_kept():
    for channels, kept in ((12, 12), (33, 34), (32, 32)):
        site = Conv((channels, 8, 8), 16, attrs=SAME, halo=ROOM).site(WIDE)
        choice = next(c for c in KERNEL._choices(site) if not c.expands)
        packed = pack_transformed(site, choice)
        assert packed.shape[1:3] == (choice.planes, kept)


def test_each_plane_is_the_transform_of_the_taps(monkeypatch):
    """By the definition, one filter at a time; however many columns are multiplied at once."""
    conv = Conv((19, 8, 8), 16, attrs=SAME, halo=ROOM)
    site = conv.site(WIDE)
    choice = next(c for c in KERNEL._choices(site) if not c.expands and c.tile.vectors == 1)
    packed = pack_transformed(site, choice)
    down, across = choice.vertical.filter_matrix, choice.horizontal.filter_matrix
    for channel, output in ((0, 0), (18, 3), (7, 15)):
        taps = conv.arrays()[1][output, channel].astype(np.float64)
        want = (down @ taps @ across.T).astype(np.float32).reshape(-1)
        np.testing.assert_allclose(packed[0, :, channel, output], want, rtol=1e-6, atol=1e-7)
    for columns in (16, 112, 1 << 20):
        monkeypatch.setattr(winograd_filters, "_AT_ONCE", columns)
        assert pack_transformed(site, choice).tobytes() == packed.tobytes()
