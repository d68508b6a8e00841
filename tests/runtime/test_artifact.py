import os
import random
from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import ArtifactError, InternalError
from cnncc.runtime import artifact
from cnncc.runtime.artifact import Contents, map_file, pack, unpack
from tests.runtime.programs import image, interface, weights

pytestmark = pytest.mark.native
LAYERS = ({"layer": "a", "macs": 3},)
DECISIONS = ({"subject": "a", "choice": "c", "reason": "r", "figures": {"n": 1}},)


def _contents() -> Contents:
    return Contents(image(), interface(), weights().view(np.uint8), LAYERS, DECISIONS)


def _bytes() -> bytes:
    return b"".join(pack(_contents()))


def test_everything_comes_back():
    before, after = _contents(), unpack(memoryview(_bytes()), "bytes")
    assert after.image == before.image
    assert after.interface == before.interface
    assert (after.layers, after.decisions) == (LAYERS, DECISIONS)
    np.testing.assert_array_equal(after.weights, before.weights)


def test_the_same_network_gives_the_same_bytes():
    assert _bytes() == _bytes()


def test_every_flipped_bit_is_found():
    data = _bytes()
    rng = random.Random(3)
    head, text, gap, code, *_, blob = (len(part) for part in pack(_contents()))
    starts = {0: head + text, head + text + gap: code, len(data) - blob: blob}
    used = [start + at for start, size in starts.items() for at in rng.sample(range(size), 150)]
    for at in used:
        broken = bytearray(data)
        broken[at] ^= 1 << rng.randrange(8)
        with pytest.raises(ArtifactError, match=r"x\.net"):
            unpack(memoryview(broken), "x.net")


def test_every_truncation_is_found():
    data = _bytes()
    rng = random.Random(4)
    for length in [0, 1, 8, 47, 48, *rng.sample(range(len(data)), 100), len(data) - 1]:
        with pytest.raises(ArtifactError):
            unpack(memoryview(data[:length]), "x.net")
    with pytest.raises(ArtifactError, match="another length"):
        unpack(memoryview(data + b"\0"), "x.net")


def test_another_format_is_named(monkeypatch):
    monkeypatch.setattr(artifact, "FORMAT", 9)
    data = _bytes()
    monkeypatch.undo()
    with pytest.raises(ArtifactError, match=r"x.net was saved in format 9; .* reads 2\n"):
        unpack(memoryview(data), "x.net")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(ArtifactError, match="is empty"):
        map_file(tmp_path / "empty")
    with pytest.raises(ArtifactError, match="No such file"):
        map_file(tmp_path / "none")
    with pytest.raises(ArtifactError, match="cannot read"):
        map_file(tmp_path)
    with pytest.raises(ArtifactError, match="cannot read"):
        map_file(tmp_path / "a\0b")
    os.mkfifo(tmp_path / "pipe")  # nobody will ever write to it
    with pytest.raises(ArtifactError, match="it is no file"):
        map_file(tmp_path / "pipe")
    with pytest.raises(ArtifactError, match="no saved network"):
        unpack(memoryview(b"\x7fELF" + bytes(100)), "x")


@pytest.mark.parametrize(
    "change",
    [
        {"exports": {"main_run": 1 << 40}},
        {"imports": {"syscall": -8}},
        {"rebases": (len(image().code) - 7,)},
        {"constants": 100},
    ],
)
def test_addresses_outside_of_the_code_are_refused(change):
    broken = replace(_contents(), image=replace(image(), **change))
    with pytest.raises(ArtifactError, match="outside of the code"):
        unpack(memoryview(b"".join(pack(broken))), "x.net")


def test_tables_must_be_plain_data():
    with pytest.raises(InternalError, match="plain data"):
        pack(replace(_contents(), layers=({"a": object()},)))
