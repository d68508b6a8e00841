"""The shortest way through a call: what it takes, what it leaves to the general way."""

import threading
from dataclasses import replace

import numpy as np
import pytest

from cnncc.errors import InputError
from cnncc.runtime import direct as shortest
from cnncc.runtime.direct import direct_call
from cnncc.runtime.module import ALONE
from cnncc.runtime.network import Network
from tests.runtime.programs import SIZE, expected, image, interface, network, weights

pytestmark = pytest.mark.native


def _sample() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((1, SIZE)).astype(np.float32)


def _unaligned(x: np.ndarray) -> np.ndarray:
    room = np.empty(x.nbytes + 1, np.uint8)
    held = room[1:].view(np.float32).reshape(x.shape)
    held[...] = x
    return held


def _read_only(x: np.ndarray) -> np.ndarray:
    held = x.copy()
    held.flags.writeable = False
    return held


OTHERS = {
    "no batch axis": lambda x: x[0],
    "two samples": lambda x: np.concatenate([x, x]),
    "no sample": lambda x: x[:0],
    "every second element": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "backwards": lambda x: x[:, ::-1],
    "byte order": lambda x: x.astype(">f4"),
    "doubles": lambda x: x.astype(np.float64),
    "a list": lambda x: x.tolist(),
    "a masked array": np.ma.masked_array,
    "not aligned": _unaligned,
    "read-only": _read_only,
}


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sample_as_declared_is_answered_like_any_other(threads):
    net = network(threads)
    direct = direct_call(net._executable, net.interface)
    x = _sample()
    answer = direct(x)
    assert answer.tobytes() == expected(x).tobytes() == net(x).tobytes()
    assert answer.shape == (1, *net.outputs[0].shape)
    assert answer.dtype == np.float32
    assert answer.flags.owndata
    assert answer.flags.writeable
    assert direct(x) is not answer


@pytest.mark.parametrize("kind", OTHERS)
def test_all_else_is_left_to_the_general_way(kind):
    net = network(1)
    given = OTHERS[kind](_sample())
    assert direct_call(net._executable, net.interface)(given) is None


@pytest.mark.parametrize("kind", ["every second element", "not aligned", "read-only", "backwards"])
def test_the_general_way_gives_the_same_bits(kind):
    given = OTHERS[kind](_sample())
    assert network(1)(given).tobytes() == expected(np.ascontiguousarray(given)).tobytes()


def test_callers_at_one_time_have_workspaces_of_their_own():
    net = network(2)
    samples = np.random.default_rng(5).standard_normal((6, SIZE)).astype(np.float32)
    wrong = []

    def calls(number: int) -> None:
        x = samples[number : number + 1]
        wanted = expected(x).tobytes()
        wrong.append(sum(net(x).tobytes() != wanted for _ in range(400)))

    callers = [threading.Thread(target=calls, args=(n,)) for n in range(len(samples))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == [0] * len(samples)


def test_a_closed_network_is_not_called():
    net = network(1)
    net(_sample())
    net.close()
    with pytest.raises(InputError, match="closed"):
        net(_sample())


def test_the_way_outlives_its_network():
    net = network(1)
    direct, x = direct_call(net._executable, net.interface), _sample()
    del net
    assert direct(x).tobytes() == expected(x).tobytes()


def test_several_inputs_or_outputs_are_none_of_its_business():
    net = network(1)
    face = net.interface
    for two in (
        replace(face, inputs=face.inputs * 2),
        replace(face, outputs=face.outputs * 2),
    ):
        assert direct_call(net._executable, two) is None


def test_a_network_that_mixes_samples_takes_the_declared_shape():
    net = network(1)
    direct = direct_call(net._executable, replace(net.interface, batched=False))
    x = _sample()
    assert direct(x) is None
    assert direct(x[0]).tobytes() == expected(x[0]).tobytes()


@pytest.mark.parametrize("copied", [0, 4 * SIZE])
def test_an_answer_stays_what_it_was(copied, monkeypatch):
    monkeypatch.setattr(shortest, "_COPIED", copied)
    net = network(1)
    direct, x = direct_call(net._executable, net.interface), _sample()
    first, second, third = direct(x), direct(-x), direct(2 * x)
    assert first.tobytes() == expected(x).tobytes()
    assert second.tobytes() == expected(-x).tobytes()
    assert third.tobytes() == expected(2 * x).tobytes()
    assert first.flags.owndata
    assert len(net._executable.free) == 1


@pytest.mark.parametrize("threads", [1, 2])
def test_a_call_of_the_general_way_between_two_changes_nothing(threads):
    """It shares the workspace, and lets the code write to another array."""
    net = network(threads)
    direct, x = direct_call(net._executable, net.interface), _sample()
    before = direct(x)
    several = net(np.concatenate([3 * x, 5 * x]))
    after = direct(-x)
    assert len(net._executable.free) == 1
    assert before.tobytes() == expected(x).tobytes()
    assert after.tobytes() == expected(-x).tobytes()
    assert several.tobytes() == expected(np.concatenate([3 * x, 5 * x])).tobytes()


def test_code_saved_without_a_function_for_one_thread_runs_as_well():
    whole = image()
    exports = {name: at for name, at in whole.exports.items() if name != ALONE}
    net = Network(replace(whole, exports=exports), interface(), weights(), threads=1)
    x = _sample()
    assert net(x).tobytes() == expected(x).tobytes()
    assert net._executable.alone is None
    assert network(1)._executable.alone is not None
