"""Weights: from safetensors and npz files, from arrays in memory, or random.

A file is never trusted. Names and shapes are read from its headers first; an array is read only
when a layer needs exactly its shape, so that a file cannot make cnncc allocate more than the
network itself asks for. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import Span
from cnncc.ir.types import DType
from cnncc.spec import suggest
from cnncc.spec.builtins import Weight
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.project import RELATIVE
from cnncc.spec.values import listed, type_text
from cnncc.spec.weight_files import Damaged, Store, open_store

_HWIO = (3, 2, 0, 1)
_FLOATS = frozenset(("F64", "F32", "F16", "BF16"))


@dataclass(frozen=True, slots=True)
class WeightUse:
    """An array that a layer wants.

    Attributes:
        name: its path, such as `layer1.0.conv1.weight`.
        weight: its shape and random start.
        op: the layer's operator.
        layer: the layer's path.
        span: the layer's place.
    """

    name: str
    weight: Weight
    op: str
    layer: str
    span: Span


@dataclass(slots=True)
class WeightSource:
    """Where weights come from.

    Attributes:
        kind: `none` (no clause: random, with a warning), `random`, `file` or `arrays`.
        path: of the file.
        arrays: in memory.
        layout: `oihw` or `hwio`.
        prefix: beginning of the names in the file that the paths here do not have.
        rename: pairs (beginning in the file, beginning here), whole dotted parts.
        seed: of random weights.
        init: `he` or `xavier`.
        span: the `weights` clause, or None where the weights are not its.
    """

    kind: str = "none"
    path: Path | None = None
    arrays: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "oihw"
    prefix: str = ""
    rename: tuple[tuple[str, str], ...] = ()
    seed: int = 0
    init: str = "he"
    span: Span | None = None

    @property
    def from_file(self) -> bool:
        """Whether trained weights are bound, from a file or from memory."""
        return self.kind in ("file", "arrays")

    @property
    def title(self) -> str:
        """The source's name in messages."""
        return self.path.name if self.path else "the given arrays"


def bind(
    source: WeightSource, uses: Mapping[str, WeightUse], want_arrays: bool, report: Reporter
) -> dict[str, NDArray[Any]]:
    """The array of every use, float32 and in the graph's layout.

    With `want_arrays` false the arrays are placeholders without memory of their own; names and
    shapes of a file are checked all the same.
    """
    if source.from_file:
        try:
            with open_store(source.path, source.arrays) as store:
                return _from_store(source, store, uses, want_arrays, report)
        except Damaged as wrong:
            foreign = source.span is None and wrong.help == RELATIVE
            report.error("E0505", wrong.message, source.span, help="" if foreign else wrong.help)
        return {}
    if not want_arrays:
        return {name: placeholder(use.weight) for name, use in uses.items()}
    return {name: random_array(source, use) for name, use in uses.items()}


def placeholder(weight: Weight) -> NDArray[Any]:
    """Zeros of a shape that take no memory."""
    return np.broadcast_to(np.zeros((), weight.dtype.numpy), weight.shape)


def random_array(source: WeightSource, use: WeightUse) -> NDArray[Any]:
    """A random start that depends on the seed and the array's own name only.

    `he` draws from N(0, 2/fan_in), `xavier` from N(0, 1/fan_in). Whole numbers are zeros.
    """
    weight = use.weight
    if not weight.dtype.is_float:
        return np.zeros(weight.shape, weight.dtype.numpy)
    fixed = {"zero": 0.0, "one": 1.0, "quarter": 0.25}
    if weight.init in fixed:
        return np.full(weight.shape, fixed[weight.init], np.float32)
    digest = hashlib.blake2b(use.name.encode(), digest_size=8).digest()
    generator = np.random.Generator(
        np.random.SFC64([source.seed, int.from_bytes(digest, "little")])
    )
    array = generator.standard_normal(weight.shape, dtype=np.float32)
    gain = 2.0 if source.init == "he" else 1.0
    array *= np.float32(math.sqrt(gain / max(1, weight.fan_in)))
    return array.astype(weight.dtype.numpy, copy=False)


# -- binding ---------------------------------------------------------------------------------------


def _from_store(
    source: WeightSource,
    store: Store,
    uses: Mapping[str, WeightUse],
    want_arrays: bool,
    report: Reporter,
) -> dict[str, NDArray[Any]]:
    names = _names_here(source, store)
    arrays: dict[str, NDArray[Any]] = {}
    missing: set[str] = set()
    for name, use in uses.items():
        stored = names.get(name)
        if stored is None:
            if use.layer not in missing:
                _report_missing(source, use, names, report)
            missing.add(use.layer)
        elif _fits(source, store, stored, use, report):
            if want_arrays:
                arrays[name] = _array(source, store.read(stored), stored, use)
            else:
                arrays[name] = placeholder(use.weight)
    if not report.failed:
        _report_unused(source, store, names, uses, report)
    return arrays


def _names_here(source: WeightSource, store: Store) -> dict[str, str]:
    """Names as the layers say them, to names in the file."""
    found: dict[str, str] = {}
    for stored in store.headers:
        if not stored.startswith(source.prefix):
            continue
        name = stored[len(source.prefix) :]
        for old, new in source.rename:
            if name == old or name.startswith(old + "."):
                name = new + name[len(old) :]
                break
        if name in found:
            raise Damaged(
                f"`{found[name][:80]}` and `{stored[:80]}` in {source.title} both become "
                f"`{name[:80]}` here",
                "change `rename`",
            )
        found[name] = stored
    return found


def _report_missing(
    source: WeightSource, use: WeightUse, names: Mapping[str, str], report: Reporter
) -> None:
    near = [] if report.full else suggest.closest(use.name, list(names)[:5000], 3)
    leaf = use.name.rpartition(".")[2]
    same = [] if report.full else [n for n in names if n.endswith("." + use.name)]
    sibling = use.name.removesuffix("bias") + "weight"
    if leaf == "bias" and use.op != "batch_norm" and sibling in names:
        help = "if the layer was trained without one, write bias=false"
    elif same:
        help = f'try prefix = "{same[0][: -len(use.name)]}"'
    elif near:
        help = f"closest names: {', '.join(near)}; try `prefix` or `rename`"
    elif names:
        help = f"the file has {listed([n for n in names if n.endswith(leaf)] or list(names), 4)}"
        help += "; try `prefix` or `rename`"
    else:
        help = f"no tensor of the file starts with the prefix `{source.prefix}`"
    report.error("E0501", f"no tensor `{use.name}` in {source.title}", use.span, help=help)


def _fits(
    source: WeightSource, store: Store, stored: str, use: WeightUse, report: Reporter
) -> bool:
    dtype, shape = store.headers[stored]
    wanted_type = use.weight.dtype
    exact = str(wanted_type).upper()
    if wanted_type is not DType.F32 and dtype.upper() not in (
        exact,
        wanted_type.numpy.name.upper(),
    ):
        report.error(
            "E0502",
            f"`{stored[:80]}` in {source.title} has elements of type {dtype}, "
            f"the constant is {type_text(use.weight.type)}",
            use.span,
            help=f"convert the tensor to {exact}",
        )
        return False
    if wanted_type is DType.F32 and dtype not in _FLOATS:
        report.error(
            "E0502",
            f"`{stored[:80]}` in {source.title} has elements of type {dtype}, "
            "the layer needs floating-point numbers",
            use.span,
            help="convert the tensor to F32",
        )
        return False
    if shape in _legal_shapes(source.layout, use):
        return True
    other = "oihw" if source.layout == "hwio" else "hwio"
    help = "the layer and the file differ; see `cnncc inspect` for the layer's channels"
    if shape in _legal_shapes(other, use):
        help = f"it matches with `layout = {other}`"
    wanted = _legal_shapes(source.layout, use)[0]
    report.error(
        "E0502",
        f"tensor `{stored[:80]}` is {_dims(shape)}, the layer needs {_dims(wanted)}",
        use.span,
        help=help,
    )
    return False


def _legal_shapes(layout: str, use: WeightUse) -> list[tuple[int, ...]]:
    """Shapes in the file that become the graph's shape."""
    shape = use.weight.shape
    if layout == "oihw" or len(shape) == 1 or use.op == "constant":
        return [shape]
    if len(shape) == 2:
        return [shape[::-1]]
    out, inner, h, w = shape
    legal: list[tuple[int, ...]] = [(h, w, inner, out)]
    if (
        use.op == "conv2d" and inner == 1
    ):  # depthwise kernels are stored [h, w, channels, multiplier]
        legal += [(h, w, c, out // c) for c in range(1, out + 1) if out % c == 0]
    return legal


def _array(source: WeightSource, found: NDArray[Any], stored: str, use: WeightUse) -> NDArray[Any]:
    if use.weight.dtype is not DType.F32:
        return np.array(found, order="C", copy=None)
    with np.errstate(over="ignore"):
        array = np.asarray(found, dtype=np.float32)
    if np.isinf(array).any() and not np.isinf(found).any():
        raise Damaged(f"`{stored[:80]}` in {source.title} has numbers too large for float32")
    if use.op == "constant":
        return np.array(array, order="C", copy=None)
    if source.layout == "hwio" and array.ndim == 4:
        h, w = array.shape[:2]
        out, inner = use.weight.shape[:2]
        array = array.reshape(h, w, inner, out).transpose(_HWIO)
    elif source.layout == "hwio" and array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)


def _report_unused(
    source: WeightSource,
    store: Store,
    names: Mapping[str, str],
    uses: Mapping[str, WeightUse],
    report: Reporter,
) -> None:
    used = {names[name] for name in uses if name in names}
    left = [
        name
        for name in store.headers
        if name not in used and not name.endswith("num_batches_tracked")
    ]
    if left:
        count = "1 tensor" if len(left) == 1 else f"{len(left)} tensors"
        report.warn(
            "W0603",
            f"{count} in {source.title} {'was' if len(left) == 1 else 'were'} not used: "
            f"{listed([name[:60] for name in left], 5)}",
            source.span,
            help="is a layer missing?",
        )


def _dims(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) if shape else "a single number"
