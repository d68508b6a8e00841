"""The example networks: published totals, torchvision's weight names, canonical text, digits."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import load_file

from cnncc.ir import interp
from cnncc.ir.op import lookup
from cnncc.spec import Loaded, check, format_text, load

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
DIGITS = EXAMPLES / "digits"
RUNNING = ("running_mean", "running_var")


class Facts(NamedTuple):
    """What is known of an example; `published` is the total that somebody else counted."""

    parameters: int
    macs: int
    outputs: dict[str, tuple[int, ...]]
    published: bool = True


FACTS = {
    "cats_and_dogs": Facts(2_659_490, 36_004_736, {"animal": (1, 2)}, published=False),
    "densenet121": Facts(7_978_856, 2_834_161_664, {"prob": (1, 1000)}),
    "digits/digits": Facts(56_714, 706_752, {"guess": (1, 10)}, published=False),
    "googlenet": Facts(6_624_904, 1_498_376_192, {"prob": (1, 1000)}),
    "lenet5": Facts(61_706, 416_520, {"guess": (1, 10)}),
    "mobilenet_v1": Facts(4_231_976, 568_740_352, {"prob": (1, 1000)}),
    "mobilenet_v2": Facts(3_504_872, 300_774_272, {"prob": (1, 1000)}),
    "resnet18": Facts(11_689_512, 1_814_073_344, {"prob": (1, 1000)}),
    "resnet50": Facts(25_557_032, 4_089_184_256, {"prob": (1, 1000)}),
    "squeezenet1_1": Facts(1_235_496, 349_151_936, {"prob": (1, 1000)}),
    "unet": Facts(31_030_658, 48_096_083_968, {"mask": (1, 2, 256, 256)}, published=False),
    "vgg16": Facts(138_357_544, 15_470_264_320, {"prob": (1, 1000)}),
    "yolo_head": Facts(
        8_852_366, 2_782_480_896, {"coarse": (1, 255, 13, 13), "fine": (1, 255, 26, 26)}
    ),
}

# torchvision 0.28's state_dict of each network without `num_batches_tracked`: how many tensors, and
# the hash of its sorted lines `name AxBxC`.
TORCHVISION = {
    "densenet121": (606, "9de4aad2d5fb03ee"),
    "googlenet": (287, "0023758f57ab4b64"),
    "mobilenet_v2": (262, "1f27e3d93ac9d0ff"),
    "resnet18": (102, "bd0b28d3209a171d"),
    "resnet50": (267, "a506be68cf630f4c"),
    "squeezenet1_1": (52, "a462856ef96ade94"),
    "vgg16": (32, "e36b43eb356035da"),
}

# Billions of multiply-adds, as torchvision publishes them beside its weights.
TORCHVISION_GMACS = {
    "densenet121": 2.834,
    "googlenet": 1.498,
    "mobilenet_v2": 0.301,
    "resnet18": 1.814,
    "resnet50": 4.089,
    "squeezenet1_1": 0.349,
    "vgg16": 15.47,
}


@pytest.fixture(scope="module")
def networks() -> dict[str, Loaded]:
    """Every example, elaborated once; random weights are not drawn."""
    return {name: load(EXAMPLES / f"{name}.cnn", want_arrays=False) for name in FACTS}


def tensors(net: Loaded) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name."""
    return {name: array.shape for name, array in net.graph.constants.items()}


def test_every_example_is_listed() -> None:
    found = {p.relative_to(EXAMPLES).with_suffix("").as_posix() for p in EXAMPLES.rglob("*.cnn")}
    networks = {name for name in found if name.split("/")[0] not in ("blocks", "embed")}
    assert networks == set(FACTS)


@pytest.mark.parametrize("name", FACTS)
def test_nothing_to_complain_of(name: str) -> None:
    assert check(EXAMPLES / f"{name}.cnn") == ()


@pytest.mark.parametrize("name", FACTS)
def test_parameters(name: str, networks: dict[str, Loaded]) -> None:
    shapes = tensors(networks[name])
    counted = sum(math.prod(s) for n, s in shapes.items() if not n.endswith(RUNNING))
    assert counted == FACTS[name].parameters
    if FACTS[name].published:
        assert f"{counted:,} param" in head_comment(name).replace("\n", " ")


@pytest.mark.parametrize("name", FACTS)
def test_macs(name: str, networks: dict[str, Loaded]) -> None:
    graph = networks[name].graph
    macs = sum(
        lookup(node.op)
        .cost([graph.type_of(i) for i in graph.operands(n)], graph.type_of(n), node.attrs)
        .macs
        for n, node in graph.nodes()
    )
    assert macs == FACTS[name].macs
    if name in TORCHVISION_GMACS:
        assert round(macs / 1e9, 3) == TORCHVISION_GMACS[name]


@pytest.mark.parametrize("name", FACTS)
def test_outputs(name: str, networks: dict[str, Loaded]) -> None:
    graph = networks[name].graph
    assert {out: graph.type_of(n).shape for out, n in graph.outputs} == FACTS[name].outputs


def test_other_widths_of_mobilenet() -> None:
    """The published totals of Keras (V1) and of the paper's code at other widths."""
    half = load(EXAMPLES / "mobilenet_v1.cnn", params={"width": 0.5}, want_arrays=False)
    shapes = tensors(half)
    counted = sum(math.prod(s) for n, s in shapes.items() if not n.endswith(RUNNING))
    assert counted == 1_331_592


# -- texts -----------------------------------------------------------------------------------------


def head_comment(name: str) -> str:
    """The comment that opens an example, without its `#`."""
    lines = (EXAMPLES / f"{name}.cnn").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "cnncc 1"
    comment = []
    for line in lines[1:]:
        if not line.startswith("#"):
            break
        comment.append(line[2:])
    return "\n".join(comment)


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.cnn")), ids=lambda p: p.stem)
def test_text_is_canonical(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert format_text(text) == text


@pytest.mark.parametrize("name", FACTS)
def test_opening_comment(name: str) -> None:
    assert 2 <= len(head_comment(name).splitlines()) <= 4


def test_table_of_the_readme() -> None:
    """The README's rows agree with the table above and with the files' lengths."""
    rows = {}
    for line in (EXAMPLES / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 5 and cells[0].startswith("["):
            name = cells[0].split("](")[1].removesuffix(".cnn)")
            rows[name] = [int(cell.replace(",", "")) for cell in cells[2:]]
    wanted = {
        name: [facts.parameters, facts.macs, statements(EXAMPLES / f"{name}.cnn")]
        for name, facts in FACTS.items()
    }
    assert rows == wanted


def statements(path: Path) -> int:
    """Lines that are neither blank nor comment."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return sum(1 for line in lines if line.strip() and not line.lstrip().startswith("#"))


# -- weight names ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision_binds_unchanged(name: str, networks: dict[str, Loaded]) -> None:
    shapes = tensors(networks[name])
    lines = "\n".join(f"{n} {'x'.join(map(str, s))}" for n, s in sorted(shapes.items()))
    found = (len(shapes), hashlib.sha256(lines.encode()).hexdigest()[:16])
    assert found == TORCHVISION[name]


def norm(path: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for leaf in ("weight", "bias", *RUNNING):
        yield f"{path}.{leaf}", (channels,)


def resnet18_state() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "conv1.weight", (64, 3, 7, 7)
    yield from norm("bn1", 64)
    before = 64
    for stage, filters in enumerate((64, 128, 256, 512), start=1):
        for index in range(2):
            block = f"layer{stage}.{index}"
            yield f"{block}.conv1.weight", (filters, before, 3, 3)
            yield from norm(f"{block}.bn1", filters)
            yield f"{block}.conv2.weight", (filters, filters, 3, 3)
            yield from norm(f"{block}.bn2", filters)
            if before != filters:
                yield f"{block}.downsample.0.weight", (filters, before, 1, 1)
                yield from norm(f"{block}.downsample.1", filters)
            before = filters
    yield "fc.weight", (1000, 512)
    yield "fc.bias", (1000,)


def test_names_of_resnet18(networks: dict[str, Loaded]) -> None:
    assert tensors(networks["resnet18"]) == dict(resnet18_state())


@pytest.mark.parametrize(
    ("name", "tensor", "shape"),
    [
        ("vgg16", "features.28.weight", (512, 512, 3, 3)),
        ("vgg16", "classifier.0.weight", (4096, 25088)),
        ("resnet50", "layer3.5.conv3.weight", (1024, 256, 1, 1)),
        ("resnet50", "layer4.0.downsample.1.running_var", (2048,)),
        ("mobilenet_v2", "features.1.conv.0.0.weight", (32, 1, 3, 3)),
        ("mobilenet_v2", "features.14.conv.1.0.weight", (576, 1, 3, 3)),
        ("mobilenet_v2", "features.17.conv.3.bias", (320,)),
        ("squeezenet1_1", "features.12.expand3x3.bias", (256,)),
        ("googlenet", "inception4e.branch3.1.conv.weight", (128, 32, 3, 3)),
        ("densenet121", "features.denseblock1.denselayer1.norm1.weight", (64,)),
        ("densenet121", "features.transition3.conv.weight", (512, 1024, 1, 1)),
    ],
)
def test_names(name: str, tensor: str, shape: tuple[int, ...], networks: dict[str, Loaded]) -> None:
    assert tensors(networks[name])[tensor] == shape


# -- digits ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held_out() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The digits that training never saw."""
    with np.load(DIGITS / "test_digits.npz", allow_pickle=False) as file:
        return file["images"], file["labels"]


def test_weights_of_digits_are_trained(networks: dict[str, Loaded]) -> None:
    stored = load_file(DIGITS / "digits.safetensors")
    assert tensors(networks["digits/digits"]) == {n: a.shape for n, a in stored.items()}
    bound = load(DIGITS / "digits.cnn").graph.constants
    for name, array in stored.items():
        np.testing.assert_array_equal(bound[name], array)


def test_held_out_digits(held_out: tuple[NDArray[np.uint8], NDArray[np.uint8]]) -> None:
    images, labels = held_out
    assert images.shape == (2000, 28, 28)
    assert images.dtype == labels.dtype == np.uint8
    assert np.bincount(labels, minlength=10).min() > 150
    assert set(labels[:40]) == set(range(10)), "a short prefix shows every digit"


def test_training_never_saw_the_held_out_digits(
    held_out: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    everything = EXAMPLES.parents[1] / "shared" / "models" / "mnist_digits_10000.npz"
    if not everything.exists():
        pytest.skip("the file of all 10,000 digits is not beside the repository")
    with np.load(everything, allow_pickle=False) as file:
        images, labels = file["images"], file["labels"]
    kept_back = np.arange(len(labels)) % 5 == 4
    trained_on = {image.tobytes() for image in images[~kept_back]}
    assert len(trained_on) == 8000
    assert trained_on.isdisjoint(image.tobytes() for image in held_out[0])


def convolve(x: NDArray[np.float64], weights: dict[str, NDArray[np.float64]], path: str):
    """Plain convolution of a 3x3 window, then ReLU and 2x2 max pooling; [N,C,H,W]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    y = np.einsum("nchwij,ocij->nohw", windows, weights[f"{path}.weight"], optimize=True)
    y = np.maximum(y + weights[f"{path}.bias"][:, None, None], 0)
    n, c, h, w = y.shape
    y = y[:, :, : h // 2 * 2, : w // 2 * 2]
    return y.reshape(n, c, h // 2, 2, w // 2, 2).max(axis=(3, 5))


def guesses(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Answers of the digits network [N], written out in NumPy, without the compiler."""
    weights = {n: a.astype(np.float64) for n, a in load_file(DIGITS / "digits.safetensors").items()}
    x = (images[:, None].astype(np.float64) / 255 - 0.1307) / 0.3081
    x = convolve(convolve(x, weights, "conv1"), weights, "conv2").reshape(len(images), -1)
    x = np.maximum(x @ weights["fc1.weight"].T + weights["fc1.bias"], 0)
    return (x @ weights["fc2.weight"].T + weights["fc2.bias"]).argmax(axis=1)


def test_accuracy_of_the_trained_weights(
    held_out: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    """1,989 of 2,000 are right, as the README says."""
    images, labels = held_out
    assert int((guesses(images) == labels).sum()) == 1989


def test_spec_computes_what_the_plain_formulas_do(
    held_out: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> None:
    """Preprocessing, order of `flatten` and names are those of training."""
    images = held_out[0][:300]
    net = load(DIGITS / "digits.cnn")
    (answers,) = interp.run(net.graph, {"digit": images[:, None]})
    np.testing.assert_allclose(answers.sum(axis=1), 1)
    np.testing.assert_array_equal(answers.argmax(axis=1), guesses(images))


@pytest.mark.parametrize(("name", "label"), [("two", 2), ("seven", 7), ("eight", 8)])
def test_pictures(
    name: str, label: int, held_out: tuple[NDArray[np.uint8], NDArray[np.uint8]]
) -> None:
    with Image.open(DIGITS / f"{name}.png") as picture:
        assert picture.mode == "L"
        pixels = np.asarray(picture)
    images, labels = held_out
    found = np.flatnonzero((images == pixels).all(axis=(1, 2)))
    assert labels[found].tolist() == [label]
    assert guesses(pixels[None]).tolist() == [label]
