"""The epilogue of a tile: unrolled or in a loop, the same results; what is put into a loop."""

from __future__ import annotations

import numpy as np
import pytest

from cnncc.errors import InternalError
from cnncc.kernels.template import ScratchArg
from cnncc.kernels.tile_epilogue import Patch, TileEpilogue
from cnncc.loopir import interp
from cnncc.loopir.build import Builder
from cnncc.loopir.nodes import For
from tests.kernels.conv_sites import Conv, chain, numbers
from tests.kernels.harness import TARGETS

TARGET = TARGETS[0]
LANES = TARGET.lanes()
EXTRAS = (numbers(1, 11, 5, 6), -np.abs(numbers(1, 11, 1, 1)), numbers(11, seed=3))


def site_with(*names):
    extras = EXTRAS if len(names) > 1 else ()
    return Conv((3, 5, 6), 11, (1, 1), steps=chain(3, *names), extras=extras).site(TARGET)


def finished(site, patch, *, looped, at=(0, 1, 2)):
    """The vectors of a patch of ascending numbers, on the packed operands."""
    epilogue = TileEpilogue(site)
    epilogue.__dict__["in_loop"] = looped
    b = Builder("f")
    args = epilogue.declare(b)
    out = b.buffer("out", writable=True)
    count = patch.rows * patch.columns * patch.vectors
    values = [b.splat(b.const(0.5 * n - 2.0), LANES) for n in range(count)]
    for number, value in enumerate(epilogue.finish(b, values, patch, *at)):
        b.store(out, 0, value, offset=number * LANES)
    result = np.zeros(count * LANES, np.float32)
    buffers = []
    for arg in args:
        if isinstance(arg, ScratchArg):
            buffers.append(np.full(arg.words, np.nan, np.float32))
        elif hasattr(arg, "array"):
            buffers.append(np.asarray(arg.array))
        else:
            extra = EXTRAS[arg.operand - 3]
            buffers.append(site.blocked(arg.operand).pack(extra[0]))
    interp.run(b.func, [*buffers, result])
    return result


@pytest.mark.parametrize(
    "patch",
    [Patch(1, 3, 1), Patch(2, 2, 2), Patch(3, 1, 1), Patch(2, 2, 1, (2, 2)), Patch(1, 1, 2)],
    ids=str,
)
@pytest.mark.parametrize("names", [("silu",), ("add", "mul", "prelu")])
def test_a_loop_gives_the_same_bits(names, patch):
    site = site_with(*names)
    ways = [finished(site, patch, looped=way) for way in (False, True)]
    np.testing.assert_array_equal(*ways)
    assert np.unique(ways[0]).size >= patch.rows * patch.columns * patch.vectors


@pytest.mark.parametrize(
    ("name", "looped"), [("relu", False), ("hard_swish", False), ("silu", True), ("gelu", True)]
)
def test_only_long_steps_are_put_into_a_loop(name, looped):
    epilogue = TileEpilogue(site_with(name))
    b = Builder("f")
    args = epilogue.declare(b)
    assert epilogue.in_loop is looped
    assert any(isinstance(arg, ScratchArg) for arg in args) is looped
    values = [b.splat(b.const(1.0), LANES)] * 4
    epilogue.finish(b, values, Patch(2, 2, 1), 0, 0, 0)
    assert any(isinstance(stmt, For) for stmt in b.func.body) is looped


def test_code_does_not_grow_with_the_tile():
    def statements(columns):
        epilogue = TileEpilogue(site_with("silu"))
        b = Builder("f")
        epilogue.declare(b)
        values = [b.splat(b.const(1.0), LANES)] * columns
        epilogue.finish(b, values, Patch(1, columns, 1), 0, 0, 0)
        return sum(isinstance(stmt, For) for stmt in b.func.body), len(b.func.body)

    loops, few = statements(2)
    assert loops == 1
    assert statements(8) == (1, few + 6 * 2)  # a store and a load each


def test_wrong_patches_are_refused():
    epilogue = TileEpilogue(site_with("silu"), most=2)
    b = Builder("f")
    epilogue.declare(b)
    values = [b.splat(b.const(1.0), LANES)] * 3
    with pytest.raises(InternalError, match="are no Patch"):
        epilogue.finish(b, values, Patch(1, 2, 1), 0, 0, 0)
    with pytest.raises(InternalError, match="a tile of 3 vectors"):
        epilogue.finish(b, values, Patch(1, 3, 1), 0, 0, 0)
