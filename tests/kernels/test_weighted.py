"""Convolutions and dense layers, alone and fused: each kernel that takes a case does it right."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.kernels import KERNELS
from cnncc.kernels.convolution.dense import Dense
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import Step
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.cases import single, weighted_site_of
from tests.kernels.harness import TARGETS, blocked, check, make_site
from tests.strategies import random_case

POOLS = ("max_pool2d", "avg_pool2d")
# Their rows and columns depend on one another in ways that intervals do not see.
UNPROVEN = frozenset({"conv_transposed", "conv_pool_band"})


@pytest.mark.parametrize("name", ["conv2d", "conv2d_transpose", "dense", "fused"])
@pytest.mark.parametrize("seed", range(12))
def test_random(name, seed):
    rng = np.random.default_rng(seed)
    values = ("float", "integers")[seed % 2]
    case = random_case(rng, name, values)
    while not single(case):
        case = random_case(rng, name, values)
    site = weighted_site_of(case, TARGETS[seed % len(TARGETS)], rng)
    able = [k for k in KERNELS if site.anchor.op in k.anchors and not k.refuses(site)]
    # The pass that fuses pools asks first; the random groups do not.
    assert able or site.steps[-1].op in POOLS
    for kernel in able:
        proven = kernel.name not in UNPROVEN
        check(kernel, site, case.arrays, splits=((1, 1), (3, -1)), proven=proven)


def test_dense_leaves_fused_pools_to_others():
    """A 1x1 convolution of one pixel with a pool behind it."""
    arrays = [np.ones((1, 3, 1, 1), np.float32), np.ones((5, 3, 1, 1), np.float32)]
    pool = Step("max_pool2d", MaxPool2dAttrs((1, 1), (1, 1)), (~0,))
    layouts = [blocked(arrays[0].shape, 8), None]
    out = blocked((1, 5, 1, 1), 8)
    target = find("avx2")
    site = make_site("conv2d", Conv2dAttrs(), arrays, layouts, out, target, steps=(pool,))
    assert Dense().refuses(site) == "does not pool"
