"""Recurrent layers: directions, states, lengths, layouts, what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.onnx.one_node import Refused, check, f32, run

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, SIZE, HIDDEN = 5, 2, 3, 4


def operands(op: str, ways: int = 1, seed: int = 0) -> list[np.ndarray]:
    rows = GATES[op] * HIDDEN
    return [
        f32(STEPS, BATCH, SIZE, seed=seed),
        f32(ways, rows, SIZE, seed=seed + 1, low=-0.7, high=0.7),
        f32(ways, rows, HIDDEN, seed=seed + 2, low=-0.7, high=0.7),
        f32(ways, 2 * rows, seed=seed + 3, low=-0.5, high=0.5),
    ]


def agrees(op: str, given: list[Any], **how: Any) -> None:
    outputs = 3 if op == "LSTM" else 2
    constant = how.pop("constant", (1, 2, 3))
    check(op, given, opset=14, outputs=outputs, hidden_size=HIDDEN, constant=constant, **how)


@pytest.mark.parametrize("op", list(GATES))
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_directions(op: str, direction: str) -> None:
    agrees(op, operands(op, 2 if direction == "bidirectional" else 1), direction=direction)


@pytest.mark.parametrize("op", list(GATES))
def test_first_states_and_lengths(op: str) -> None:
    states = [f32(2, BATCH, HIDDEN, seed=7)] * (2 if op == "LSTM" else 1)
    lengths = np.array([3, 5], np.int32)
    given = [*operands(op, 2), lengths, *states]
    agrees(op, given, direction="bidirectional")
    agrees(op, operands(op)[:3], constant=(1, 2))


@pytest.mark.parametrize("op", list(GATES))
def test_batch_first(op: str) -> None:
    x, *weights = operands(op)
    time_first = run(op, [x, *weights], opset=14, outputs=2, hidden_size=HIDDEN)
    turned = [x.transpose(1, 0, 2), *weights]
    batch_first = run(op, turned, opset=14, outputs=2, hidden_size=HIDDEN, layout=1)
    np.testing.assert_array_equal(batch_first[0], time_first[0].transpose(2, 0, 1, 3))
    np.testing.assert_array_equal(batch_first[1], time_first[1].transpose(1, 0, 2))


@pytest.mark.parametrize("linear", [0, 1])
def test_where_a_gru_resets(linear: int) -> None:
    agrees("GRU", operands("GRU"), linear_before_reset=linear)
    agrees("GRU", operands("GRU")[:3], linear_before_reset=linear, constant=(1, 2))


def test_peepholes_and_coupled_gates() -> None:
    given = [*operands("LSTM"), None, None, None, f32(1, 3 * HIDDEN, seed=9)]
    agrees("LSTM", given, constant=(1, 2, 3, 7))
    agrees("LSTM", operands("LSTM"), input_forget=1)


def test_other_activations_and_clipped_ones() -> None:
    agrees("RNN", operands("RNN"), activations=["Relu"])
    agrees("RNN", operands("RNN"), clip=0.3)
    agrees("GRU", operands("GRU"), activations=["Softsign", "Relu"])
    with pytest.raises(Refused, match="activations"):
        run("RNN", operands("RNN"), opset=14, activations=["Affine"])
    with pytest.raises(Refused, match="parameters"):
        run("RNN", operands("RNN"), opset=14, activation_alpha=[0.5])


def test_malformed() -> None:
    x, w, r, b = operands("LSTM")
    with pytest.raises(Refused, match="weights"):
        run("LSTM", [x, w[:, :-1], r, b], opset=14)
    with pytest.raises(Refused, match="first state"):
        run("LSTM", [x, w, r, b, None, f32(2, BATCH, HIDDEN)], opset=14)
    with pytest.raises(Refused, match="3000 steps"):
        run("LSTM", [f32(3000, 1, SIZE), w, r, b], opset=14)
