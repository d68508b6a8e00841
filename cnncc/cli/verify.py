"""`cnncc verify`: each compiled layer against the float64 oracle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import feeds, model
from cnncc.cli.failures import MODEL
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, printable, screen

if TYPE_CHECKING:
    import numpy.typing as npt

    from cnncc.driver import Compilation
    from cnncc.onnx.against import TensorCheck
    from cnncc.plan.lower import Plan
    from cnncc.verification import LayerCheck

    Array = npt.NDArray[Any]

COLUMNS = (
    Column("path", "layer", style="bold"),
    Column("ops", "ops"),
    Column("max_error", "largest error", right=True),
    Column("allowed", "allowed there", right=True),
    Column("verdict", "verdict"),
)
TENSOR_COLUMNS = (
    Column("tensor", "tensor", style="bold"),
    Column("op", "op"),
    Column("max_error", "largest difference", right=True),
    Column("allowed", "allowed there", right=True),
    Column("verdict", "verdict"),
)


@click.command()
@model_argument
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]FILE",
    help="A picture or .npy; random numbers without it.",
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of the random numbers.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--resize", is_flag=True, help="Scale pictures to the size of the input.")
@click.option(
    "--against",
    type=click.Choice(["onnxruntime"]),
    help="Compare every tensor of an ONNX file with this engine, its optimiser off, too.",
)
@json_option
@model_options
def command(
    file: str,
    inputs: tuple[str, ...],
    seed: int,
    threads: int,
    resize: bool,
    against: str | None,
    as_json: bool,
    options: ModelOptions,
) -> int:
    """Compare every compiled layer of FILE with the float64 oracle, on the operands it really got.

    The allowed error follows from the number and size of what a layer adds up.
    """
    if against and not file.lower().endswith(".onnx"):
        raise click.UsageError(f"--against {against} is for ONNX files")
    compilation = model.plan(file, options)
    plan = compilation.plan
    arrays = _arrays(plan, inputs, seed, resize)
    rows = _check(plan, arrays, threads)
    wrong = [row for row in rows if row["verdict"] != "ok"]
    witness = _ask(Path(file), compilation, arrays) if against else None
    if as_json:
        first = wrong[0]["path"] if wrong else None
        answer: dict[str, Any] = {
            "schema": "cnncc.verification/1",
            "model": plan.interface.name,
        }
        answer |= {"ok": not wrong and (witness is None or witness.agrees), "first_bad": first}
        more = {} if witness is None else {"against": witness.answer()}
        screen().json({**answer, "layers": rows, **more})
    else:
        screen().table(COLUMNS, rows)
        if witness is not None:
            screen().table(TENSOR_COLUMNS, witness.tensors)
    if wrong:
        screen().error(
            f"{len(wrong)} of {len(rows)} layers are wrong, the first is `{wrong[0]['path']}`"
            f" {wrong[0]['place']}: {wrong[0]['verdict']}"
        )
    else:
        screen().note(f"all {len(rows)} layers agree with the oracle")
    if witness is not None:
        witness.conclude()
    return MODEL if wrong or (witness is not None and not witness.agrees) else 0


@dataclass(slots=True)
class _Witness:
    """What another engine says of a model.

    Attributes:
        engine: its name and version.
        tensors: a row for each that both know.
        outputs: how far each lies from the float64 oracle.
    """

    engine: str
    tensors: list[dict[str, Any]]
    outputs: list[dict[str, Any]]

    @property
    def wrong(self) -> list[dict[str, Any]]:
        """The tensors that differ."""
        return [row for row in self.tensors if row["verdict"] != "ok"]

    @property
    def agrees(self) -> bool:
        """Whether nothing differs."""
        return not self.wrong and all(row["ok"] for row in self.outputs)

    def answer(self) -> dict[str, Any]:
        """All of it as plain data."""
        first = self.wrong[0]["tensor"] if self.wrong else None
        found = {"engine": self.engine, "ok": self.agrees, "first_bad": first}
        return {**found, "tensors": self.tensors, "outputs": self.outputs}

    def conclude(self) -> None:
        """Say whether they agree, and if not, where they part and with which values."""
        wrong = self.wrong
        if wrong:
            screen().error(
                f"{len(wrong)} of {len(self.tensors)} tensors differ from {self.engine}, the first"
                f" is `{wrong[0]['tensor']}` (layer `{wrong[0]['path']}`): {wrong[0]['told']}"
            )
        for row in self.outputs:
            if not row["ok"]:
                screen().error(
                    f"the passes have moved output `{row['output']}` by {row['passes']:.1e},"
                    f" rounding alone by {row['peer']:.1e}; CNNCC_VERIFY=2 names the pass"
                )
        if self.agrees:
            screen().note(f"all {len(self.tensors)} tensors agree with {self.engine}")


def _ask(file: Path, compilation: Compilation, arrays: dict[str, Array]) -> _Witness:
    from cnncc.onnx.against import check_tensors, drifts
    from cnncc.onnx.peer import Peer, feeds_of

    graph, planned = compilation.model.graph, compilation.plan.graph
    ports = compilation.plan.interface.inputs  # these have the file's names, nodes have our own
    pairs = zip(graph.inputs, ports, strict=True)
    arrays = {str(graph[i].name): arrays[port.name] for i, port in pairs}
    with screen().waiting(f"running {printable(str(file))} in onnxruntime"):
        peer = Peer(file)
        tensors = peer.tensors(feeds_of(graph, arrays))
        checks = list(check_tensors(graph, arrays, tensors))
        outputs = [
            {"output": d.output, "passes": d.passes, "peer": d.peer, "ok": d.is_sound}
            for d in drifts(graph, planned, arrays, tensors)
        ]
    engine = f"onnxruntime {peer.version}"
    return _Witness(engine, [_tensor_row(check) for check in checks], outputs)


def _tensor_row(check: TensorCheck) -> dict[str, Any]:
    wrong = check.mismatch
    told = ""
    if wrong is not None:
        place = ",".join(map(str, wrong.index))
        told = (
            f"at [{place}] onnxruntime has {wrong.actual!r}, cnncc {wrong.expected!r}"
            f" (allowed {wrong.tolerance:.3g}); {wrong.count} of {wrong.total} elements differ"
        )
    return {
        "tensor": check.tensor,
        "path": check.path,
        "op": check.op,
        "max_error": check.max_error,
        "allowed": check.allowed,
        "verdict": "ok" if wrong is None else "differs",
        "told": told,
    }


def _arrays(plan: Plan, inputs: tuple[str, ...], seed: int, resize: bool) -> dict[str, Array]:
    from cnncc.errors import InputError
    from cnncc.verification import random_inputs

    ports = plan.interface.inputs
    arrays = random_inputs(ports, seed)
    given = feeds.split_names(inputs, [port.name for port in ports], "--input")
    for port in ports:
        for name in given.get(port.name, ())[:1]:
            samples = feeds.read_sample(port, name, resize=resize)
            if samples.dtype != port.dtype.numpy:
                raise InputError(f"{name}: expected {port.dtype.value}, got {samples.dtype}")
            arrays[port.name] = samples[0]
    return arrays


def _check(plan: Plan, arrays: dict[str, Array], threads: int) -> list[dict[str, Any]]:
    from cnncc import driver
    from cnncc.llvm.program import load_program
    from cnncc.plan.tables import group_rows
    from cnncc.verification import check_layers, native_engine

    with model.generating(plan.interface.name):
        library = load_program(driver.objects(plan), plan.target)
    ops = {row["path"]: row["ops"] for row in group_rows(plan)}
    rows = []
    with screen().progress("verifying", len(plan.stages)) as progress:
        for check in check_layers(plan, native_engine(library, threads), arrays):
            rows.append({**_row(check), "ops": ops.get(check.path, [check.op])})
            progress.step(check.path)
    return rows


def _row(check: LayerCheck) -> dict[str, Any]:
    place = f"({check.spans[0]})" if check.spans else ""
    return {
        "path": check.path,
        "max_error": check.max_error,
        "allowed": check.allowed,
        "verdict": "ok" if check.mismatch is None else str(check.mismatch),
        "place": place,
    }
