"""Random files of every kind: an answer or diagnostics within seconds, and never wrong numbers.

Short by default; with `CNNCC_LONG=1` thousands of texts and weight files. A failure names its seed.
"""

from __future__ import annotations

import io
import os
import random
import re
import time
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

import cnncc
from cnncc import driver, spec
from cnncc.errors import ArtifactError, SpecError
from cnncc.ir.counts import macs, parameters
from cnncc.llvm.program import compile_program, load_program
from cnncc.verification import check_layers, native_engine, random_inputs
from tests.spec.networks import network
from tests.spec.texts import PIECES, mutated

LONG = os.environ.get("CNNCC_LONG", "") not in ("", "0")
SHARES = 8  # parts that may run at one time
TEXTS, NETWORKS, WEIGHTS, SAVED = (5_000, 600, 1_500, 1_500) if LONG else (320, 16, 160, 80)
SECONDS = 20.0  # far more than the slowest file takes on a busy machine
SMALL = 2_000_000  # multiply-adds that the oracle does in no time
NUMBERS = ["0", "1", "2", "3", "7", "17", "-1", "1.5", "1e-9", "2147483648", "9007199254740991"]
SIGNS = [
    "->",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    "=",
    ":",
    '"',
    "\n",
    "\0",
    "\u202e",
    "\ufeff",
    "#",
]


def share(whole: int, part: int) -> range:
    return range(part, whole, SHARES)


def noisy(seed: int) -> str:
    """A whole file with some of its words, numbers, signs or lines changed."""
    chance = random.Random(seed)
    text = network(seed)
    pieces = PIECES.findall(text)
    other = PIECES.findall(network(seed + 1))
    for _ in range(chance.randrange(1, 6)):
        at = chance.randrange(len(pieces))
        kind = chance.randrange(6)
        if kind == 0:
            del pieces[at : at + chance.choice([1, 1, 1, 5])]
        elif kind == 1:
            pieces[at:at] = pieces[chance.randrange(len(pieces)) :][: chance.randrange(1, 30)]
        elif kind == 2:
            pieces[at] = chance.choice(SIGNS)
        elif kind == 3:
            pieces[at] = chance.choice(other)
        else:
            digits = [i for i, piece in enumerate(pieces) if piece.isdigit()]
            if digits:
                pieces[chance.choice(digits)] = chance.choice(NUMBERS)
        pieces = pieces or ["\n"]
    return "".join(pieces)


def twisted(seed: int) -> str:
    """A whole file in which a few numbers are others: often still a network, a stranger one."""
    chance = random.Random(seed)
    head, line, rest = network(seed).partition("input ")
    pieces = re.split(r"(\d+)", rest)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(1, len(pieces), 2)
        pieces[at] = str(chance.choice([1, 1, 2, 3, 4, 5, 7, 9, 16, 17]))
    return head + line + "".join(pieces)


def changed_by(seed: int) -> Callable[[int], str]:
    return (mutated, noisy, twisted)[seed // SHARES % 3]


def showable(error: SpecError) -> set[str]:
    """The codes of a file's mistakes, whose text must not steer a terminal."""
    assert error.rendered
    assert all(c.isprintable() or c == "\n" for c in error.rendered)
    return {found.code for found in error.diagnostics}


def loaded(text: str) -> spec.Loaded | None:
    """What a text says, or nothing where it has mistakes; they must be fit to be shown."""
    start = time.perf_counter()
    try:
        found = spec.load(text, file="<text>", want_arrays=False)
    except SpecError as error:
        showable(error)
        found = None
    assert time.perf_counter() - start < SECONDS
    return found


@pytest.mark.parametrize("part", range(SHARES))
def test_texts(part: int) -> None:
    """Broken texts get diagnostics; the rest is formatted, and means the same then."""
    good = 0
    for seed in share(TEXTS, part):
        text = changed_by(seed)(seed)
        made = loaded(text)
        try:
            neat = spec.format_text(text)
        except SpecError:
            assert made is None, f"seed {seed}: loaded, but cannot be formatted"
            continue
        if made is not None:
            good += 1
            again = loaded(neat)
            assert again is not None, f"seed {seed}: formatting broke it"
            assert [n.op for _, n in again.graph.nodes()] == [n.op for _, n in made.graph.nodes()]
    print(f"{len(share(TEXTS, part))} texts, {good} of them networks")


def work(made: spec.Loaded) -> int:
    """Multiply-adds and elements: what the oracle and the memory have to bear."""
    graph = made.graph
    return macs(graph) + sum(graph.type_of(node_id).elems for node_id, _ in graph.nodes())


@pytest.mark.parametrize("part", range(SHARES))
def test_networks(part: int) -> None:
    """What survives its changes is compiled, and every layer is judged by the oracle."""
    judged = 0
    target = driver.target_named("host")
    for seed in count(part, SHARES):
        text = twisted(seed)
        made = loaded(text)
        if made is None or work(made) > SMALL:
            continue
        start = time.perf_counter()
        plan = driver.plan_model(driver.Model(spec.load(text).graph, ()), target).plan
        library = load_program(compile_program(plan.program, target, None), target)
        inputs = random_inputs(plan.interface.inputs, seed)
        for layer in check_layers(plan, native_engine(library, 2), inputs):
            assert layer.mismatch is None, f"seed {seed}, {layer.path}: {layer.mismatch}\n{text}"
        assert time.perf_counter() - start < SECONDS, f"seed {seed}"
        judged += 1
        if judged == NETWORKS // SHARES:
            break
    print(f"{1 + seed // SHARES} networks, {judged} of them compiled and judged")


# -- files of numbers ------------------------------------------------------------------------------

HEAD = 'cnncc 1\nmodel m\nweights "{}"\ninput x: 4x4x3\n'
MODEL = (
    HEAD + "conv(3x3, filters=4) as c -> relu -> flatten(order=chw) -> dense(2) as d\noutput y\n"
)
ARRAYS: dict[str, NDArray[Any]] = {
    "c.weight": np.arange(108, dtype=np.float32).reshape(4, 3, 3, 3) / 108,
    "c.bias": np.ones(4, np.float16),
    "d.weight": np.ones((2, 16), np.float64),
    "d.bias": np.zeros(2, np.float32),
}
STRINGS = [b"F32", b"F64", b"BF16", b"I64", b"<f4", b">f8", b"|O", b"<c8", b"<f16", b"<U9", b"(3,)"]
STRINGS += [b"18446744073709551615", b"4611686018427387904", b"-1", b"1e9", b"c.bias", b"\xff\xfe"]
STRINGS += [b"PK\x05\x06", b"PK\x01\x02", b"..", b"/", b"[", b"}", b'"', b"\0", b"null"]


def packed(chance: random.Random) -> tuple[str, bytes]:
    """A weight file in one of the formats, with nothing wrong yet."""
    if chance.random() < 0.4:
        return "safetensors", save(ARRAYS)
    methods = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", chance.choice(methods)) as archive:
        for name, array in ARRAYS.items():
            member = io.BytesIO()
            np.save(member, np.asfortranarray(array) if chance.random() < 0.3 else array)
            archive.writestr(name + ".npy", member.getvalue())
    return "npz", memory.getvalue()


def damaged(chance: random.Random, whole: bytes) -> bytes:
    """The bytes with a few lost, changed, moved or inserted; mostly where the structure is."""
    data = bytearray(whole)
    for _ in range(chance.randrange(1, 4)):
        if not data:
            break
        near = chance.choice([16, 120, len(data)])
        at = chance.randrange(min(near, len(data)))
        at = len(data) - 1 - at if chance.random() < 0.4 else at
        kind = chance.randrange(6)
        if kind == 0:
            data[at] = chance.choice([0, 1, 8, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        elif kind == 1:
            data[at : at + 8] = chance.randrange(2**64).to_bytes(8, "little")
        elif kind == 2:
            del data[at : at + chance.choice([1, 4, 64])]
        elif kind == 3:
            word = chance.choice(STRINGS)
            data[at : at + chance.choice([0, len(word)])] = word
        elif kind == 4:
            data[at:at] = data[chance.randrange(len(data)) :][: chance.choice([1, 30, 300])]
        else:
            words = [word for word in STRINGS if word in data]
            if words:
                data[:] = data.replace(chance.choice(words), chance.choice(STRINGS), 1)
    if chance.random() < 0.15:
        del data[chance.randrange(len(data) + 1) :]
    return bytes(data)


@pytest.mark.parametrize("part", range(SHARES))
def test_weight_files(part: int, tmp_path: Path) -> None:
    """A damaged weight file gives diagnostics, or arrays of the shapes that the layers need."""
    good = 0
    for seed in share(WEIGHTS, part):
        chance = random.Random(seed)
        suffix, whole = packed(chance)
        (tmp_path / f"w.{suffix}").write_bytes(damaged(chance, whole))
        path = tmp_path / "net.cnn"
        path.write_text(MODEL.format(f"w.{suffix}"))
        start = time.perf_counter()
        try:
            graph = spec.load(path).graph
        except SpecError as error:
            found = showable(error)
            assert found <= {"E0501", "E0502", "E0505", "W0603"}, f"seed {seed}: {found}"
        else:
            good += 1
            assert parameters(graph) == 146, f"seed {seed}"
        assert time.perf_counter() - start < SECONDS, f"seed {seed}"
    print(f"{len(share(WEIGHTS, part))} weight files, {good} taken")


def test_saved_networks(tmp_path: Path) -> None:
    """A damaged saved network is refused, or damaged nowhere but in its padding."""
    net = cnncc.compile(path_of(tmp_path, MODEL.format("w.npz")), weights=ARRAYS, threads=1)
    x = np.linspace(-1, 1, 48, dtype=np.float32).reshape(4, 4, 3)
    wanted, whole = net.run({"x": x})["y"], net.to_bytes()
    place = tmp_path / "net.bin"
    taken = 0
    for seed in range(SAVED):
        chance = random.Random(seed)
        place.write_bytes(damaged(chance, whole))
        try:
            with cnncc.load(str(place), threads=1) as again:
                assert again.run({"x": x})["y"].tobytes() == wanted.tobytes(), f"seed {seed}"
                taken += 1
        except ArtifactError:
            pass
    print(f"{SAVED} saved networks, {taken} unharmed")


def path_of(folder: Path, text: str) -> Path:
    path = folder / "net.cnn"
    path.write_text(text)
    return path
