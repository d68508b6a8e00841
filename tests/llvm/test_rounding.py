"""The caller's floating-point mode changes no result, and is found as it was."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from cnncc.llvm.optimize import emit_object
from cnncc.llvm.parallel import emit_main_unit
from cnncc.targets import find
from tests.runtime.programs import mirror_program

ROOT = Path(__file__).parents[2]
# x86-64: fegetenv stores MXCSR behind 28 bytes of x87 state.
CODE = """
import ctypes
import numpy as np
from tests.runtime.programs import SIZE, expected, network

libm = ctypes.CDLL("libm.so.6")
env = (ctypes.c_uint32 * 8)()
x = np.linspace(-3, 3, 2 * SIZE, dtype=np.float32).reshape(2, SIZE) / np.float32(3)
x[0, :4] = [1e-45, 1e-40, -1e-39, 3e-38]
wanted = expected(x).tobytes()
nets = [network(threads) for threads in (1, 2, 3)]
nets[1](x)  # its workers start in the usual mode, those of the last in another one
libm.fegetenv(env)
usual = env[7]
count = 0
for rounding in range(4):
    for flush in (0, 0x8000, 0x0040, 0x8040):
        env[7] = usual & ~0xE040 | rounding << 13 | flush
        asked = env[7]
        libm.fesetenv(env)
        got = [net(x).tobytes() for net in nets]
        libm.fegetenv(env)
        left = env[7]
        env[7] = usual
        libm.fesetenv(env)
        assert (left & ~0x3F) == (asked & ~0x3F), (hex(left), hex(asked))
        assert got == [wanted] * 3, (rounding, hex(flush))
        count += 1
print(count)
"""


@pytest.mark.native
def test_no_mode_changes_a_bit():
    if find("x86-64").triple.split("-")[0] != platform.machine():
        pytest.skip("the modes are set through x86-64's MXCSR")
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "16\n", done.stderr


def test_arm_code_sets_its_own_register():
    assert emit_object(emit_main_unit(mirror_program(), find("aarch64")), find("aarch64"))
