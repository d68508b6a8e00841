"""A child process that runs generated code, so that a crash is a failed test and not the end."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from cnncc.llvm.emit import emit_program
from cnncc.llvm.host import host_target, missing
from cnncc.llvm.optimize import emit_object
from cnncc.loopir.nodes import BufferType, Func, Program
from cnncc.targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[2]
RUNNABLE = [t for t in (host_target(), *TARGETS.values()) if not missing(t)]
_CHILD = """
import ctypes, pickle, struct, sys
import numpy as np
from cnncc.llvm.jit import load
inp, out = sys.stdin.buffer, sys.stdout.buffer
while head := inp.read(8):
    code, name, target, args = pickle.loads(inp.read(struct.unpack("<q", head)[0]))
    library = load([code], [name], target)
    kinds = [ctypes.c_void_p if isinstance(a, np.ndarray) else ctypes.c_int64 for a in args]
    call = ctypes.CFUNCTYPE(None, *kinds)(library[name])
    call(*[a.ctypes.data if isinstance(a, np.ndarray) else a for a in args])
    answer = pickle.dumps(args)
    out.write(struct.pack("<q", len(answer)) + answer)
    out.flush()
"""


class NativeChild:
    """Runs functions in another process; starts a new one after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, code: Func | Program, args: list[Any], target: Target) -> list[Any]:
        """Compile for a target and call the last function; gives the arguments afterwards."""
        program = Program([code]) if isinstance(code, Func) else code
        text = emit_program(program, target)
        request = (emit_object(text, target), program.funcs[-1].name, target, args)
        answer = self._ask(pickle.dumps(request))
        if answer is None:
            raise AssertionError(f"the code crashed on {target.name}:\n{text}")
        return pickle.loads(answer)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _ask(self, data: bytes) -> bytes | None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _CHILD],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(struct.pack("<q", len(data)) + data)
            self._process.stdin.flush()
            head = self._process.stdout.read(8)
            if len(head) == 8:
                return self._process.stdout.read(struct.unpack("<q", head)[0])
        except BrokenPipeError:
            pass
        self.close()
        return None


def run_python(script: str, *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter at the repository's root."""
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def assert_same(got: list[Any], want: list[Any], func: Func, rtol: float = 0.0) -> None:
    """Compare arguments after a call: integers exactly, f32 within `rtol`, NaN equal to NaN."""
    for param, a, b in zip(func.params, got, want, strict=True):
        if not isinstance(param.type, BufferType):
            continue
        if a.dtype == np.float32:
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol, err_msg=param.hint)
        else:
            np.testing.assert_array_equal(a, b, err_msg=param.hint)
