import json

import pytest

from cnncc import driver
from cnncc.bench import spills
from cnncc.llvm.asm_stats import Counts
from cnncc.targets import TARGETS

# One layer of each kind that has loops of multiply-adds, with epilogues of every length.
NETWORK = """cnncc 1
input x: 56x56x3
conv(7x7, filters=48, stride=2, pad=3) -> relu
maxpool(3x3, stride=2, pad=1)
conv(3x3, filters=64, pad=1) -> silu
conv(1x1, filters=96) -> hswish
dwconv(3x3, stride=2, pad=1) -> hswish
conv(1x1, filters=40)
dwconv(5x5, pad=2) -> silu
conv(3x3, filters=80, pad=1, groups=5) -> relu
deconv(2x2, filters=32, stride=2)
global_avgpool
flatten
dense(10)
softmax
output y
"""
MOST = 3  # in a loop of multiply-adds
# A transform keeps the values of a whole tile of six by six alive.
MOST_SHARE = 0.15
TRANSFORMS = {"conv_winograd", "conv_phases"}


@pytest.mark.parametrize("target", TARGETS.values(), ids=lambda target: target.name)
def test_loops_of_kernels_stay_in_registers(target, tmp_path):
    model = tmp_path / "net.cnn"
    model.write_text(NETWORK)
    program = driver.compile_model(model, target=target).plan.program
    loops = list(spills.loops_of(program, target))
    kernels = {loop.kernel for loop in loops}
    assert "conv_direct" in kernels
    assert len(kernels) >= 6
    for loop in loops:
        if loop.kernel in TRANSFORMS and loop.spills > MOST:
            assert loop.share <= MOST_SHARE, loop
        else:
            assert loop.spills <= MOST, loop


def test_a_loop_counts_the_larger_of_spills_and_reloads():
    loop = spills.Loop("conv_direct_0a1b", ".LBB0_1", Counts(50, 20, 1, 5))
    assert (loop.kernel, loop.spills, loop.share) == ("conv_direct", 5, 0.1)


def test_the_program_prints_and_answers(tmp_path, capsys):
    model = tmp_path / "net.cnn"
    model.write_text("cnncc 1\ninput x: 9x9x16\nconv(3x3, filters=32) -> relu\noutput y\n")
    spills.main([str(model), "--target", "aarch64", "--target", "x86-64-v4", "--json"])
    made = json.loads(capsys.readouterr().out)
    assert made["schema"] == "cnncc.bench-spills/1"
    assert [r["target"] for r in made["results"]] == ["aarch64", "x86-64-v4"]
    assert all(r["loops"] > 0 for r in made["results"])
    spills.main([str(model), "--target", "x86-64-v4"])
    assert "net.cnn for x86-64-v4: " in capsys.readouterr().out


def loop(function, *counts):
    return spills.Loop(function, ".LBB0_1", Counts(*counts))


def test_a_table_of_kernels_by_targets():
    wide = [
        loop("conv_winograd_1", 100, 50, 0, 0),
        loop("conv_winograd_1", 100, 10, 4, 9),
        loop("conv_winograd_2", 300, 10, 20, 9),
        loop("pool_3", 10, 0, 0, 0),
    ]
    text = spills.table_of_kernels({"wide": wide, "narrow": [loop("pool_3", 10, 0, 0, 0)]})
    assert "| loops of | wide | narrow |" in text
    assert "| conv_winograd (all else) | 2 of 2, worst 9 in 100 |  |" in text
    assert text.endswith("in loops of conv_winograd (multiply-adds), pool.")


def test_functions_that_models_share_count_once(tmp_path):
    for name in ("a", "b"):
        text = "cnncc 1\ninput x: 9x9x16\nconv(3x3, filters=32)\noutput y\n"
        (tmp_path / f"{name}.cnn").write_text(text)
    page = tmp_path / "page.md"
    page.write_text("<!-- made: spills -->\n<!-- end -->\n")
    models = [str(tmp_path / f"{name}.cnn") for name in ("a", "b")]

    def made(count):
        spills.main([*models[:count], "--target", "x86-64-v4", "--write", str(page)])
        return page.read_text()

    assert made(1) == made(2)
