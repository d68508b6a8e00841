"""Fourier transforms, frames, mel bands."""

from __future__ import annotations

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, equal, f32, run


def parts(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], axis=-1).astype(np.float32)


@pytest.mark.parametrize("length", [None, 8, 5, 12])
def test_whole_spectra(length: int | None) -> None:
    x = f32(2, 8, 3, 2)
    wanted = parts(np.fft.fft(x[..., 0] + 1j * x[..., 1], length, axis=1))
    operand = [] if length is None else [np.array(length)]
    equal("DFT", [x, *operand], wanted, opset=17)
    equal("DFT", [x, *(operand or [None]), np.array(1)], wanted, opset=20)


def test_spectra_of_real_signals_and_back() -> None:
    for size in (8, 9):
        x = f32(2, size, 1)
        wanted = parts(np.fft.rfft(x[..., 0], axis=1))
        equal("DFT", [x], wanted, opset=17, onesided=1)
        equal("DFT", [x], wanted, opset=20, onesided=1)
        equal("DFT", [wanted, np.array(size)], x, opset=20, onesided=1, inverse=1)
    check("DFT", [f32(2, 3, 7, 1), None, np.array(2)], opset=20, onesided=1)
    with pytest.raises(Refused, match="inverse"):
        run("DFT", [f32(1, 4, 2)], opset=20, inverse=1)
    with pytest.raises(Refused, match="transform of length"):
        run("DFT", [f32(1, 4, 3)], opset=20)


def test_frames() -> None:
    x, window = f32(2, 40, 1), np.hanning(16).astype(np.float32)
    check("STFT", [x, np.array(8), window, np.array(16)], opset=17)
    check("STFT", [x, np.array(8), window], opset=17, onesided=0)
    check("STFT", [x, np.array(5), None, np.array(10)], opset=17)
    with pytest.raises(Refused, match="frames of 50"):
        run("STFT", [x, np.array(5), None, np.array(50)], opset=17)
    with pytest.raises(Refused, match="neither"):
        run("STFT", [x, np.array(5)], opset=17)


def test_mel_bands() -> None:
    how = [np.array(v) for v in (8, 64, 8192)]
    edges = [np.array(v, np.float32) for v in (20.0, 4000.0)]
    check("MelWeightMatrix", [*how, *edges], opset=17)
    check("MelWeightMatrix", [*how, *edges], opset=17, output_datatype=11)
    with pytest.raises(Refused, match="bands"):
        run("MelWeightMatrix", [np.array(0), *how[1:], *edges], opset=17)
