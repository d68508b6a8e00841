import copy
import os
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cnncc.errors import ArtifactError, InputError, TargetError
from cnncc.runtime.network import Network
from tests.runtime.programs import SIZE, expected, image, interface, network, weights

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
LAYERS = (
    {"layer": "scale", "op": "mul", "parameters": SIZE},
    {"layer": "mirror", "op": "add", "parameters": 0},
)
DECISIONS = (
    {"subject": "scale", "choice": "vector loop", "reason": "it is contiguous", "by": "plan"},
    {"subject": "mirror", "choice": "scalar loop", "reason": "it runs backwards"},
)


def _explained() -> Network:
    return Network(image(), interface(), weights(), threads=2, layers=LAYERS, decisions=DECISIONS)


def _samples(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).standard_normal(shape).astype(np.float32)


def test_a_batch_is_answered_with_a_batch():
    x = _samples(3, SIZE)
    y = network()(x)
    assert y.shape == (3, SIZE)
    assert y.tobytes() == expected(x).tobytes()


def test_a_sample_is_answered_without_the_batch_axis():
    x = _samples(SIZE)
    y = network()(x)
    assert y.shape == (SIZE,)
    assert y.tobytes() == expected(x).tobytes()


def test_no_sample_is_answered_with_none():
    assert network()(np.zeros((0, SIZE), np.float32)).shape == (0, SIZE)


def test_by_name():
    x = _samples(2, SIZE)
    assert list(network().run({"x": x})) == ["y"]
    assert network().run({"x": x})["y"].tobytes() == expected(x).tobytes()


@pytest.mark.parametrize(
    ("feeds", "out", "words"),
    [
        ({}, None, r"input `x` is missing\n.*the inputs are `x`"),
        ({"X": 1}, None, "no input is called `X`; input `x` is missing"),
        ([np.zeros((2, 1))], None, "the inputs are arrays by name, got a `list`"),
        ({"x": np.zeros(SIZE, np.float32)}, {"z": None}, "no output is called `z`"),
        ({"x": np.zeros(SIZE, np.float32)}, {"y": None}, "must be a NumPy array"),
    ],
)
def test_wrong_names_are_refused(feeds, out, words):
    with pytest.raises(InputError, match=f"(?s){words}"):
        network().run(feeds, out)


def test_a_wrong_number_of_arrays_is_refused():
    with pytest.raises(InputError, match=r"takes 1 array \(`x`\), got 2"):
        network()(1, 2)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda shape: np.full(shape, np.nan, np.float32),
        lambda shape: np.full((*shape, 2), np.nan, np.float32)[..., 1],
        lambda shape: np.full(shape, np.nan, np.float32)[..., ::-1],
        lambda shape: np.full(shape, np.nan, ">f4"),
    ],
)
def test_results_come_into_arrays_of_the_caller(make, batched):
    x = _samples(3, SIZE) if batched else _samples(SIZE)
    y = make(x.shape)
    assert network().run({"x": x}, {"y": y})["y"] is y
    np.testing.assert_array_equal(y, expected(x))


def test_an_output_may_be_the_input():
    x = _samples(3, SIZE)
    wanted = expected(x)
    network().run({"x": x}, {"y": x})
    assert x.tobytes() == wanted.tobytes()


def test_neither_input_nor_neighbours_are_written():
    memory = np.full(3 * SIZE + 2, 5, np.float32)
    x = memory[1 : 1 + SIZE]
    y = memory[1 + SIZE : 1 + 2 * SIZE]
    network().run({"x": x}, {"y": y})
    assert (x == 5).all()
    assert memory[0] == 5
    assert (memory[1 + 2 * SIZE :] == 5).all()


def test_facts():
    net = network(threads=2)
    assert (net.name, net.threads, net.target) == ("mirror", 2, "host")
    assert (net.parameters, net.macs) == (SIZE, SIZE)
    assert net.labels == ("cat", "dog")
    assert [p.name for p in (*net.inputs, *net.outputs)] == ["x", "y"]
    assert net.memory.weights_bytes == net.memory.workspace_bytes == 4 * SIZE
    assert net.memory.code_bytes == len(image().code)
    assert repr(net) == f"Network(mirror: x f32[N,{SIZE}] -> y f32[N,{SIZE}]; host, 2 threads)"


def test_summary_and_explanations():
    net = _explained()
    assert net.summary().splitlines()[2].split() == ["scale", "mul", "96"]
    assert "96 parameters, 96 multiply-adds a sample" in net.summary()
    assert net.explain("scale") == "scale\n  vector loop  (plan)\n    because it is contiguous"
    assert net.explain().count("because") == 2
    with pytest.raises(InputError, match=r"no layer `scael`\n.*did you mean `scale`"):
        net.explain("scael")
    assert network().explain() == "no decision was recorded"


def test_a_closed_network_cannot_be_called():
    with network(threads=2) as net:
        net(_samples(SIZE))
    net.close()
    with pytest.raises(InputError, match="closed"):
        net(_samples(SIZE))


def test_saving_and_loading(tmp_path):
    x = _samples(2, SIZE)
    path = tmp_path / "mirror.net"
    before = _explained()
    before.save(path)
    for check in (True, False):
        after = Network.load(path, threads=2, check_weights=check)
        assert after(x).tobytes() == expected(x).tobytes()
        assert after.summary() == before.summary()
        assert after.explain() == before.explain()
        assert after.memory == before.memory
    after.save(tmp_path / "again.net")
    assert path.read_bytes() == (tmp_path / "again.net").read_bytes()


def test_replacing_a_saved_file_leaves_loaded_networks_alone(tmp_path):
    x = _samples(SIZE)
    path = tmp_path / "mirror.net"
    network().save(path)
    loaded = Network.load(path, check_weights=False)
    network().save(path)
    assert loaded(x).tobytes() == expected(x).tobytes()


def test_a_killed_save_leaves_the_old_file_or_the_new_one(tmp_path):
    path = tmp_path / "mirror.net"
    network().save(path)
    code = (
        "import sys; from cnncc.runtime.network import Network\n"
        f"net = Network.load({str(path)!r}, threads=1); print('go', flush=True)\n"
        f"while True: net.save({str(path)!r})\n"
    )
    rng = random.Random(5)
    for _ in range(12):
        with subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE
        ) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0, 0.02))
            child.kill()
        assert Network.load(path).name == "mirror"


def test_damaged_weights_are_found(tmp_path):
    path = tmp_path / "mirror.net"
    network().save(path)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"mirror.net is damaged.*digest"):
        Network.load(path)


def test_copies_and_pickles_compute_the_same():
    x = _samples(SIZE)
    net = _explained()
    for twin in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert twin(x).tobytes() == expected(x).tobytes()
        assert (twin.threads, twin.layers, twin.decisions) == (2, LAYERS, DECISIONS)


def test_code_for_another_cpu_is_refused(tmp_path):
    from dataclasses import replace

    other = replace(interface(), requires=("avx2", "amx-of-the-future"))
    with pytest.raises(TargetError, match=r"it lacks .*amx-of-the-future"):
        Network(image(), other, weights())


def test_loading_needs_no_compiler(tmp_path):
    path = tmp_path / "mirror.net"
    network().save(path)
    code = (
        "import sys; from cnncc.runtime.network import Network; import numpy as np\n"
        f"net = Network.load({str(path)!r}, threads=2)\n"
        f"y = net(np.ones({SIZE}, np.float32))\n"
        "print([m for m in ('llvmlite', 'networkx', 'safetensors', 'click') if m in sys.modules])\n"
        "print(y.tobytes().hex())\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ).stdout.splitlines()
    assert out == ["[]", expected(np.ones(SIZE, np.float32)).tobytes().hex()]
