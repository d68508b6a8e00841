"""Reading: what sound files give, and that hostile ones end in a typed error, soon and small."""

from __future__ import annotations

import builtins
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from cnncc.errors import CnnccError, InputError, OnnxError, UnsupportedError
from cnncc.onnx.convert import to_graph
from cnncc.onnx.limits import Limits
from cnncc.onnx.model import Foreign, Tensor
from cnncc.onnx.read import read
from tests.onnx.hostile import (
    CASES,
    add,
    attributed,
    beside,
    branch,
    info,
    model,
    outside,
    relu,
    tensor,
    written,
)

# A second is what is promised; what takes longer than several is no matter of a busy machine.
MOST_SECONDS = 4.0
MOST_BYTES = 100 * 2**20


def resident(word: str) -> int:
    """Bytes of this process's memory: `VmRSS` now, `VmHWM` at most."""
    status = Path("/proc/self/status").read_text()
    found = re.search(rf"{word}:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


STAGES = {"read": read, "convert": lambda made: to_graph(read(made))}


def test_there_are_enough_hostile_files():
    assert len({c.name for c in CASES}) == len(CASES) >= 60


def refused(case, made):
    """The error, and the processor time until it came."""
    started = time.process_time()
    with pytest.raises(CnnccError) as caught:
        STAGES[case.stage](made)
    return caught.value, time.process_time() - started


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_hostile_files_end_in_a_typed_error(tmp_path, case):
    made = case.make(tmp_path)
    Path("/proc/self/clear_refs").write_text("5")  # forget the largest size so far
    before = resident("VmRSS")
    error, seconds = refused(case, made)
    assert resident("VmHWM") - before < MOST_BYTES
    assert seconds < MOST_SECONDS
    text = str(error)
    assert case.says in text
    assert len(text) < 10_000
    assert all(c.isprintable() or c == "\n" for c in text)
    if case.stage == "read":
        assert isinstance(error, OnnxError)


# -- sound files ---------------------------------------------------------------------------------


def test_a_model_from_a_path_bytes_or_a_message_is_the_same(tmp_path):
    proto = model(tensors=[tensor(raw_data=bytes(16))])
    path = written(tmp_path, proto.SerializeToString())
    models = [read(path), read(str(path)), read(path.read_bytes()), read(proto)]
    assert [m.path for m in models] == [path, path, None, None]
    assert len({(m.name, m.ir_version, len(m.nodes), m.inputs, m.outputs) for m in models}) == 1


def test_everything_the_file_says():
    node = helper.make_node("Relu", ["x"], ["y"], name="act")
    proto = model([node], inputs=[info("x", ("N", 4, None))])
    proto.producer_name, proto.producer_version = "exporter", "1.2"
    proto.metadata_props.add(key="labels", value="cat\ndog")
    proto.graph.value_info.append(info("h", (2, -1)))
    found = read(proto)
    assert (found.name, found.ir_version, found.producer) == ("g", 8, "exporter 1.2")
    assert dict(found.opsets) == {"": 17}
    assert dict(found.metadata) == {"labels": "cat\ndog"}
    assert found.inputs[0].shape == ("N", 4, None)
    assert found.value_infos["h"].shape == (2, None)
    (made,) = found.nodes
    assert (made.index, made.name, made.op_type, made.domain, made.version) == (
        *(0, "act", "Relu"),
        *("", 17),
    )
    assert (made.inputs, made.outputs, made.span) == (("x",), ("y",), "")


@pytest.mark.parametrize("symbol", ["?", "-1", ""])
def test_a_symbol_that_means_any_number_is_none(symbol):
    proto = model(inputs=[info("x", ("a", "b"))])
    for dim in proto.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = symbol
    assert read(proto).inputs[0].shape == (None, None)


def test_inputs_without_shape_or_of_other_kinds():
    proto = model(inputs=[info("x", None), helper.make_tensor_sequence_value_info("s", 1, None)])
    first, second = read(proto).inputs
    assert (first.kind, first.dtype, first.shape) == ("tensor", "FLOAT", None)
    assert (second.kind, second.shape) == ("sequence", ())


def test_an_initialiser_that_is_also_an_input_is_a_constant():
    proto = model(inputs=[info("x"), info("w", (4,))], tensors=[tensor(raw_data=bytes(16))], ir=3)
    found = read(proto)
    assert [i.name for i in found.inputs] == ["x"]
    assert list(found.initializers) == ["w"]


@pytest.mark.parametrize("opset", [6, 13, 17])
def test_both_names_of_onnx_own_domain(opset):
    proto = model([relu(domain="ai.onnx")], opset=opset)
    proto.opset_import[0].domain = "ai.onnx"
    (node,) = read(proto).nodes
    assert (node.domain, node.version) == ("", opset)


def test_domains_that_are_not_imported_have_version_0():
    node = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
    assert read(model([node])).nodes[0].version == 0


ATTRIBUTES = {
    "float": ({"type": AttributeProto.FLOAT, "f": 0.5}, 0.5),
    "integer": ({"type": AttributeProto.INT, "i": -(2**63)}, -(2**63)),
    "text": ({"type": AttributeProto.STRING, "s": "é\n".encode()}, "é\n"),
    "floats": ({"type": AttributeProto.FLOATS, "floats": [0.5, 1.0]}, (0.5, 1.0)),
    "integers": ({"type": AttributeProto.INTS, "ints": [1, -2]}, (1, -2)),
    "texts": ({"type": AttributeProto.STRINGS, "strings": [b"a", b""]}, ("a", "")),
    "no integers": ({"type": AttributeProto.INTS}, ()),
    "left out, as 0 is in some writers": ({"type": AttributeProto.INT}, 0),
    "type left out, as old writers do": ({"i": 3}, 3),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_plain_values(name):
    fields, wanted = ATTRIBUTES[name]
    found = read(attributed(**fields)).nodes[0].attributes["a"]
    assert found == wanted
    assert type(found) is type(wanted)


def test_a_graph_as_attribute_is_known_by_kind():
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    found = read(model([node], inputs=[info("c", (), TensorProto.BOOL)])).nodes[0].attributes
    assert found["then_branch"] == Foreign("graph")


def test_a_tensor_as_attribute():
    value = numpy_helper.from_array(np.arange(6, dtype=np.int64).reshape(2, 3))
    node = helper.make_node("Constant", [], ["y"], value=value)
    found = read(model([node])).nodes[0].attributes["value"]
    assert isinstance(found, Tensor)
    assert found.dtype == "INT64"
    np.testing.assert_array_equal(found.array, [[0, 1, 2], [3, 4, 5]])


def test_lists_of_constants_may_be_long():
    node = helper.make_node("Constant", [], ["y"], value_ints=list(range(1000)))
    assert read(model([node])).nodes[0].attributes["value_ints"] == tuple(range(1000))


def test_names_of_nodes_need_not_be_unique():
    found = read(model([relu("x", "h", name="n"), relu("h", "y", name="n")]))
    assert [n.name for n in found.nodes] == ["n", "n"]


def test_all_problems_are_listed_together():
    nodes = [relu("p", "q"), relu("r", "y")]
    with pytest.raises(OnnxError) as caught:
        read(model(nodes, tensors=[tensor(dims=[-1])], outputs=["y", "z"]))
    assert len(caught.value.problems) == 4
    assert str(caught.value).startswith("the model:\n  initialiser `w`: a dimension is -1")


def test_a_constant_that_cannot_be_read_is_one_problem():
    with pytest.raises(OnnxError) as caught:
        read(add(tensor(raw_data=bytes(15))))
    assert len(caught.value.problems) == 1


def test_the_place_is_the_file(tmp_path):
    with pytest.raises(OnnxError) as caught:
        read(written(tmp_path, b"", "net.onnx"))
    assert str(caught.value) == f"{tmp_path}/net.onnx: it is empty, not an ONNX model"


def test_another_folder_for_tensors(tmp_path):
    path = beside(tmp_path, outside())
    found = read(path.read_bytes(), external_dir=path.parent)
    assert found.initializers["w"].array.shape == (4,)


def test_links_are_followed_when_asked(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "w.bin").symlink_to("../secret.bin")
    path = beside(tmp_path, outside())
    assert read(path, trust_links=True).initializers["w"].array.shape == (4,)


def test_other_kinds_of_sources():
    with pytest.raises(InputError, match="not int"):
        read(3)
    with pytest.raises(InputError, match="not TensorProto"):
        read(TensorProto())


def test_without_the_package(monkeypatch):
    kept = builtins.__import__

    def refuse(name, *rest):
        if name == "onnx":
            raise ImportError(name)
        return kept(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UnsupportedError, match=re.escape("pip install 'cnncc[onnx]'")):
        read(b"")


LOWERED = {
    "file_bytes": (Limits(file_bytes=10), "at most 10 are taken"),
    "packed_bytes": (Limits(packed_bytes=15), "bytes of single numbers"),
    "constant_bytes": (Limits(constant_bytes=15), "the constants take more than 15 bytes"),
    "elements": (Limits(elements=3), "it has 4 elements, at most 3"),
    "dimension": (Limits(dimension=3), "a dimension is 4; 0 to 3"),
    "name_bytes": (Limits(name_bytes=0), "is longer than 0 bytes"),
}


@pytest.mark.parametrize("name", LOWERED)
def test_limits_can_be_lowered(name):
    limits, says = LOWERED[name]
    made = add(tensor(float_data=[1.0] * 4))
    with pytest.raises(OnnxError, match=says):
        read(made.SerializeToString(), limits=limits)


def test_memory_that_is_refused_is_an_error_of_the_file(monkeypatch):
    def refuse(*_, **__):
        raise MemoryError

    monkeypatch.setattr(sys.modules["cnncc.onnx.read"], "walk", refuse)
    with pytest.raises(OnnxError, match="not enough memory"):
        read(model().SerializeToString())
