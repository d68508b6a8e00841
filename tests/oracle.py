"""Random operators and networks, compiled and judged layer by layer against the float64 oracle.

Run it for long counts (`make oracle` does so for every level):

    python -m tests.oracle --ops 2000 --graphs 1000 --targets x86-64,x86-64-v3,x86-64-v4 --seed 1

Cases run in forked children, a batch at a time, so a crash is a counted failure with its seed. A
case is a
function of its kind and seed alone: `--replay op:conv2d:float:17` runs it again in this process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnncc import driver, ops
from cnncc.errors import UnsupportedError
from cnncc.ir import interp
from cnncc.ir.build import add_constant, add_typed
from cnncc.ir.graph import Graph
from cnncc.llvm import host
from cnncc.llvm.program import compile_program, load_program
from cnncc.ops.source import InputAttrs
from cnncc.options import DEFAULTS, FEWER_PRODUCTS, Options
from cnncc.targets import Target, find
from cnncc.verification import check_layers, native_engine, observe
from tests.strategies import MAKERS, random_case, random_feed, random_graph

JOINS = frozenset({"add", "mul", "concat"})
# General ranks are not said by the language; groups are made by the pipeline.
NOT_ALONE = frozenset({"reshape", "transpose", "fused"})
OPERATORS = tuple(
    name
    for name in sorted(MAKERS)
    if name not in NOT_ALONE and name in {op.name for op in ops.OPERATORS}
)
VALUES = ("float", "float", "integers", "special")
BATCH = 20
SECONDS_PER_CASE = 120


@dataclass(frozen=True, slots=True)
class Subject:
    """A network with one sample for each of its inputs.

    Attributes:
        graph: typed.
        feed: logical arrays [1,...] by input name.
        exact: whether the result must be bit for bit that of the oracle.
    """

    graph: Graph
    feed: dict[str, np.ndarray]
    exact: bool


def keys(n_ops: int, n_graphs: int, seed: int, only: Sequence[str] = OPERATORS) -> list[str]:
    """Names of the cases of a run."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(n_ops):
        name = only[number % len(only)]
        values = VALUES[int(rng.integers(len(VALUES)))]
        made.append(f"op:{name}:{values}:{int(rng.integers(2**31))}")
    for number in range(n_graphs):
        kind = "exact" if number % 4 == 3 else "float"
        made.append(f"graph:{1 + number % 12}:{kind}:{int(rng.integers(2**31))}")
    return made


def subject(key: str) -> Subject:
    """The case of a name."""
    kind, what, values, seed = key.split(":")
    rng = np.random.default_rng(int(seed))
    if kind == "op":
        return _one_operator(rng, what, values)
    exact = values == "exact"
    graph = random_graph(rng, int(what), exact=exact)
    return Subject(graph, random_feed(rng, graph, exact=exact), exact)


def _one_operator(rng: np.random.Generator, name: str, values: str) -> Subject:
    case = random_case(rng, name, values)
    graph, feed, operands = Graph("one"), {}, []
    memory = str(rng.choice(["hwc", "chw"]))
    for number, (type_, array) in enumerate(zip(case.types, case.arrays, strict=True)):
        if number == 0 or name in JOINS:
            one = array[:1]
            attrs = InputAttrs(type_.dtype, one.shape, memory, "")
            operands.append(add_typed(graph, "input", [], attrs, name=f"x{number}"))
            feed[f"x{number}"] = one
        else:
            operands.append(add_constant(graph, f"w{number}", array))
    graph.outputs = [("y", add_typed(graph, name, operands, case.attrs, name="subject"))]
    return Subject(graph, feed, case.exact)


def judge(key: str, target: Target) -> str:
    """Compile a case and judge it: `pass`, or `refused: ...`, or `wrong: ...`."""
    case = subject(key)
    # Transforms with irrational points round whole numbers, too.
    options = Options(FEWER_PRODUCTS) if case.exact else DEFAULTS
    try:
        plan = driver.plan_model(driver.Model(case.graph, ()), target, options=options).plan
    except UnsupportedError as error:
        return f"refused: {error.message}"
    library = load_program(compile_program(plan.program, target, None), target)
    feed = {p.name: _caller(case.feed[p.name], p.memory) for p in plan.interface.inputs}
    for layer in check_layers(plan, native_engine(library), feed):
        if layer.mismatch is not None:
            return f"wrong: layer {layer.path} ({layer.op}): {layer.mismatch}"
    once = observe(plan, native_engine(library), feed)
    for threads in (2, 3):
        again = observe(plan, native_engine(library, threads), feed)
        for node_id, value in once.items():
            if value.tobytes() != again[node_id].tobytes():
                return f"wrong: node {node_id} differs with {threads} threads"
    if case.exact:
        expected = interp.run(case.graph, case.feed)
        for (name, node_id), want in zip(plan.graph.outputs, expected, strict=True):
            if not np.array_equal(once[node_id], want.astype(np.float32), equal_nan=True):
                return f"wrong: output {name} of an exact case differs"
    return "pass"


def _caller(logical: np.ndarray, memory: str) -> np.ndarray:
    """One sample in the order in which a caller hands it over."""
    sample = logical[0]
    return sample.transpose(1, 2, 0) if memory == "hwc" else sample


def _work(batch: Sequence[tuple[str, Target]], send: Any) -> None:
    for key, target in batch:
        send.send(("begin", key))
        try:
            verdict = judge(key, target)
        except Exception:
            verdict = f"error: {traceback.format_exc()}"
        send.send((verdict, key))
    send.close()


def run(names: Sequence[str], target: Target) -> Iterator[tuple[str, str]]:
    """Pairs (case, verdict); a child that dies or hangs gives one for the case it was at."""
    context = multiprocessing.get_context("fork")
    pending = [(key, target) for key in names]
    while pending:
        batch, pending = pending[:BATCH], pending[BATCH:]
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(batch, send))
        child.start()
        send.close()
        current, done, reason = "", 0, ""
        try:
            while receive.poll(SECONDS_PER_CASE):
                verdict, key = receive.recv()
                if verdict == "begin":
                    current = key
                    continue
                done += 1
                yield key, verdict
        except EOFError:
            pass
        else:
            child.kill()
            reason = f"timeout: nothing for {SECONDS_PER_CASE} s"
        child.join()
        if done < len(batch):
            yield current or batch[done][0], reason or f"crash: exit code {child.exitcode}"
            pending = [*batch[done + 1 :], *pending]


def main() -> int:
    """Run and print counts; exit code 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", type=int, default=2000)
    parser.add_argument("--graphs", type=int, default=1000)
    parser.add_argument("--targets", default="x86-64,x86-64-v3,x86-64-v4")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="operators by name, comma between")
    parser.add_argument("--replay", default="")
    args = parser.parse_args()
    only = tuple(args.only.split(",")) if args.only else OPERATORS
    cases = keys(args.ops, args.graphs, args.seed, only)
    failed = False
    for name in args.targets.split(","):
        target = find(name)
        if host.missing(target):
            print(f"{name}: this machine lacks {', '.join(host.missing(target))}")
            continue
        if args.replay:
            print(name, judge(args.replay, target))
            continue
        start, counts = time.monotonic(), Counter()
        for key, verdict in run(cases, target):
            kind = verdict.split(":")[0]
            counts[f"{key.split(':')[0]} {kind}"] += 1
            if kind != "pass":
                failed = True
                print(f"{name} {key}: {verdict}", flush=True)
        seconds = time.monotonic() - start
        print(f"{name}: {dict(sorted(counts.items()))}, seed {args.seed}, {seconds:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
