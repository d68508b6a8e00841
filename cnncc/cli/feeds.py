"""Arrays for a network from files: pictures and `.npy`, checked against what an input wants."""

from __future__ import annotations

import io
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from cnncc.cli.scaling import Scaling
from cnncc.cli.screen import screen
from cnncc.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from cnncc.abi import Port

    Array = npt.NDArray[Any]

AS_IT_IS = Scaling()
MAGIC = b"\x93NUMPY"
_CHANNELS = {"L": 1, "RGB": 3}


def split_names(given: Sequence[str], names: Sequence[str], option: str) -> dict[str, list[str]]:
    """Files by port, from `FILE` (where there is one port) and `NAME=FILE`.

    Raises:
        click.BadParameter: a name is missing or unknown.
    """
    files: dict[str, list[str]] = {}
    longest_first = sorted(names, key=len, reverse=True)  # a name may hold an equals sign
    for text in given:
        name = next((n for n in longest_first if text.startswith(f"{n}=")), None)
        if name is not None:
            files.setdefault(name, []).append(text[len(name) + 1 :])
        elif len(names) == 1:
            files.setdefault(names[0], []).append(text)
        else:
            raise click.BadParameter(
                f"`{text}`: say which by `NAME=FILE`; the names are {', '.join(names)}",
                param_hint=option,
            )
    return files


def read_feed(
    port: Port,
    files: Sequence[str],
    *,
    resize: bool,
    scaling: Scaling = AS_IT_IS,
    batched: bool = True,
) -> tuple[Array, list[str]]:
    """The batch [N, *shape] of an input, and a name for each sample.

    Without `batched`, the array has exactly the shape of the input.

    Raises:
        InputError: a file cannot be read or does not fit.
    """
    import numpy as np

    if not batched:
        if len(files) > 1:
            raise InputError(
                f"input `{port.name}` takes one file, got {len(files)}: the model mixes samples,"
                " so it has no batch",
                hint="compile it for the shape of all of them together: --shape",
            )
        array = read_sample(port, files[0], resize=resize, scaling=scaling, batched=False)
        return array[0], ["stdin" if files[0] == "-" else files[0]]
    parts, names = [], []
    for file in files:
        array = read_sample(port, file, resize=resize, scaling=scaling)
        parts.append(array)
        shown = "stdin" if file == "-" else file
        count = len(array)
        names += [shown] if count == 1 else [f"{shown}[{i}]" for i in range(count)]
    return np.concatenate(parts), names


def read_sample(
    port: Port,
    file: str,
    *,
    resize: bool,
    scaling: Scaling = AS_IT_IS,
    batched: bool = True,
) -> Array:
    """The samples of one file as [N, *shape]; without `batched` there is one, N = 1."""
    data = _read(port, file)
    if data.startswith(MAGIC):
        array = parse_npy(data, file)
        whole = array if batched and array.ndim == len(port.shape) + 1 else array[None]
        if whole.shape[1:] != port.shape:
            from cnncc.runtime.buffers import shape_repair

            raise InputError(
                f"{file}: expected {_wanted(port, batched)}, got {array.dtype}{list(array.shape)}",
                hint=shape_repair(port, array.shape)
                if batched
                else "the model mixes samples: compile it for another shape with --shape",
            )
        return whole
    picture = _picture(port, data, file, resize=resize, scaling=scaling)
    return picture.reshape(1, *port.shape)


def _read(port: Port, file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        name, equals, _ = file.partition("=")
        hint = f"no input is called `{name}`; its name is `{port.name}`" if equals else ""
        raise InputError(f"{file}: cannot be read: {why}", hint=hint) from error


def parse_npy(data: bytes, file: str) -> Array:
    """The array of a `.npy` file; nothing is unpickled and no promise of the header is believed.

    Raises:
        InputError: the bytes are damaged, or hold objects.
    """
    import numpy as np

    from cnncc.spec.weight_files import npy_header

    try:
        header = npy_header(io.BytesIO(data))
    except ValueError as error:
        raise InputError(f"{file}: this is no `.npy` file of numbers: {error}") from error
    shape, dtype = header.shape, header.dtype
    size, room = math.prod(shape) * dtype.itemsize, len(data) - header.start
    if size != room:
        raise InputError(f"{file}: is damaged: its header promises {size} bytes, {room} are there")
    flat = np.frombuffer(data, dtype, offset=header.start)
    return flat.reshape(shape, order="F" if header.fortran else "C")


def _picture(port: Port, data: bytes, file: str, *, resize: bool, scaling: Scaling) -> Array:
    import numpy as np

    frame = _frame(port, file)
    picture = _open(data, file)
    if picture.size != (frame.width, frame.height):
        if not resize:
            raise InputError(
                f"{file}: expected a picture of {frame.width} x {frame.height} pixels,"
                f" got {picture.size[0]} x {picture.size[1]}",
                hint="scale it, or let cnncc do it: --resize",
            )
        picture = picture.resize((frame.width, frame.height))
    pixels: np.ndarray[Any, Any] = np.asarray(_in_mode(picture, frame.mode, file))
    pixels = pixels.reshape(frame.height, frame.width, _CHANNELS[frame.mode])
    if port.format == "bgr":
        pixels = pixels[..., ::-1]
    pixels = scaling.apply(pixels, port)
    if frame.memory == "chw":
        pixels = pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(pixels, port.dtype.numpy)


class _Frame(NamedTuple):
    height: int
    width: int
    mode: str
    memory: str


def _frame(port: Port, file: str) -> _Frame:
    """What a picture must be to fit an input: one sample, channels first or last.

    Raises:
        InputError: the input is no picture.
    """
    shape = port.shape[1:] if len(port.shape) == 4 and port.shape[0] == 1 else port.shape
    if len(shape) == 3 and (port.dtype.is_float or port.dtype.value == "u8"):
        # The ports of general graphs are `chw` only because that is how arrays lie; the number of
        # channels tells where they are.
        orders = ("hwc",) if port.memory == "hwc" else ("chw", "hwc")
        for memory in orders:
            channels, height, width = shape if memory == "chw" else (shape[2], *shape[:2])
            mode = {1: "L", 3: "RGB"}.get(channels)
            if mode is not None:
                return _Frame(height, width, mode, memory)
    raise InputError(
        f"{file}: input `{port.name}` wants {_wanted(port)}, which no picture can be",
        hint="write the array with numpy.save and give the .npy file",
    )


def _open(data: bytes, file: str) -> Image:
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "BMP", "GIF", "PPM"))
            if any(";16" in str(tile[3]) for tile in picture.tile):
                raise _too_deep(file)  # loading would leave half of the bits out
            picture.load()
            return ImageOps.exif_transpose(picture)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InputError(f"{file}: the picture is too large") from error
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise InputError(
                f"{file}: can be read neither as a picture nor as .npy",
                hint="PNG, JPEG, BMP, GIF and PPM pictures are known",
            ) from error


def _in_mode(picture: Image, mode: str, file: str) -> Image:
    if picture.mode.startswith(("I", "F")):
        raise _too_deep(file)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        screen().note(f"{file}: transparency is ignored")
    if mode == "L" and picture.mode not in ("L", "1", "LA"):
        screen().note(f"{file}: its colours become gray")
    return picture if picture.mode == mode else picture.convert(mode)


def _too_deep(file: str) -> InputError:
    return InputError(
        f"{file}: has more than 8 bits a channel", hint="reduce it to 8 bits, or give a .npy file"
    )


def _wanted(port: Port, batched: bool = True) -> str:
    order = f" ({port.memory})" if port.memory else ""
    shape = [*(["N"] if batched else []), *map(str, port.shape)]
    return f"{port.dtype.value}[{','.join(shape)}]{order}"
