"""Checking compiled code layer by layer against the float64 oracle.

The program runs segment by segment; after each one the value it made is taken out of memory. Every
layer is then judged on the operands that it really got, so one wrong layer does not blame those
behind it (reliability, rule E: layer-isolated check).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnncc.abi import Port, aligned
from cnncc.errors import InputError
from cnncc.ir.graph import Graph
from cnncc.ir.op import lookup
from cnncc.ir.tolerance import Mismatch, compare, tolerance
from cnncc.kernels.layout import DenseLayout, Layout, RowMajor
from cnncc.llvm.jit import Library
from cnncc.llvm.parallel import split_at_barriers
from cnncc.loopir.interp import run as interpret
from cnncc.loopir.nodes import Func, Program
from cnncc.plan.choose_kernel import kernel_named
from cnncc.plan.lower import Plan
from cnncc.plan.site import site_of

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """The judgement of one group of the plan.

    Attributes:
        path: the group's name.
        op: its operators.
        max_error: the largest absolute error.
        allowed: the bound where that error is.
        mismatch: what is wrong, or `None`.
        spans: where the layer stands in the source.
    """

    path: str
    op: str
    max_error: float
    allowed: float
    mismatch: Mismatch | None
    spans: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Engine:
    """Runs a plan's segments one after the other.

    Attributes:
        run: takes the buffers of `main`, and what to call with `k` when segment `k` is done.
        threads: how many tasks it makes of each segment, for which the workspace must have room.
    """

    run: Callable[[Sequence[Array], Callable[[int], None]], None]
    threads: int


def native_engine(library: Library, threads: int = 1) -> Engine:
    """Runs the machine code, one segment at a time, as so many tasks."""
    task_type = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)
    loop_type = ctypes.CFUNCTYPE(
        None, ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p
    )
    entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32, loop_type, ctypes.c_void_p)(
        library["main_forkjoin"]
    )

    def run(buffers: Sequence[Array], after: Callable[[int], None]) -> None:
        segment = 0
        failures: list[BaseException] = []

        def parallel_for(_host: int, count: int, task: int, arg: int) -> None:
            nonlocal segment
            call = task_type(task)
            for i in range(count):
                call(arg, i)
            try:
                after(segment)
            except BaseException as error:
                failures.append(error)
            segment += 1

        pointers = (ctypes.c_void_p * len(buffers))(*[b.ctypes.data for b in buffers])
        callback = loop_type(parallel_for)
        entry(pointers, threads, callback, None)
        if failures:
            raise failures[0]

    return Engine(run, threads)


def interpreter_engine(program: Program, threads: int = 1) -> Engine:
    """Runs the loop nests in the NumPy interpreter: no LLVM is involved."""
    main = program.funcs[-1]
    segments = split_at_barriers(main)

    def run(buffers: Sequence[Array], after: Callable[[int], None]) -> None:
        for number, body in enumerate(segments):
            part = Program([*program.funcs[:-1], Func("main", main.params, body)])
            interpret(part, list(buffers), name="main", threads=threads)
            after(number)

    return Engine(run, threads)


def random_inputs(ports: Sequence[Port], seed: int = 0) -> dict[str, Array]:
    """One random sample for each input: integers over their whole range, floats around zero."""
    rng = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for port in ports:
        dtype = port.dtype.numpy
        if dtype.kind == "b":
            made[port.name] = rng.integers(0, 2, port.shape).astype(dtype)
        elif dtype.kind in "iu":
            info = np.iinfo(dtype.str)
            wide = np.uint64 if dtype == np.uint64 else np.int64
            drawn = rng.integers(info.min, info.max, port.shape, dtype=wide, endpoint=True)
            made[port.name] = drawn.astype(dtype)
        else:
            made[port.name] = rng.standard_normal(port.shape).astype(dtype)
    return made


def observe(plan: Plan, engine: Engine, inputs: Mapping[str, Array]) -> dict[int, Array]:
    """The value of every computed node for one sample, `[1,C,H,W]` or `[1,K]`, by node id."""
    ports = plan.interface
    taken = [_sample(port, inputs) for port in ports.inputs]
    results = [aligned(p.elems, p.dtype.numpy) for p in ports.outputs]
    workspace = aligned(ports.workspace_for(engine.threads) // 4)
    workspace[:] = np.nan  # whatever is read before it is written shows
    arena, scratch = np.split(workspace, [ports.workspace_bytes // 4])
    values: dict[int, Array] = {}
    for node_id, array, port in zip(plan.graph.inputs, taken, ports.inputs, strict=True):
        values[node_id] = _logical(array, port, plan.graph.type_of(node_id).shape)
    outputs = {node_id: k for k, (_, node_id) in enumerate(plan.graph.outputs)}

    def after(segment: int) -> None:
        scratch[:] = np.nan  # and so does scratch that is kept
        for node_id in _made_in(plan.graph, plan.stages[segment].node):
            keep(node_id)

    def keep(node_id: int) -> None:
        layout = plan.graph[node_id].notes["layout"]
        shape = plan.graph.type_of(node_id).shape
        if isinstance(layout, DenseLayout):
            number = outputs[node_id]
            values[node_id] = _logical(results[number].copy(), ports.outputs[number], shape)
        elif node_id in outputs:
            values[node_id] = results[outputs[node_id]].reshape(shape).copy()
        elif isinstance(layout, RowMajor):
            place = plan.graph[node_id].notes["place"]
            words = arena[place : place + layout.words].view(layout.dtype.numpy)
            values[node_id] = words[: layout.elems].reshape(shape).copy()
        elif isinstance(layout, Layout):
            place = plan.graph[node_id].notes["place"]
            values[node_id] = layout.unpack(arena[place : place + layout.elems]).reshape(shape)

    engine.run([*taken, *results, plan.weights, workspace], after)
    return values


def check_layers(plan: Plan, engine: Engine, inputs: Mapping[str, Array]) -> Iterator[LayerCheck]:
    """Judge every group of the plan, in order of execution, on one sample.

    Raises:
        InputError: an input is missing or does not fit.
    """
    values = observe(plan, engine, inputs)
    for stage in plan.stages:
        for node_id in _made_in(plan.graph, stage.node):
            yield _check(plan, node_id, stage.name, values)


def _made_in(graph: Graph, node_id: int) -> list[int]:
    """The nodes whose values a stage makes: its own, and means that it gives as well."""
    users = dict.fromkeys(user for user, _ in graph.users(node_id))
    return [node_id, *(u for u in users if graph[u].notes.get("made_by") == node_id)]


def value_of(graph: Graph, node_id: int, values: Mapping[int, Array]) -> Array:
    """What a node's value is, given those that were computed: constants and views follow."""
    if node_id in values:
        return values[node_id]
    constant = graph.constant(node_id)
    if constant is not None:
        return constant
    node = graph[node_id]
    operands = [value_of(graph, o, values) for o in graph.operands(node_id)]
    return lookup(node.op).reference(operands, node.attrs)


def _check(plan: Plan, node_id: int, name: str, values: Mapping[int, Array]) -> LayerCheck:
    graph, node = plan.graph, plan.graph[node_id]
    exact = [_exact(value_of(graph, o, values)) for o in graph.operands(node_id)]
    with np.errstate(all="ignore"):
        expected = lookup(node.op).reference(exact, node.attrs)
    algorithm = None
    if "made_by" not in node.notes:
        site = site_of(graph, node_id, plan.target)
        algorithm = kernel_named(node.notes["kernel"]).algorithm(site)
    bound = tolerance(node.op, node.attrs, exact, expected, algorithm)
    bound = np.broadcast_to(bound, expected.shape)
    actual = values[node_id]
    with np.errstate(all="ignore"):
        errors = np.nan_to_num(np.abs(actual.astype(np.float64) - expected))
    worst = np.unravel_index(int(np.argmax(errors)), errors.shape) if errors.size else ()
    return LayerCheck(
        name,
        node.op,
        float(errors[worst]) if errors.size else 0.0,
        float(bound[worst]) if errors.size else 0.0,
        compare(actual, expected, bound),
        node.spans,
    )


def _exact(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _sample(port: Port, inputs: Mapping[str, Array]) -> Array:
    if port.name not in inputs:
        raise InputError(f"input `{port.name}` is missing", hint=f"its shape is {port.shape}")
    given = np.asarray(inputs[port.name])
    if given.shape != port.shape or given.dtype != port.dtype.numpy:
        raise InputError(
            f"input `{port.name}`: expected {port.dtype}{list(port.shape)},"
            f" got {given.dtype}{list(given.shape)}"
        )
    memory = aligned(port.elems, port.dtype.numpy)
    memory[:] = given.reshape(-1)
    return memory


def _logical(array: Array, port: Port, shape: tuple[int, ...]) -> Array:
    """The caller's flat array in logical order."""
    if port.memory == "hwc":
        return array.reshape(1, *port.shape[-3:]).transpose(0, 3, 1, 2)
    return array.reshape(shape)
