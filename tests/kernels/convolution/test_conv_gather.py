"""1x1 convolutions by way of a table: channels picked out of several buffers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnncc.kernels.convolution.conv_gather import ConvGather
from cnncc.kernels.layout import Layout, Picked
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.pool import MaxPool2dAttrs
from cnncc.targets import find
from tests.kernels.conv_sites import Conv, chain, numbers
from tests.kernels.harness import TARGETS, check, each_target

KERNEL = ConvGather()
SMALL, WIDE = find("x86-64"), find("x86-64-v4")
POOL = MaxPool2dAttrs((2, 2), (2, 2))
STRIDED = Conv2dAttrs((2, 3))


def picked(x, rng, lanes, *, starts=()):
    """A layout in which each channel lies in some slot of some of three buffers."""
    channels, height, width = x
    halo = tuple(rng.integers(0, 3, 4).tolist())
    sizes = [(channels + int(rng.integers(0, 9)),) for _ in range(3)]
    parts = tuple(Layout(lanes, size, height, width, halo) for size in sizes)
    free = [(p, int(s)) for p, part in enumerate(parts) for s in part.channel_slots]
    order = rng.permutation(len(free))[:channels]
    return Picked(parts, tuple(free[i] for i in order), starts)


def site_of(conv, target, layout):
    site = conv.site(target)
    return replace(site, layouts=(layout, *site.layouts[1:]))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_channels_lie_anywhere(data):
    """What lies between them is NaN, and none of it arrives."""
    target = data.draw(st.sampled_from(TARGETS))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = tuple(data.draw(st.tuples(st.integers(1, 21), st.integers(1, 5), st.integers(1, 17))))
    conv = Conv(
        x,
        data.draw(st.integers(1, 37)),
        (1, 1),
        data.draw(st.sampled_from([Conv2dAttrs(), STRIDED])),
        bias=data.draw(st.booleans()),
        values=data.draw(st.sampled_from(["normal", "special"])),
        seed=data.draw(st.integers(0, 99)),
        out_halo=data.draw(st.sampled_from([(0, 0, 0, 0), (1, 2, 0, 1)])),
    )
    site = site_of(conv, target, picked(x, rng, target.lanes()))
    check(KERNEL, site, conv.arrays(), splits=((1, 1), (3, -1)))


def test_parts_in_any_order_of_memory():
    """The plan may put the second part before the first, and other buffers in between."""
    layout = picked((7, 3, 4), np.random.default_rng(3), 4)
    sizes = [part.elems for part in layout.parts]
    starts = (sizes[1] + 64, 0, sizes[1] + sizes[0] + 128)
    conv = Conv((7, 3, 4), 6, (1, 1))
    check(KERNEL, site_of(conv, SMALL, replace(layout, starts=starts)), conv.arrays())


@each_target
def test_epilogue(target):
    """Sums, gates and activations behind it, in segments with padding lanes of their own."""
    extras = (numbers(1, 19, 3, 5), numbers(1, 19, 1, 1), numbers(19))
    conv = Conv(
        (10, 3, 5), 19, (1, 1), steps=chain(3, "add", "mul", "sigmoid", "prelu"), extras=extras,
        out_segments=(7, 12),
    )  # fmt: skip
    layout = picked(conv.x, np.random.default_rng(4), target.lanes())
    check(KERNEL, site_of(conv, target, layout), conv.arrays())


def test_integers_are_exact():
    conv = Conv((6, 4, 5), 5, (1, 1))
    rng = np.random.default_rng(5)
    arrays = [rng.integers(-9, 10, a.shape).astype(np.float32) for a in conv.arrays()]
    layout = picked(conv.x, rng, 4)
    site = site_of(conv, SMALL, layout)
    site = replace(site, constants=(None, *arrays[1:]))
    expected = np.einsum("oi,ihw->ohw", arrays[1][:, :, 0, 0], arrays[0][0])
    found = check(KERNEL, site, arrays).reshape(expected.shape)
    assert np.array_equal(found, expected + arrays[2][:, None, None])


def test_equal_depths_modulo_the_unrolled_step_share_a_function():
    functions = [
        KERNEL.lower(site_of(conv, WIDE, picked(conv.x, np.random.default_rng(1), 16)))[0]
        for conv in (Conv((c, 4, 4), 8, (1, 1)) for c in (21, 25))
    ]
    bodies = [str(len(f.func.body)) for f in functions]
    assert bodies[0] == bodies[1]
    assert [f.args[-1] for f in functions] == [5, 6]


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (Conv((16, 4, 4), 8, (1, 1)), "in blocks of their own"),
        (Conv((5, 4, 4), 8, (3, 3)), "computes 1x1 convolutions"),
        (Conv((5, 4, 4), 8, (1, 1), Conv2dAttrs(pads=(1, 0, 0, 0))), "computes 1x1 convolutions"),
        (Conv((6, 4, 4), 8, (1, 1), Conv2dAttrs(groups=2)), "computes 1x1 convolutions"),
        (Conv((3, 4, 4), 8, (1, 1), narrow=True), "in blocks of their own"),
        (
            Conv((5, 4, 4), 8, (1, 1), steps=chain(3, ("max_pool2d", POOL))),
            "computes 1x1 convolutions",
        ),
    ],
)
def test_refuses(conv, reason):
    assert reason in KERNEL.refuses(conv.site(WIDE))
