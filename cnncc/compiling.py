"""`cnncc.compile`: a network from a model file, from the store where it has been made before."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncc.network_store import NetworkStore, key_of
from cnncc.options import FEWER_PRODUCTS, Options
from cnncc.runtime.network import Network

if TYPE_CHECKING:
    from cnncc.targets import Target


def compile(
    path: str | Path,
    *,
    threads: int | None = None,
    target: str | Target = "host",
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    winograd: bool = True,
    without: Collection[str] = (),
    tune: str = "off",
) -> Network:
    """Compile a model file into a network that can be called.

    Args:
        path: a `.cnn` or `.onnx` file.
        threads: threads that share one inference; by default the cores this process may use, or
            one for a network so small that waking a second takes longer.
        target: `host`, or a target by name, such as `x86-64-v3`.
        params: values for the file's `param`s.
        weights: a weight file, or arrays by name, instead of what the file names.
        shapes: whole shapes by input name, for the dynamic dimensions of an `.onnx` file.
        winograd: whether convolutions may be computed with fewer multiplications, which rounds
            otherwise; `cnncc explain` states the bound of the error.
        without: other optimisations to leave out, names of `cnncc.options.SWITCHES`.
        tune: `off` chooses kernels by the cost model, `quick` times the best few on this machine
            and remembers.

    Raises:
        InputError: there is no such optimisation or way of tuning.
        SpecError: the file has mistakes, or the weights do not fit it; the message lists them all.
        TargetError: the target is unknown, or this machine cannot run it.
    """
    left_out = frozenset(without) | (frozenset() if winograd else FEWER_PRODUCTS)
    key, store = None, NetworkStore()
    if not store.reason and params is None and weights is None:
        asked = {"target": target, "shapes": shapes, "without": sorted(left_out), "tune": tune}
        key = key_of(Path(path), asked)
    if key is not None and (found := store.get(key, threads)) is not None:
        return found
    from cnncc import driver  # the compiler and LLVM, which a stored network does without

    made = driver.compile_network(
        path,
        target=target,
        params=params,
        weights=weights,
        shapes=shapes,
        options=Options(left_out, tune),
        threads=threads,
    )
    if key is not None:
        store.put_beside(key, made)
    return made
