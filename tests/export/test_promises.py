"""What the header promises, held against a hostile host: pages out of bounds, threads, mistakes."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from cnncc import driver
from cnncc.abi import Interface
from cnncc.export import export
from cnncc.export.header import c_ports
from cnncc.llvm.cache import ObjectCache
from cnncc.llvm.host import missing
from tests.export.programs import compiler, run, values

pytestmark = pytest.mark.native
HOST = Path(__file__).with_name("guarded.c")
SPEC = """\
cnncc 1
model net
weights random { seed = 4 }
input u: 12x10x3 { dtype = u8, scale = 1/255, layout = chw, format = bgr }
input i: 12x10x3 { dtype = i8, scale = 1/128 }
input h: 12x10x2 { dtype = f16 }
input f: 12x10x2
mapped = concat(u, i, h, f) -> conv(3x3, filters=9, pad=1) as c1 -> silu
  -> deconv(2x2, filters=4, stride=2) as d1 -> lrn(3)
output mapped
output scores = mapped -> maxpool(3x3) -> global_avgpool -> flatten -> dense(5) as fc -> softmax
"""
# One layer for each kernel that multiplies, on maps that no register tile divides.
LAYERS = """\
cnncc 1
weights random { seed = 5 }
input x: 30x29x3
conv(7x7, filters=24, stride=2, pad=3) -> relu -> maxpool(3x3, stride=2, pad=1)
conv(3x3, filters=32, pad=1) -> silu
conv(3x3, filters=32, pad=1) -> tanh
conv(1x1, filters=40) -> hswish
dwconv(3x3, stride=2, pad=1) -> sigmoid
conv(1x1, filters=20) -> gelu
dwconv(5x5, pad=2) -> silu
conv(3x3, filters=80, pad=1, groups=5) -> relu
deconv(2x2, filters=12, stride=2) -> elu
flatten
dense(11)
softmax
output y
"""
KINDS = ("lib", "header", "main")


def _glue(face: Interface) -> str:
    """Macros that tell the host about the ports."""
    inputs, outputs = c_ports("net", face)
    ports = [*inputs, *outputs]
    bytes_ = ", ".join(f"{p.macro}_BYTES" for p in ports)
    elements = ", ".join(f"{p.macro}_BYTES / {p.macro}_ELEMS" for p in ports)
    sets = "; ".join(f"(io).{p.field} = (p)[{n}]" for n, p in enumerate(ports))
    return (
        f'#include "net.h"\n#define INPUTS {len(inputs)}\n#define OUTPUTS {len(outputs)}\n'
        f"#define SIZES {{{bytes_}}}\n#define ELEMENTS {{{elements}}}\n"
        f"#define SET_PORTS(io, p) do {{ {sets}; }} while (0)\n"
    )


def _exported(folder: Path, target: str, spec: str = SPEC) -> driver.Compilation:
    (folder / "net.cnn").write_text(spec)
    found = driver.compile_model(folder / "net.cnn", target=target)
    plan = found.plan
    export(folder, "net", plan.program, plan.target, plan.interface, plan.weights, kinds=KINDS)
    (folder / "glue.h").write_text(_glue(plan.interface))
    return found


def _inputs() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(6)
    return {
        "u": rng.integers(0, 256, (3, 3, 12, 10), dtype=np.uint8),
        "i": rng.integers(-128, 128, (3, 12, 10, 3), dtype=np.int8),
        "h": rng.standard_normal((3, 12, 10, 2)).astype(np.float16),
        "f": rng.standard_normal((3, 12, 10, 2)).astype(np.float32),
    }


def _emulator(name: str) -> str:
    found = shutil.which(name) or shutil.which(f"{name}-static")
    if found is None:
        pytest.skip(f"there is no {name} here")
    return found


@pytest.mark.parametrize("target", ["host", "x86-64-v4", "x86-64-v3", "x86-64-v2", "x86-64"])
def test_a_hostile_host_finds_nothing(tmp_path, target):
    gcc = compiler("gcc")
    found = _exported(tmp_path, target)
    if missing(found.plan.target):
        pytest.skip(f"this machine cannot run {target}")
    assert found.plan.interface.scratch_bytes > 0
    net = driver.build(found, threads=1, cache=ObjectCache(tmp_path / "cache"))
    given = _inputs()
    arrays = [*given.values(), *net.run(given).values()]
    (tmp_path / "data").write_bytes(b"".join(a.tobytes() for a in arrays))
    command = [gcc, "-std=gnu99", "-Wall", "-I.", HOST, "libnet.a", "-pthread", "-lm", "-o", "host"]
    run(command, tmp_path)
    assert run(["./host", "data"], tmp_path) == "0 failed\n"


@pytest.mark.parametrize(
    ("target", "lesser", "enough"),
    [("x86-64-v2", "core2duo", "Nehalem"), ("x86-64-v3", "Nehalem", "Haswell")],
)
def test_a_lesser_cpu_is_told_so(tmp_path, target, lesser, enough):
    emulator, gcc = _emulator("qemu-x86_64"), compiler("gcc")
    _exported(tmp_path, target)
    run([gcc, "-std=c99", "-static", "main.c", "libnet.a", "-o", "main"], tmp_path)
    command = [emulator, "-cpu", lesser, "./main"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, "neither success nor a signal"
    assert "this CPU lacks a feature" in done.stderr
    run([emulator, "-cpu", enough, "./main"], tmp_path)


@pytest.mark.parametrize("spec", [SPEC, LAYERS], ids=["ports", "layers"])
def test_the_first_aarch64_cpus_run_the_code(tmp_path, spec):
    emulator, gcc = _emulator("qemu-aarch64"), compiler("aarch64-linux-gnu-gcc")
    _exported(tmp_path, "aarch64", spec)
    run([gcc, "-std=c99", "-static", "main.c", "libnet.a", "-o", "main"], tmp_path)
    drawn = {"x": np.random.default_rng(7).standard_normal((1, 30, 29, 3)).astype(np.float32)}
    given = {name: a[:1] for name, a in _inputs().items()} if spec is SPEC else drawn
    (tmp_path / "data").write_bytes(b"".join(a.tobytes() for a in given.values()))
    lines = run([emulator, "-cpu", "cortex-a53", "./main", "data"], tmp_path).splitlines()
    found = values("\n".join(line for line in lines if not line.startswith("#")))
    here = driver.compile_model(tmp_path / "net.cnn")
    net = driver.build(here, threads=1, cache=ObjectCache(tmp_path / "cache"))
    wanted = np.concatenate([a.reshape(-1) for a in net.run(given).values()])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
