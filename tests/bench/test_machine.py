import json

from cnncc.bench import machine


def test_facts_are_plain_data():
    known = machine.facts()
    assert json.loads(json.dumps(known)) == known
    assert known["cores"] >= 1


def test_the_headline_says_what_matters():
    known = {
        "cpu": "Some CPU",
        "cores": 2,
        "load": 0.5,
        "governor": "powersave",
        "cnncc": "0.1.0",
        "llvm": "22.1.0",
    }
    assert machine.headline(known) == (
        "Some CPU, 2 cores, load 0.5, governor powersave; cnncc 0.1.0, LLVM 22.1.0"
    )


def test_the_cpu_has_a_name_anywhere(monkeypatch):
    monkeypatch.setattr(machine, "_read", lambda path: "")
    assert machine.cpu_name()
    monkeypatch.setattr(machine, "_read", lambda path: "model name\t: A: B\n")
    assert machine.cpu_name() == "A: B"
