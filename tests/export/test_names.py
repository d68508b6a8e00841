import random
import re

import pytest

from cnncc.abi import Port
from cnncc.export.example import main_text
from cnncc.export.header import header_text
from cnncc.export.names import c_string, identifiers, prefix_of, printable
from cnncc.ir.types import DType
from cnncc.targets import find
from tests.export.programs import compiler, run
from tests.runtime.programs import interface

HOSTILE = [
    "*/ int evil; /*",
    "??/",
    "a\nb",
    'quo"te',
    "nul\0byte",
    "%s%n",
    "\u202ertl",
    "int",
    "default",
    "9lives",
    "_reserved",
    "__FILE__",
    "",
    " ",
    "ключ",
    "数字",
    "x" * 65536,
    "back\\slash",
    "\\",
    "a b",
    "a-b",
    "$HOME",
    "`id`",
    "\x1b[31m",
    "end*/",
    "\udc80",
]


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        ("lenet", "lenet"),
        ("LeNet-5", "LeNet_5"),
        ("resnet 18.v2", "resnet_18_v2"),
        ("9lives", "net_9lives"),
        ("_x", "x"),
        ("ключ", "net_3c2ae8c2"),
    ],
)
def test_usual_names_stay_readable(model, prefix):
    if prefix.startswith("net_3"):
        assert re.fullmatch(r"net_[0-9a-f]{8}", prefix_of(model))
    else:
        assert prefix_of(model) == prefix


def test_lossy_names_differ():
    assert prefix_of("ключ") != prefix_of("数字")
    assert prefix_of("x" * 65536) != prefix_of("x" * 65535)


def test_ports_differ_also_in_capitals():
    found = identifiers(["a b", "a-b", "A_B", "", "数", "ok"])
    assert len({name.upper() for name in found}) == 6
    assert found[0] == "a_b"
    assert found[5] == "ok"


def test_strings_are_escaped():
    assert c_string('a"b\\c\n?é') == r'"a\042b\134c\012\077\303\251"'
    assert printable("*/ ??/ \n\x1b é") == "__ ___ __ _"


def _random_names(count: int) -> list[str]:
    rng = random.Random(19)
    alphabet = "ab9_ \n\t\"'\\*/?%#<>é数\u202e\0(){};"
    return ["".join(rng.choices(alphabet, k=rng.randrange(1, 12))) for _ in range(count)]


def _hostile_interface(names: list[str]):
    from dataclasses import replace

    ports = tuple(
        Port(name, DType.F32, (2, 2, 1), "hwc", "gray", labels=(name,) * 4) for name in names
    )
    return replace(interface(), name=names[0], inputs=ports, outputs=ports)


@pytest.mark.parametrize("language", ["gcc", "g++"])
def test_hostile_names_end_up_harmless(tmp_path, language):
    """Every name as a port; a few hundred in all, in files that the strictest compiler takes."""
    names = HOSTILE + _random_names(280)
    sources = []
    flags = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-Wno-overlength-strings", "-fsyntax-only"]
    standard = "-std=c99" if language == "gcc" else "-std=c++11"
    for number in range(0, len(names), 34):
        face = _hostile_interface(names[number : number + 34])
        prefix = prefix_of(face.name)
        (tmp_path / f"n{number}.h").write_text(header_text(prefix, face, find("x86-64-v3"), 0))
        source = tmp_path / f"n{number}.c"
        twice = f'#include "n{number}.h"\n'
        source.write_text(twice + main_text(prefix, f"n{number}", face), encoding="ascii")
        sources.append(source)
    extra = ["-x", "c++"] if language == "g++" else []
    run([compiler(language), standard, "-trigraphs", *flags, *extra, *sources], tmp_path)


@pytest.mark.parametrize("standard", ["-std=c89", "-std=c99", "-std=c11"])
def test_the_header_suits_every_c(tmp_path, standard):
    (tmp_path / "n.h").write_text(header_text("net", interface(), find("x86-64-v4"), 0))
    (tmp_path / "n.c").write_text('#include "n.h"\nint main(void) { return NET_OK; }\n')
    flags = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]
    run([compiler("gcc"), standard, *flags, "n.c"], tmp_path)


def test_big_sizes_are_unsigned_long():
    from dataclasses import replace

    text = header_text("net", replace(interface(), workspace_bytes=1 << 33), find("x86-64"), 0)
    assert "NET_WORKSPACE_BYTES 8589934592ul\n" in text
