"""ONNX's own conformance suite against this compiler (`make conformance`).

    python -m tests.onnx.conformance --only 'test_resize_*'
    python -m tests.onnx.conformance --write docs/conformance.md

Runs every test that comes with the installed `onnx` package: the node tests, models converted from
PyTorch, single operators of PyTorch, simple models, and the light versions of well-known networks.
Each is judged as the suite's own runner does, with the test's `rtol` and `atol`.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import re
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt, Runner

from cnncc.onnx.backend import CnnccBackend
from tests.onnx.forked import Died, run_forked

SUITES = ("node", "pytorch-converted", "pytorch-operator", "simple", "light")
VERDICTS = ("pass", "specialised", "refused", "wrong", "crash", "timeout")
SECONDS, LIGHT_SECONDS = 120.0, 900.0
WIDEST = 160  # characters of a reason

# The operators of convolutional networks: classifiers, detectors, segmenters, super-resolution,
# style transfer, recognition of text.
CNN_OPERATORS = frozenset(
    (
        *("Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool"),
        *("GlobalMaxPool", "GlobalAveragePool", "GlobalLpPool"),
        *("BatchNormalization", "InstanceNormalization", "GroupNormalization"),
        *("LayerNormalization", "LRN", "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu"),
        *("Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Softsign"),
        *("ThresholdedRelu", "Mish", "Gelu", "Swish", "Clip", "Softmax", "LogSoftmax"),
        *("Add", "Sub", "Mul", "Div", "Pow", "Sqrt", "Exp", "Log", "Abs", "Neg", "Erf"),
        *("Min", "Max", "Sum", "Mean", "Reciprocal", "Floor", "Ceil"),
        *("Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual"),
        *("And", "Or", "Xor", "Not", "Where"),
        *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1"),
        *("ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"),
        *("ArgMax", "ArgMin", "TopK", "MatMul", "Gemm", "Einsum"),
        *("Concat", "Split", "Slice", "Pad", "Gather", "Expand", "Tile", "Reshape"),
        *("Transpose", "Squeeze", "Unsqueeze", "Flatten", "Shape", "Size", "Range"),
        *("ConstantOfShape", "Constant", "Cast", "Identity", "Dropout"),
        *("Resize", "Upsample", "DepthToSpace", "SpaceToDepth", "GridSample"),
        "NonMaxSuppression",
    )
)
CNN_TYPES = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL})

Sample = tuple[list[Any], list[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One test of the suite.

    Attributes:
        suite: which part of it.
        test: the suite's own record.
    """

    suite: str
    test: Any

    def model(self) -> onnx.ModelProto:
        """The model; large ones are read when they are asked for."""
        if self.test.model is not None:
            return self.test.model
        return onnx.load(self._path())

    def samples(self, model: onnx.ModelProto) -> Iterator[Sample]:
        """Pairs of inputs and the outputs that they shall give."""
        if self.test.data_sets is not None:
            for inputs, outputs in self.test.data_sets:
                yield [_array(i) for i in inputs], [_array(o) for o in outputs]
        elif self.suite == "light":
            yield self._light_sample(model)
        else:
            for folder in sorted(Path(self.test.model_dir).glob("test_data_set*")):
                yield (
                    _read(folder, "input", [v.type for v in model.graph.input]),
                    _read(folder, "output", [v.type for v in model.graph.output]),
                )

    def _path(self) -> Path:
        if self.suite == "light":
            return Path(onnx.__file__).parents[1] / self.test.url
        return Path(self.test.model_dir) / "model.onnx"

    def _light_sample(self, model: onnx.ModelProto) -> Sample:
        weights = {tensor.name for tensor in model.graph.initializer}
        values = [value for value in model.graph.input if value.name not in weights]
        inputs = [Runner.generate_dummy_data(value) for value in values]
        path = self._path()
        stored = [
            path.with_name(f"{path.stem}_output_{i}.pb") for i in range(len(model.graph.output))
        ]
        return inputs, [_parsed(p, onnx.TensorProto(), numpy_helper.to_array) for p in stored]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a test.

    Attributes:
        suite: the part of the suite.
        name: the test.
        verdict: one of `VERDICTS`.
        reason: why it did not pass.
        specialised: inputs that were bound to the test's data as constants.
        cnn: whether it uses nothing but operators of CNNs on f32, i64 and bool, and is no second
            form of another test (an expanded function).
    """

    suite: str
    name: str
    verdict: str
    reason: str = ""
    specialised: tuple[str, ...] = ()
    cnn: bool = False

    @property
    def passed(self) -> bool:
        return self.verdict in ("pass", "specialised")


def cases(suites: Sequence[str] = SUITES, only: str = "*") -> list[Case]:
    """The tests of some suites whose names match a pattern, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite makes its data with NumPy's warnings on
        found = [
            Case(suite, test)
            for suite in suites
            for test in load_model_tests(kind="real" if suite == "light" else suite)
            if suite != "light" or "data/light/" in (test.url or "")
        ]
    chosen = [case for case in found if fnmatch.fnmatchcase(case.test.name, only)]
    return sorted(chosen, key=lambda c: (SUITES.index(c.suite), c.test.name))


def judge(case: Case) -> Verdict:
    """Run a test, here and now."""

    def verdict(word: str, reason: str = "", bound: Sequence[str] = ()) -> Verdict:
        return Verdict(case.suite, case.test.name, word, reason, tuple(sorted(bound)), cnn)

    cnn = False
    try:
        model = case.model()
        cnn = is_cnn(case, model)
        prepared = CnnccBackend.prepare(model)
        for inputs, expected in case.samples(model):
            actual = prepared.run(inputs)
            Runner.assert_similar_outputs(expected, actual, case.test.rtol, case.test.atol)
    except BackendIsNotSupposedToImplementIt as error:
        return verdict("refused", reason_of(str(error)))
    except AssertionError as error:
        return verdict("wrong", _difference(str(error)))
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} in {Path(place.filename).name}: {error}"
        return verdict("crash", _shortened(told))
    if prepared.specialised:
        return verdict("specialised", bound=prepared.specialised)
    return verdict("pass")


def is_cnn(case: Case, model: onnx.ModelProto) -> bool:
    """Whether a test is one of those that `CNN_OPERATORS` and `CNN_TYPES` choose."""
    if case.suite != "node" or "_expanded" in case.test.name:
        return False
    if any(n.op_type not in CNN_OPERATORS or n.domain for n in model.graph.node):
        return False
    values = (*model.graph.input, *model.graph.output)
    return all(
        v.type.WhichOneof("value") == "tensor_type" and v.type.tensor_type.elem_type in CNN_TYPES
        for v in values
    )


def run(chosen: Sequence[Case], *, jobs: int = 2) -> Iterator[Verdict]:
    """The verdicts, as they come; crashes and hangs end no more than their test."""
    light = [case for case in chosen if case.suite == "light"]
    small = [case for case in chosen if case.suite != "light"]
    for group, batch, seconds in ((small, 25, SECONDS), (light, 1, LIGHT_SECONDS)):
        for index, answer in run_forked(group, judge, jobs=jobs, batch=batch, seconds=seconds):
            if isinstance(answer, Died):
                case = group[index]
                cnn = is_cnn(case, case.model())
                name = case.test.name
                yield Verdict(case.suite, name, answer.kind, answer.reason, (), cnn)
            else:
                yield answer


_NODE_LINE = re.compile(r"^\s*\S* ?\((\S+), opset \d+\): (.*)$", re.MULTILINE)


def reason_of(message: str) -> str:
    """A refusal in words that do not depend on the names of the model's nodes."""
    lines = [f"{op}: {reason}" for op, reason in _NODE_LINE.findall(message)]
    told = "; ".join(dict.fromkeys(lines)) or message.split("\n  help:")[0]
    return _shortened(told)


def _difference(message: str) -> str:
    """What NumPy's report says of the size of a difference."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if line.startswith(
            ("Mismatched", "Max ", "nan location", "x and y", "Output", "Items", "Unexp")
        )
    ]
    return _shortened("; ".join(telling or lines[:4]))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def _array(value: Any) -> Any:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _read(folder: Path, word: str, types: Sequence[onnx.TypeProto]) -> list[Any]:
    """The stored values `word_0.pb`, `word_1.pb`, ... of a folder."""
    forms: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
        "tensor_type": (onnx.TensorProto, numpy_helper.to_array),
        "sequence_type": (onnx.SequenceProto, numpy_helper.to_list),
        "optional_type": (onnx.OptionalProto, numpy_helper.to_optional),
    }
    values = []
    for number in range(len(list(folder.glob(f"{word}_*.pb")))):
        message, convert = forms[types[number].WhichOneof("value")]
        values.append(_parsed(folder / f"{word}_{number}.pb", message(), convert))
    return values


def _parsed(path: Path, message: Any, convert: Callable[[Any], Any]) -> Any:
    message.ParseFromString(path.read_bytes())
    return convert(message)


# -- the page ----------------------------------------------------------------------------------


def page(verdicts: Sequence[Verdict]) -> str:
    """The table of results in Markdown; the same for the same verdicts."""
    parts = [
        "# Conformance",
        f"ONNX's own backend tests, as they come with `onnx` {onnx.__version__}, run against"
        " `cnncc.onnx.backend`. Made by `make conformance`; do not edit.",
        _counts(verdicts),
        "*specialised*: passes, with the inputs named below bound to the test's data when the"
        " model is compiled: shapes, axes, sizes of pads and the like must be known to a compiler"
        " for fixed shapes. *refused*: a typed error that says what is not supported."
        " *CNN operators*: node tests (expanded functions, which repeat others, not counted) that"
        " use nothing but operators of convolutional networks (`CNN_OPERATORS` in"
        " `tests/onnx/conformance.py`) on f32, i64 and bool.",
    ]
    for word, title in (
        ("wrong", "Wrong"),
        ("crash", "Crashes"),
        ("timeout", "Out of time"),
        ("refused", "Refused"),
    ):
        chosen = [v for v in verdicts if v.verdict == word]
        if chosen:
            parts += [f"## {title}", _by_reason(chosen)]
    chosen = [v for v in verdicts if v.verdict == "specialised"]
    if chosen:
        parts += ["## Specialised", _by_inputs(chosen)]
    return "\n\n".join(parts) + "\n"


def _counts(verdicts: Sequence[Verdict]) -> str:
    rows = [(suite, [v for v in verdicts if v.suite == suite]) for suite in SUITES]
    rows.insert(1, ("of these, CNN operators", [v for v in verdicts if v.cnn]))
    lines = [f"| suite | tests | {' | '.join(VERDICTS)} |", "|---" + "|--:" * 7 + "|"]
    for name, chosen in rows:
        count = Counter(v.verdict for v in chosen)
        lines.append(f"| {name} | {len(chosen)} | {' | '.join(str(count[w]) for w in VERDICTS)} |")
    return "\n".join(lines)


def _by_reason(verdicts: Sequence[Verdict]) -> str:
    groups: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.reason].append(verdict.name)
    lines = ["| reason | count | tests |", "|---|--:|---|"]
    for reason, names in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        lines.append(f"| {_cell(reason)} | {len(names)} | {_listed(names)} |")
    return "\n".join(lines)


def _by_inputs(verdicts: Sequence[Verdict]) -> str:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.specialised].append(verdict.name)
    lines = ["| inputs bound | count | tests |", "|---|--:|---|"]
    for names, tests in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        bound = ", ".join(f"`{name}`" for name in names)
        lines.append(f"| {bound} | {len(tests)} | {_listed(tests)} |")
    return "\n".join(lines)


def _listed(tests: Sequence[str]) -> str:
    return ", ".join(name.removeprefix("test_") for name in sorted(tests))


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run tests and print counts; exit code 1 when one is wrong, crashes or runs out of time."""
    parser = argparse.ArgumentParser(prog="python -m tests.onnx.conformance")
    parser.add_argument("--suite", default=",".join(SUITES), help="suites, comma between")
    parser.add_argument("--only", default="*", help="pattern of the tests' names")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write every verdict")
    parser.add_argument("--write", type=Path, help="write the page of results")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every verdict")
    options = parser.parse_args(arguments)
    chosen = cases(options.suite.split(","), options.only)
    start, verdicts = time.monotonic(), list[Verdict]()
    for found in run(chosen, jobs=options.jobs):
        verdicts.append(found)
        if options.verbose or found.verdict not in ("pass", "specialised", "refused"):
            print(f"{found.verdict:<11} {found.suite}/{found.name}: {found.reason}", flush=True)
    verdicts.sort(key=lambda v: (SUITES.index(v.suite), v.name))
    print(_counts(verdicts))
    print(f"{len(verdicts)} tests in {time.monotonic() - start:.0f} s")
    if options.json:
        rows = [{k: v for k, v in asdict(r).items() if v != ""} for r in verdicts]
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if options.write:
        options.write.write_text(page(verdicts), encoding="utf-8")
    failed = any(v.verdict in ("wrong", "crash", "timeout") for v in verdicts)
    return int(failed or not verdicts)


if __name__ == "__main__":
    sys.exit(main())
