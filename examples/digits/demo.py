"""Compiles digits.cnn and lets it read handwritten digits that its training never saw.

    python examples/digits/demo.py

Fails (exit code 1) when fewer than 98.5 % of the digits are read right.
"""

from __future__ import annotations

import os
import signal
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cnncc import Network, driver
from cnncc.plan.tables import group_rows

FOLDER = Path(__file__).parent
MODEL = FOLDER / "digits.cnn"
WANTED = 0.985
WIDTH = 80
SHOWN = 12
ACROSS = 3
CROP = slice(4, 24)  # the ink lies in the middle 20 x 20 pixels
BAR = 16
WORDS = {"conv2d": "conv", "max_pool2d": "maxpool"}


def has_blocks() -> bool:
    """Whether stdout can show block characters."""
    try:
        "▀▄█".encode(sys.stdout.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


UPPER, LOWER, FULL = "▀▄█" if has_blocks() else "'.#"
WANTS_COLOR = sys.stdout.isatty() or "FORCE_COLOR" in os.environ
COLOR = "NO_COLOR" not in os.environ and WANTS_COLOR and has_blocks()


def paint(text: str, code: str) -> str:
    """Text in a colour or weight, where the terminal shows them."""
    return f"\x1b[{code}m{text}\x1b[0m" if COLOR else text


def title(number: int, text: str) -> None:
    """A heading over a part of the show."""
    line = f" {number}  {text} "
    print("\n" + paint(line.ljust(WIDTH), "1;7") if COLOR else f"\n{line}\n{'-' * WIDTH}")


def show_spec() -> None:
    """The file as it is, with line numbers."""
    title(1, "The network: examples/digits/digits.cnn")
    for number, line in enumerate(MODEL.read_text(encoding="utf-8").splitlines(), 1):
        code, mark, comment = line.partition("#")
        print(f"{paint(f'{number:2}', '2')} {code}{paint(mark + comment, '32')}".rstrip())


def show_plan(groups: list[dict], nodes: int, arena: int) -> None:
    """Each loop nest: what it computes, kernel, tile, and where its result lies."""
    title(2, f"Compiled: {nodes} nodes of the graph became {len(groups)} loop nests")
    name_width = max(len(group["path"]) for group in groups) + 2
    place = "result in the arena"
    print(
        paint(f"  {'':{name_width}}{'computes':{WIDTH - 4 - name_width - len(place)}}{place}", "2")
    )
    for group in groups:
        ops = " + ".join(WORDS.get(op, op) for op in group["ops"])
        text = f"{ops} -> {group['shape']}"
        room = WIDTH - 4 - name_width - BAR
        print(
            f"  {paint(group['path'].ljust(name_width), '1')}{text:{room}}{arena_bar(group, arena)}"
        )
        indent = " " * (2 + name_width)
        how = textwrap.wrap(f"{group['kernel']}, {group['choice']}", WIDTH - len(indent))
        print(*(paint(indent + line, "2") for line in how), sep="\n")


def arena_bar(group: dict, arena: int) -> str:
    """Where in the arena a loop nest writes; the last one writes into the caller's array."""
    if group["layout"].endswith("f32"):
        return "caller's array"
    first = group["offset_bytes"] * BAR // arena
    last = max(first + 1, -(-(group["offset_bytes"] + group["bytes"]) * BAR // arena))
    return paint("." * first, "2") + "#" * (last - first) + paint("." * (BAR - last), "2")


def drawn(image: np.ndarray) -> list[str]:
    """A picture as text, two rows of pixels a line."""
    ink = image[CROP, CROP, 0]
    return ["".join(cells(ink[row], ink[row + 1])) for row in range(0, len(ink), 2)]


def cells(upper: np.ndarray, lower: np.ndarray) -> Iterator[str]:
    """A character for each pair of pixels, one above the other."""
    for a, b in zip(upper.tolist(), lower.tolist(), strict=True):
        if COLOR:  # shades of gray: the upper pixel is the ink of the block, the lower its ground
            yield f"\x1b[38;5;{232 + a * 23 // 255};48;5;{232 + b * 23 // 255}m{UPPER}\x1b[0m"
        else:
            yield f" {UPPER}{LOWER}{FULL}"[(a > 100) + 2 * (b > 100)]


def guesses(scores: np.ndarray, label: int) -> list[str]:
    """The three best classes, 20 columns wide each."""
    lines = []
    for digit in np.argsort(-scores)[:3].tolist():
        bar = FULL * round(float(scores[digit]) * 8)
        line = f" {digit} {scores[digit]:7.1%}  {bar:8}"
        first = digit == int(np.argmax(scores))
        lines.append(paint(line, "1;32" if digit == label else "1;31") if first else line)
    return lines


def picked(answers: np.ndarray, labels: np.ndarray) -> list[int]:
    """The first picture of each digit, then the first ones that are read wrong."""
    right = np.argmax(answers, axis=1) == labels
    chosen = [int(np.flatnonzero((labels == digit) & right)[0]) for digit in range(10)]
    rest = [k for k in [*np.flatnonzero(~right).tolist(), *range(len(labels))] if k not in chosen]
    return [*chosen, *rest[: SHOWN - 10]]


def show_digits(images: np.ndarray, labels: np.ndarray, answers: np.ndarray) -> None:
    """Pictures side by side, with what the network takes them for below."""
    title(3, "Digits it never saw: one of each, two that it reads wrong, its best guesses")
    chosen = picked(answers, labels)
    gap = "      "
    for start in range(0, SHOWN, ACROSS):
        row = chosen[start : start + ACROSS]
        blocks = [[*drawn(images[k]), *guesses(answers[k], int(labels[k]))] for k in row]
        print()
        for parts in zip(*blocks, strict=True):
            print((gap + gap.join(parts)).rstrip())


def latency(net: Network, images: np.ndarray) -> float:
    """Median seconds of a call with one image, over a thousand calls."""
    times = []
    for image in images[:1000]:
        start = time.perf_counter()
        net(image)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> int:
    """The whole show; 0 when the digits are read well enough."""
    with np.load(FOLDER / "test_digits.npz") as held_out:
        images, labels = held_out["images"][..., np.newaxis], held_out["labels"]
    print(paint("cnncc: from twenty lines to vector code that reads handwriting", "1"))
    show_spec()

    times = {}
    with tempfile.TemporaryDirectory(prefix="cnncc-demo-") as folder:
        os.environ["CNNCC_CACHE_DIR"] = folder
        for name in ("cold", "cached"):
            start = time.perf_counter()
            compilation = driver.compile_model(MODEL)
            net = driver.build(compilation, threads=1)
            times[name] = time.perf_counter() - start
    plan = compilation.plan
    show_plan(group_rows(plan), len(compilation.model.graph), plan.interface.workspace_bytes)
    start = time.perf_counter()
    answers = net(images)
    took = time.perf_counter() - start
    show_digits(images, labels, answers)

    title(4, "How good, how quick")
    right = int(np.sum(np.argmax(answers, axis=1) == labels))
    share = right / len(labels)
    memory = net.memory
    facts = {
        "accuracy": f"{share:.2%}: {right:,} of {len(labels):,} digits, in {took * 1e3:.0f} ms",
        "latency": f"{latency(net, images) * 1e6:.1f} us an image (median, 1 thread)",
        "compile time": f"{times['cold']:.2f} s, {times['cached'] * 1e3:.0f} ms from the cache",
        "size": f"{memory.code_bytes:,} bytes of code, {memory.weights_bytes:,} of weights,"
        f" {memory.workspace_bytes:,} of workspace",
        "target": f"{plan.target.cpu}, vectors of {plan.target.lanes()} floats",
    }
    for name, fact in facts.items():
        print(f"  {paint(f'{name:14}', '1')}{fact}")
    if share < WANTED:
        print(paint(f"\nthe accuracy is below {WANTED:.1%}", "1;31"))
        return 1
    print("\nNext: cnncc run examples/digits/digits.cnn -i examples/digits/seven.png")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
    sys.exit(main())
