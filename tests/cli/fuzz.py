"""Hostile files through the command line: every one ends in a result or a message, in time.

Run it for long counts (`make fuzz`):

    python -m tests.cli.fuzz --texts 5000 --weights 2000 --feeds 2000 --seed 1

A case is a mutation of a good file, and a function of its kind and seed alone; `--replay text:17`
runs it again in this process. Cases run in forked children with limits on time and memory, a batch
at a time. Exit codes 0, 1 and 2 without a traceback are right; all else is a failure: 3 (internal),
a signal, or more than five seconds.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from cnncc.cli.app import app

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"
BATCH, SECONDS, MEMORY = 25, 5, 4 << 30
_TOKENS = (
    *("conv(3x3, filters=4)", "dense(2)", "flatten", "relu", "->", "as x", "{", "}", "(", ")", "["),
    *("]", "in", "repeat 3 {", "for i in range(9) {", "if true {", "block b(n) {", "param p = 1"),
    *("let x = 1", "input y: 3x3x3", "output z", "weights random", 'use "x.cnn" as u', "#", '"'),
    *("99999999999999999999", "1e999", "-1", "0", "1/0", "0x0", "3x3x3x3", "\x00", "\u202e", "\t"),
)


def mutated_text(rng: np.random.Generator, text: str) -> str:
    """A text with a few lines, words or characters lost, doubled, exchanged or put in."""
    for _ in range(int(rng.integers(1, 6))):
        lines = text.split("\n")
        at, other = int(rng.integers(len(lines))), int(rng.integers(len(lines)))
        place = int(rng.integers(len(text) + 1))
        match int(rng.integers(7)):
            case 0:
                del lines[at]
                text = "\n".join(lines) or "\n"
            case 1:
                lines[at] = lines[other]
                text = "\n".join(lines)
            case 2:
                lines.insert(at, str(rng.choice(_TOKENS)))
                text = "\n".join(lines)
            case 3:
                text = text[:place] + str(rng.choice(_TOKENS)) + text[place:]
            case 4:
                text = text[:place] + text[place + int(rng.integers(1, 9)) :]
            case 5:
                text = text[:place] + chr(int(rng.integers(1, 300))) + text[place + 1 :]
            case _:
                digit = str(int(rng.integers(0, 10**6)))
                text = text.replace(str(int(rng.integers(10))), digit, 1)
    return text


def mutated_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """Bytes with some of them changed, lost or put in, mostly near the start where headers are."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        size = max(len(changed), 1)
        reach = min(size, 400) if rng.random() < 0.8 else size
        at = int(rng.integers(reach))
        match int(rng.integers(5)):
            case 0:
                del changed[at:]
            case 1:
                del changed[at : at + int(rng.integers(1, 9))]
            case 2:
                changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                changed[at : at + 8] = b"\xff" * 8
            case _:
                changed[at : at + 1] = rng.bytes(1)
    return bytes(changed)


def text_case(rng: np.random.Generator, folder: Path) -> list[list[str]]:
    """A broken model, checked, formatted and inspected."""
    sources = [*ROOT.glob("examples/**/*.cnn"), *ROOT.glob("tests/spec/errors/*.cnn")]
    source = sorted(sources)[int(rng.integers(len(sources)))]
    path = folder / "model.cnn"
    text = source.read_text("utf-8", errors="replace")
    path.write_text(mutated_text(rng, text), "utf-8")
    verb = [["check", "--message-format", "json"], ["fmt", "--check"], ["inspect", "--json"]]
    return [[*verb[int(rng.integers(3))], str(path)]]


def weights_case(rng: np.random.Generator, folder: Path) -> list[list[str]]:
    """A broken weight file under a good model."""
    stored = (DIGITS / "digits.safetensors").read_bytes()
    path = folder / "w.safetensors"
    if rng.random() < 0.5:
        from safetensors.numpy import load

        stream = io.BytesIO()
        np.savez(stream, **dict(sorted(load(stored).items())))
        stored, path = stream.getvalue(), folder / "w.npz"
    path.write_bytes(mutated_bytes(rng, stored))
    model = str(DIGITS / "digits.cnn")
    return [["check", model, "--weights", str(path)], ["explain", model, "--weights", str(path)]]


def feed_case(rng: np.random.Generator, folder: Path) -> list[list[str]]:
    """A broken picture or array for a good model."""
    data = (DIGITS / str(rng.choice(["two.png", "seven.png", "eight.png"]))).read_bytes()
    path = folder / "feed"
    if rng.random() < 0.5:
        stream = io.BytesIO()
        np.save(stream, rng.integers(0, 256, (28, 28, 1)).astype(np.uint8))
        data = stream.getvalue()
    path.write_bytes(mutated_bytes(rng, data))
    return [["run", str(DIGITS / "digits.cnn"), "-i", str(path), "--resize"]]


KINDS: dict[str, Callable[[np.random.Generator, Path], list[list[str]]]] = {
    "text": text_case,
    "weights": weights_case,
    "feed": feed_case,
}


def judge(key: str) -> str:
    """Run a case: `code 0` to `code 2`, or `wrong: ...`."""
    kind, seed = key.split(":")
    with tempfile.TemporaryDirectory(prefix="cnncc-fuzz-") as folder:
        verdict = ""
        for words in KINDS[kind](np.random.default_rng(int(seed)), Path(folder)):
            start = time.monotonic()
            result = CliRunner().invoke(app, words)
            seconds = time.monotonic() - start
            verdict = f"code {result.exit_code}"
            if result.exit_code not in (0, 1, 2) or "Traceback" in result.output:
                return f"wrong: {verdict}: {result.output[-600:]}"
            if seconds > SECONDS:
                return f"wrong: {seconds:.1f} seconds"
    return verdict


def _work(batch: Sequence[str], send: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for key in batch:
        signal.alarm(4 * SECONDS)
        send.send((key, ""))
        send.send((key, judge(key)))
    send.close()


def run(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs (case, verdict); a child that dies gives `wrong` for the case it was at."""
    context = multiprocessing.get_context("fork")
    pending = list(names)
    while pending:
        batch, pending = pending[:BATCH], pending[BATCH:]
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(batch, send))
        child.start()
        send.close()
        current, done = batch[0], 0
        try:
            while done < len(batch):
                current, verdict = receive.recv()
                if verdict:
                    done += 1
                    yield current, verdict
        except EOFError:
            child.join()
            yield current, f"wrong: the process ended with {child.exitcode}"
            pending = [*batch[batch.index(current) + 1 :], *pending]
        child.join()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print counts; exit code 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=5000)
    parser.add_argument("--weights", type=int, default=2000)
    parser.add_argument("--feeds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", default="")
    given = parser.parse_args(arguments)
    if given.replay:
        print(judge(given.replay))
        return 0
    counts: Counter[str] = Counter()
    start, failed = time.monotonic(), False
    rng = np.random.default_rng(given.seed)
    for kind, count in (("text", given.texts), ("weights", given.weights), ("feed", given.feeds)):
        names = [f"{kind}:{int(seed)}" for seed in rng.choice(2**31, count, replace=False)]
        for key, verdict in run(names):
            counts[f"{kind} {verdict.split(':')[0]}"] += 1
            if verdict.startswith("wrong"):
                failed = True
                print(f"{key}: {verdict}", flush=True)
    seconds = time.monotonic() - start
    print(f"{dict(sorted(counts.items()))}, seed {given.seed}, {seconds:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
