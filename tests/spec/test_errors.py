"""Every diagnostic of the catalogue: a file that provokes it, and exactly what is said.

To write the expected texts anew after a deliberate change: `CNNCC_BLESS=1 pytest tests/spec`.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cnncc import spec
from cnncc.spec.catalogue import CATALOGUE

HERE = Path(__file__).with_name("errors")
CASES = sorted(HERE.glob("*.cnn"))
SOURCE = Path(spec.__file__).parent
OPTION = re.compile(r"^# -D (\w+)=(\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the cases and the weight files that they speak of."""
    folder = tmp_path_factory.mktemp("errors")
    for case in CASES:
        shutil.copy(case, folder)
    conv = np.zeros((4, 3, 3, 3), np.float32)
    arrays = {"conv1.weight": conv, "conv1.bias": np.zeros(4, np.float32)}
    counter = {"bn1.num_batches_tracked": np.zeros((), np.int64)}
    save_file(arrays | counter, folder / "small.safetensors")
    np.savez(folder / "prefixed.npz", **{f"net.{name}": array for name, array in arrays.items()})
    norm = {f"bn1.{leaf}": np.ones(4, np.float32) for leaf in ("weight", "bias")}
    norm |= {f"bn1.running_{leaf}": np.ones(4, np.float32) for leaf in ("mean", "var")}
    keras = {"conv1.weight": conv.transpose(2, 3, 1, 0), "conv1.bias": arrays["conv1.bias"]}
    np.savez(folder / "keras.npz", **keras, **norm)
    whole = (folder / "small.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:-16])
    np.savez(folder / "objects.npz", w=np.array([{}], dtype=object))
    (folder / "net.pth").write_bytes(b"\x80\x04")
    (folder / "names.txt").write_text("a\nb\n")
    (folder / "blocks.cnn").write_text("cnncc 1\nblock pair(f) { conv(3x3, filters=f) -> relu }\n")
    return folder


@pytest.mark.parametrize("case", CASES, ids=lambda p: p.stem)
def test_message(case: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    params = dict(OPTION.findall(case.read_text(encoding="utf-8", errors="replace")))
    found = spec.check(case.name, params)
    said = spec.render_text(found)
    golden = case.with_suffix(".txt")
    if os.environ.get("CNNCC_BLESS"):
        golden.write_text(said, encoding="utf-8")
    assert said == golden.read_text(encoding="utf-8")
    assert found[0].code == case.stem.split("_")[0]


def test_every_code_has_a_case() -> None:
    assert {case.stem.split("_")[0] for case in CASES} == set(CATALOGUE)
    assert {text.stem for text in HERE.glob("*.txt")} == {case.stem for case in CASES}


def test_codes_of_the_source_are_the_catalogue() -> None:
    written: set[str] = set()
    for path in SOURCE.glob("*.py"):
        if path.name != "catalogue.py":
            written |= set(re.findall(r'"([EW]0\d\d\d)"', path.read_text(encoding="utf-8")))
    assert written == set(CATALOGUE)


@pytest.mark.parametrize("code", CATALOGUE)
def test_examples_of_the_catalogue(code: str) -> None:
    """What the index calls right has no syntax error; what it calls wrong shows the code."""
    entry = CATALOGUE[code]
    if entry.right:
        head = "" if entry.right.startswith("cnncc") else "cnncc 1\n"
        assert spec.parse_text(head + entry.right + "\n")[1] == ()
    if entry.wrong:
        head = "" if code == "E0104" else "cnncc 1\n"
        if "input" not in entry.wrong:
            head += "input photo: 32x32x3\n"
        if code != "E0504" and code != "W0601":
            head += "weights random\n" if head else ""
        if code in ("E0504", "W0605", "W0607"):
            pytest.skip("needs a weight file; see the case of the code")
        tail = "" if "output" in entry.wrong else "\noutput y\n"
        with pytest.raises(spec.SpecError) if code[0] == "E" else warning(code):
            made = spec.load(head + entry.wrong + tail)
            assert code in {d.code for d in made.diagnostics}
            raise spec.SpecError(made.diagnostics)


def warning(code: str) -> pytest.RaisesExc[spec.SpecError]:
    return pytest.raises(spec.SpecError, match=code)
