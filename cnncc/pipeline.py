"""The pipeline: an ordered list of steps as data, and the runner that takes a graph through it.

A step is a pass and the reason why it stands where it stands. What a pass needs and gives is
checked for the whole list before anything runs. Between passes the runner verifies, times, logs,
and dumps; a dump is a text that can be read back (`cnncc.ir.text.load`). Passes that ask the
machine live in `cnncc.plan`; they are steps like any other and are appended to `standard()`.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnncc.errors import ArtifactError, InputError, InternalError, VerifyError
from cnncc.ir import interp, text
from cnncc.ir.decisions import Decision, decisions
from cnncc.ir.graph import Graph
from cnncc.ir.op import Array
from cnncc.ir.rewrite import Pass
from cnncc.ir.verify import LEVELS, verify
from cnncc.options import DEFAULTS, Options
from cnncc.passes import (
    AbsorbPad,
    ChannelsFirst,
    CommonSubexpressions,
    Decompose,
    EliminateDead,
    FoldBatchNorm,
    FoldConstants,
    Fuse,
    InferTypes,
    NestConcats,
    PoolOrder,
    Recognise,
    Simplify,
    Specialise,
    SplitBatch,
)

log = logging.getLogger(__name__)
_NUMBER = re.compile(r"(?<![A-Za-z_])\d[\d,]*(?:x\d+)?")

NUMBERS_RTOL = 1e-4
"""How far numbers may move, relative to the largest: folded constants are rounded to f32."""


@dataclass(frozen=True, slots=True)
class Step:
    """A place in the pipeline.

    Attributes:
        apply: the pass, with its options.
        why: the reason for its place in the list, or for its presence at all.
    """

    apply: Pass
    why: str


def standard(options: Options = DEFAULTS) -> tuple[Step, ...]:
    """The machine-free steps, from a parsed graph to a fused one."""
    fuse = Fuse(
        max_epilogue=Fuse().max_epilogue if options.uses("epilogues") else 0,
        pools=options.uses("conv-pool"),
        winograd=options.uses("winograd"),
    )
    pool_order = Step(PoolOrder(), "after affine maps are in the filters, before groups hide pools")
    return (
        Step(InferTypes(), "every later pass asks for types"),
        Step(EliminateDead(), "a dead reader would keep a value from being folded or fused"),
        Step(FoldConstants(), "computed weights become constants, which the folds below look for"),
        Step(Simplify(), "dropout and identity stand between convolutions and their batch norms"),
        Step(ChannelsFirst(), "all rules and kernels below look for channels on axis 1"),
        Step(SplitBatch(), "before specialise: one sample is what the operators of CNNs compute"),
        Step(Recognise(), "an activation in pieces would be several steps, and often two branches"),
        Step(Specialise(), "the rules below know the operators of CNNs, and so do blocked kernels"),
        Step(AbsorbPad(), "a border of zeros costs nothing once the convolution brings it"),
        Step(FoldBatchNorm(), "before fuse: an affine map in the filters is no step of a group"),
        Step(Decompose(), "what could not be folded gets the form that kernels know"),
        Step(Simplify(), "folding has brought moves and activations next to each other"),
        *((pool_order,) if options.uses("pool-order") else ()),
        Step(NestConcats(), "before equal expressions are one: joins are compared by operands"),
        Step(CommonSubexpressions(), "equal expressions are recognisable once constants are final"),
        Step(fuse, "last of all: a group hides its members from every rule above"),
    )


@dataclass(frozen=True, slots=True)
class Record:
    """What one step did.

    Attributes:
        number: place in the list, from 1.
        name: the pass.
        why: the step's reason.
        level: the level reached.
        milliseconds: time of the pass alone.
        nodes_before: nodes before it.
        nodes_after: nodes after it.
        changed: whether the graph is another one.
        fired: how often each rule or choice was made.
    """

    number: int
    name: str
    why: str
    level: str
    milliseconds: float
    nodes_before: int
    nodes_after: int
    changed: bool
    fired: Mapping[str, int]

    def __str__(self) -> str:
        size = f"{self.nodes_before} -> {self.nodes_after} nodes" if self.changed else "unchanged"
        rules = "; ".join(f"{count} x {what}" for what, count in self.fired.items())
        line = f"{self.number:02} {self.name:<24}{self.milliseconds:8.1f} ms  {size}"
        return f"{line}  [{rules}]" if rules else line


Observer = Callable[[Record, Graph], None]
"""Called after each step; the graph must not be changed."""


def check_order(steps: Sequence[Step], level: str = "parsed") -> str:
    """The level that the list reaches from `level`, found without running anything.

    Raises:
        InputError: a pass needs more than the passes before it give.
    """
    for number, step in enumerate(steps, 1):
        needs = step.apply.needs
        if LEVELS.index(needs) > LEVELS.index(level):
            givers = [s.apply.name for s in standard() if s.apply.gives == needs]
            hint = f"put {' or '.join(dict.fromkeys(givers))} before it" if givers else ""
            raise InputError(
                f"pass {number}, `{step.apply.name}`, needs a {needs} graph, got a {level} one",
                hint=hint,
            )
        level = _reached(level, step.apply)
    return level


def _reached(level: str, applied: Pass) -> str:
    return max(level, applied.gives, key=LEVELS.index)


def run(
    graph: Graph,
    steps: Sequence[Step],
    *,
    level: str = "parsed",
    checks: int = 1,
    dump: Path | None = None,
    observe: Observer | None = None,
) -> list[Record]:
    """Take `graph` through the steps, in place.

    Args:
        graph: a graph of the level `level`. Its meta tells afterwards the `level` reached and the
            names of the `passes` that ran, so that a dump can take the rest of the way.
        steps: see `standard`.
        level: the level that the graph has now.
        checks: 0 verifies nothing; 1 the level after each pass that changed the graph; 2 after each
            pass, and that the text reads back and the float64 interpreter gives the same numbers.
        dump: a folder for the graph after each step that changed it.
        observe: sees each record with the graph, for `--print-after` and progress.

    Raises:
        InputError: the steps are in an impossible order.
        ArtifactError: a dump cannot be written.
        InternalError: a pass failed or broke its promise; notes name the pass and the last good
            dump.
    """
    check_order(steps, level)
    dumps = _Dumps(dump, level, graph) if dump is not None else None
    numbers = _Numbers(graph) if checks >= 2 else None
    records = []
    for number, step in enumerate(steps, len(passed(graph)) + 1):
        try:
            record = _apply(graph, number, step, level)
            if checks >= 2 or (checks == 1 and (record.changed or record.level != level)):
                verify(graph, record.level)
            level = record.level
            if numbers is not None and record.changed:
                numbers.check(graph)
        except InternalError as error:
            error.add_note(f"in pass {number}, `{step.apply.name}` ({step.why})")
            if dumps is not None:
                error.add_note(f"the graph before it: {dumps.last}")
            raise
        log.info("%s", record)
        if dumps is not None:
            dumps.write(record, graph)
        if observe is not None:
            observe(record, graph)
        records.append(record)
    return records


def passed(graph: Graph) -> tuple[str, ...]:
    """Names of the passes that a graph has behind it."""
    names: tuple[str, ...] = graph.meta.get("passes", ())
    return names


def _apply(graph: Graph, number: int, step: Step, level: str) -> Record:
    version, nodes, told = graph.version, len(graph), len(decisions(graph))
    notes = _notes(graph)
    start = time.perf_counter()
    step.apply.run(graph)
    milliseconds = (time.perf_counter() - start) * 1e3
    reached = _reached(level, step.apply)
    graph.meta |= {"level": reached, "passes": (*passed(graph), step.apply.name)}
    return Record(
        number,
        step.apply.name,
        step.why,
        reached,
        milliseconds,
        nodes,
        len(graph),
        graph.version != version or _notes(graph) != notes,
        dict(Counter(map(_rule, decisions(graph)[told:]))),
    )


def _notes(graph: Graph) -> dict[int, dict[str, object]]:
    """All notes of the plan; writing one is no new version of the graph."""
    return {node_id: dict(node.notes) for node_id, node in graph.nodes()}


def _rule(decision: Decision) -> str:
    """What a decision counts as: the equation of a rewriting, else the choice but for its numbers.

    Hundreds of buffers in as many places of the arena are one kind of choice.
    """
    if decision.choice == "rewritten":
        return decision.reason
    return _NUMBER.sub("#", decision.choice)


class _Dumps:
    """One folder of a run's stages; `stages.txt` lists them all, the unchanged ones too."""

    def __init__(self, folder: Path, level: str, graph: Graph) -> None:
        self._folder = folder
        self._lines: list[str] = []
        self.last = folder / f"{len(passed(graph)):02}-{level}.graph"
        self._write(f"{self.last.name}: {len(graph)} nodes", graph)

    def write(self, record: Record, graph: Graph) -> None:
        """Note a step, and write its graph when it is another one."""
        if not record.changed:
            self._write(f"{record}, as in {self.last.name}", None)
            return
        self.last = self._folder / f"{record.number:02}-{record.name}.graph"
        self._write(f"{record}", graph)

    def _write(self, line: str, graph: Graph | None) -> None:
        self._lines.append(line)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if graph is not None:
                text.dump(graph, self.last)
            stages = self._folder / "stages.txt"
            stages.write_text("\n".join(self._lines) + "\n", encoding="utf-8")
        except OSError as error:
            raise ArtifactError(
                f"{self._folder}: the dump cannot be written: {error.strerror}",
                hint="name a folder that can be written, or compile without dumps",
            ) from error


class _Numbers:
    """The network's results before any pass, to hold those after each pass against."""

    def __init__(self, graph: Graph) -> None:
        rng = np.random.default_rng(0)
        self._inputs: dict[str | int, Array] = {}
        for position, node_id in enumerate(graph.inputs):
            attrs = graph[node_id].attrs
            values = rng.uniform(-1, 1, attrs.shape)
            if attrs.dtype.numpy.kind != "f":
                values = rng.integers(0, 100, attrs.shape)
            self._inputs[position] = values.astype(attrs.dtype.numpy)
        self._want = interp.run(graph, self._inputs)

    def check(self, graph: Graph) -> None:
        """Raise a VerifyError when the text does not read back or the numbers have moved."""
        printed = text.print_graph(graph)
        if text.print_graph(text.parse_graph(printed, graph.constants)) != printed:
            raise VerifyError("the graph's text does not read back as the same graph")
        results = interp.run(graph, self._inputs)
        for (name, _), want, got in zip(graph.outputs, self._want, results, strict=True):
            size = float(np.max(np.abs(want), initial=1.0, where=np.isfinite(want)))
            if not np.allclose(got, want, rtol=0, atol=NUMBERS_RTOL * size, equal_nan=True):
                worst = float(np.nanmax(np.abs(got - want)))
                raise VerifyError(f"output `{name}` has moved by {worst:.3g}")
