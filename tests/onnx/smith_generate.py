"""Random models of NNSmith, a generator that knows nothing of this compiler.

It needs an environment of its own (Python 3.11: `nnsmith==0.1.0 torch==2.13.0 z3-solver==4.12.1.0
"setuptools<80" onnxscript`) and imports nothing of the compiler:

    python -m tests.onnx.smith_generate OUT --count 500 --seed 1

Each model is made in a child process: the solver may hang and the exporter may die. It leaves
`OUT/00017/model.onnx` and `data.npz` with the inputs, searched by NNSmith so that no NaN appears.
The name of a folder is the seed that made it.
"""

from __future__ import annotations

import argparse
import functools
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHILD_SECONDS = 40
# Whole symbolic models, and ones that begin with a tensor of concrete sizes.
METHODS = ("symbolic", "symbolic-cinit")
# What sizes and attributes are asked to be; the solver by itself likes 1.
SIZES = (1, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 32, 33, 40)
SPREAD_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a share of the models is made of.

    Attributes:
        share: of all models, relative to the other flavours.
        types: element types that occur.
        ranks: ranks of inputs; one that is listed twice comes twice as often.
        layers: how often the layers of CNNs are drawn, against once for any other operator.
    """

    share: int
    types: tuple[str, ...]
    ranks: tuple[int, ...]
    layers: int


FLAVOURS = (
    Flavour(5, ("float32", "int64", "bool"), (4, 4, 4, 4, 2, 3), 4),
    Flavour(3, ("float32", "int32", "int64", "bool"), (0, 1, 2, 3, 4, 5), 1),
    Flavour(1, ("float32", "float64", "int32", "int64", "bool"), (1, 2, 3, 4), 1),
    Flavour(1, ("float32", "int8", "uint8", "int32", "bool"), (1, 2, 3, 4), 1),
)
LAYERS = frozenset(
    (
        *("NCHWConv2d", "Conv1d", "BatchNorm2d", "MaxPool2d", "AvgPool2d", "Linear", "Softmax"),
        *("BilinearInterp", "NearestInterp", "BicubicInterp", "ConstPad", "ReduceMean"),
        *("ReLU", "LeakyReLU", "PReLU", "Sigmoid", "GELU", "Clip"),
        *("Add", "Mul", "Concat2", "Concat3"),
    )
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make as many models as asked for; seeds that lead to none are passed over."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx.smith_generate")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    options.out.mkdir(parents=True, exist_ok=True)
    make = _maker()
    made, seed, start = 0, options.seed, time.monotonic()
    while made < options.count:
        folder = options.out / f"{seed:05d}"
        if folder.is_dir() or _in_child(functools.partial(make, seed, folder)):
            made += 1
        else:
            shutil.rmtree(folder, ignore_errors=True)
        seed += 1
        if seed % 20 == 0:
            print(f"{made} models, seed {seed}, {time.monotonic() - start:.0f} s", flush=True)
    return 0


def _in_child(task: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            signal.alarm(CHILD_SECONDS)  # no handler: the child ends
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            if "SMITH_TRACE" not in os.environ:
                os.dup2(null, 2)
            task()
            status = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    return status == 0


def _maker() -> Callable[[int, Path], None]:
    """The function that makes the model of a seed; NNSmith is loaded once, before all forks."""
    import torch
    from nnsmith.graph_gen import model_gen
    from nnsmith.materialize import Model

    torch.set_num_threads(1)
    torch.onnx.export = functools.partial(torch.onnx.export, dynamo=False)
    model_type = Model.init("onnx", backend_target="cpu")
    model_type.add_seed_setter()

    def make(seed: int, folder: Path) -> None:
        choose = random.Random(seed)
        flavour = choose.choices(FLAVOURS, [f.share for f in FLAVOURS])[0]
        generator = model_gen(
            opset=_operators(model_type.operators(), flavour),
            method=choose.choice(METHODS),
            seed=seed,
            max_nodes=choose.choice((2, 4, 6, 8, 10, 14)),
            timeout_ms=8000,
            max_elem_per_tensor=choose.choice((1 << 10, 1 << 12, 1 << 14)),
            concr_ph_dim_rng=choose.choice(((1, 7), (1, 16), (1, 40))),
            rank_choices=list(flavour.ranks),
            dtype_choices=list(flavour.types),
        )
        _spread(generator, choose)
        model = model_type.from_gir(generator.make_concrete())
        model.refine_weights()
        oracle = model.make_oracle()
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model.onnx_model.SerializeToString())
        np.savez(folder / "data.npz", **oracle.input)

    return make


def _spread(generator: Any, choose: random.Random) -> None:
    """Ask the solver for larger sizes and attributes, one unknown after the other."""
    if generator.last_solution is None:
        generator.check_sat()
    unknowns = sorted((d for d in generator.last_solution.decls() if d.arity() == 0), key=str)
    choose.shuffle(unknowns)
    end = time.monotonic() + SPREAD_SECONDS
    for unknown in unknowns:
        for _ in range(2):
            wish = unknown() == choose.choice(SIZES)
            if time.monotonic() < end and str(generator.check_sat(wish)) == "sat":
                generator.assume(wish)
                break
    generator.check_sat()


def _operators(known: Sequence[Any], flavour: Flavour) -> list[Any]:
    """The operators of a flavour, with no other element types; layers several times."""
    chosen: list[Any] = []
    for operator in known:
        rules = [
            types
            for types in operator.in_dtypes or ()
            if all(str(dtype) in flavour.types for dtype in types)
        ]
        if not rules:
            continue
        operator.in_dtypes = rules
        is_layer = operator.name().split(".")[-1] in LAYERS
        chosen += [operator] * (flavour.layers if is_layer else 1)
    return chosen


if __name__ == "__main__":
    sys.exit(main())
