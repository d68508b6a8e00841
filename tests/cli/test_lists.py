from cnncc.spec.builtins import BUILTINS
from cnncc.targets import TARGETS
from tests.cli.conftest import DIGITS, answer


def test_targets(run):
    made = answer(run("targets", "--json"), "cnncc.targets/1")["targets"]
    assert [t["name"] for t in made] == ["host", *TARGETS]
    assert made[0]["here"] is True
    assert {t["name"]: t["vector_bits"] for t in made}["x86-64-v4"] == 512
    assert "avx2, haswell" in run("targets").stdout


def test_ops(run):
    made = answer(run("ops", "--json"), "cnncc.ops/1")["ops"]
    assert [op["name"] for op in made] == list(BUILTINS)
    assert all(op["summary"] for op in made)
    assert "conv " in run("ops").stdout


def test_one_op(run):
    (conv,) = answer(run("ops", "conv", "--json"), "cnncc.ops/1")["ops"]
    defaults = {a["name"]: (a["required"], a["default"]) for a in conv["arguments"]}
    assert defaults["filters"] == (True, None)
    assert defaults["stride"] == (False, "1x1")
    assert defaults["pad"] == (False, "valid")
    shown = run("ops", "conv").stdout
    assert "(valid | same | same_lower), valid if not given" in shown
    assert "weights: weight, bias" in shown


def test_defaults_are_written_as_the_language_wants_them(run):
    made = answer(run("ops", "--json"), "cnncc.ops/1")["ops"]
    for op in made:
        for arg in op["arguments"]:
            assert arg["default"] is None or "[" not in arg["default"], (op["name"], arg)


def test_general_operators(run):
    made = answer(run("ops", "--general", "--json"), "cnncc.ops/1")["ops"]
    found = {op["name"]: op for op in made}
    assert {"transpose", "op.add", "op.concat"} <= set(found)
    assert not {"input", "constant", "fused", "conv"} & set(found)
    assert all(op["summary"] for op in made)
    assert all(a["doc"] for op in made for a in op["arguments"])
    perm = {"name": "perm", "required": True, "default": None, "words": []}
    assert found["transpose"]["arguments"][0].items() >= perm.items()
    assert "perm" in run("ops", "transpose").stdout
    assert "axis" in run("ops", "op.concat").stdout
    assert "transpose " in run("ops", "--general").stdout


def test_operators_of_onnx(run):
    made = answer(run("ops", "--onnx", "--json"), "cnncc.onnx_ops/1")
    assert {"name": "Conv", "opsets": [1, 11, 22]}.items() <= made["ops"][
        [op["name"] for op in made["ops"]].index("Conv")
    ].items()
    shown = run("ops", "--onnx").stdout
    assert "com.microsoft.QLinearAdd" in shown
    assert "by ONNX's definition of them: " in shown
    shown = run("ops", "Conv", "--onnx").stdout
    assert "opsets     1, 11, 22" in shown
    assert "inputs     X, W, B?" in shown
    assert "by ONNX's definition of it" in run("ops", "RMSNormalization", "--onnx").stdout


def test_no_such_operator_of_onnx(run):
    assert "did you mean `Resize`?" in run("ops", "--onnx", "Resiz", code=2).stderr
    assert "`Loop` is not supported" in run("ops", "--onnx", "Loop", code=2).stderr


def test_no_such_op(run):
    assert "did you mean `conv`?" in run("ops", "cnov", code=2).stderr


def test_cache(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "c"))
    assert run("cache", "path").stdout == f"{tmp_path / 'c'}\n"
    assert answer(run("cache", "--json"), "cnncc.cache/1")["entries"] == 0
    run("run", DIGITS, "-i", DIGITS.parent / "two.png")
    (tmp_path / "c" / "mine.txt").write_text("stays")
    full = answer(run("cache", "--json"), "cnncc.cache/1")
    assert full["entries"] >= 7
    assert full["bytes"] > 1000
    assert run("cache").stdout.startswith(f"{full['entries']} kernels and networks, ")
    cleared = answer(run("cache", "clear", "--json"), "cnncc.cache/1")
    assert (cleared["removed"], cleared["entries"], cleared["bytes"]) == (full["entries"], 0, 0)
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["mine.txt"]


def test_a_cache_that_is_off_or_unusable(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CNNCC_CACHE_DIR", str(tmp_path / "file"))
    assert "the cache is not used: " in run("cache").stderr
    monkeypatch.setenv("CNNCC_CACHE", "off")
    assert run("cache").stdout == "the cache is switched off by CNNCC_CACHE\n"
    assert answer(run("cache", "clear", "--json"), "cnncc.cache/1")["path"] is None
