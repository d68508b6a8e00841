import io
import struct
from pathlib import Path
from zlib import compress, crc32

import click
import numpy as np
import pytest
from PIL import Image

from cnncc.abi import Port
from cnncc.cli import feeds
from cnncc.errors import InputError
from cnncc.ir.types import DType

RGB = Port("photo", DType.U8, (2, 3, 3), "hwc")
GRAY = Port("digit", DType.U8, (2, 3, 1), "hwc")
PIXELS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 13


def npy(array, version=(1, 0)):
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), version=version)
    return stream.getvalue()


def picture(tmp_path, pixels=PIXELS, name="p.png", **options):
    path = tmp_path / name
    Image.fromarray(pixels).save(path, **options)
    return str(path)


def read(port, file, resize=False):
    return feeds.read_sample(port, str(file), resize=resize)


def test_rgb(tmp_path):
    assert np.array_equal(read(RGB, picture(tmp_path)), PIXELS[None])


def test_bgr_and_chw(tmp_path):
    bgr = Port("photo", DType.U8, (2, 3, 3), "hwc", "bgr")
    assert np.array_equal(read(bgr, picture(tmp_path)), PIXELS[None, ..., ::-1])
    chw = Port("photo", DType.U8, (3, 2, 3), "chw")
    made = read(chw, picture(tmp_path))
    assert made.flags.c_contiguous
    assert np.array_equal(made, PIXELS.transpose(2, 0, 1)[None])


def test_floats_get_the_bytes_values(tmp_path):
    made = read(Port("photo", DType.F32, (2, 3, 3), "hwc"), picture(tmp_path))
    assert made.dtype == np.float32
    assert np.array_equal(made, PIXELS[None].astype(np.float32))


def test_colours_become_gray_and_are_mentioned(tmp_path, capsys):
    made = read(GRAY, picture(tmp_path))
    assert made.shape == (1, 2, 3, 1)
    assert "its colours become gray" in capsys.readouterr().err


def test_gray_pictures(tmp_path):
    path = picture(tmp_path, PIXELS[..., 0])
    assert np.array_equal(read(GRAY, path)[..., 0], PIXELS[None, ..., 0])
    assert np.array_equal(read(RGB, path)[..., 2], PIXELS[None, ..., 0])


def test_the_turn_that_a_camera_noted_is_made(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    path = picture(tmp_path, PIXELS, exif=exif)
    upright = Port("photo", DType.U8, (3, 2, 3), "hwc")
    assert np.array_equal(read(upright, path)[0], np.rot90(PIXELS, -1))


def test_transparency_is_mentioned(tmp_path, capsys):
    clear = np.dstack([PIXELS, np.full((2, 3), 9, np.uint8)])
    assert np.array_equal(read(RGB, picture(tmp_path, clear)), PIXELS[None])
    assert "transparency is ignored" in capsys.readouterr().err


def test_another_size_is_refused_or_scaled(tmp_path):
    path = picture(tmp_path, np.zeros((5, 4, 3), np.uint8))
    with pytest.raises(InputError, match="expected a picture of 3 x 2 pixels, got 4 x 5") as error:
        read(RGB, path)
    assert "--resize" in error.value.hint
    assert read(RGB, path, resize=True).shape == (1, 2, 3, 3)


def test_sixteen_bits_are_refused(tmp_path):
    path = picture(tmp_path, np.zeros((2, 3), np.uint16))
    with pytest.raises(InputError, match="more than 8 bits"):
        read(GRAY, path)


@pytest.mark.parametrize(
    "port",
    [
        Port("v", DType.F32, (7,)),
        Port("x", DType.U8, (2, 3, 5), "hwc"),
        Port("x", DType.I8, (2, 3, 1), "hwc"),
    ],
)
def test_inputs_that_no_picture_fits(tmp_path, port):
    with pytest.raises(InputError, match="which no picture can be"):
        read(port, picture(tmp_path))


@pytest.mark.parametrize("cut", [0, 5, 40, 50])
def test_broken_pictures(tmp_path, cut):
    whole = Path(picture(tmp_path)).read_bytes()
    (tmp_path / "b.png").write_bytes(whole[:cut])
    with pytest.raises(InputError, match="neither as a picture"):
        read(RGB, tmp_path / "b.png")


def test_a_picture_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(InputError, match="too large"):
        read(RGB, picture(tmp_path))


def test_arrays(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(PIXELS))
    assert np.array_equal(read(RGB, tmp_path / "x.npy"), PIXELS[None])
    (tmp_path / "x.npy").write_bytes(npy(np.asfortranarray([PIXELS, PIXELS]), (2, 0)))
    assert np.array_equal(read(RGB, tmp_path / "x.npy"), [PIXELS, PIXELS])


def test_an_array_of_another_shape(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy(PIXELS.transpose(2, 0, 1)))
    with pytest.raises(
        InputError, match=r"expected u8\[N,2,3,3\] \(hwc\), got uint8\[3, 2, 3\]"
    ) as it:
        read(RGB, tmp_path / "x.npy")
    assert it.value.hint == "pass x.transpose(1, 2, 0)"


def _claims(shape):
    head = npy(np.zeros(2, np.uint8))[:128]
    return head.replace(b"(2,), }", b"(" + shape + b",), }")[:128] + bytes(2)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(PIXELS)[:-1], "its header promises 18 bytes, 17 are there"),
        (npy(PIXELS) + b"\0", "its header promises 18 bytes, 19 are there"),
        (npy(PIXELS)[:20], "no `.npy` file"),
        (b"\x93NUMPY\x09\x00" + bytes(200), "no `.npy` file"),
        (_claims(b"34359738368"), "its header promises 34359738368 bytes, 2 are there"),
        (npy(np.array([{}, 1], object)), "no `.npy` file of numbers"),
        (npy(np.zeros(2, "u1,f4")), "no `.npy` file of numbers"),
    ],
    ids=["short", "long", "header", "version", "bomb", "objects", "records"],
)
def test_hostile_arrays(data, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        feeds.parse_npy(data, "x.npy")


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_deep_pngs_are_never_halved(tmp_path, color, channels):
    """Pillow would show the colours of a 48-bit PNG as bytes and say nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 16, color, 0, 0, 0))
    rows = chunk(b"IDAT", compress(bytes(2 * (1 + 3 * channels * 2))))
    path = tmp_path / "deep.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + rows + chunk(b"IEND", b""))
    with pytest.raises(InputError, match="more than 8 bits a channel"):
        read(RGB, path)


def test_missing_files():
    with pytest.raises(InputError, match="no input is called `image`; its name is `photo`"):
        read(RGB, "image=none.png")
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read(RGB, "none.png")
    with pytest.raises(InputError, match="cannot be read: embedded null byte"):
        read(RGB, "a\0b")


def test_several_files_make_a_batch(tmp_path):
    (tmp_path / "x.npy").write_bytes(npy([PIXELS, PIXELS]))
    files = [str(tmp_path / "x.npy"), picture(tmp_path)]
    batch, names = feeds.read_feed(RGB, files, resize=False)
    assert batch.shape == (3, 2, 3, 3)
    assert names == [f"{files[0]}[0]", f"{files[0]}[1]", files[1]]


def test_names():
    split = feeds.split_names
    assert split(["a.png", "b.png"], ["x"], "-i") == {"x": ["a.png", "b.png"]}
    assert split(["x=a.png", "y=b=c.png"], ["x", "y"], "-i") == {"x": ["a.png"], "y": ["b=c.png"]}
    assert split(["q=a.png"], ["x"], "-i") == {"x": ["q=a.png"]}
    with pytest.raises(click.BadParameter, match="say which by `NAME=FILE`; the names are x, y"):
        split(["a.png"], ["x", "y"], "-i")
