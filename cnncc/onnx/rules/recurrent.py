"""Recurrent layers, step after step: the products with the inputs of all steps at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cnncc.ir.op import lookup
from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.table import rule

_MOST_STEPS = 2048  # each becomes nodes of its own
_GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
_DEFAULTS = {
    "RNN": ("Tanh",),
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
}
_FUNCTIONS = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "softsign": "softsign",
    "softplus": "softplus",
}
_LIMITS = f"up to {_MOST_STEPS} steps; activations without parameters; f32 and f16"


@dataclass(frozen=True, slots=True)
class _Way:
    """One direction of a layer.

    Attributes:
        inputs: products of all inputs with their weights, and their bias, [T,B,G·H].
        weights: of the state, [H,G·H].
        bias: of the state, one [H] a gate, or None.
        peepholes: of the cell, one [H] a gate: input, output, forget; or none.
        functions: activations, as ONNX orders them.
        clip: the largest size of what activations see, or 0.
        hidden: H.
    """

    inputs: int
    weights: int
    bias: list[int] | None
    peepholes: list[int]
    functions: tuple[str, ...]
    clip: float
    hidden: int


State = tuple[int, int]  # hidden and cell, [B,H] each; the cell is the hidden one where it is none
Step = Callable[[Call, _Way, int, State], State]


def _part(call: Call, x: int, axis: int, start: int, size: int) -> int:
    shape = call.type_of(x).shape
    starts = [start if a == axis else 0 for a in range(len(shape))]
    sizes = [size if a == axis else n for a, n in enumerate(shape)]
    return sliced(call, x, starts, [1] * len(shape), sizes)


def _one(call: Call, x: int, place: int) -> int:
    """x[place]."""
    return call.reshape(_part(call, x, 0, place, 1), call.type_of(x).shape[1:])


def _sum(call: Call, *operands: int | None) -> int:
    first, *others = [o for o in operands if o is not None]
    for other in others:
        first = call.add("add", [first, other])
    return first


def _active(call: Call, way: _Way, x: int, function: int) -> int:
    if way.clip:
        x = call.add("clip", [x], lookup("clip").Attrs(-way.clip, way.clip))
    return call.add(way.functions[function], [x])


def _gates(call: Call, way: _Way, x: int, count: int) -> list[int]:
    return [_part(call, x, 1, k * way.hidden, way.hidden) for k in range(count)]


def _recurrence(call: Call, way: _Way, state: int) -> list[int]:
    """Products of the state with the weights of each gate, [B,H] each, with the state's bias."""
    made = _gates(
        call,
        way,
        call.add("matmul", [state, way.weights]),
        call.type_of(way.weights).shape[1] // way.hidden,
    )
    if way.bias is None:
        return made
    return [_sum(call, part, b) for part, b in zip(made, way.bias, strict=True)]


def _rnn(call: Call, way: _Way, x: int, state: State) -> State:
    made = _active(call, way, _sum(call, x, *_recurrence(call, way, state[0])), 0)
    return made, made


def _lstm(call: Call, way: _Way, x: int, state: State) -> State:
    hidden, cell = state
    sums = [
        _sum(call, a, b)
        for a, b in zip(_gates(call, way, x, 4), _recurrence(call, way, hidden), strict=True)
    ]

    def seen(gate: int, peephole: int, of: int) -> int:
        if not way.peepholes:
            return sums[gate]
        return _sum(call, sums[gate], call.add("mul", [way.peepholes[peephole], of]))

    enter = _active(call, way, seen(0, 0, cell), 0)
    if call.flag("input_forget"):
        keep = call.add("sub", [call.like(1, enter), enter])
    else:
        keep = _active(call, way, seen(2, 2, cell), 0)
    new = call.add("mul", [enter, _active(call, way, sums[3], 1)])
    cell = call.add("add", [call.add("mul", [keep, cell]), new])
    leave = _active(call, way, seen(1, 1, cell), 0)
    return call.add("mul", [leave, call.add(way.functions[2], [cell])]), cell


def _gru(call: Call, way: _Way, x: int, state: State) -> State:
    hidden = state[0]
    inputs = _gates(call, way, x, 3)
    update, reset, after = _recurrence(call, way, hidden)
    update = _active(call, way, _sum(call, inputs[0], update), 0)
    reset = _active(call, way, _sum(call, inputs[1], reset), 0)
    if call.flag("linear_before_reset"):
        seen = call.add("mul", [reset, after])
    else:
        of_state = _part(call, way.weights, 1, 2 * way.hidden, way.hidden)
        seen = call.add("matmul", [call.add("mul", [reset, hidden]), of_state])
        seen = _sum(call, seen, way.bias[2] if way.bias else None)
    new = _active(call, way, _sum(call, inputs[2], seen), 1)
    rest = call.add("sub", [call.like(1, update), update])
    made = _sum(call, call.add("mul", [rest, new]), call.add("mul", [update, hidden]))
    return made, made


_STEPS: dict[str, Step] = {"RNN": _rnn, "LSTM": _lstm, "GRU": _gru}


@rule("RNN", "LSTM", "GRU", summary="recurrent layers, either way or both", limits=_LIMITS)
def recurrent(call: Call) -> list[int]:
    """All states, the last hidden one, and for an LSTM the last cell."""
    call.ignore("output_sequence")
    kind, batch_first = call.node.op_type, call.flag("layout")
    x = call.operand(0)
    if call.type_of(x).dtype is not DType.F32 or len(call.type_of(x).shape) != 3:
        raise Refused(f"{kind} of {call.type_of(x)}", "f32 [steps,batch,size] is supported")
    x = call.transpose(x, (1, 0, 2)) if batch_first else x
    count, batch, _ = call.type_of(x).shape
    if count > _MOST_STEPS:
        raise Refused(f"{count} steps", f"up to {_MOST_STEPS} are supported")
    words = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    ways = words[call.text("direction", "forward", tuple(words))]
    done: list[tuple[list[int], State]] = []
    for place, backwards in enumerate(ways):
        way = _way(call, x, place, len(ways))
        start = _start(call, place, len(ways), (batch, way.hidden), batch_first)
        done.append(_walk(call, way, start, count, backwards))
    every = [
        _joined(call, [call.reshape(s[t], (1, 1, *call.type_of(s[t]).shape)) for s, _ in done], 1)
        for t in range(count)
    ]
    whole = _joined(call, every, 0)  # [T,D,B,H]
    last = [
        _joined(call, [call.reshape(s[k], (1, *call.type_of(s[k]).shape)) for _, s in done], 0)
        for k in (0, 1)
    ]
    if batch_first:
        whole = call.transpose(whole, (2, 0, 1, 3))
        last = [call.transpose(state, (1, 0, 2)) for state in last]
    return [whole, *last[: 2 if kind == "LSTM" else 1]]


def _joined(call: Call, parts: Sequence[int], axis: int) -> int:
    return call.add("concat", parts, lookup("concat").Attrs(axis)) if len(parts) > 1 else parts[0]


def _way(call: Call, x: int, place: int, ways: int) -> _Way:
    """The weights of one direction, and what they make of the inputs."""
    gates = _GATES[call.node.op_type]
    if len(call.type(2).shape) != 3:
        raise Refused(f"weights {call.type(2)} of the state; three axes are wanted")
    hidden = call.integer("hidden_size", call.type(2).shape[-1])
    for index, size in ((1, call.type_of(x).shape[2]), (2, hidden)):
        wanted = (ways, gates * hidden, size)
        if call.type(index).shape != wanted:
            raise Refused(f"weights {call.type(index)}, {list(wanted)} are wanted")
    w, r = (call.transpose(_one(call, call.operand(i), place), (1, 0)) for i in (1, 2))
    inputs, bias = call.add("matmul", [x, w]), None
    if call.has(3):
        both = _one(call, call.operand(3), place)
        inputs = call.add("add", [inputs, _part(call, both, 0, 0, gates * hidden)])
        bias = [_part(call, both, 0, (gates + k) * hidden, hidden) for k in range(gates)]
    peepholes = []
    if call.has(7):
        held = _one(call, call.operand(7), place)
        peepholes = [_part(call, held, 0, k * hidden, hidden) for k in range(3)]
    functions = _functions(call, place, ways)
    clip = call.real("clip", 0.0)
    return _Way(inputs, r, bias, peepholes, functions, clip, hidden)


def _functions(call: Call, place: int, ways: int) -> tuple[str, ...]:
    defaults = _DEFAULTS[call.node.op_type]
    given = call.attr("activations")
    if call.attr("activation_alpha") is not None or call.attr("activation_beta") is not None:
        raise Refused("activations with parameters", f"{', '.join(_FUNCTIONS)} are supported")
    names = defaults * ways if given is None else given
    if not isinstance(names, tuple) or len(names) != len(defaults) * ways:
        raise Refused(f"`activations` is {names!r}")
    mine = [str(n).lower() for n in names[place * len(defaults) : (place + 1) * len(defaults)]]
    if any(n not in _FUNCTIONS for n in mine):
        raise Refused(f"`activations` is {names!r}", f"{', '.join(_FUNCTIONS)} are supported")
    return tuple(_FUNCTIONS[n] for n in mine)


def _start(call: Call, place: int, ways: int, shape: tuple[int, int], batch_first: bool) -> State:
    """The first hidden state and cell, zeros where they are not given."""
    states = []
    for index in (5, 6):
        if not call.has(index):
            states.append(call.array(np.zeros(shape), DType.F32))
            continue
        given = call.operand(index)
        given = call.transpose(given, (1, 0, 2)) if batch_first else given
        if call.type_of(given).shape != (ways, *shape):
            raise Refused(f"a first state {call.type(index)} for {ways} x {list(shape)}")
        states.append(_one(call, given, place))
    return states[0], states[1]


def _walk(
    call: Call, way: _Way, state: State, count: int, backwards: bool
) -> tuple[list[int], State]:
    """Hidden states of all steps, in the order of the inputs, and the last state."""
    step = _STEPS[call.node.op_type]
    lengths = None
    if call.has(4):
        lengths = call.reshape(call.cast(call.operand(4), DType.I64), (call.type(4).elems, 1))
    made: dict[int, int] = {}
    for t in reversed(range(count)) if backwards else range(count):
        new = step(call, way, _one(call, way.inputs, t), state)
        seen = new[0]
        if lengths is not None:  # beyond a sequence's end its state stays, and is not shown
            inside = call.add("less", [call.like(t, lengths), lengths])
            seen = call.add("where", [inside, seen, call.like(0, seen)])
            hidden, cell = (
                call.add("where", [inside, a, b]) for a, b in zip(new, state, strict=True)
            )
            new = hidden, cell
        made[t], state = seen, new
    return [made[t] for t in range(count)], state
