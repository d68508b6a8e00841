"""Numbers for pixels: `--scale`, `--mean`, `--std`."""

import click
import numpy as np
import pytest
from click.testing import CliRunner

from cnncc.abi import Port
from cnncc.cli.scaling import Scaling, scaling_options
from cnncc.errors import InputError
from cnncc.ir.types import DType

RGB = Port("x", DType.F32, (3, 1, 2), "chw")
PIXELS = np.array([[[0, 51, 255], [102, 153, 204]]], np.uint8)


def parsed(*words):
    """What the options become, or click's error."""
    found = []

    @click.command()
    @scaling_options
    def command(scaling):
        found.append(scaling)

    result = CliRunner().invoke(command, words)
    return found[0] if found else result.output


def test_without_options_nothing_is_done():
    made = parsed()
    assert made == Scaling()
    assert not made
    assert made.apply(PIXELS, RGB) is PIXELS


def test_options():
    assert parsed("--scale", "1/4") == Scaling(0.25)
    assert parsed("--mean", "1,-2,0.5") == Scaling(mean=(1, -2, 0.5))
    assert parsed("--std", "0.5,1/2") == Scaling(std=(0.5, 0.5))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--scale", "x"), "`x` is no number"),
        (("--scale", "1/0"), "`1/0` is no number"),
        (("--scale", "nan"), "`nan` is no number"),
        (("--mean", "1,,2"), "`1,,2` is no list like"),
        (("--std", "1,0"), "all must be above 0"),
        (("--std", "-1"), "all must be above 0"),
    ],
)
def test_what_is_no_number(words, message):
    assert message in parsed(*words)


def test_scale_then_mean_then_std():
    made = Scaling(1 / 255, (0.5, 0.0, 1.0), (0.5, 1.0, 2.0)).apply(PIXELS, RGB)
    np.testing.assert_allclose(made[0, 0], [-1.0, 0.2, 0.0])
    np.testing.assert_allclose(made[0, 1], [-0.2, 0.6, -0.1])


def test_one_number_serves_all_channels():
    one = Scaling(1 / 255, (0.5,), (0.5,)).apply(PIXELS, RGB)
    three = Scaling(1 / 255, (0.5,) * 3, (0.5,) * 3).apply(PIXELS, RGB)
    assert np.array_equal(one, three)


@pytest.mark.parametrize("scaling", [Scaling(mean=(1, 2)), Scaling(std=(1, 2, 3, 4))])
def test_numbers_for_other_channels_are_refused(scaling):
    with pytest.raises(InputError, match="but input `x` has 3 channels"):
        scaling.apply(PIXELS, RGB)


def test_bytes_stay_bytes():
    with pytest.raises(InputError, match="takes u8"):
        Scaling(0.5).apply(PIXELS, Port("x", DType.U8, (1, 2, 3), "hwc"))
