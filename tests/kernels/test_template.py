"""Sites answer what kernels ask, and say so when the plan gave them something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.kernels import KERNELS
from cnncc.kernels.layout import Layout
from cnncc.kernels.template import per_channel
from cnncc.ops import OPERATORS
from tests.kernels.conv_sites import Conv
from tests.kernels.harness import TARGETS, dense


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
