import subprocess
import sys

import pytest

import cnncc
from cnncc.cli.app import VERBS

HEAVY = ("numpy", "networkx", "llvmlite", "rich", "safetensors", "PIL", "onnx")


def test_help_lists_every_verb(run):
    for words in ((), ("--help",), ("-h",)):
        listed = run(*words).stdout
        assert all(f"  {verb} " in listed for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(run, verb):
    assert f"Usage: cnncc {verb}" in run(verb, "--help").stdout


def test_version(run):
    assert run("--version").stdout == f"cnncc {cnncc.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runn"], "there is no verb `runn`; did you mean `run`?"),
        (["run"], "Missing argument 'FILE'"),
        (["inspect", "x.cnn", "--fsued"], "No such option '--fsued'"),
        (["inspect", "x.cnn", "-D", "width"], "`width` is no `name=value`"),
        (["bench", "x.cnn", "--threads", "0"], "`0` is no list like 1,2"),
        (["compile", "x.cnn", "--emit", "obj,elf"], "`elf` is not one of graph, loops"),
    ],
)
def test_wrong_usage_is_2_on_stderr(run, words, message):
    result = run(*words, code=2)
    assert message.replace("'", "") in result.stderr.replace("'", "")
    assert result.stdout == ""


@pytest.mark.parametrize("words", [["-c", "import cnncc.cli.app"], ["-m", "cnncc", "--help"]])
def test_help_loads_nothing_heavy(words):
    made = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True
    )
    loaded = {line.split("|")[2].strip().split(".")[0] for line in made.stderr.splitlines()}
    assert "cnncc" in loaded
    assert loaded.isdisjoint(HEAVY)
