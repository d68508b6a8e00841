"""`cnncc verify`: each compiled layer against the float64 oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cnncc.cli import feeds, model
from cnncc.cli.failures import MODEL
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, screen

if TYPE_CHECKING:
    import numpy.typing as npt

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
@json_option
@model_options
def command(
    file: str,
    inputs: tuple[str, ...],
    seed: int,
    threads: int,
    resize: bool,
    as_json: bool,
    options: ModelOptions,
) -> int:
    """Compare every compiled layer of FILE with the float64 oracle, on the operands it really got.

    The allowed error follows from the number and size of what a layer adds up.
    """
    plan = model.plan(file, options).plan
    rows = _check(plan, _arrays(plan, inputs, seed, resize), threads)
    wrong = [row for row in rows if row["verdict"] != "ok"]
    if as_json:
        first = wrong[0]["path"] if wrong else None
        answer = {"schema": "cnncc.verification/1", "model": plan.interface.name}
        screen().json({**answer, "ok": not wrong, "first_bad": first, "layers": rows})
    else:
        screen().table(COLUMNS, rows)
    if wrong:
        screen().error(
            f"{len(wrong)} of {len(rows)} layers are wrong, the first is `{wrong[0]['path']}`"
            f" {wrong[0]['place']}: {wrong[0]['verdict']}"
        )
        return MODEL
    screen().note(f"all {len(rows)} layers agree with the oracle")
    return 0


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
