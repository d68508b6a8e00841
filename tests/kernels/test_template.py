"""Sites answer what kernels ask, and say so when the plan gave them something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.ir.op import NoAttrs, lookup
from cnncc.kernels import KERNELS
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import per_channel
from cnncc.ops import OPERATORS
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.fused import Step
from cnncc.ops.pool import AvgPool2dAttrs, MaxPool2dAttrs
from cnncc.passes.fuse import ANCHORS
from tests.kernels.conv_sites import Conv
from tests.kernels.harness import TARGETS, blocked, check, dense, each_target, make_site


def site():
    return Conv((3, 4, 4), 5, (3, 3)).site(TARGETS[0])


def test_what_a_site_tells():
    one = site()
    assert one.anchor.op == "conv2d"
    assert one.lanes == 4
    assert one.blocked(0) is one.layouts[0]
    assert one.blocked_out is one.out
    assert one.constant(1).shape == (5, 3, 3, 3)
    assert not one.ends_in_pool


def test_what_is_not_there_is_the_plans_mistake():
    one = site()
    with pytest.raises(InternalError, match="operand 1 is not in a blocked layout"):
        one.blocked(1)
    with pytest.raises(InternalError, match="operand 0 is not a constant"):
        one.constant(0)
    with pytest.raises(InternalError, match="result is not in a blocked layout"):
        _ = replace(one, out=dense((1, 5, 2, 2))).blocked_out


def test_numbers_by_slot():
    packed = per_channel(np.arange(1, 6), Layout(4, (3, 2), 1, 1))
    assert packed.tolist() == [1, 2, 3, 0, 4, 5, 0, 0]


def test_every_kernel_names_operators_that_exist():
    known = {op.name for op in OPERATORS}
    for kernel in KERNELS:
        assert kernel.anchors
        assert kernel.anchors <= known


def numbers(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


# Anchors with an epilogue: attributes, operands, which of them are constants, the result.
WITH_EPILOGUE = {
    "conv2d": (Conv2dAttrs(), [numbers(1, 5, 3, 4), numbers(6, 5, 1, 1)], (1,), (1, 6, 3, 4)),
    "conv2d_transpose": (
        Conv2dTransposeAttrs(strides=(2, 2)),
        [numbers(1, 5, 3, 4), numbers(5, 6, 2, 2)],
        (1,),
        (1, 6, 6, 8),
    ),
    "dense": (NoAttrs(), [numbers(1, 7), numbers(6, 7)], (1,), (1, 6)),
    "max_pool2d": (MaxPool2dAttrs((2, 2), (1, 1)), [numbers(1, 6, 4, 5)], (), (1, 6, 3, 4)),
    "avg_pool2d": (AvgPool2dAttrs((2, 2), (1, 1)), [numbers(1, 6, 4, 5)], (), (1, 6, 3, 4)),
    "global_max_pool": (NoAttrs(), [numbers(1, 6, 4, 5)], (), (1, 6, 1, 1)),
    "global_avg_pool": (NoAttrs(), [numbers(1, 6, 4, 5)], (), (1, 6, 1, 1)),
    "tanh": (NoAttrs(), [numbers(1, 6, 3, 4)], (), (1, 6, 3, 4)),
}


def test_every_anchor_that_fuse_knows_is_below():
    assert set(WITH_EPILOGUE) - {"tanh"} == ANCHORS


@pytest.mark.parametrize("op", WITH_EPILOGUE)
@each_target
def test_every_kernel_may_write_over_what_its_epilogue_reads(op, target):
    """The plan lets results lie in the buffer of a residual without asking the kernel."""
    attrs, arrays, constants, shape = WITH_EPILOGUE[op]
    residual, halo = len(arrays), (0, 1, 1, 0) if len(shape) == 4 else (0, 0, 0, 0)
    arrays = [*arrays, numbers(*shape)]
    out = blocked(shape, target.lanes(), halo=halo)
    layouts = [
        None if i in constants else blocked(a.shape, target.lanes()) for i, a in enumerate(arrays)
    ]
    layouts[residual] = out
    steps = (Step("add", lookup("add").Attrs(), (~0, residual)),)
    site = make_site(op, attrs, arrays, layouts, out, target, steps=steps, in_place=residual)
    able = [k for k in KERNELS if op in k.anchors and not k.refuses(site)]
    assert able
    for kernel in able:
        check(kernel, site, arrays, vacuous=True)
