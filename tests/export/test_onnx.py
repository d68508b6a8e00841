"""Exported libraries of imported networks: ports of every type and rank, and any names."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import cnncc
from cnncc import driver
from cnncc.export import export
from cnncc.export.header import C_TYPES
from cnncc.ir.types import DType
from cnncc.llvm.host import host_target
from tests.export.programs import compiler, run
from tests.onnx.building import model, node

pytestmark = pytest.mark.native
STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror"]
# Of every type that ports can have, with a shape of another rank each.
PORTS = {
    DType.F64: (2, 3),
    DType.F32: (1, 2, 2, 1, 3),
    DType.F16: (5,),
    DType.I64: (),
    DType.I32: (3, 2, 2),
    DType.I16: (4,),
    DType.I8: (1, 7),
    DType.U64: (2,),
    DType.U32: (1, 1, 3),
    DType.U16: (6,),
    DType.U8: (2, 2),
    DType.BOOL: (3,),
}
NAMES = (
    *("in:0", "a/b", "a b", "a.b", "1st", "int"),
    *("größe", '";system("x");//', "*/ int x; /*", "??/", "A/B", "-"),
)


def write(folder: Path, path: Path, name: str = "net", **options: object) -> cnncc.Network:
    """Export an ONNX file, and compile it for Python."""
    found = driver.compile_model(path)
    plan = found.plan
    export(folder, name, plan.program, host_target(), plan.interface, plan.weights, **options)  # type: ignore[arg-type]
    return driver.build(found, threads=1)


def save(folder: Path, made: onnx.ModelProto) -> Path:
    path = folder / "m.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def copies(folder: Path) -> Path:
    """A model that hands every input on, under names that no C program could have."""
    nodes, inputs, outputs = [], [], []
    for (dtype, shape), name in zip(PORTS.items(), NAMES, strict=True):
        code = helper.np_dtype_to_tensor_dtype(dtype.numpy)
        inputs.append(helper.make_tensor_value_info(name, code, shape))
        outputs.append(helper.make_tensor_value_info(f"{name}'", code, shape))
        nodes.append(helper.make_node("Identity", [name], [f"{name}'"]))
    graph = helper.make_graph(nodes, 'x*/"', inputs, outputs)
    opset = [helper.make_opsetid("", 17)]
    return save(folder, helper.make_model(graph, opset_imports=opset, ir_version=8))


def sample(net: cnncc.Network) -> dict[str, np.ndarray]:
    """The bytes of a random sample; numbers where they are floats."""
    rng = np.random.default_rng(3)
    made = {}
    for port in net.inputs:
        dtype = port.dtype.numpy
        top = 2 if port.dtype is DType.BOOL else 256
        raw = rng.integers(0, top, port.size_bytes, dtype=np.uint8).view(dtype)
        floats = rng.standard_normal(port.shape).astype(dtype)
        made[port.name] = floats if port.dtype.is_float else raw.reshape(port.shape)
    return made


def test_every_type_of_port_has_a_c_type_of_its_size(tmp_path):
    assert set(C_TYPES) == set(DType)
    lines = [
        f"typedef char size_of_{d}[sizeof({c}) == {d.size_bytes} ? 1 : -1];"
        for d, c in C_TYPES.items()
    ]
    (tmp_path / "sizes.c").write_text("\n".join(lines) + "\n")
    run([compiler("cc"), *STRICT, "-c", "sizes.c"], tmp_path)


def test_a_strict_c_program_gives_the_numbers_of_python(tmp_path):
    net = write(tmp_path, copies(tmp_path))
    feeds = sample(net)
    (tmp_path / "in.bin").write_bytes(b"".join(feeds[p.name].tobytes() for p in net.inputs))
    run([compiler("cc"), *STRICT, "-o", "main", "main.c", "net.o"], tmp_path)
    run([compiler("cc"), *STRICT, "-fsyntax-only", "-x", "c", "net.h"], tmp_path)
    text = run([tmp_path / "main", tmp_path / "in.bin"], tmp_path)
    numbers = [line for line in text.splitlines() if not line.startswith("# ")]
    answers = net.run(feeds)
    for port in net.outputs:
        told, numbers = numbers[: port.elems], numbers[port.elems :]
        dtype = np.dtype(np.uint16) if port.dtype is DType.F16 else port.dtype.numpy
        read = [bool(int(t)) for t in told] if port.dtype is DType.BOOL else told
        found = np.array(read, dtype).view(port.dtype.numpy).reshape(port.shape)
        assert np.array_equal(found, answers[port.name]), port
        assert np.array_equal(found, feeds[port.name.removesuffix("'")])
    assert not numbers


def test_a_header_of_odd_names_is_c_plus_plus_too(tmp_path):
    write(tmp_path, copies(tmp_path), kinds=("header",))
    text = (tmp_path / "net.h").read_text(encoding="ascii")
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    assert "system(" not in code
    assert len(re.findall(r"^typedef struct", code, re.MULTILINE)) == 3
    run([compiler("c++"), "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", "net.h"], tmp_path)


def test_a_network_that_mixes_samples_takes_whole_arrays(tmp_path):
    """`batch` counts calls: each of them gets whole arrays of the declared shapes."""
    made = model(
        [node("ReduceSum", "x axes", "y", keepdims=0)],
        {"x": [2, 3]},
        ["y"],
        {"axes": np.array([0])},
    )
    net = write(tmp_path, save(tmp_path, made), kinds=("shared", "header"), prefix="mix")
    assert not net.interface.batched
    header = (tmp_path / "net.h").read_text()
    assert "float [2][3]" in header
    assert "#define MIX_INPUT_x_ELEMS 6u" in header
    compiler("cc")
    library = ctypes.CDLL(str(tmp_path / "libnet.so"))
    x = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    y = np.empty((2, 3), np.float32)
    bytes_ = net.interface.workspace_bytes
    room = np.empty(bytes_ + 64, np.uint8)
    start = room.ctypes.data + -room.ctypes.data % 64
    pointer, size = ctypes.c_void_p, ctypes.c_size_t
    status = library.mix_run(
        *(pointer(x.ctypes.data), pointer(y.ctypes.data)), size(2), pointer(start), size(bytes_)
    )
    assert status == 0
    assert np.array_equal(y, [net(one) for one in x])


def test_selected_rows_are_counted(tmp_path):
    nodes = [node("NonMaxSuppression", "boxes scores most", "picked")]
    shapes = {"boxes": [1, 4, 4], "scores": [1, 1, 4]}
    made = model(nodes, shapes, ["picked"], {"most": np.array([3])})
    made.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    write(tmp_path, save(tmp_path, made), kinds=("header",))
    text = (tmp_path / "net.h").read_text()
    assert "how many rows of it are filled tells output picked.count" in text
    assert "long *out_picked," in text
    assert "long *out_picked_count," in text
