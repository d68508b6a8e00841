"""Generated code keeps to the bytes it was promised: beyond them lies forbidden memory."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.native
ROOT = Path(__file__).parents[2]
CODE = """
import ctypes, mmap, sys
from pathlib import Path
import numpy as np
from cnncc import driver
from cnncc.llvm.cache import ObjectCache
from cnncc.runtime.image import Loaded

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
PAGE = 4096

class Guarded:
    '''`size` bytes between two forbidden pages, at the start or at the end.'''

    def __init__(self, size, at_end, align):
        room = max(-(-size // PAGE), 1) * PAGE
        self.map = mmap.mmap(-1, room + 2 * PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.keep = ctypes.c_char.from_buffer(self.map)
        base = ctypes.addressof(self.keep)
        assert libc.mprotect(base, PAGE, 0) == 0
        assert libc.mprotect(base + PAGE + room, PAGE, 0) == 0
        offset = (room - size) // align * align if at_end else 0
        self.address = base + PAGE + offset
        data = (ctypes.c_ubyte * max(size, 1)).from_address(self.address)
        self.bytes = np.frombuffer(data, np.uint8, size)

def run(name, target, at_end):
    plan = driver.compile_model(name, target=target).plan
    cache = ObjectCache(Path(sys.argv[1]))
    net = driver.build(driver.compile_model(name, target=target), threads=1, cache=cache)
    face = plan.interface
    rng = np.random.default_rng(4)
    xs = [rng.integers(0, 100, (1, *p.shape)).astype(p.dtype.numpy) for p in net.inputs]
    wanted = net(*xs)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    ports = [Guarded(p.size_bytes, at_end, p.dtype.size_bytes) for p in (*net.inputs, *net.outputs)]
    weights = Guarded(face.weights_bytes, at_end, 64)
    arena = Guarded(face.workspace_for(1), at_end, 64)
    for place, x in zip(ports, xs):
        place.bytes[:] = x.view(np.uint8).reshape(-1)
    weights.bytes[:] = plan.weights.view(np.uint8)
    arena.bytes[:] = 0xFF
    assert libc.mprotect(weights.address // PAGE * PAGE, face.weights_bytes, 1) == 0
    pointers = (ctypes.c_void_p * (len(ports) + 2))(
        *[p.address for p in (*ports, weights, arena)])
    net._executable.function(ctypes.addressof(pointers), None)
    for place, y in zip(ports[len(xs):], wanted):
        assert place.bytes.tobytes() == y.tobytes(), name

for name in sys.argv[3:]:
    for at_end in (False, True):
        run(name, sys.argv[2], at_end)
        print("ok")
"""
NAMES = ("digits/digits.cnn", "lenet5.cnn")


@pytest.mark.parametrize("target", ["host", "x86-64-v3", "x86-64"])
def test_no_byte_beyond_is_touched(tmp_path, target):
    from cnncc.driver import target_named
    from cnncc.llvm.host import missing

    if missing(target_named(target)):
        pytest.skip(f"this machine cannot run {target}")
    models = [str(ROOT / "examples" / name) for name in NAMES]
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path), target, *models],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "ok\n" * 4), done.stderr
