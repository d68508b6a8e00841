"""Train the network of digits.cnn and pack the digits that training never sees.

Needs an environment of its own (`pip install torch numpy safetensors pillow`); cnncc itself
never imports PyTorch. Reads an .npz with `images` (uint8 [N,28,28]) and `labels` (uint8 [N]), keeps
every fifth digit back for the test, trains on the others and writes into this folder:

* digits.safetensors: float32 weights under the names that digits.cnn binds;
* test_digits.npz: the digits kept back, shuffled, as `images` and `labels`;
* three of them as PNG pictures.

The recipe is fixed: the test digits are looked at once, after the last epoch, to report accuracy.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
DEFAULT_DIGITS = REPOSITORY.parent / "shared" / "models" / "mnist_digits_10000.npz"
MEAN, STD = 0.1307, 0.3081  # of the pixels, scaled to 0..1; digits.cnn compiles the same figures in
PICTURES = {"two": 2, "seven": 7, "eight": 8}


class Digits(nn.Module):
    """The network of digits.cnn: attribute names are its weight paths."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.fc1 = nn.Linear(32 * 5 * 5, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits [N,10] of normalised pictures [N,1,28,28]."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def split(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """Every fifth digit is for the test: the file is sorted by label, so each keeps its share."""
    held_out = np.arange(len(labels)) % 5 == 4
    return images[~held_out], labels[~held_out], images[held_out], labels[held_out]


def distort(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Pictures [N,1,28,28], each slightly turned, sheared, resized and shifted."""
    n = len(pixels)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(n, generator=rng) * 2 - 1) * limit

    angle, shear = uniform(math.radians(12)), uniform(0.15)
    height, width = 1 + uniform(0.12), 1 + uniform(0.12)
    shift_x, shift_y = uniform(2 * 2 / 28), uniform(2 * 2 / 28)  # two pixels; the grid spans -1..1
    cos, sin = angle.cos(), angle.sin()
    rows = torch.stack(
        [
            torch.stack([cos / width, (shear * cos - sin) / height, shift_x], dim=1),
            torch.stack([sin / width, (shear * sin + cos) / height, shift_y], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(rows, list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, mode="bilinear", align_corners=False)


def as_pixels(images: np.ndarray) -> Tensor:
    """Bytes [N,28,28] as numbers from 0 to 1, [N,1,28,28]."""
    return torch.from_numpy(images).unsqueeze(1).float() / 255


def train(images: np.ndarray, labels: np.ndarray, *, epochs: int, batch: int, seed: int) -> Digits:
    """The trained network; the same arguments on the same machine give the same weights."""
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    pixels, targets = as_pixels(images), torch.from_numpy(labels.astype(np.int64))
    model = Digits()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    steps = epochs * math.ceil(len(targets) / batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=6e-3, total_steps=steps)
    for epoch in range(1, epochs + 1):
        start, total = time.perf_counter(), 0.0
        for chosen in torch.randperm(len(targets), generator=rng).split(batch):
            x = (distort(pixels[chosen], rng) - MEAN) / STD
            loss = F.cross_entropy(model(x), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(chosen)
        seconds = time.perf_counter() - start
        print(f"epoch {epoch:3}/{epochs}: loss {total / len(targets):.4f}, {seconds:.1f} s")
    return model


@torch.no_grad()
def accuracy(model: Digits, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of the pictures whose first guess is right."""
    guesses = model((as_pixels(images) - MEAN) / STD).argmax(dim=1).numpy()
    return float((guesses == labels).mean())


def pack(images: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Write the test digits in mixed order, and the first of some labels as pictures."""
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images[order], labels[order]
    np.savez_compressed(folder / "test_digits.npz", images=images, labels=labels)
    for name, label in PICTURES.items():
        Image.fromarray(images[labels == label][0]).save(folder / f"{name}.png", optimize=True)


def main() -> None:
    """Command line: see the module's text."""
    parser = argparse.ArgumentParser(description="Train the network of digits.cnn.")
    parser.add_argument("digits", nargs="?", type=Path, default=DEFAULT_DIGITS, help=".npz to read")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, default=HERE, help="folder to write into")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    with np.load(options.digits, allow_pickle=False) as file:
        images, labels, test_images, test_labels = split(file["images"], file["labels"])
    model = train(
        images, labels, epochs=options.epochs, batch=options.batch, seed=options.seed
    ).eval()
    share = accuracy(model, test_images, test_labels)
    print(f"accuracy on {len(test_labels)} digits kept back: {share:.2%}")

    options.out.mkdir(parents=True, exist_ok=True)
    pack(test_images, test_labels, options.out)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(
        weights,
        options.out / "digits.safetensors",
        metadata={"trained_by": "examples/digits/train.py", "accuracy": f"{share:.4f}"},
    )


if __name__ == "__main__":
    main()
