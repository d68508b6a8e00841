"""Real models with their expected outputs, and what their authors expect of them (`make models`).

    python -m tests.onnx.models

The models lie beside the repository, in `../shared/models`; they are other people's work and not
part of the project. Pictures of faces and of text come with scikit-image, which is asked for here
and nowhere else.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

import cnncc
from cnncc.errors import CnnccError
from cnncc.onnx.against import relative_l2

FOLDER = Path(__file__).parents[3] / "shared" / "models"
Array = np.ndarray


class Missing(Exception):
    """Data that a check needs is not on this machine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison.

    Attributes:
        what: in words.
        found: the figure.
        wanted: what it is held to, in words.
        good: whether it fits.
    """

    what: str
    found: float
    wanted: str
    good: bool


@dataclass(frozen=True, slots=True)
class Subject:
    """A model of the folder.

    Attributes:
        name: its folder.
        relative: the largest relative L2 error of an output.
        quantum: initialiser with the distance between neighbouring outputs of an integer model,
            which is held to that instead.
        expect: what the model says of known pictures, digits or sounds.
    """

    name: str
    relative: float = 1e-4
    quantum: str = ""
    expect: Sequence[Callable[[Subject], Iterator[Finding]]] = field(default=())

    @property
    def path(self) -> Path:
        return FOLDER / self.name / "model.onnx"

    def network(self, *shape: int, threads: int = 1) -> cnncc.Network:
        """The network for an input of that shape."""
        return cnncc.compile(self.path, shapes={self.input_name(): shape}, threads=threads)

    def input_name(self) -> str:
        """ONNX's name of the input."""
        manifest = json.loads((FOLDER / self.name / "manifest.json").read_text("utf-8"))
        return next(iter(manifest["inputs"]))


def answers(network: cnncc.Network, samples: Array) -> tuple[Array, ...]:
    """The outputs for an array [N,...]; all at once where the network takes any N."""
    if network.interface.inputs[0].shape in (samples.shape, samples.shape[1:]):
        found = network(samples)
        return found if isinstance(found, tuple) else (found,)
    rows = [answers(network, samples[i : i + 1]) for i in range(len(samples))]
    return tuple(np.concatenate(parts) for parts in zip(*rows, strict=True))


def golden(subject: Subject) -> Iterator[Finding]:
    """The outputs for the stored input, against the stored outputs."""
    stored = np.load(FOLDER / subject.name / "golden.npz")
    found = answers(subject.network(*stored["input"].shape), stored["input"])
    wanted = [stored[f"output_{i}"] for i in range(len(stored.files) - 1)]
    if len(found) != len(wanted):
        yield Finding("outputs", len(found), str(len(wanted)), False)
        return
    for number, (actual, expected) in enumerate(zip(found, wanted, strict=True)):
        what = f"output {number} {list(expected.shape)}"
        if actual.shape != expected.shape or actual.dtype != expected.dtype:
            yield Finding(f"{what}: got {actual.dtype}{list(actual.shape)}", 0.0, "", False)
        elif subject.quantum:
            step = _initializer(subject, subject.quantum)
            most = float(np.abs(actual - expected).max()) / step
            yield Finding(f"{what}: quanta of {step:.3g}", most, "<= 1", most <= 1.001)
        else:
            error = relative_l2(actual, expected)
            limit = subject.relative
            yield Finding(f"{what}: relative L2", error, f"< {limit:g}", error < limit)


def _initializer(subject: Subject, name: str) -> float:
    import onnx

    graph = onnx.load(subject.path).graph
    found = next(tensor for tensor in graph.initializer if tensor.name == name)
    return float(onnx.numpy_helper.to_array(found))


# -- what the authors expect ------------------------------------------------------------------


def _near(what: str, found: float, wanted: float, within: float) -> Finding:
    return Finding(what, float(found), f"{wanted:g} ± {within:g}", abs(found - wanted) <= within)


def _skimage() -> ModuleType:
    try:
        import skimage.data
        import skimage.transform
    except ImportError as error:
        raise Missing("scikit-image is not installed") from error
    return skimage


def _digits(subject: Subject) -> Iterator[Finding]:
    path = FOLDER / "mnist_digits_10000.npz"
    if not path.is_file():
        raise Missing(f"{path.name} is not there")
    stored = np.load(path)
    images = (stored["images"][:, None].astype(np.float32) / 255 - 0.1307) / 0.3081
    (scores,) = answers(subject.network(1, 1, 28, 28), images.astype(np.float32))
    right = float((scores.argmax(1) == stored["labels"]).mean())
    # In onnxruntime all three read 0.9974 of these; a quantum may tip a picture either way.
    yield _near("share of 10,000 digits read", right, 0.9974, 0.0003)


def _sine(subject: Subject) -> Iterator[Finding]:
    samples = np.sin(2 * np.pi * 440 * np.arange(43844) / 22050).astype(np.float32)
    notes = answers(subject.network(1, 43844, 1), samples.reshape(1, -1, 1))[0]
    yield _near("row of the pitch heard in 440 Hz", float(notes.mean((0, 1)).argmax()), 48, 0)


def _enlarged(subject: Subject) -> Iterator[Finding]:
    stored = np.load(FOLDER / subject.name / "golden.npz")
    wanted = np.load(FOLDER / subject.name / "upstream_result.npy")
    (made,) = answers(subject.network(*stored["input"].shape), stored["input"])
    error = np.abs(np.clip(made[0], 0, 255) - wanted)
    yield Finding("largest difference, grey levels", float(error.max()), "< 1", error.max() < 1)
    yield _near("mean difference, grey levels", float(error.mean()), 0.25, 0.02)


def _detector(subject: Subject) -> Iterator[Finding]:
    skimage = _skimage()
    network = subject.network(1, 128, 128, 3)
    for name, wanted in (("astronaut", 0.92), ("coffee", 0.20)):
        picture = skimage.transform.resize(getattr(skimage.data, name)(), (128, 128))
        scores = answers(network, (picture[None] * 2 - 1).astype(np.float32))[:2]
        most = max(float(score.max()) for score in scores)
        yield _near(f"best score on `{name}`", 1 / (1 + np.exp(-most)), wanted, 0.005)


def _emotion(subject: Subject) -> Iterator[Finding]:
    skimage = _skimage()
    gray = skimage.data.astronaut()[20:230, 120:330].mean(-1) / 255
    face = (skimage.transform.resize(gray, (64, 64)) - 0.5) * 2
    feelings = answers(subject.network(1, 64, 64, 1), face[None, ..., None].astype(np.float32))[0]
    yield _near("happy, of 7 feelings", float(feelings[0, 3]), 0.885, 0.001)


def _for_mtcnn(picture: Array) -> Array:
    """A picture [H,W,3] in 0..1 as the cascade takes it: H and W swapped."""
    return ((picture * 255 - 127.5) * 0.0078125).swapaxes(0, 1)[None].astype(np.float32)


def _face(subject: Subject) -> Iterator[Finding]:
    skimage = _skimage()
    network = subject.network(1, 48, 48, 3)
    picture = skimage.data.astronaut()
    for what, (top, bottom, left, right), wanted in (
        ("tight face", (55, 180, 165, 285), 1.0),
        ("loose crop", (20, 230, 120, 330), 0.007),
    ):
        crop = skimage.transform.resize(picture[top:bottom, left:right], (48, 48))
        yield _near(what, float(answers(network, _for_mtcnn(crop))[2][0, 1]), wanted, 0.0005)


def _faces(subject: Subject) -> Iterator[Finding]:
    skimage = _skimage()
    network = subject.network(1, 24, 24, 3)
    found = []
    for patch in skimage.data.lfw_subset():
        picture = np.repeat(skimage.transform.resize(patch, (24, 24))[..., None], 3, -1)
        found.append(answers(network, _for_mtcnn(picture))[1][0, 1] > 0.7)
    yield _near("faces found among 100", sum(found[:100]), 100, 0)
    yield _near("faces found among 100 other patches", sum(found[100:]), 0, 0)


def _text(subject: Subject) -> Iterator[Finding]:
    skimage = _skimage()
    page = skimage.transform.resize(skimage.data.page(), (192, 384))[..., None]
    picture = (page - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    sample = picture.transpose(2, 0, 1)[None].astype(np.float32)
    (found,) = answers(subject.network(*sample.shape), sample)
    yield _near("share of pixels that are text", float((found > 0.3).mean()), 0.179, 0.0005)


SUBJECTS = (
    Subject("basic_pitch", relative=1e-3, expect=(_sine,)),
    Subject("blazeface_front", expect=(_detector,)),
    Subject("digit_cnn", expect=(_digits,)),
    Subject("digit_cnn_int8_qdq", quantum="output_scale", expect=(_digits,)),
    Subject("digit_cnn_int8_qop", quantum="output_scale", expect=(_digits,)),
    Subject("esrgan_slim_x2", expect=(_enlarged,)),
    Subject("mini_xception", expect=(_emotion,)),
    Subject("mtcnn_onet", expect=(_face,)),
    Subject("mtcnn_pnet"),
    Subject("mtcnn_rnet", expect=(_faces,)),
    Subject("ppocr_cls"),
    Subject("ppocr_det", expect=(_text,)),
)


def _row(model: str, verdict: str, what: str, *figures: Any) -> None:
    print(f"{verdict:<8} {model:<20} {what}", *figures, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check every model; exit code 1 when something differs or its data is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx.models")
    parser.add_argument("--only", default="*", help="pattern of the models' names")
    options = parser.parse_args(arguments)
    bad = 0
    for subject in SUBJECTS:
        if not fnmatch.fnmatchcase(subject.name, options.only):
            continue
        start = time.monotonic()
        for check in (golden, *subject.expect):
            try:
                for finding in check(subject):
                    bad += not finding.good
                    word = "ok" if finding.good else "WRONG"
                    told = f"{finding.found:.6g}, wanted {finding.wanted}"
                    _row(subject.name, word, f"{finding.what}:", told)
            except Missing as missing:
                bad += 1
                _row(subject.name, "MISSING", str(missing))
            except CnnccError as error:
                bad += 1
                _row(subject.name, "REFUSED", str(error))
                break
        _row(subject.name, "", f"{time.monotonic() - start:.1f} s")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
