import json

from tests.cli.conftest import DIGITS, ROOT, TINY

ERRORS = ROOT / "tests" / "spec" / "errors"
BROKEN = ERRORS / "E0402_dense.cnn"


def test_a_good_model(run):
    assert run("check", DIGITS).stdout == f"{DIGITS}: no mistakes\n"
    assert run("check", "-q", DIGITS).stdout == ""


def test_mistakes_are_results(run):
    result = run("check", BROKEN, code=1)
    assert result.stdout.startswith("error[E0402]: `dense` needs a flat vector")
    assert result.stdout.endswith(f"{BROKEN}: 1 error\n")
    assert result.stderr == ""


def test_colour(run):
    assert "\x1b[31m\x1b[1merror[E0402]" in run("check", "--color", "always", BROKEN, code=1).stdout


def test_json_is_one_list(run):
    found = json.loads(run("check", "--message-format", "json", BROKEN, DIGITS, code=1).stdout)
    assert found == [
        {
            "code": "E0402",
            "severity": "error",
            "file": str(BROKEN),
            "line": 7,
            "column": 1,
            "message": "`dense` needs a flat vector but receives a 14x14x3 feature map",
            "help": "add `flatten` on the line before; 14*14*3 = 588 numbers will reach `dense`",
        }
    ]
    assert json.loads(run("check", "--message-format", "json", DIGITS).stdout) == []


def test_every_bad_file_is_a_list_of_objects(run):
    keys = {"code", "severity", "file", "line", "column", "message", "help"}
    files = sorted(ERRORS.glob("E0*.cnn"))
    found = json.loads(run("check", "--message-format", "json", *files, code=1).stdout)
    assert len(files) > 40
    assert all(set(entry) == keys for entry in found)
    # These two need a -D and a weight file that tests/spec makes.
    told = {entry["code"] for entry in found} | {"E0307", "E0501"}
    assert {f.name[:5] for f in files} <= told


def test_warnings_do_not_fail(run, tmp_path):
    path = tmp_path / "w.cnn"
    path.write_text(TINY.replace("weights random { seed = 3 }\n", ""))
    assert "warning[W0601]" in run("check", path).stdout
    assert run("check", path).stdout.endswith("w.cnn: 1 warning\n")


def test_stdin(run):
    assert run("check", "-", stdin=TINY).stdout == "-: no mistakes\n"
    shown = run("check", "-", stdin=TINY.replace("conv(", "cnov("), code=1).stdout
    assert "--> <stdin>:5:1" in shown
    assert "5 | cnov(3x3, filters=4) -> relu" in shown


def test_no_such_file_and_no_text(run, tmp_path):
    assert "was not found" in run("check", tmp_path / "none.cnn", code=1).stdout
    (tmp_path / "b.cnn").write_bytes(b"\xff\xfe\x00")
    run("check", tmp_path / "b.cnn", code=1)
    assert "stdin is no UTF-8 text" in run("check", "-", stdin=b"\xff", code=1).stderr


def test_params(run):
    example = ROOT / "examples" / "mobilenet_v2.cnn"
    run("check", "-D", "width=0.5", example)
    assert "allowed values" in run("check", "-D", "width=0.6", example, code=1).stdout
