"""Every stage of a compilation is a text that can take the rest of the way by itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnncc import driver, stages
from cnncc.abi import aligned
from cnncc.errors import ArtifactError, CnnccError, InputError, TargetError
from cnncc.ir.text import dump, load
from cnncc.llvm.host import missing
from cnncc.llvm.link import link
from cnncc.llvm.optimize import emit_object
from cnncc.llvm.pool import pool_object
from cnncc.loopir.text import print_program
from cnncc.runtime.threads import POOL_EXPORTS
from cnncc.targets import find
from cnncc.verification import random_inputs

SPEC = """cnncc 1
weights random { seed = 3 }
input x: 8x8x3
conv(3x3, filters=6, pad=1, bias=false) -> bn -> relu
stem = maxpool(2x2, stride=2)
left = stem -> conv(1x1, filters=5)
right = stem -> conv(3x3, filters=7, pad=1)
both = concat(left, right)
main = both -> conv(3x3, filters=12, pad=1)
add(main, both) -> relu
dropout(0.5)
flatten -> dense(4) -> softmax
output y
"""

CHANGING = ("fold-batchnorm", "fuse", "choose-layout", "choose-kernel", "plan-memory")
NAMES = [step.apply.name for step in driver.steps(find("x86-64-v3"))]


def stage(name: str) -> str:
    """The file of a pass's graph, numbered by its place in the pipeline."""
    return f"{NAMES.index(name) + 1:02}-{name}"


FUSE, LAYOUT, KERNEL, MEMORY = map(stage, CHANGING[1:])
PROGRAM = f"{len(NAMES) + 1:02}-program"
MODULE, ASSEMBLY = f"{len(NAMES) + 2:02}-module.ll", f"{len(NAMES) + 3:02}-module.s"
PASSES_THAT_CHANGE_IT = tuple(stage(name) for name in ("simplify", *CHANGING))


@pytest.fixture(scope="module")
def target():
    """The same machine code everywhere, if this CPU can run it."""
    wanted = find("x86-64-v3")
    if missing(wanted):
        pytest.skip(f"this CPU lacks {', '.join(missing(wanted))}")
    return wanted


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "net.cnn"
    path.write_text(SPEC)
    return driver.load_model(path)


@pytest.fixture(scope="module")
def dumped(model, target, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dump")
    compilation = driver.plan_model(model, target, dump=folder, checks=2)
    network = driver.build(compilation, threads=1)
    sample = random_inputs(network.inputs)
    return folder, compilation, sample, network.run(sample)


def _same_bits(got: dict[str, np.ndarray], want: dict[str, np.ndarray]) -> None:
    assert set(got) == set(want)
    for name, array in want.items():
        np.testing.assert_array_equal(
            got[name].reshape(-1).view(np.uint32), array.reshape(-1).view(np.uint32)
        )


def test_a_dump_holds_every_stage(dumped) -> None:
    folder, *_ = dumped
    graphs = sorted(p.stem for p in folder.glob("*.graph"))
    assert graphs == ["00-parsed", *PASSES_THAT_CHANGE_IT]
    rest = sorted(p.name for p in folder.iterdir() if p.suffix not in (".graph", ".npz"))
    assert rest == [
        f"{PROGRAM}.loops",
        MODULE,
        ASSEMBLY,
        "stages.txt",
    ]
    listed = (folder / "stages.txt").read_text()
    assert f"{NAMES.index('absorb-pad') + 1:02} absorb-pad" in listed
    assert "unchanged, as in 00-parsed.graph" in listed
    assert listed.splitlines()[-1].startswith(f"{ASSEMBLY}: ")


@pytest.mark.native
@pytest.mark.parametrize("stage", ["00-parsed", *PASSES_THAT_CHANGE_IT])
def test_a_graph_goes_the_rest_of_its_way_to_the_same_program_and_bits(
    stage, dumped, target, tmp_path
) -> None:
    folder, compilation, sample, want = dumped
    again = driver.load_model(folder / f"{stage}.graph")
    replayed = driver.plan_model(again, target, dump=tmp_path)
    assert print_program(replayed.plan.program) == print_program(compilation.plan.program)
    np.testing.assert_array_equal(replayed.plan.weights, compilation.plan.weights)
    assert replayed.plan.interface == compilation.plan.interface
    _same_bits(driver.build(replayed, threads=1).run(sample), want)
    last = (tmp_path / f"{MEMORY}.graph").exists() or stage == MEMORY
    assert last, "numbers of stages go on where the dump was"
    assert (tmp_path / f"{PROGRAM}.loops").exists()


def test_a_graph_written_anew_is_the_same_file(dumped, tmp_path) -> None:
    folder, *_ = dumped
    path = folder / f"{MEMORY}.graph"
    dump(load(path, records=driver._LAYOUTS), tmp_path / "again.graph")
    assert (tmp_path / "again.graph").read_text() == path.read_text()


@pytest.mark.parametrize(
    ("stage", "find", "put", "message"),
    [
        (MEMORY, r"arena_elems=\d+", "arena_elems=64", "is not in the arena of 64"),
        (MEMORY, r"@place\(\d+\)", "@place(64)", "while it lives|buffer of node"),
        (MEMORY, r'@kernel\("conv_direct"\)', '@kernel("x")', "no kernel `x`"),
        (MEMORY, r"halo=\[1, 1, 1, 1\]", "halo=[0, 0, 0, 0]", "needs a halo"),
        (KERNEL, r"@layout\(Layout{[^)]*\)", "", "None is no layout"),
        (LAYOUT, r"Layout{block=8", 'Layout{block="8"', "is no layout"),
        (LAYOUT, r"@alias\(\[\d+, 0\]\)", "@alias([999, 0])", "cannot be a view"),
    ],
)
def test_notes_edited_by_hand_are_not_believed(
    stage, find, put, message, dumped, target, tmp_path
) -> None:
    """Machine code checks no address: a wrong number would write into other memory."""
    folder, *_ = dumped
    text, count = re.subn(find, put, (folder / f"{stage}.graph").read_text())
    assert count
    (tmp_path / "edited.graph").write_text(text)
    shutil.copy(folder / f"{stage}.npz", tmp_path / "edited.npz")
    edited = driver.load_model(tmp_path / "edited.graph")
    with pytest.raises(ArtifactError, match=message):
        driver.plan_model(edited, target)


@pytest.mark.native
def test_a_program_brings_the_pool_of_its_own_target(model, tmp_path) -> None:
    """Not that of this machine, which may have instructions that the target lacks."""
    least = find("x86-64")
    if missing(least):
        pytest.skip("no x86-64 machine")
    compilation = driver.plan_model(model, least, dump=tmp_path)
    lowered = driver.load_program(tmp_path / f"{PROGRAM}.loops")
    images = [
        network._contents.image.code
        for network in (driver.build(compilation), driver.build_program(lowered, least))
    ]
    assert images[0] == images[1]


@pytest.mark.native
def test_a_program_in_the_interpreter_and_as_machine_code(dumped, target) -> None:
    folder, compilation, sample, want = dumped
    lowered = driver.load_program(folder / f"{PROGRAM}.loops")
    assert print_program(lowered.program) == print_program(compilation.plan.program)
    assert lowered.interface == compilation.plan.interface
    _same_bits(driver.build_program(lowered, target, threads=2).run(sample), want)
    slow = stages.interpret(lowered, sample)
    assert set(slow) == set(want)
    for name, array in want.items():
        np.testing.assert_allclose(slow[name], array, rtol=2e-6, atol=1e-7)


@pytest.mark.native
@pytest.mark.parametrize("stage", [MODULE, ASSEMBLY])
def test_llvm_text_and_assembly_are_the_code_that_runs(stage, dumped, target, tmp_path) -> None:
    folder, compilation, sample, want = dumped
    if stage.endswith(".ll"):
        code = emit_object((folder / stage).read_text(), target)
    elif shutil.which("cc") is None:
        pytest.skip("no `cc` that could assemble")
    else:
        made = tmp_path / "module.o"
        subprocess.run(["cc", "-c", str(folder / stage), "-o", str(made)], check=True)
        code = made.read_bytes()
    image = link([code, pool_object(target)], ("main_serial", *POOL_EXPORTS), target)
    interface, weights = compilation.plan.interface, compilation.plan.weights
    got = _run_serial(image, interface, weights, sample)
    _same_bits(got, want)


def _run_serial(image, interface, weights, sample):
    import ctypes

    from cnncc.runtime.image import Loaded

    code = Loaded(image)
    results = {p.name: aligned(p.elems) for p in interface.outputs}
    arena = aligned(interface.workspace_for(1) // 4)
    inputs = [np.ascontiguousarray(sample[p.name]) for p in interface.inputs]
    arrays = [*inputs, *results.values(), weights, arena]
    pointers = (ctypes.c_void_p * len(arrays))(*[a.ctypes.data for a in arrays])
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(code["main_serial"])(ctypes.addressof(pointers))
    return results


def test_text_alone_can_be_compiled_but_not_run(dumped, target, tmp_path) -> None:
    folder, *_ = dumped
    lone = tmp_path / "lone.loops"
    shutil.copy(folder / f"{PROGRAM}.loops", lone)
    lowered = driver.load_program(lone)
    assert "define" in stages.llvm_text(lowered.program, target)
    with pytest.raises(ArtifactError, match="without weights"):
        driver.build_program(lowered, target)


def test_the_command_line_takes_stages(dumped, tmp_path) -> None:
    folder, *_ = dumped

    def compile_(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cnncc", "compile", *words, "--target", "x86-64-v3"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    wanted = (folder / ASSEMBLY).read_text()
    for stage in (f"{FUSE}.graph", f"{PROGRAM}.loops"):
        assert compile_(str(folder / stage), "--emit", "asm", "-o", "-").stdout == wanted
    program = str(folder / f"{PROGRAM}.loops")
    made = compile_(program, "--emit", "obj,header", "-o", str(tmp_path))
    assert made.returncode == 0, made.stderr
    assert (tmp_path / f"{PROGRAM}.o").stat().st_size > 1000
    refused = compile_(program, "--emit", "graph", "-o", "-")
    assert refused.returncode == 1
    assert "has no graph any more" in refused.stderr


def test_a_graph_that_is_planned_for_another_machine_is_refused(dumped) -> None:
    folder, *_ = dumped
    other = find("x86-64")
    early = driver.load_model(folder / f"{FUSE}.graph")
    assert driver.plan_model(early, other).plan.target is other
    late = driver.load_model(folder / f"{LAYOUT}.graph")
    with pytest.raises(TargetError, match="planned for `x86-64-v3`, not for `x86-64`"):
        driver.plan_model(late, other)
    program = driver.load_program(folder / f"{PROGRAM}.loops")
    with pytest.raises(TargetError, match="made for `x86-64-v3`"):
        driver.build_program(program, other)


def test_a_graph_of_another_list_of_passes_is_refused(dumped, tmp_path, target) -> None:
    folder, *_ = dumped
    text = (folder / f"{FUSE}.graph").read_text()
    other = tmp_path / "other.graph"
    other.write_text(text.replace('passes=["infer-types"', 'passes=["fuse"'))
    shutil.copy(folder / f"{FUSE}.npz", tmp_path / "other.npz")
    with pytest.raises(ArtifactError, match="the pipeline begins otherwise"):
        driver.plan_model(driver.load_model(other), target)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('level="fused"', 'level="soup"', "`soup` is no level"),
        ("softmax(", "dropout(", "other.graph"),
        ("ids [", "ids [0, ", "leave the line out"),
    ],
)
def test_edited_graphs_are_the_users_mistakes(old, new, message, dumped, tmp_path) -> None:
    folder, *_ = dumped
    text = (folder / f"{FUSE}.graph").read_text()
    assert old in text
    (tmp_path / "other.graph").write_text(text.replace(old, new))
    shutil.copy(folder / f"{FUSE}.npz", tmp_path / "other.npz")
    with pytest.raises(CnnccError, match=message):
        driver.load_model(tmp_path / "other.graph")


def test_edited_programs_are_the_users_mistakes(dumped, tmp_path) -> None:
    folder, *_ = dumped
    text = (folder / f"{PROGRAM}.loops").read_text()
    path = tmp_path / "p.loops"
    path.write_text(text.replace("fma ", "fmb ", 1))
    with pytest.raises(CnnccError, match=r"p\.loops"):
        driver.load_program(path)
    path.write_text(text.replace("func main(", "func other("))
    with pytest.raises(ArtifactError, match=r"p\.loops"):
        driver.load_program(path)
    shutil.copy(folder / f"{PROGRAM}.loops", path)
    for damage in (b"", (folder / f"{PROGRAM}.npz").read_bytes()[:300]):
        path.with_suffix(".npz").write_bytes(damage)
        with pytest.raises(ArtifactError, match="cannot be read"):
            driver.load_program(path)
    with pytest.raises(ArtifactError, match="cannot be read"):
        driver.load_program(tmp_path / "none.loops")


def test_inputs_of_the_interpreter_are_checked(dumped) -> None:
    folder, *_ = dumped
    lowered = driver.load_program(folder / f"{PROGRAM}.loops")
    with pytest.raises(InputError, match=r"input `x`: expected f32\[3, 8, 8\]|expected f32"):
        stages.interpret(lowered, {"x": np.zeros((1, 1), np.float32)})


def test_params_and_weights_do_not_go_with_a_dump(dumped) -> None:
    folder, *_ = dumped
    with pytest.raises(InputError, match="has its weights beside it"):
        driver.load_model(folder / f"{FUSE}.graph", params={"n": 3})


def test_the_environment_asks_for_dumps_and_checks(model, target, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CNNCC_DUMP", str(tmp_path / "dump"))
    monkeypatch.setenv("CNNCC_VERIFY", "0")
    driver.plan_model(model, target)
    assert (tmp_path / "dump" / ASSEMBLY).exists()
    monkeypatch.delenv("CNNCC_DUMP")
    monkeypatch.setenv("CNNCC_VERIFY", "3")
    with pytest.raises(InputError, match="CNNCC_VERIFY is `3`"):
        driver.plan_model(model, target)


def test_a_dump_that_cannot_be_written_is_a_typed_error(dumped, tmp_path, target) -> None:
    _, compilation, *_ = dumped
    plan = compilation.plan
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ArtifactError, match="the dump cannot be written"):
        stages.write(Path(blocked), 1, plan.program, plan.weights, plan.interface, target)
