"""The compiler from end to end; the one place that sees all rooms.

A model file becomes a typed graph, the graph a plan, the plan machine code, and that a `Network`.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cnncc import pipeline, stages
from cnncc.errors import (
    ArtifactError,
    Diagnostic,
    InputError,
    TargetError,
    VerifyError,
)
from cnncc.ir import text
from cnncc.ir.counts import macs, parameters
from cnncc.ir.graph import Graph
from cnncc.ir.verify import LEVELS, verify
from cnncc.kernels.layout import DenseLayout, FlatLayout, Layout, Picked, RowMajor
from cnncc.llvm import host, rates
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.link import link
from cnncc.llvm.pool import pool_object
from cnncc.llvm.program import ProgramCode, compile_program
from cnncc.options import DEFAULTS, Options
from cnncc.passes import InferTypes
from cnncc.pipeline import Observer, Record, Step
from cnncc.plan.choose_kernel import ChooseKernel
from cnncc.plan.choose_layout import ChooseLayout
from cnncc.plan.fuse_blocks import FuseBlocks
from cnncc.plan.lower import Plan, lower
from cnncc.plan.plan_memory import PlanMemory
from cnncc.plan.share_means import ShareMeans
from cnncc.plan.tables import decision_rows, group_rows, layer_rows
from cnncc.plan.verify import verify_layouts, verify_plan
from cnncc.runtime.module import ALONE, RUN
from cnncc.runtime.network import Network
from cnncc.runtime.threads import POOL_EXPORTS, usable_cores
from cnncc.spec import load as load_spec
from cnncc.stages import Lowered, load_program
from cnncc.targets import Target, find
from cnncc.tuning import QuickTuner

__all__ = [
    "Compilation",
    "Lowered",
    "Model",
    "build",
    "build_program",
    "code_of",
    "compile_model",
    "compile_network",
    "load_model",
    "load_program",
    "objects",
    "plan_model",
    "steps",
    "summary_rows",
    "target_named",
]

log = logging.getLogger(__name__)

Shapes = Mapping[str, Sequence[int]]
_LAYOUTS: dict[str, type] = {
    c.__name__: c for c in (Layout, DenseLayout, FlatLayout, RowMajor, Picked)
}


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A model as it is written.

    Attributes:
        graph: typed; nothing is folded yet, but in a dump of a later stage.
        diagnostics: warnings about the file.
    """

    graph: Graph
    diagnostics: tuple[Diagnostic, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Compilation:
    """A model, the plan for a target, and how long the steps took.

    Attributes:
        model: what was read.
        plan: program, weights, interface.
        records: one a pass.
        plan_seconds: time of passes and lowering.
    """

    model: Model
    plan: Plan
    records: tuple[Record, ...]
    plan_seconds: float


def load_model(
    path: str | Path,
    *,
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
    want_arrays: bool = True,
) -> Model:
    """Read a model file.

    Args:
        path: a `.cnn` or `.onnx` file, or a `.graph` file that a dump left; compiling goes on from
            there.
        params: values for its `param`s.
        weights: a weight file or arrays by name, instead of what the file names.
        shapes: whole shapes by input name, for the dynamic dimensions of an `.onnx` file.
        want_arrays: whether weights are needed, or only their shapes.

    Raises:
        SpecError: the file has mistakes, or the weights do not fit it.
        ArtifactError: a `.graph` file cannot be read, or breaks the rules of its level.
        OnnxError: an `.onnx` file is damaged, or breaks a rule or a limit.
        UnsupportedError: some nodes of it cannot be taken; all are listed. Or `onnx` is missing.
    """
    path = Path(path)
    if path.suffix == ".graph":
        if params or weights or shapes:
            raise InputError(
                "a `.graph` file has its weights beside it, fixed shapes and no `param`s",
                hint="leave -D, --weights and --shape out, or compile the model's own file",
            )
        return Model(_load_graph(path), ())
    if path.suffix.lower() == ".onnx":
        return _load_onnx(path, params, weights, shapes)
    if shapes:
        raise InputError(
            "a `.cnn` file declares the shape of every input",
            hint="use `param` and -D for sizes that should vary",
        )
    loaded = load_spec(path, params=params, weights=weights, want_arrays=want_arrays)
    return Model(loaded.graph, loaded.diagnostics)


def _load_onnx(
    path: Path,
    params: Mapping[str, object] | None,
    weights: str | Path | Mapping[str, Any] | None,
    shapes: Shapes | None,
) -> Model:
    from cnncc.onnx.installed import require

    require()
    from cnncc.onnx.convert import to_graph
    from cnncc.onnx.read import read

    if params or weights:
        raise InputError(
            "an ONNX file has its weights inside and no `param`s",
            hint="leave -D and --weights out; sizes are given with --shape or shapes=",
        )
    return Model(to_graph(read(path), shapes=shapes), ())


def _load_graph(path: Path) -> Graph:
    graph = text.load(path, records=_LAYOUTS)
    level = graph.meta.get("level", "parsed")
    if level not in LEVELS:
        raise ArtifactError(f"{path}: `{level}` is no level of graphs")
    try:
        if level == "parsed":
            verify(graph, level)
            InferTypes().run(graph)
        verify(graph, max(level, "typed", key=LEVELS.index))
    except VerifyError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return graph


def target_named(name: str | Target) -> Target:
    """A target by name; `host` is this machine, with rates measured once and remembered.

    Raises:
        TargetError: there is none of that name.
    """
    if isinstance(name, Target):
        return name
    return _this_machine() if name in ("host", "native") else find(name)


@cache
def _this_machine() -> Target:
    """The host with its own rates for the cost model, measured once and kept in the cache."""
    target = host.host_target()
    return replace(target, machine=rates.remembered(target, ObjectCache()))


def steps(target: Target, options: Options = DEFAULTS) -> tuple[Step, ...]:
    """The whole pipeline for a target."""
    return (
        *pipeline.standard(options),
        Step(ChooseLayout(target, options), "kernels are chosen for the layouts of their operands"),
        Step(
            FuseBlocks(target, options),
            "asks kernels on both layouts, and before one is chosen for each",
        ),
        Step(
            ShareMeans(target, options),
            "blocks give means too; before the kernel of the average is chosen",
        ),
        Step(
            ChooseKernel(target, options, _tuner(target, options)),
            "before memory: only nodes that run have a place in time",
        ),
        Step(PlanMemory(), "last: every buffer and its size is known"),
    )


def _tuner(target: Target, options: Options) -> QuickTuner | None:
    """What times kernels, if that is wanted.

    Raises:
        TargetError: this machine cannot run the target's code.
    """
    if options.tune == "off":
        return None
    host.require(target)
    return QuickTuner(ObjectCache())


def plan_model(
    model: Model,
    target: Target,
    *,
    options: Options = DEFAULTS,
    dump: Path | None = None,
    observe: Observer | None = None,
    checks: int | None = None,
    code: ProgramCode | None = None,
) -> Compilation:
    """Decide everything and lower to LoopIR; the model's own graph stays as it is.

    Args:
        model: what to compile.
        target: the machine.
        options: what is left out, and tuning.
        dump: folder for every stage as text; by default that of `CNNCC_DUMP`, if it is set.
        observe: sees each pass's record, and the graph after it.
        checks: how much is verified, see `pipeline.run`; by default `CNNCC_VERIFY`, else 1.
        code: gets each function as soon as it is lowered; `build` then takes the objects from it.

    Raises:
        TargetError: the model is a dump of a graph that was planned for another machine.
        ArtifactError: the dump cannot be written; or the model is one whose notes do not hold, or
            of another list of passes.
        UnsupportedError: no kernel can do some nodes.
    """
    start = time.perf_counter()
    graph = model.graph.copy()
    todo = _remaining(graph, target, options)
    facts = {"parameters": parameters(graph), "macs": macs(graph)}
    graph.meta = {**facts, **graph.meta, "target": target.name}
    folder = dump or _dump_folder()
    checks = _checks() if checks is None else checks
    with _collector_paused(), _notes_of_a_dump(graph):
        records = pipeline.run(
            graph,
            todo,
            level=graph.meta.get("level", "parsed"),
            checks=checks,
            dump=folder,
            observe=observe,
        )
        verify_plan(graph, target)
        plan = lower(graph, target, None if code is None else code.add)
    seconds = time.perf_counter() - start
    log.info("planned in %.1f ms", seconds * 1e3)
    if folder is not None:
        number = len(pipeline.passed(graph)) + 1
        stages.write(folder, number, plan.program, plan.weights, plan.interface, target)
    return Compilation(model, plan, tuple(records), seconds)


def _remaining(graph: Graph, target: Target, options: Options) -> tuple[Step, ...]:
    """The steps that a graph still has to take: all of them, but for dumps."""
    whole, behind = steps(target, options), pipeline.passed(graph)
    if tuple(step.apply.name for step in whole[: len(behind)]) != tuple(behind):
        raise ArtifactError(
            f"this graph has been through {', '.join(behind)}: the pipeline begins otherwise",
            hint="leave `level` and `passes` out of its meta to compile it as a new graph",
        )
    planned_for = graph.meta.get("target", target.name)
    if planned_for != target.name and ChooseLayout.name in behind:
        raise TargetError(
            f"this graph is planned for `{planned_for}`, not for `{target.name}`",
            hint=f"use --target {planned_for}, or a dump from before {ChooseLayout.name}",
        )
    return whole[len(behind) :]


@contextmanager
def _notes_of_a_dump(graph: Graph) -> Iterator[None]:
    """Notes that came with a dump are its writer's: a broken promise there is no bug of ours."""
    noted = ChooseLayout.name in pipeline.passed(graph)
    try:
        if noted:
            verify_layouts(graph)
        yield
    except VerifyError as error:
        if not noted:
            raise
        raise ArtifactError(
            f"the plan of this graph does not hold: {error}",
            hint=f"compile the dump of a stage before `{ChooseLayout.name}`",
        ) from error


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No search for cyclic garbage: a plan is many new objects and no garbage, visited in vain."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _dump_folder() -> Path | None:
    named = os.environ.get("CNNCC_DUMP")
    return Path(named) if named else None


def _checks() -> int:
    wanted = os.environ.get("CNNCC_VERIFY", "") or "1"
    if wanted not in ("0", "1", "2"):
        raise InputError(
            f"CNNCC_VERIFY is `{wanted}`",
            hint="0 verifies nothing, 1 each graph that a pass changed, 2 its numbers too",
        )
    return int(wanted)


def compile_model(
    path: str | Path,
    *,
    target: str | Target = "host",
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
    options: Options = DEFAULTS,
    dump: Path | None = None,
    observe: Observer | None = None,
) -> Compilation:
    """Read a model file and plan it for a target."""
    model = load_model(path, params=params, weights=weights, shapes=shapes)
    return plan_model(model, target_named(target), options=options, dump=dump, observe=observe)


def compile_network(
    path: str | Path,
    *,
    target: str | Target = "host",
    params: Mapping[str, object] | None = None,
    weights: str | Path | Mapping[str, Any] | None = None,
    shapes: Shapes | None = None,
    options: Options = DEFAULTS,
    threads: int | None = None,
) -> Network:
    """The network of a model file, whose code is generated while it is still being planned.

    Raises:
        TargetError: there is no such target, or this machine cannot run its code.
    """
    with _collector_paused():
        model = load_model(path, params=params, weights=weights, shapes=shapes)
        found = target_named(target)
        host.require(found)
        with code_of(found) as code:
            compilation = plan_model(model, found, options=options, code=code)
            return build(compilation, threads=threads, code=code)


def code_of(target: Target, cache: ObjectCache | None = None) -> ProgramCode:
    """What generates code beside planning, on the cores that this process may use."""
    return ProgramCode(target, cache or ObjectCache(), usable_cores())


def objects(plan: Plan, cache: ObjectCache | None = None) -> list[bytes]:
    """Machine code of a plan, function by function, from the cache where it has it."""
    found = cache or ObjectCache()
    return compile_program(plan.program, plan.target, found, plan.texts, usable_cores())


def build(
    compilation: Compilation,
    *,
    threads: int | None = None,
    cache: ObjectCache | None = None,
    code: ProgramCode | None = None,
) -> Network:
    """The network of a plan, ready to be called; `code` has seen its functions already.

    Raises:
        TargetError: this machine cannot run the code.
        InputError: `threads` is no number of threads.
    """
    plan = compilation.plan
    host.require(plan.target)
    made = objects(plan, cache) if code is None else code.finish(plan.program)
    image = link([*made, pool_object(plan.target)], (RUN, ALONE, *POOL_EXPORTS), plan.target)
    return Network(
        image,
        plan.interface,
        plan.weights,
        threads=threads,
        layers=tuple(summary_rows(compilation)),
        decisions=tuple(decision_rows(plan.graph)),
    )


def build_program(
    lowered: Lowered,
    target: Target,
    *,
    threads: int | None = None,
    cache: ObjectCache | None = None,
) -> Network:
    """The network of a program that was read from a `.loops` file with its weights.

    Raises:
        ArtifactError: the weights are missing.
        TargetError: the program was made for another machine, or this one cannot run it.
    """
    weights, interface = lowered.complete(target)
    host.require(target)
    made = compile_program(lowered.program, target, cache or ObjectCache(), jobs=usable_cores())
    image = link([*made, pool_object(target)], (RUN, ALONE, *POOL_EXPORTS), target)
    return Network(image, interface, weights, threads=threads)


def summary_rows(compilation: Compilation) -> list[dict[str, Any]]:
    """The layers as written, each with the group that computes it."""
    homes = {
        member: row["path"] for row in group_rows(compilation.plan) for member in row["members"]
    }
    return [
        {
            "layer": row["path"],
            "op": row["op"],
            "shape": row["shape"],
            "parameters": row["parameters"],
            "macs": row["macs"],
            "in": homes.get(row["path"], ""),
        }
        for row in layer_rows(compilation.model.graph)
    ]
