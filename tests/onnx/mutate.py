"""ONNX files with something changed: an answer or a typed error, soon, in little memory.

    python -m tests.onnx.mutate --count 5000 --seed 1

A case is known by its seed and number: `--only N` runs one in this process, with its traceback.
What counts as wrong: any other exception, a signal, more than 5 s of processor time, 1 GiB.
"""

from __future__ import annotations

import argparse
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    defs,
    helper,
    load_model,
    numpy_helper,
)

from cnncc import driver
from cnncc.errors import CnnccError
from tests.onnx.forked import Died, run_forked

MOST_SECONDS = 5.0
MOST_BYTES = 2**30
ADDRESS_SPACE = 2**32
PATIENCE = 60.0  # until a child counts as hanging; other work may slow it
SHARED = Path(__file__).parents[2].parent / "shared" / "models"
LARGEST_BASE = 2**20

WHOLE = [0, 1, -1, 2, 3, 5, 7, 8, 64, 255, 1000, 2**16, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62]
WHOLE += [-(2**63), 2**63 - 1]
REAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-38, 1e38, float("inf"), float("-inf"), float("nan")]
TEXT = ["", "x", "NOTSET", "SAME_UPPER", "VALID", "linear", "ij,jk->ik", "\0", "é", "v" * 3000]


# -- what is changed -----------------------------------------------------------------------------


def _network() -> ModelProto:
    """Convolutions, a residual sum, pools, a classifier."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["c0"], "stem", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c0", *("mvsq"[i] for i in range(4))], ["n0"]),
        helper.make_node("Relu", ["n0"], ["r0"], "act"),
        helper.make_node("Conv", ["r0", "w1"], ["c1"], pads=[1] * 4, group=8),
        helper.make_node("Add", ["c1", "r0"], ["a0"]),
        helper.make_node("MaxPool", ["a0"], ["p0"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Concat", ["p0", "p0"], ["k0"], axis=1),
        helper.make_node("GlobalAveragePool", ["k0"], ["g0"]),
        helper.make_node("Flatten", ["g0"], ["f0"]),
        helper.make_node("Gemm", ["f0", "w2", "b2"], ["d0"], transB=1),
        helper.make_node("Softmax", ["d0"], ["y"], axis=1),
    ]
    tensors = [weight("w0", 8, 3, 3, 3), weight("b0", 8), weight("w1", 8, 1, 3, 3)]
    tensors += [weight(name, 8) for name in "mvs"] + [weight("q", 8)]
    tensors += [weight("w2", 10, 16), weight("b2", 10)]
    return _model(nodes, [1, 3, 16, 16], [1, 10], tensors)


def _shapes() -> ModelProto:
    """Arithmetic on shapes, and everything that moves data."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["c"]),
        helper.make_node("Div", ["c", "two"], ["h"]),
        helper.make_node("Concat", ["batch", "two", "h", "rest"], ["t"], axis=0),
        helper.make_node("Reshape", ["x", "t"], ["r"]),
        helper.make_node("Transpose", ["r"], ["u"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["u", "back"], ["v"]),
        helper.make_node("Slice", ["v", "batch", "two", "one"], ["w"]),
        helper.make_node("Pad", ["w", "pads"], ["p"], mode="reflect"),
        helper.make_node("Resize", ["p", "", "scales"], ["z"], mode="linear"),
        helper.make_node("ReduceMean", ["z"], ["m"], axes=[2, 3]),
        helper.make_node("Expand", ["m", "wide"], ["e"]),
        helper.make_node("Tile", ["e", "reps"], ["l"]),
        helper.make_node("TopK", ["l", "two"], ["y", "i"], axis=1),
        helper.make_node("Split", ["i"], ["i0", "i1"], axis=1),
    ]

    def whole(name: str, *values: int) -> TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    tensors = [whole("one", 1), whole("two", 2), whole("batch", 1), whole("rest", 36)]
    tensors += [whole("back", 1, 8, 6, 6), whole("pads", 0, 0, 1, 1, 0, 0, 1, 1)]
    tensors += [whole("wide", 1, 8, 2, 2), whole("reps", 1, 1, 1, 3)]
    tensors.append(numpy_helper.from_array(np.array([1, 1, 2, 1.5], np.float32), "scales"))
    return _model(nodes, [1, 8, 6, 6], [1, 2, 2, 6], tensors)


def _functions() -> ModelProto:
    """Calls of functions that call functions."""
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    leaky = helper.make_node("LeakyRelu", ["a"], ["b"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=AttributeProto.FLOAT)
    inner = helper.make_function("own", "inner", ["a"], ["b"], [leaky], opsets, ["slope"])
    twice = [
        helper.make_node("inner", ["a"], ["c"], domain="own", slope=0.1),
        helper.make_node("inner", ["c"], ["b"], domain="own"),
    ]
    outer = helper.make_function("own", "outer", ["a"], ["b"], twice, opsets)
    nodes = [helper.make_node("outer", ["x"], ["h"], domain="own")]
    nodes.append(helper.make_node("Sigmoid", ["h"], ["y"]))
    made = _model(nodes, [1, 4], [1, 4], [])
    made.functions.extend([inner, outer])
    made.opset_import.add(domain="own", version=1)
    return made


def _model(
    nodes: Sequence[NodeProto], shape: list[int], result: list[int], tensors: list[TensorProto]
) -> ModelProto:
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    sink = helper.make_tensor_value_info("y", TensorProto.FLOAT, result)
    graph = helper.make_graph(nodes, "g", [source], [sink], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _shared() -> Iterator[ModelProto]:
    for path in sorted(SHARED.glob("*/model.onnx")):
        if path.stat().st_size <= LARGEST_BASE:
            made = load_model(path)
            for value in made.graph.input:
                for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                    if dim.WhichOneof("value") != "dim_value" or dim.dim_value < 1:
                        dim.dim_value = 1 if axis == 0 else 64
            yield made


def _single_operators() -> Iterator[ModelProto]:
    """The node tests of the installed package, with their small inputs made constants."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in sorted(cases, key=lambda c: c.name):
        made = ModelProto()
        made.CopyFrom(case.model)  # the package keeps its tests for whoever asks next
        for value, array in list(zip(made.graph.input, case.data_sets[0][0], strict=False))[1:]:
            if isinstance(array, np.ndarray) and array.size <= 4096 and array.dtype.kind in "iufb":
                made.graph.initializer.append(numpy_helper.from_array(array, value.name))
        yield made


@cache
def bases() -> tuple[tuple[ModelProto, ...], ...]:
    """Sound models, in groups of equal weight."""
    own = (_network(), _shapes(), _functions())
    groups = (own, tuple(_shared()), tuple(_single_operators()))
    return tuple(group for group in groups if group)


# -- changes -------------------------------------------------------------------------------------


Change = Callable[[ModelProto, random.Random], None]
CHANGES: list[Change] = []


def change(function: Change) -> Change:
    """Enters a change; one that finds nothing to change raises IndexError."""
    CHANGES.append(function)
    return function


def _nodes(proto: ModelProto, rng: random.Random) -> Any:
    """The nodes of the graph, or of a function."""
    scopes = [proto.graph.node, *(f.node for f in proto.functions)]
    return rng.choice(scopes) if rng.random() < 0.5 else scopes[0]


def _node(proto: ModelProto, rng: random.Random) -> NodeProto:
    return rng.choice(_nodes(proto, rng))  # type: ignore[no-any-return]


def _attribute(proto: ModelProto, rng: random.Random) -> AttributeProto:
    return rng.choice([a for node in _nodes(proto, rng) for a in node.attribute])


def _tensor(proto: ModelProto, rng: random.Random) -> TensorProto:
    inside = [a.t for n in proto.graph.node for a in n.attribute if a.HasField("t")]
    return rng.choice([*proto.graph.initializer, *inside])


def _value(proto: ModelProto, rng: random.Random) -> str:
    """A name that something in the graph has."""
    graph: GraphProto = proto.graph
    names = [name for node in graph.node for name in (*node.input, *node.output)]
    names += [v.name for v in (*graph.input, *graph.output)]
    return rng.choice([*names, "", "nobody"])


@change
def _delete_node(proto: ModelProto, rng: random.Random) -> None:
    nodes = _nodes(proto, rng)
    del nodes[rng.randrange(len(nodes))]


@change
def _duplicate_node(proto: ModelProto, rng: random.Random) -> None:
    nodes = _nodes(proto, rng)
    nodes.append(rng.choice(nodes))


@change
def _swap_nodes(proto: ModelProto, rng: random.Random) -> None:
    nodes = _nodes(proto, rng)
    first, second = rng.choice(nodes), rng.choice(nodes)
    kept = NodeProto()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)


@change
def _other_operator(proto: ModelProto, rng: random.Random) -> None:
    _node(proto, rng).op_type = rng.choice(_OPERATORS)


@change
def _other_input(proto: ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    node.input[rng.randrange(len(node.input))] = _value(proto, rng)


@change
def _more_inputs(proto: ModelProto, rng: random.Random) -> None:
    _node(proto, rng).input.extend(_value(proto, rng) for _ in range(rng.choice([1, 1, 2, 300])))


@change
def _fewer_inputs(proto: ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    del node.input[rng.randrange(len(node.input)) :]


@change
def _other_outputs(proto: ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    if rng.random() < 0.5:
        node.output[rng.randrange(len(node.output))] = _value(proto, rng)
    else:
        node.output.append(rng.choice(["", "extra", _value(proto, rng)]))


@change
def _other_domain(proto: ModelProto, rng: random.Random) -> None:
    names = ["", "ai.onnx", "com.microsoft", "ai.onnx.ml", "own", "evil"]
    _node(proto, rng).domain = rng.choice(names)


@change
def _other_name(proto: ModelProto, rng: random.Random) -> None:
    _node(proto, rng).name = rng.choice([*TEXT, "*/", "%s%n", "a/b/../c", "\u202e", "def", "9"])


@change
def _delete_attribute(proto: ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for n in _nodes(proto, rng) if n.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


@change
def _foreign_attribute(proto: ModelProto, rng: random.Random) -> None:
    """An attribute that some operator has."""
    name = rng.choice(_ATTRIBUTES)
    value = rng.choice([rng.choice(WHOLE), rng.choice(REAL), rng.choice(TEXT), [1, 2], [1.0]])
    _node(proto, rng).attribute.append(helper.make_attribute(name, value, attr_type=_kind(value)))


@change
def _attribute_value(proto: ModelProto, rng: random.Random) -> None:
    made = _attribute(proto, rng)
    if made.type == AttributeProto.INT:
        made.i = rng.choice(WHOLE)
    elif made.type == AttributeProto.FLOAT:
        made.f = rng.choice(REAL)
    elif made.type == AttributeProto.STRING:
        made.s = rng.choice([*(t.encode() for t in TEXT), b"\xff\xfe"])
    elif made.type == AttributeProto.INTS:
        _list(made.ints, WHOLE, rng)
    elif made.type == AttributeProto.FLOATS:
        _list(made.floats, REAL, rng)
    else:
        raise IndexError


@change
def _attribute_type(proto: ModelProto, rng: random.Random) -> None:
    _attribute(proto, rng).type = rng.choice(AttributeProto.AttributeType.values())


@change
def _tensor_dims(proto: ModelProto, rng: random.Random) -> None:
    _list(_tensor(proto, rng).dims, WHOLE, rng)


@change
def _tensor_reshaped(proto: ModelProto, rng: random.Random) -> None:
    """The same elements under another shape."""
    made = _tensor(proto, rng)
    dims = list(made.dims)
    kind = rng.randrange(4)
    if kind == 0:
        rng.shuffle(dims)
    elif kind == 1:
        dims.insert(rng.randrange(len(dims) + 1), 1)
    elif kind == 2:
        dims = [int(np.prod(dims, dtype=object))]
    else:
        dims = [d for d in dims if d != 1]
    made.dims[:] = dims


@change
def _tensor_type(proto: ModelProto, rng: random.Random) -> None:
    """Another element type, with data to match or not."""
    made = _tensor(proto, rng)
    code = rng.choice(TensorProto.DataType.values())
    if rng.random() < 0.5:
        made.data_type = code
        return
    dtype = rng.choice([np.float16, np.float64, np.int32, np.int64, np.uint8, np.int8, np.bool_])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.CopyFrom(numpy_helper.from_array(_array(made).astype(dtype), made.name))


@change
def _tensor_values(proto: ModelProto, rng: random.Random) -> None:
    """Other numbers: what shapes, axes, pads and scales are made of."""
    made = _tensor(proto, rng)
    array = _array(made).copy()
    for _ in range(rng.choice([1, 1, 2])):
        at = rng.randrange(array.size) if array.size else 0
        value = rng.choice(WHOLE if array.dtype.kind in "iu" else REAL)
        if array.dtype.kind in "iu":
            bounds = np.iinfo(array.dtype)
            value = min(max(int(value), int(bounds.min)), int(bounds.max))
        with np.errstate(all="ignore"):
            array.reshape(-1)[at : at + 1] = value
    made.CopyFrom(numpy_helper.from_array(array, made.name))


@change
def _tensor_data(proto: ModelProto, rng: random.Random) -> None:
    made = _tensor(proto, rng)
    raw = made.raw_data
    made.raw_data = rng.choice([b"", raw[:-1], raw + b"\0", raw * 2, raw[: len(raw) // 2]])


@change
def _small_constants(proto: ModelProto, rng: random.Random) -> None:
    """As `_tensor_values`, aimed at the constants of shape arithmetic."""
    found = [t for t in proto.graph.initializer if t.data_type == TensorProto.INT64]
    kept = rng.choice(found)
    array = _array(kept).copy()
    array.reshape(-1)[rng.randrange(array.size) if array.size else 0 :][:1] = rng.choice(WHOLE)
    kept.CopyFrom(numpy_helper.from_array(array, kept.name))


@change
def _initializer_gone(proto: ModelProto, rng: random.Random) -> None:
    """A constant that is missing, or is an input now, or has a second writer."""
    kept = rng.randrange(len(proto.graph.initializer))
    made = proto.graph.initializer[kept]
    if rng.random() < 0.5:
        value = helper.make_tensor_value_info(made.name, made.data_type, list(made.dims))
        proto.graph.input.append(value)
    if rng.random() < 0.2:
        proto.graph.initializer.append(made)
    else:
        del proto.graph.initializer[kept]


@change
def _port(proto: ModelProto, rng: random.Random) -> None:
    """Another type or shape of an input, an output, or a value in between."""
    graph = proto.graph
    value = rng.choice([*graph.input, *graph.output, *graph.value_info])
    kind = value.type.tensor_type
    choice = rng.randrange(5)
    if choice == 0:
        kind.elem_type = rng.choice(TensorProto.DataType.values())
    elif choice == 1:
        rng.choice(kind.shape.dim).dim_value = rng.choice(WHOLE)
    elif choice == 2:
        kind.ClearField("shape")
    elif choice == 3:
        kind.shape.dim.add().dim_value = rng.choice(WHOLE)
    else:
        rng.choice(kind.shape.dim).dim_param = rng.choice(["n", "", "?", "\0", "batch"])


@change
def _outputs(proto: ModelProto, rng: random.Random) -> None:
    outputs = proto.graph.output
    if rng.random() < 0.5:
        rng.choice(outputs).name = _value(proto, rng)
    else:
        value = helper.make_tensor_value_info(_value(proto, rng), TensorProto.FLOAT, None)
        outputs.append(value)


@change
def _versions(proto: ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.2:
        proto.ir_version = rng.choice([0, 2, 3, 4, 10, 13, 99, -1])
    else:
        rng.choice(proto.opset_import).version = rng.choice([*range(1, 30), 0, -1, 2**40])


def _list(entries: Any, values: Sequence[Any], rng: random.Random) -> None:
    kind = rng.randrange(4)
    if kind == 0:
        del entries[rng.randrange(len(entries)) :]
    elif kind == 1:
        entries.insert(rng.randrange(len(entries) + 1), rng.choice(values))
    elif kind == 2:
        entries.extend([rng.choice(values)] * rng.choice([1, 2, 9, 100]))
    else:
        entries[rng.randrange(len(entries))] = rng.choice(values)


def _array(made: TensorProto) -> Any:
    try:
        found = numpy_helper.to_array(made)
    except (ValueError, TypeError, KeyError) as error:  # changed before
        raise IndexError from error
    if found.dtype.kind not in "iufb":
        raise IndexError
    return found


def _kind(value: Any) -> int:
    """The type of an attribute with this value."""
    first = value[0] if isinstance(value, list) else value
    single = {int: AttributeProto.INT, float: AttributeProto.FLOAT, str: AttributeProto.STRING}
    several = {int: AttributeProto.INTS, float: AttributeProto.FLOATS}
    return (several if isinstance(value, list) else single)[type(first)]


_SCHEMAS = [s for s in defs.get_all_schemas_with_history() if s.domain == ""]
_OPERATORS = sorted({s.name for s in _SCHEMAS})
_ATTRIBUTES = sorted({name for s in _SCHEMAS for name in s.attributes})


def mutated(seed: int, number: int) -> bytes:
    """The file of a case."""
    rng = random.Random(f"{seed}/{number}")
    proto = ModelProto()
    proto.CopyFrom(rng.choice(rng.choice(bases())))
    for _ in range(rng.choice([1, 1, 1, 2, 2, 3, 6])):
        try:
            rng.choice(CHANGES)(proto, rng)
        except (IndexError, ValueError):  # nothing there to change, or no legal message after it
            continue
    data = proto.SerializeToString()
    return _noisy(data, rng) if rng.random() < 0.15 else data


def _noisy(data: bytes, rng: random.Random) -> bytes:
    made = bytearray(data)
    # The structure lies between the weights: aim at the beginning and the end as well.
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        reach = rng.choice([len(made), min(len(made), 2000)])
        at = rng.randrange(reach)
        at = at if rng.random() < 0.5 else len(made) - 1 - at
        kind = rng.randrange(5)
        if kind < 2:
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            made[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
        elif kind == 3:
            del made[at : at + rng.choice([1, 2, 50])]
        else:
            made[at:at] = rng.randbytes(rng.choice([1, 2, 50]))
        if len(made) < 2:
            break
    return bytes(made)


# -- judging -------------------------------------------------------------------------------------


class Verdict(NamedTuple):
    """What came of a case."""

    kind: str
    reason: str
    seconds: float
    most_bytes: int


def judge(data: bytes) -> Verdict:
    """Load and plan a file."""
    _forget_peak()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(data)
        kind, reason = "success", ""
        try:
            driver.plan_model(driver.load_model(path), driver.target_named("x86-64-v3"))
        except CnnccError as error:
            kind, reason = "typed error", _shape_of(str(error), folder)
        except Exception as error:
            kind, reason = "traceback", _place_of(error)
    seconds, most = time.process_time() - started, _peak()
    if kind in ("success", "typed error") and seconds > MOST_SECONDS:
        kind, reason = "too slow", f"{kind}: {reason}"
    if kind in ("success", "typed error") and most > MOST_BYTES:
        kind, reason = "too much memory", f"{kind}: {reason}"
    return Verdict(kind, reason, seconds, most)


def _place_of(error: BaseException) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "cnncc" in f.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    inside = last.filename.rpartition("cnncc/")[2]
    return f"{type(error).__name__} at {inside}:{last.lineno}: {str(error)[:160]!r}"


def _shape_of(text: str, folder: str) -> str:
    """An error without its numbers and names, so that equal kinds are counted together."""
    first = text.replace(folder, "").strip().split("\n")[0][:400]
    plain = re.sub(r"\d+", "#", re.sub(r"`[^`]*`?", "`_`", first))
    return re.sub(r"^/m.onnx: |\bnode #[^:]*: |\binitialiser `_`: ", "", plain)[:100]


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def case(key: tuple[int, int]) -> Verdict:
    """Judge a case in a child of its own batch."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    return judge(mutated(*key))


def run(count: int, seed: int, *, jobs: int = 2, start: int = 0) -> dict[int, Verdict]:
    """Judge many cases in children."""
    bases()
    keys = [(seed, number) for number in range(start, start + count)]
    found = {}
    for index, answer in run_forked(keys, case, jobs=jobs, batch=50, seconds=PATIENCE):
        if isinstance(answer, Died):
            answer = Verdict(
                "signal" if answer.kind == "crash" else "too slow", answer.reason, PATIENCE, 0
            )
        found[start + index] = answer
    return found


GOOD = ("success", "typed error")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int, help="run this case here, with its traceback")
    parser.add_argument("--save", type=Path, help="write the file of --only here")
    parser.add_argument("--reasons", action="store_true", help="list the typed errors by kind")
    options = parser.parse_args(arguments)
    if options.only is not None:
        data = mutated(options.seed, options.only)
        if options.save:
            options.save.write_bytes(data)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.onnx"
            path.write_bytes(data)
            driver.plan_model(driver.load_model(path), driver.target_named("x86-64-v3"))
        return 0
    found = run(options.count, options.seed, jobs=options.jobs, start=options.start)
    counts = Counter(v.kind for v in found.values())
    print(f"{len(found)} files, seed {options.seed}: " + _listed(counts))
    slowest = max(found.values(), key=lambda v: v.seconds)
    largest = max(found.values(), key=lambda v: v.most_bytes)
    print(f"slowest {slowest.seconds:.2f} s, largest {largest.most_bytes / 2**20:.0f} MiB")
    if options.reasons:
        reasons = Counter(v.reason for v in found.values() if v.kind == "typed error")
        print("\n".join(f"{n:5} {reason}" for reason, n in reasons.most_common()))
    bad: dict[tuple[str, str], list[int]] = {}
    for number, verdict in sorted(found.items()):
        if verdict.kind not in GOOD:
            bad.setdefault((verdict.kind, verdict.reason), []).append(number)
    for (kind, reason), numbers in sorted(bad.items(), key=lambda item: -len(item[1])):
        print(f"{len(numbers):5} {kind}: {reason}; cases {numbers[:5]}")
    return 1 if bad else 0


def _listed(counts: Counter[str]) -> str:
    kinds = (*GOOD, "traceback", "signal", "too slow", "too much memory")
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
