"""`cnncc bench`: latency of a model, alone or beside another engine."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cnncc.bench.chart import write_bars
from cnncc.bench.peers import PEERS
from cnncc.cli import model
from cnncc.cli.bench_layers import show_layers
from cnncc.cli.options import ModelOptions, json_option, model_argument, model_options
from cnncc.cli.screen import Column, duration, screen

if TYPE_CHECKING:
    from cnncc.bench.latency import Result

OURS = "cnncc"
COLUMNS = (
    Column("engine", "engine", style="bold"),
    Column("threads", "threads", right=True),
    Column("batch", "batch", right=True),
    Column("min", "min", right=True),
    Column("p50", "p50", right=True),
    Column("p90", "p90", right=True),
    Column("p99", "p99", right=True),
    Column("gflops", "GFLOP/s", right=True),
    Column("share", "of peak", right=True),
)
_FORMATS = "; ".join(f"{peer.name} takes {peer.needs}" for peer in PEERS.values() if peer.needs)


def _numbers(ctx: click.Context, param: click.Parameter, given: str) -> tuple[int, ...]:
    try:
        numbers = tuple(dict.fromkeys(int(text) for text in given.split(",")))
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= 1024 for number in numbers):
        raise click.BadParameter(f"`{given}` is no list like 1,2", ctx, param)
    return numbers


def _engines(ctx: click.Context, param: click.Parameter, given: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name for name in given.split(",") if name))
    for name in names:
        if name not in PEERS:
            near = difflib.get_close_matches(name, PEERS, n=1)
            guess = f"did you mean `{near[0]}`? " if near else ""
            raise click.BadParameter(
                f"`{name}` is no known engine; {guess}known: {', '.join(PEERS)}", ctx, param
            )
    return names


@click.command()
@model_argument
@click.option(
    "--threads",
    default="1",
    show_default=True,
    callback=_numbers,
    metavar="LIST",
    help="Numbers of threads to measure, such as 1,2.",
)
@click.option(
    "--batch",
    default="1",
    show_default=True,
    callback=_numbers,
    metavar="LIST",
    help="Images a call.",
)
@click.option(
    "--against",
    default="",
    callback=_engines,
    metavar="LIST",
    help=f"Run these engines in the same rounds: {', '.join(PEERS)}. {_FORMATS}.",
)
@click.option(
    "--python",
    default=sys.executable,
    envvar="CNNCC_PEERS_PYTHON",
    metavar="PATH",
    help="The Python that has those engines; also CNNCC_PEERS_PYTHON. By default this one.",
)
@click.option(
    "--chart",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the minima as an SVG picture.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.01, 600),
    default=2.0,
    show_default=True,
    help="How long each engine runs in each setting.",
)
@click.option("--per-layer", is_flag=True, help="Each stage beside its prediction and bound.")
@json_option
@model_options
def command(
    file: str,
    threads: tuple[int, ...],
    batch: tuple[int, ...],
    against: tuple[str, ...],
    python: str,
    chart: Path | None,
    seconds: float,
    per_layer: bool,
    as_json: bool,
    options: ModelOptions,
) -> None:
    """Measure the latency of FILE on random inputs.

    The peak is that of multiply-adds on this machine, measured in the same run.
    """
    from cnncc.bench import machine
    from cnncc.bench.latency import measure, measure_beside

    facts = machine.facts()
    compilation = model.plan(file, options)
    if per_layer:
        show_layers(compilation, seconds, as_json=as_json)
        return
    settings = [(count, size) for size in batch for count in threads]
    results = []
    with screen().progress("measuring", len(settings)) as progress:
        for count, size in settings:
            asked: dict[str, Any] = {"threads": count, "batch": size, "seconds": seconds}
            if against:
                source = Path(file) if model.is_onnx(file) else None
                found = measure_beside(compilation, against, python=python, file=source, **asked)
            else:
                found = measure(compilation, **asked)
            results.append(found)
            progress.step()
    if chart is not None:
        bars = [bar for result in results for bar in _bars(result)]
        write_bars(chart, compilation.plan.interface.name, bars)
    if as_json:
        rows = [_entry(result, engine) for result in results for engine in result.timings]
        names = {"model": compilation.plan.interface.name, "target": compilation.plan.target.name}
        rows += [_failure(result, engine) for result in results for engine in result.failures]
        screen().json({"schema": "cnncc.bench/2", **names, "machine": facts, "results": rows})
        return
    screen().result(machine.headline(facts))
    for line in _terms(results, translated=not model.is_onnx(file)):
        screen().result(line)
    screen().result()
    screen().table(COLUMNS, [_row(r, engine) for r in results for engine in r.timings])
    for result in results:
        for line in _verdicts(result):
            screen().result(line)


def _terms(results: list[Result], *, translated: bool) -> Iterator[str]:
    """What each engine was told, and which could not run."""
    for engine, version in results[0].versions.items():
        less = ", without preprocessing" if translated and engine != OURS else ""
        yield f"{engine} {version}: {results[0].told[engine]}{less}"
    for engine in dict.fromkeys(name for result in results for name in result.failures):
        reasons = {result.failures[engine] for result in results if engine in result.failures}
        yield f"{engine} is left out: {'; '.join(sorted(reasons))}"


def _entry(result: Result, engine: str) -> dict[str, Any]:
    entry = {
        "engine": engine,
        "threads": result.threads,
        "batch": result.batch,
        "milliseconds": result.timings[engine].figures(),
        "gflops": round(result.gflops(engine), 2),
        "share_of_peak": round(result.share(engine), 4),
        "peak_gflops_per_thread": round(result.peak_gflops, 2),
    }
    if engine in result.versions:
        entry |= {"version": result.versions[engine], "told": result.told[engine]}
    if engine in result.peers:
        best, median = result.ratio(engine)
        entry |= {
            "times_slower": {"min": round(best, 3), "p50": round(median, 3)},
            "relative_difference": result.differences[engine],
        }
    return entry


def _failure(result: Result, engine: str) -> dict[str, Any]:
    where = {"threads": result.threads, "batch": result.batch}
    return {"engine": engine, **where, "failure": result.failures[engine]}


def _bars(result: Result) -> list[tuple[str, float]]:
    """Name and milliseconds of each engine, the quickest first."""
    order = sorted(result.timings, key=lambda engine: result.timings[engine].best)
    plural = "s" * (result.threads != 1)
    return [
        (f"{engine}, {result.threads} thread{plural}", result.timings[engine].best * 1e3)
        for engine in order
    ]


def _row(result: Result, engine: str) -> dict[str, Any]:
    timing = result.timings[engine]
    return {
        "engine": engine,
        "threads": result.threads,
        "batch": result.batch,
        "min": duration(timing.best),
        **{f"p{share}": duration(timing.percentile(share)) for share in (50, 90, 99)},
        "gflops": f"{result.gflops(engine):.1f}",
        "share": f"{result.share(engine):.0%}",
    }


def _verdicts(result: Result) -> list[str]:
    lines = []
    for engine in result.peers:
        best, median = result.ratio(engine)
        where = f"{result.threads} thread{'s' * (result.threads > 1)}, batch {result.batch}"
        if result.separate(engine):
            claim = f"{engine} takes {best:.2f} x as long (medians {median:.2f} x)"
        else:
            claim = f"no clear difference from {engine}: the calls' durations overlap"
        lines.append(f"{where}: {claim}; outputs agree to {result.differences[engine]:.1g}")
    return lines
