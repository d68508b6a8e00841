"""Weights from files and arrays: bound by path, converted exactly, never trusted."""

from __future__ import annotations

import io
import json
import random
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from cnncc import spec
from cnncc.errors import SpecError

CONV = "cnncc 1\n{clause}input x: 8x8x3\nconv(3x3, filters=4) as c\noutput y\n"
W = np.arange(4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)
B = np.arange(4, dtype=np.float32)
ARRAYS = {"c.weight": W, "c.bias": B}


def conv(clause: str = "") -> str:
    return CONV.replace("{clause}", f"weights {clause}\n" if clause else "")


def codes(text: str, folder: Path, **options: Any) -> list[str]:
    try:
        found = spec.load(text, file=str(folder / "net.cnn"), **options).diagnostics
    except SpecError as error:
        found = error.diagnostics
    return [d.code for d in found]


def constants(text: str, folder: Path, **options: Any) -> dict[str, NDArray[Any]]:
    return spec.load(text, file=str(folder / "net.cnn"), **options).graph.constants


@pytest.mark.parametrize("name", ["w.safetensors", "w.npz"])
def test_both_formats(name: str, tmp_path: Path) -> None:
    save_file(ARRAYS, tmp_path / "w.safetensors")
    np.savez_compressed(tmp_path / "w.npz", **ARRAYS)
    found = constants(conv(f'"{name}"'), tmp_path)
    assert {n: a.tolist() for n, a in found.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    zeros = constants(conv(f'"{name}"'), tmp_path, want_arrays=False)
    assert {n: (a.shape, a.strides[0]) for n, a in zeros.items()} == {
        n: (a.shape, 0) for n, a in ARRAYS.items()
    }


def test_arrays_instead_of_the_file(tmp_path: Path) -> None:
    assert constants(conv('"nowhere.npz"'), tmp_path, weights=ARRAYS)["c.bias"].tolist() == [
        *(0.0, 1.0, 2.0, 3.0)
    ]
    assert codes(conv(), tmp_path, weights=ARRAYS) == []
    assert codes(conv(), tmp_path, weights={"c.weight": W}) == ["E0501"]
    np.savez(tmp_path / "other.npz", **ARRAYS)
    assert codes(conv('"nowhere.npz"'), tmp_path, weights=tmp_path / "other.npz") == []
    assert codes(conv('"nowhere.npz"'), tmp_path, weights=str(tmp_path / "other.npz")) == []


def test_prefix_and_rename(tmp_path: Path) -> None:
    arrays = {"net.first.weight": W, "net.first.bias": B, "firstly.weight": B}
    clause = '"w.npz" { prefix = "net.", rename = [["first", "c"]] }'
    np.savez(tmp_path / "w.npz", **arrays)
    assert codes(conv(clause), tmp_path) == ["W0603"]
    assert codes(conv('"w.npz" { prefix = "net." }'), tmp_path) == ["E0501"]
    twice = '"w.npz" { rename = [["net.first", "c"], ["firstly", "c"]] }'
    assert codes(conv(twice), tmp_path) == ["E0505"]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats(dtype: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{n: a.astype(dtype) for n, a in ARRAYS.items()})
    found = constants(conv('"w.npz"'), tmp_path)
    assert found["c.weight"].dtype == np.float32
    assert found["c.weight"].tolist() == W.tolist()


def test_numbers_that_do_not_fit_float32(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"c.weight": W.astype("f8") + 1e300, "c.bias": B})
    assert codes(conv('"w.npz"'), tmp_path) == ["E0505"]


def test_bfloat16(tmp_path: Path) -> None:
    raw = {n: (a.view(np.uint32) >> 16).astype(np.uint16).tobytes() for n, a in ARRAYS.items()}
    header: dict[str, Any] = {}
    position = 0
    for name, data in raw.items():
        shape = list(ARRAYS[name].shape)
        offsets = [position, position + len(data)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        position += len(data)
    text = json.dumps(header).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(raw.values()))
    assert constants(conv('"w.safetensors"'), tmp_path)["c.weight"].tolist() == W.tolist()


def test_integers_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"c.weight": W.astype(np.int8), "c.bias": B})
    assert codes(conv('"w.npz"'), tmp_path) == ["E0502"]


KERAS = """cnncc 1
weights "w.npz" { layout = hwio }
input x: 8x8x4
dwconv(3x3, multiplier=2) as dw -> deconv(2x2, filters=3) as de
conv(3x3, filters=6, groups=3) as g
global_avgpool -> flatten -> dense(5) as d
output y
"""


def test_layout_hwio(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    stored = {
        "dw.weight": rng.random((3, 3, 4, 2), np.float32),
        "de.weight": rng.random((2, 2, 3, 8), np.float32),
        "g.weight": rng.random((3, 3, 1, 6), np.float32),
        "d.weight": rng.random((6, 5), np.float32),
    }
    biases = {
        f"{n}.bias": np.zeros(k, np.float32)
        for n, k in zip(["dw", "de", "g", "d"], (8, 3, 6, 5), strict=True)
        for n, k in zip(["dw", "de", "g", "d"], (8, 3, 6, 5), strict=True)
    }
    np.savez(tmp_path / "w.npz", **stored, **biases)
    found = constants(KERAS, tmp_path)
    for channel in range(4):
        for multiple in range(2):
            assert np.array_equal(
                found["dw.weight"][2 * channel + multiple, 0],
                stored["dw.weight"][:, :, channel, multiple],
            )
    assert np.array_equal(found["de.weight"][7, 2], stored["de.weight"][:, :, 2, 7])
    assert np.array_equal(found["g.weight"][4, 0], stored["g.weight"][:, :, 0, 4])
    assert np.array_equal(found["d.weight"], stored["d.weight"].T)
    np.savez(tmp_path / "w.npz", **stored | {"dw.weight": W}, **biases)
    assert codes(KERAS, tmp_path) == ["E0502"]


def test_random_weights_depend_on_seed_and_name_only(tmp_path: Path) -> None:
    one = constants(conv("random"), tmp_path)
    more = constants(conv("random").replace("output", "relu\noutput"), tmp_path)
    other = constants(conv("random { seed = 1 }"), tmp_path)
    narrow = constants(conv("random { init = xavier }"), tmp_path)
    assert np.array_equal(one["c.weight"], more["c.weight"])
    assert not np.array_equal(one["c.weight"], other["c.weight"])
    assert np.allclose(one["c.weight"], narrow["c.weight"] * 2**0.5)
    assert one["c.bias"].tolist() == [0.0] * 4


def test_random_weights_have_the_promised_spread(tmp_path: Path) -> None:
    text = conv("random").replace("filters=4", "filters=2000")
    weight = constants(text, tmp_path)["c.weight"]
    assert abs(weight.std() / (2 / 27) ** 0.5 - 1) < 0.02
    assert abs(weight.mean()) < 0.01


# -- damaged and hostile files ---------------------------------------------------------------------


def npy(header: bytes, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


def zipped(path: Path, member: bytes, name: str = "c.weight.npy") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, member)


HEADERS = {
    "promises too much": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,)}\n"),
    "negative shape": npy(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}\n"),
    "objects": npy(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}\n", b"x" * 8),
    "no dictionary": npy(b"__import__('os').system('true')\n"),
    "unclosed": npy(b"{'descr': '<f4', 'shape': ((((((((((\n"),
    "deep": npy(b"(" * 9000 + b"\n"),
    "strange type": npy(b"{'descr': 'bogus', 'fortran_order': False, 'shape': (1,)}\n"),
    "new version": npy(b"{}", version=b"\x09\x00"),
    "no npy": b"hello",
    "empty": b"",
    "long header": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_npz_headers(name: str, tmp_path: Path) -> None:
    zipped(tmp_path / "w.npz", HEADERS[name])
    assert codes(conv('"w.npz"'), tmp_path) == ["E0505"]


def test_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    count = 50_000_000
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count},)}}\n".encode()
    zipped(tmp_path / "w.npz", npy(header, bytes(4 * count)))
    assert (tmp_path / "w.npz").stat().st_size < 1_000_000
    found = codes(conv('"w.npz"'), tmp_path)
    assert found == ["E0502", "E0501"] or found == ["E0502"]


SAFE_HEADERS = {
    "too long": struct.pack("<Q", 2**60) + b"{}",
    "not json": struct.pack("<Q", 5) + b"{{{{{",
    "outside": struct.pack("<Q", 65)
    + b'{"c.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,1600000]}}',
    "wrong size": struct.pack("<Q", 60)
    + b'{"c.bias":{"dtype":"F32","shape":[4],"data_offsets":[0,4]}}'.ljust(60)
    + bytes(4),
    "empty": b"",
    "short": b"\x01\x02",
}


@pytest.mark.parametrize("name", SAFE_HEADERS)
def test_hostile_safetensors_headers(name: str, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(SAFE_HEADERS[name])
    assert codes(conv('"w.safetensors"'), tmp_path) == ["E0505"]


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_damaged_bytes(suffix: str, tmp_path: Path) -> None:
    """Flipped, lost and repeated bytes give diagnostics (or other numbers), nothing else."""
    path = tmp_path / f"w.{suffix}"
    if suffix == "npz":
        np.savez_compressed(path, **ARRAYS)
    else:
        save_file(ARRAYS, path)
    whole = path.read_bytes()
    chance = random.Random(7)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            index = chance.randrange(len(data))
            data[index] = chance.randrange(256)
        if chance.random() < 0.3:
            del data[chance.randrange(len(data)) :]
        path.write_bytes(data)
        found = codes(conv(f'"w.{suffix}"'), tmp_path)
        assert set(found) <= {"E0505", "E0501", "E0502", "W0603"}


@pytest.mark.parametrize("name", ["net.pt", "net.h5", "net", "w.npz", "folder.npz", "a\\0.npz"])
def test_files_that_are_not_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "net.pt").write_bytes(b"\x80\x04")
    (tmp_path / "folder.npz").mkdir()
    assert codes(conv(f'"{name}"'), tmp_path) == ["E0505"]


def test_a_zip_of_something_else(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("readme.txt", "hello")
    (tmp_path / "w.npz").write_bytes(buffer.getvalue())
    assert codes(conv('"w.npz"'), tmp_path) == ["E0501"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_does_not_write(method: int, tmp_path: Path) -> None:
    """Their decoders take as much memory as the file tells them to."""
    with zipfile.ZipFile(tmp_path / "w.npz", "w", method) as archive:
        archive.writestr("c.weight.npy", bytes(1000))
    data = bytearray((tmp_path / "w.npz").read_bytes())
    data[60:80] = b"\xff" * 20
    (tmp_path / "w.npz").write_bytes(data)
    assert codes(conv('"w.npz"'), tmp_path) == ["E0505"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_one_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **ARRAYS)
    with zipfile.ZipFile(tmp_path / "w.npz", "a") as archive:
        archive.writestr("c.bias.npy", archive.read("c.bias.npy"))
    assert codes(conv('"w.npz"'), tmp_path) == ["E0505"]


def test_member_names_that_are_no_text(tmp_path: Path) -> None:
    zipped(tmp_path / "w.npz", npy(b"{}"), "\u00e9.npy")
    data = (tmp_path / "w.npz").read_bytes().replace("\u00e9".encode(), b"\xff\xfe")
    (tmp_path / "w.npz").write_bytes(data)
    assert codes(conv('"w.npz"'), tmp_path) == ["E0505"]


@pytest.mark.parametrize(
    "given",
    [
        {"c.weight": [[1], [1, 2]]},
        {**ARRAYS, "c.bias": np.ma.masked_array(B, mask=[1, 0, 0, 0])},
        [W, B],
        5,
    ],
)
def test_things_that_are_no_arrays(given: Any, tmp_path: Path) -> None:
    assert codes(conv(), tmp_path, weights=given) == ["E0505"]
