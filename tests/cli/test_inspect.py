import re

from tests.cli.conftest import DIGITS, ROOT, TINY, answer


def test_layers(run):
    shown = run("inspect", DIGITS).stdout.splitlines()
    assert shown[0].split() == ["layer", "op", "shape", "parameters", "MACs", "memory"]
    assert shown[3].split() == ["conv1", "conv2d", "26x26x16", "160", "97,344", "42.2", "KiB"]
    assert shown[-1].split() == ["13", "layers", "56,714", "706,752"]


def test_layers_as_json(run):
    made = answer(run("inspect", "--json", DIGITS), "cnncc.layers/1")
    assert (made["model"], made["parameters"], made["macs"]) == ("digits", 56714, 706752)
    assert made["layers"][2] == {
        "path": "conv1",
        "op": "conv2d",
        "shape": "26x26x16",
        "parameters": 160,
        "macs": 97344,
        "bytes": 26 * 26 * 16 * 4,
        "line": made["layers"][2]["line"],
    }


def test_params_change_the_network(run):
    example = ROOT / "examples" / "mobilenet_v2.cnn"
    whole = answer(run("inspect", "--json", example), "cnncc.layers/1")
    half = answer(run("inspect", "--json", "-D", "width=0.5", example), "cnncc.layers/1")
    assert whole["parameters"] == 3504872
    assert half["parameters"] < whole["parameters"]


def test_groups(run):
    shown = run("inspect", "--fused", DIGITS).stdout
    assert "conv2d + relu + max_pool2d" in shown
    assert shown.splitlines()[-1].startswith("7 loop nests from 21 nodes, for `host`")


def test_groups_as_json(run):
    told = ("--mcpu", "haswell", "--without", "winograd")
    made = answer(run("inspect", "--fused", "--json", *told, DIGITS), "cnncc.groups/1")
    assert made["target"] == "x86-64-v3"
    assert made["workspace_bytes"] > 0
    assert made["scratch_bytes"] == 0
    conv = made["groups"][1]
    assert conv["members"] == ["conv1", "relu1", "maxpool1"]
    assert conv["ops"] == ["conv2d", "relu", "max_pool2d"]
    assert conv["offset_bytes"] + conv["bytes"] <= made["workspace_bytes"]


def test_scratch_of_a_thread(run):
    bands = TINY.replace("relu", "relu -> lrn(3)")
    made = answer(run("inspect", "--fused", "--json", "-", stdin=bands), "cnncc.groups/1")
    assert made["scratch_bytes"] > 0
    assert made["scratch_bytes"] % 64 == 0
    assert (
        f" and {made['scratch_bytes']} B a thread"
        in run("inspect", "--fused", "-", stdin=bands).stdout
    )


def test_stdin(run):
    assert "tiny" in run("inspect", "--json", "-", stdin=TINY).stdout


def test_a_foreign_target_needs_no_such_machine(run):
    made = answer(run("inspect", "--fused", "--json", "--target", "neon", DIGITS), "cnncc.groups/1")
    assert made["target"] == "aarch64"


def test_a_cpu_of_another_architecture(run):
    shown = run("inspect", "--fused", "--target", "aarch64", "--mcpu", "haswell", DIGITS, code=2)
    assert "`haswell` is no CPU of `aarch64`" in shown.stderr


def test_time_and_graphs_of_passes_go_to_stderr(run):
    words = ("--time-passes", "--print-after", "fuse", "--json")
    result = run("inspect", "--fused", *words, DIGITS)
    answer(result, "cnncc.groups/1")
    assert re.search(r"# after \d\d fuse", result.stderr)
    assert "%conv1 = fused(" in result.stderr
    assert re.search(r"\d\d plan-memory", result.stderr)


def test_an_unknown_pass(run):
    shown = run("inspect", "--fused", "--print-after", "fsue", DIGITS, code=2).stderr
    assert "there is no pass `fsue`; the passes are infer-types" in shown


def test_dumps(run, tmp_path):
    run("inspect", "--fused", "--dump", tmp_path / "d", DIGITS)
    assert len(list((tmp_path / "d").glob("*-fuse.graph"))) == 1
    shown = run("inspect", "--json", tmp_path / "d" / "00-parsed.graph")
    assert answer(shown, "cnncc.layers/1")["parameters"] == 56714


def test_a_dump_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("")
    shown = run("inspect", "--fused", "--dump", tmp_path / "file" / "d", DIGITS, code=1).stderr
    assert "the dump cannot be written" in shown


def test_verbose_logs_to_stderr(run):
    result = run("inspect", "--fused", "--json", "-v", DIGITS)
    answer(result, "cnncc.groups/1")
    assert "cnncc.driver: planned in" in result.stderr
