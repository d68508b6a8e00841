import pytest

from tests.cli.conftest import DIGITS, answer


def test_a_code(run):
    shown = run("explain", "e0402").stdout
    assert shown.startswith("E0402: ")
    assert "flatten" in shown
    assert answer(run("explain", "E0402", "--json"), "cnncc.code/1")["code"] == "E0402"


def test_an_unknown_code(run):
    assert "there is no code `E0499`" in run("explain", "E0499", code=1).stderr
    assert "docs/errors.md lists all codes" in run("explain", "W9999", code=1).stderr


@pytest.mark.parametrize("layer", ["conv1", "relu1", "maxpool1"])
def test_every_member_leads_to_its_group(run, layer):
    shown = run("explain", DIGITS, layer).stdout
    assert shown.startswith("conv1\n  computes  conv2d + relu + max_pool2d -> 13x13x16\n")
    assert "\n  fuse: conv2d + relu + max_pool2d\n    because " in shown
    assert "\n  choose-kernel: kernel " in shown
    assert "\n    not conv_direct: does not pool\n" in shown
    assert "byte 0 of the arena" in shown


def test_all_layers(run):
    made = answer(run("explain", DIGITS, "--json"), "cnncc.explanation/1")["groups"]
    paths = [group["path"] for group in made]
    assert paths[:3] == ["digit.normalize", "conv1", "conv2"]
    assert "flatten1" in paths
    assert all(group["decisions"] for group in made)


def test_a_layer_that_is_no_loop_nest(run):
    assert "no copy" in run("explain", DIGITS, "flatten1").stdout
    assert "computed by no loop nest" in run("explain", DIGITS, "digit").stdout


def test_an_unknown_layer(run):
    assert "did you mean `conv1`" in run("explain", DIGITS, "cnov1", code=1).stderr
