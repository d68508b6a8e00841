"""Runs of pixels of every length, that fit the registers."""

from __future__ import annotations

import pytest

from cnncc.kernels.convolution.conv_depthwise import ConvDepthwise, depthwise_taps
from cnncc.kernels.convolution.conv_geometry import conv_geometry
from cnncc.kernels.convolution.depthwise_runs import run_length
from tests.kernels.conv_sites import depthwise, run
from tests.kernels.harness import TARGETS

KERNEL = ConvDepthwise()


@pytest.mark.parametrize("columns", range(1, 18))
def test_runs_of_every_length(columns):
    """A last run that is shorter, for every width up to beyond the longest run."""
    run(KERNEL, depthwise((2, 1, columns)), TARGETS[columns % 3])


def test_a_run_fits_the_registers():
    for target in TARGETS:
        for columns in (1, 7, 14, 15, 56, 112):
            for size in (3, 5, 7, 9, 13, 27, 31):
                site = depthwise((4, 8, columns), (size, size), pads=(size // 2,) * 4).site(target)
                taps = depthwise_taps(conv_geometry(site), site.lanes)
                run_ = run_length(target, taps, columns)
                assert 1 <= run_ <= columns
                assert run_ + taps.piece + 2 <= target.vector_registers
                assert run_ >= min(columns, 4)
