"""Native code under threads, forks and signals; what might hang runs in a child process."""

import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

from cnncc.abi import ALIGNMENT, aligned
from cnncc.errors import ArtifactError, InternalError
from cnncc.runtime.module import Executable
from tests.runtime.programs import SIZE, expected, image, interface, network, weights

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]


def _samples(count: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((count, SIZE)).astype(np.float32)


def _child(code: str, *, seconds: float = 60.0) -> str:
    start = "import numpy as np\nfrom tests.runtime.programs import *\n"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start + textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_any_number_of_threads_gives_the_same_bits(threads):
    x = _samples(3)
    net = network(threads)
    for _ in range(300):
        assert net(x).tobytes() == expected(x).tobytes()


def test_every_place_in_a_batch_gives_the_same_bits():
    x = _samples(9)
    net = network(2)
    whole = net(x)
    for number, sample in enumerate(x):
        assert net(sample).tobytes() == whole[number].tobytes()


def test_many_callers_share_one_network():
    x = _samples(8)
    net = network(2)
    wrong = []

    def calls(number: int) -> None:
        wanted = expected(x[number]).tobytes()
        wrong.append(sum(net(x[number]).tobytes() != wanted for _ in range(400)))

    callers = [threading.Thread(target=calls, args=(n,)) for n in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == [0] * 8


def test_workspaces_are_used_again():
    net = network(1)
    for _ in range(10):
        net(_samples(1))
    assert len(net._executable.free) == 1


def test_the_workspace_may_hold_anything():
    net = network(2)
    x = _samples(1)
    net(x)
    net._executable.free[0]._memory.view(np.float32)[:] = np.nan
    assert net(x).tobytes() == expected(x).tobytes()


def test_aligned_memory_is_aligned():
    for size in (1, 63, 64, 1000):
        memory = aligned(size, np.dtype(np.uint8))
        assert memory.nbytes == size
        assert memory.ctypes.data % ALIGNMENT == 0


def test_wrong_weights_are_refused():
    with pytest.raises(ArtifactError, match="384 bytes of weights, got 380"):
        Executable(image(), interface(), weights()[1:], 1)
    shifted = aligned(4 * SIZE + 4, np.dtype(np.uint8))[4:].view(np.float32)
    with pytest.raises(InternalError, match="aligned"):
        Executable(image(), interface(), shifted, 1)


def test_a_forked_child_starts_threads_of_its_own():
    out = _child(
        """
        import os
        net = network(threads=3)
        x = np.ones((2, SIZE), np.float32)
        net(x)
        for _ in range(30):
            child = os.fork()
            if child == 0:
                same = net(x).tobytes() == expected(x).tobytes()
                os._exit(0 if same and len(os.listdir("/proc/self/task")) == 3 else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert net(x).tobytes() == expected(x).tobytes()
        print("done")
        """
    )
    assert out == "done\n"


def test_a_fork_in_the_middle_of_calls_does_not_hang():
    out = _child(
        """
        import os, threading
        net = network(threads=2)
        x = np.ones((4, SIZE), np.float32)
        over = threading.Event()
        def calls():
            while not over.is_set():
                net(x)
        callers = [threading.Thread(target=calls) for _ in range(2)]
        for c in callers: c.start()
        for _ in range(30):
            child = os.fork()
            if child == 0:
                os._exit(0 if net(x).tobytes() == expected(x).tobytes() else 1)
            assert os.waitpid(child, 0)[1] == 0
        over.set()
        for c in callers: c.join()
        print("done")
        """
    )
    assert out == "done\n"


def test_control_c_ends_a_batch_and_leaves_the_network_usable():
    out = _child(
        """
        import os, signal, threading, time
        net = network(threads=2)
        x = np.ones((2_000_000, SIZE), np.float32)
        small = x[:2]
        net(small)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
        start = time.perf_counter()
        try:
            net(x)
        except KeyboardInterrupt:
            print("interrupted", time.perf_counter() - start < 10)
        assert net(small).tobytes() == expected(small).tobytes()
        """
    )
    assert out == "interrupted True\n"


def test_a_storm_of_signals_changes_nothing():
    out = _child(
        """
        import signal
        hits = []
        signal.signal(signal.SIGALRM, lambda *_: hits.append(1))
        net = network(threads=2)
        x = np.random.default_rng(1).standard_normal((3, SIZE)).astype(np.float32)
        net(x)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        while len(hits) < 200:
            assert net(x).tobytes() == expected(x).tobytes()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print("done")
        """
    )
    assert out == "done\n"


def test_fewer_threads_than_asked_for_still_compute():
    out = _child(
        """
        import os, resource, warnings
        net = network(threads=200)
        x = np.ones((2, SIZE), np.float32)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (100 << 20), resource.RLIM_INFINITY))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert net(x).tobytes() == expected(x).tobytes()
        assert 1 < len(os.listdir("/proc/self/task")) < 200
        print([str(w.message).split("; ")[1] for w in caught])
        """
    )
    assert out == "['the network runs on those, with the same results']\n"


def test_closing_while_others_call_is_safe():
    out = _child(
        """
        import threading
        from cnncc.errors import InputError
        x = np.ones((20, SIZE), np.float32)
        wanted = expected(x).tobytes()
        def calls(net, ended):
            try:
                while True:
                    assert net(x).tobytes() == wanted
            except InputError:
                ended.append(1)
        for _ in range(40):
            net, ended = network(threads=2), []
            callers = [threading.Thread(target=calls, args=(net, ended)) for _ in range(3)]
            for c in callers: c.start()
            net(x)
            net.close()
            for c in callers: c.join()
            assert len(ended) == 3
        print("done")
        """
    )
    assert out == "done\n"


def test_code_outlives_calls_but_not_its_network():
    out = _child(
        """
        import gc, threading
        x = np.ones((50, SIZE), np.float32)
        for _ in range(60):
            net = network(threads=2)
            worker = threading.Thread(target=net, args=(x,))
            worker.start()
            del net
            gc.collect()
            worker.join()
        size = lambda: sum("r-xp 00000000 00:00" in line for line in open("/proc/self/maps"))
        before = size()
        nets = [network(threads=2) for _ in range(4)]
        assert size() >= before + 3, (before, size())
        del nets
        gc.collect()
        assert size() <= before
        print("done")
        """
    )
    assert out == "done\n"
