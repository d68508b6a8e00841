"""Hostile ONNX files, made by hand: each with what its error must say."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import (
    AttributeProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
)

Made = ModelProto | bytes | Path


@dataclass(frozen=True)
class Case:
    """A file that must be refused.

    Attributes:
        name: what is wrong.
        make: makes it, in an empty folder.
        says: words of the error.
        stage: `read`, or `convert` for a sound file of what is not supported.
    """

    name: str
    make: Callable[[Path], Made]
    says: str
    stage: str = "read"


CASES: list[Case] = []


def case(name: str, says: str, *, stage: str = "read") -> Callable[[Any], Any]:
    """Enters a maker, with or without the folder as its argument, into the table."""

    def enter(make: Callable[..., Made]) -> Callable[..., Made]:
        takes_folder = make.__code__.co_argcount == 1
        CASES.append(Case(name, make if takes_folder else lambda _: make(), says, stage))
        return make

    return enter


# -- sound parts ---------------------------------------------------------------------------------


def info(name: str, shape: Sequence[Any] | None = (1, 4), kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def relu(source: str = "x", result: str = "y", **more: Any) -> NodeProto:
    return helper.make_node("Relu", [source], [result], **more)


def model(
    nodes: Sequence[NodeProto] | None = None,
    *,
    inputs: Sequence[Any] = (),
    outputs: Sequence[str] = ("y",),
    tensors: Sequence[TensorProto] = (),
    functions: Sequence[Any] = (),
    opset: int = 17,
    ir: int = 8,
) -> ModelProto:
    graph = helper.make_graph(
        [relu()] if nodes is None else nodes,
        "g",
        inputs or [info("x")],
        [info(name) for name in outputs],
        tensors,
    )
    imports = [helper.make_opsetid("", opset)]
    imports += [helper.make_opsetid("own", 1)] if functions else []
    return helper.make_model(graph, opset_imports=imports, ir_version=ir, functions=functions)


def tensor(
    name: str = "w", dims: Sequence[int] = (4,), kind: int = TensorProto.FLOAT, **fields: Any
) -> TensorProto:
    made = TensorProto(name=name, dims=dims, data_type=kind)
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(made, field).extend(value)
        else:
            setattr(made, field, value)
    return made


def add(made: TensorProto) -> ModelProto:
    """A model that adds a constant."""
    return model([helper.make_node("Add", ["x", made.name], ["y"])], tensors=[made])


def outside(location: str | None = "w.bin", **entries: str) -> TensorProto:
    """Four numbers in another file."""
    made = tensor(data_location=TensorProto.EXTERNAL)
    if location is not None:
        entries = {"location": location, **entries}
    for key, value in entries.items():
        made.external_data.add(key=key, value=value)
    return made


def beside(folder: Path, made: TensorProto | ModelProto, size: int = 16) -> Path:
    """A model with weights next to it."""
    inner = folder / "inner"
    inner.mkdir(exist_ok=True)
    if not (inner / "w.bin").exists() and not (inner / "w.bin").is_symlink():
        (inner / "w.bin").write_bytes(bytes(size))
    (folder / "secret.bin").write_bytes(bytes(size))
    whole = made if isinstance(made, ModelProto) else add(made)
    path = inner / "m.onnx"
    path.write_bytes(whole.SerializeToString())
    return path


def written(folder: Path, data: bytes, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def block(number: int, data: bytes) -> bytes:
    """A field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(data)) + data


def function(name: str, nodes: Sequence[NodeProto], **more: Any) -> Any:
    opsets = more.pop("opsets", [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)])
    given = {"inputs": ["a"], "outputs": ["b"], **more}
    return helper.make_function("own", name, nodes=nodes, opset_imports=opsets, **given)


def call(callee: str, source: str = "x", result: str = "y", **more: Any) -> NodeProto:
    return helper.make_node(callee, [source], [result], domain="own", **more)


# -- what is not a model -------------------------------------------------------------------------


@case("empty", "it is empty")
def _empty() -> Made:
    return b""


@case("empty file", "it is empty")
def _empty_file(folder: Path) -> Made:
    return written(folder, b"")


@case("text", "it is text")
def _text() -> Made:
    return b"this is no model, but a few words about one\n" * 50


@case("page", "web page or XML")
def _page() -> Made:
    return b"<!DOCTYPE html><html><body>Please log in</body></html>"


@case("archive", "zip archive")
def _archive() -> Made:
    return b"PK\x03\x04" + bytes(200)


@case("pointer of a file store", "git lfs pull")
def _pointer() -> Made:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n"


@case("noise", "not an ONNX model")
def _noise() -> Made:
    return np.random.default_rng(1).bytes(5000)


@case("cut off", "cut off")
def _cut() -> Made:
    return model().SerializeToString()[:-7]


@case("other fields", "nothing in it is a model's")
def _other_fields() -> Made:
    return block(99, b"\x01\x02")


@case("groups", "no known kind")
def _groups() -> Made:
    return b"\x08\x08" + varint(7 << 3 | 3) * 1000


@case("number without end", "has no end")
def _endless() -> Made:
    return b"\x08" + b"\xff" * 1000


@case("length beyond the end", "cut off")
def _beyond() -> Made:
    return b"\x08\x08" + varint(7 << 3 | 2) + varint(2**62)


@case("nested", "nested too deep")
def _nested() -> Made:
    inner = b""
    for _ in range(3000):
        inner = block(1, block(5, block(6, inner)))
    return b"\x08\x08" + block(7, inner)


@case("nested types", "nested too deep")
def _nested_types() -> Made:
    inner = b""
    for _ in range(3000):
        inner = block(4, block(1, inner))
    return b"\x08\x08" + block(7, block(11, block(1, b"x") + block(2, inner)))


@case("millions of nodes", "more than")
def _millions() -> Made:
    return b"\x08\x08" + block(7, block(1, b"") * 2_000_000)


@case("millions of attributes", "more than")
def _attributes() -> Made:
    return b"\x08\x08" + block(7, block(1, block(5, b"") * 2_000_000))


@case("millions of dimensions", "more than")
def _dimensions() -> Made:
    return b"\x08\x08" + block(7, block(11, block(2, block(1, block(2, block(1, b"") * 10**6)))))


@case("millions of single numbers", "more than")
def _single_numbers() -> Made:
    return b"\x08\x08" + block(7, block(1, block(5, (varint(8 << 3) + b"\x01") * 2_000_000)))


@case("100,000 nodes", "at most 65536")
def _nodes() -> Made:
    return b"\x08\x08" + block(8, b"\x10\x11") + block(7, block(1, b"") * 100_000)


@case("100,000 initialisers", "at most 65536")
def _initializers() -> Made:
    return b"\x08\x08" + block(8, b"\x10\x11") + block(7, block(5, b"") * 100_000)


@case("folder", "no regular file")
def _folder(folder: Path) -> Made:
    return folder


@case("pipe", "no regular file")
def _pipe(folder: Path) -> Made:
    os.mkfifo(folder / "m.onnx")
    return folder / "m.onnx"


@case("device", "no regular file")
def _device() -> Made:
    return Path(os.devnull)


@case("missing", "No such file")
def _missing(folder: Path) -> Made:
    return folder / "m.onnx"


@case("zero byte in the path", "no file has such a name")
def _zero_path(folder: Path) -> Made:
    return folder / "m\0.onnx"


@case("file of 3 GiB", "at most 2147483648")
def _huge(folder: Path) -> Made:
    path = written(folder, b"")
    os.truncate(path, 3 * 2**30)
    return path


# -- versions ------------------------------------------------------------------------------------


@case("old format", "unsupported IR version 2")
def _old_ir() -> Made:
    return model(ir=2)


@case("new format", "unsupported IR version 99")
def _new_ir() -> Made:
    return model(ir=99)


@case("negative format", "unsupported IR version -3")
def _negative_ir() -> Made:
    return model(ir=-3)


@case("old opset", "unsupported opset 5, have 6 to")
def _old_opset() -> Made:
    return model(opset=5)


@case("new opset", "unsupported opset 99, have 6 to")
def _new_opset() -> Made:
    return model(opset=99)


@case("negative opset", "unsupported opset -1")
def _negative_opset() -> Made:
    return model(opset=-1)


@case("no opset", "no version of ONNX's own operators")
def _no_opset() -> Made:
    made = model()
    del made.opset_import[:]
    return made


@case("two opsets", "two versions")
def _two_opsets() -> Made:
    made = model()
    made.opset_import.add(domain="ai.onnx", version=18)
    return made


# -- the graph -----------------------------------------------------------------------------------


@case("no graph", "holds no graph")
def _no_graph() -> Made:
    made = model()
    made.ClearField("graph")
    return made


@case("no outputs", "has no outputs")
def _no_outputs() -> Made:
    return model(outputs=())


@case("output twice", "is an output twice")
def _output_twice() -> Made:
    return model(outputs=("y", "y"))


@case("output from nowhere", "nothing computes the output `z`")
def _output_from_nowhere() -> Made:
    return model(outputs=("y", "z"))


@case("output without a name", "it has no name")
def _output_without_name() -> Made:
    return model(outputs=("y", ""))


@case("circle", "node 0 (Relu) -> node 1 (Relu) -> node 0 (Relu)")
def _circle() -> Made:
    return model([relu("b", "a"), relu("a", "b"), relu("b", "y")])


@case("circle of one", "in a circle: node 0 (Relu) -> node 0 (Relu)")
def _circle_of_one() -> Made:
    return model([relu("y", "y")])


@case("circle of 40,000", "in a circle")
def _long_circle() -> Made:
    nodes = [relu(f"v{n}", f"v{n + 1}") for n in range(40_000)]
    return model([*nodes, relu("v40000", "v0"), relu("v0", "y")]).SerializeToString()


@case("wrong order", "reads `a`, which node 1 (Relu) computes only later")
def _order() -> Made:
    return model([relu("a", "y"), relu("x", "a")])


@case("wrong order of 40,000", "there may be more")
def _long_order() -> Made:
    nodes = [relu(f"v{n + 1}", f"v{n}") for n in range(40_000)]
    return model([*nodes, relu("x", "v40000"), relu("v0", "y")]).SerializeToString()


@case("input from nowhere", "nothing computes its input `a`")
def _input_from_nowhere() -> Made:
    return model([relu("a")])


@case("written twice", "writes `y`, as node 0 (Relu) does")
def _written_twice() -> Made:
    return model([relu(), relu()])


@case("written twice by one node", "writes `y`, as node 0 (Split) does")
def _twice_by_one() -> Made:
    return model([helper.make_node("Split", ["x"], ["y", "y"])])


@case("writes an input", "which is an input or a constant")
def _writes_input() -> Made:
    return model([relu("x", "x"), relu()])


@case("writes a constant", "which is an input or a constant")
def _writes_constant() -> Made:
    return model([relu("x", "w"), relu()], tensors=[tensor(raw_data=bytes(16))])


@case("input twice", "is an input twice")
def _input_twice() -> Made:
    return model(inputs=[info("x"), info("x")])


@case("initialiser twice", "`w` is given twice")
def _initializer_twice() -> Made:
    return model(tensors=[tensor(raw_data=bytes(16)), tensor(raw_data=bytes(16))])


@case("initialiser without a name", "it has no name")
def _no_name() -> Made:
    return model(tensors=[tensor("", raw_data=bytes(16))])


@case("no operator", "it says no operator")
def _no_operator() -> Made:
    return model([helper.make_node("", ["x"], ["y"])])


@case("training", "training graph")
def _training() -> Made:
    made = model()
    made.training_info.add()
    return made


@case("sparse initialiser", "sparse initialisers")
def _sparse() -> Made:
    made = model()
    made.graph.sparse_initializer.add()
    return made


@case("input of an unknown type", "element type 99 is not known")
def _unknown_input() -> Made:
    return model(inputs=[info("x", kind=99)])


@case("negative dimension of an input", "a dimension is -5")
def _negative_input() -> Made:
    return model(inputs=[info("x", (1, -5))])


@case("huge dimension of an input", "a dimension is 4611686018427387904")
def _huge_input() -> Made:
    return model(inputs=[info("x", (1, 2**62))])


@case("input of rank 100", "it has 100 dimensions")
def _rank_input() -> Made:
    return model(inputs=[info("x", (1,) * 100)])


# -- names ---------------------------------------------------------------------------------------


def renamed(made: ModelProto, new: bytes) -> bytes:
    """The model's bytes with its `PLACEHOLDER` replaced by as many other ones."""
    old = b"PLACEHOLDER"
    data = made.SerializeToString()
    assert old in data
    return data.replace(old, new.ljust(len(old), b"_"))


@case("name that is not UTF-8", "is not UTF-8")
def _not_utf8() -> Made:
    return renamed(model([relu(name="PLACEHOLDER")]), b"\xff\xfe\x80")


@case("value that is not UTF-8", "is not UTF-8")
def _value_not_utf8() -> Made:
    made = model([relu("x", "PLACEHOLDER"), relu("PLACEHOLDER", "y")])
    return renamed(made, b"\xc3\x28\xa0\xa1")


@case("initialiser that is not UTF-8", "is not UTF-8")
def _initializer_not_utf8() -> Made:
    return renamed(model(tensors=[tensor("PLACEHOLDER", raw_data=bytes(16))]), b"\xf0\x28\x8c")


@case("metadata that is not UTF-8", "is not UTF-8")
def _metadata() -> Made:
    made = model()
    made.metadata_props.add(key="PLACEHOLDER", value="1")
    return renamed(made, b"\xff")


@case("dimension that is not UTF-8", "is not UTF-8")
def _symbol() -> Made:
    return renamed(model(inputs=[info("x", ("PLACEHOLDER", 4))]), b"\xff")


@case("zero byte in a name", r"`a\x00b` has control characters")
def _zero_name() -> Made:
    return model([relu(name="a\0b")])


@case("escape sequence in a name", r"\x1b[2J\x1b]0;title\x07` has control characters")
def _escape() -> Made:
    return model([relu("x", "\x1b[2J\x1b]0;title\x07"), relu()])


@case("direction marks in a name", r"`\u{202e}cba`")
def _direction() -> Made:
    return model([relu("\u202ecba")])


@case("name of 1 MB", "(1000000 characters) is longer than 1024 bytes")
def _long_name() -> Made:
    return model([relu(name="v" * 1_000_000)])


@case("value of 1 MB", "(1000000 characters) is longer than 1024 bytes")
def _long_value() -> Made:
    return model([relu("x", "v" * 1_000_000), relu("v" * 1_000_000, "y")])


@case("operator of 1 MB", "is longer than 1024 bytes")
def _long_operator() -> Made:
    return model([helper.make_node("v" * 1_000_000, ["x"], ["y"])])


# -- tensors -------------------------------------------------------------------------------------


@case("dimension of 2^62", "a dimension is 4611686018427387904")
def _huge_dimension() -> Made:
    return add(tensor(dims=[2**62], raw_data=bytes(16)))


@case("negative dimension", "a dimension is -4")
def _negative_dimension() -> Made:
    return add(tensor(dims=[-4], raw_data=bytes(16)))


@case("two negative dimensions", "a dimension is -2")
def _negative_dimensions() -> Made:
    return add(tensor(dims=[-2, -2], raw_data=bytes(16)))


@case("product that wraps to 0", "elements, at most 2147483647")
def _wraps() -> Made:
    return add(tensor(dims=[2**16] * 4))


@case("product of 2^240", "elements, at most 2147483647")
def _product() -> Made:
    return add(tensor(dims=[2**30] * 8))


@case("rank of 9", "it has 9 dimensions")
def _rank() -> Made:
    return add(tensor(dims=[1] * 9, raw_data=bytes(4)))


@case("rank of 100,000", "it has 100000 dimensions")
def _large_rank() -> Made:
    return add(tensor(dims=[1] * 100_000, raw_data=bytes(4)))


@case("large shape, little data", "it holds 16 bytes, but 2147483647 elements")
def _little_data() -> Made:
    return add(tensor(dims=[2**31 - 1], kind=TensorProto.INT8, raw_data=bytes(16)))


@case("large shape, no data", "it holds 0 bytes, but 1000000000 elements")
def _no_data() -> Made:
    return add(tensor(dims=[10**9]))


@case("too much data", "it holds 17 bytes, but 4 elements of FLOAT take 16")
def _much_data() -> Made:
    return add(tensor(raw_data=bytes(17)))


@case("too few entries", "it holds 3 entries of float_data")
def _few_entries() -> Made:
    return add(tensor(float_data=[1.0, 2.0, 3.0]))


@case("entries of another type", "it holds 4 entries of int64_data")
def _other_entries() -> Made:
    return add(tensor(int64_data=[1, 2, 3, 4]))


@case("data twice", "its data is in float_data and raw_data")
def _data_twice() -> Made:
    return add(tensor(float_data=[1.0] * 4, raw_data=bytes(16)))


@case("data of two types", "its data is in float_data and int64_data")
def _two_types() -> Made:
    return add(tensor(float_data=[1.0] * 4, int64_data=[1] * 4))


@case("bytes that are none", "numbers that are none of UINT8")
def _no_bytes() -> Made:
    return add(tensor(kind=TensorProto.UINT8, int32_data=[1, 2, 300, 4]))


@case("half numbers of 32 bits", "numbers that are none of FLOAT16")
def _no_halves() -> Made:
    return add(tensor(kind=TensorProto.FLOAT16, int32_data=[1, 2, 3, 2**30]))


@case("too few half bytes", "it holds 1 bytes, but 4 elements of INT4 take 2")
def _half_bytes() -> Made:
    return add(tensor(kind=TensorProto.INT4, raw_data=b"\x11"))


@case("too few strings", "it holds 1 strings, but its shape has 4")
def _few_strings() -> Made:
    return add(tensor(kind=TensorProto.STRING, string_data=[b"a"]))


@case("unknown element type", "element type 99 is not known")
def _unknown_type() -> Made:
    return add(tensor(kind=99, raw_data=bytes(16)))


@case("no element type", "element type 0 is not known")
def _no_type() -> Made:
    return add(tensor(kind=0, raw_data=bytes(16)))


@case("segment", "stored in segments")
def _segment() -> Made:
    made = tensor(raw_data=bytes(16))
    made.segment.begin = 0
    made.segment.end = 2**60
    return add(made)


@case("constants of 16 GiB", "the constants take more than 4294967296 bytes")
def _constants() -> Made:
    many = [outside() for _ in range(2)]
    for n, made in enumerate(many):
        made.name = f"w{n}"
        made.dims[:] = [2**30]
        made.data_type = TensorProto.DOUBLE
    return model(tensors=many)


# -- tensors in other files ----------------------------------------------------------------------


PLACES = {
    "parent": ("../secret.bin", "leads out of the model's folder"),
    "parent from inside": ("a/../../secret.bin", "leads out of the model's folder"),
    "parent at the end": ("w.bin/..", "leads out of the model's folder"),
    "parent of Windows": ("..\\secret.bin", "characters that no path needs"),
    "absolute": ("/etc/passwd", "is absolute"),
    "own process": ("/proc/self/environ", "is absolute"),
    "marker of memory": ("*/_ORT_MEM_ADDR_/*", "cannot be opened"),
    "URL": ("https://example.org/w.bin", "names no file"),
    "home": ("~/w.bin", "cannot be opened"),
    "missing file": ("v.bin", "cannot be opened: No such file"),
    "no file": ("", "names no file"),
    "only a point": (".", "names no file"),
    "a folder's name": ("w.bin/", "names no file"),
    "file as folder": ("w.bin/x", "cannot be opened"),
    "zero byte in the place": ("w.bin\0", "characters that no path needs"),
    "escape in the place": ("\x1b[2J", "characters that no path needs"),
    "place of 1 MB": ("v" * 1_000_000, "is too long"),
    "name of 1,000": ("v" * 1000, "cannot be opened: File name too long"),
    "many folders": ("a/" * 100 + "w.bin", "more than 32 folders"),
}

RANGES: dict[str, tuple[dict[str, str], str]] = {
    "negative offset": ({"offset": "-1"}, "`-1` is no number of bytes"),
    "offset past the end": ({"offset": "4"}, "bytes 4 to 20 of `w.bin`, which has 16"),
    "huge offset": ({"offset": str(2**62)}, "is no number of bytes"),
    "large offset": ({"offset": str(2**50)}, "which has 16"),
    "endless offset": ({"offset": "9" * 100_000}, "is no number of bytes"),
    "offset in words": ({"offset": "0x10"}, "`0x10` is no number of bytes"),
    "offset in other digits": ({"offset": "\u0663"}, "is no number of bytes"),
    "negative length": ({"length": "-1"}, "`-1` is no number of bytes"),
    "huge length": ({"length": str(10**15)}, "its length in the other file is 1000000000000000"),
    "short length": ({"length": "15"}, "is 15 bytes, its shape makes 16"),
    "base path": ({"basepath": "/etc"}, "a key `basepath`"),
    "attribute of an object": ({"__class__": "x"}, "a key `__class__`"),
    "wrong checksum": ({"checksum": "0" * 40}, "does not have the checksum"),
}


def _place(location: str) -> Callable[[Path], Made]:
    return lambda folder: beside(folder, outside(location))


def _range(entries: dict[str, str]) -> Callable[[Path], Made]:
    return lambda folder: beside(folder, outside(**entries))


CASES.extend(Case(name, _place(place), says) for name, (place, says) in PLACES.items())
CASES.extend(Case(name, _range(entries), says) for name, (entries, says) in RANGES.items())


@case("no place", "names no file")
def _no_place(folder: Path) -> Made:
    return beside(folder, outside(None))


@case("key twice", "says location twice")
def _key_twice(folder: Path) -> Made:
    made = outside()
    made.external_data.add(key="location", value="w.bin")
    return beside(folder, made)


@case("symbolic link", "is a link")
def _link(folder: Path) -> Made:
    (folder / "inner").mkdir()
    (folder / "inner" / "w.bin").symlink_to("../secret.bin")
    return beside(folder, outside())


@case("link in place of a folder", "`sub` is a link")
def _folder_link(folder: Path) -> Made:
    (folder / "inner").mkdir()
    (folder / "other").mkdir()
    (folder / "other" / "w.bin").write_bytes(bytes(16))
    (folder / "inner" / "sub").symlink_to("../other")
    return beside(folder, outside("sub/w.bin"))


@case("link to itself", "is a link")
def _link_loop(folder: Path) -> Made:
    (folder / "inner").mkdir()
    (folder / "inner" / "w.bin").symlink_to("w.bin")
    return beside(folder, outside())


@case("hard link", "has 2 names (hard links)")
def _hard_link(folder: Path) -> Made:
    (folder / "inner").mkdir()
    (folder / "other.bin").write_bytes(bytes(16))
    os.link(folder / "other.bin", folder / "inner" / "w.bin")
    return beside(folder, outside())


@case("folder in place of a file", "no regular file")
def _folder_as_file(folder: Path) -> Made:
    (folder / "inner" / "w.bin").mkdir(parents=True)
    return beside(folder, outside())


@case("pipe in place of a file", "no regular file")
def _pipe_as_file(folder: Path) -> Made:
    (folder / "inner").mkdir()
    os.mkfifo(folder / "inner" / "w.bin")
    return beside(folder, outside())


@case("another file for bytes", "name it with external_dir")
def _bytes_outside() -> Made:
    return add(outside()).SerializeToString()


@case("data here and in another file", "its data is in raw_data and another file")
def _here_and_there(folder: Path) -> Made:
    made = outside()
    made.raw_data = bytes(16)
    return beside(folder, made)


@case("place without the mark", "says that its data is here")
def _no_mark(folder: Path) -> Made:
    made = outside()
    made.ClearField("data_location")
    return beside(folder, made)


@case("attribute in another folder", "leads out of the model's folder")
def _attribute_outside(folder: Path) -> Made:
    node = helper.make_node("Constant", [], ["w"], value=outside("../secret.bin"))
    return beside(folder, model([node, helper.make_node("Add", ["x", "w"], ["y"])]))


@case("gigabytes claimed of 16 bytes", "which has 16")
def _claims(folder: Path) -> Made:
    made = outside()
    made.dims[:] = [2**29]
    return beside(folder, made)


# -- attributes ----------------------------------------------------------------------------------


def attributed(**fields: Any) -> ModelProto:
    """A model whose node has an attribute with these fields of its message."""
    node = relu()
    made = node.attribute.add(name=fields.pop("name", "a"))
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(made, field).extend(value)
        else:
            setattr(made, field, value)
    return model([node])


@case("long list", "it has 100000 entries, at most 64")
def _long_list() -> Made:
    return attributed(type=AttributeProto.INTS, ints=[1] * 100_000)


@case("long text", "its text is longer than 65536 bytes")
def _long_text() -> Made:
    return attributed(type=AttributeProto.STRING, s=b"v" * 1_000_000)


@case("text that is not UTF-8", r"`\xff\xfe` is not UTF-8")
def _text_not_utf8() -> Made:
    return attributed(type=AttributeProto.STRING, s=b"\xff\xfe")


@case("texts that are not UTF-8", "is not UTF-8")
def _texts_not_utf8() -> Made:
    return attributed(type=AttributeProto.STRINGS, strings=[b"a", b"\xff"])


@case("value of another type", "its value is in i; its type says f")
def _other_value() -> Made:
    return attributed(type=AttributeProto.FLOAT, i=3)


@case("two values", "its value is in f, i; its type says f")
def _two_values() -> Made:
    return attributed(type=AttributeProto.FLOAT, f=1.0, i=3)


@case("unknown type of attribute", "its type 0 is not known")
def _unknown_attribute() -> Made:
    data = attributed(type=AttributeProto.INT).SerializeToString()
    # A number that the enumeration lacks can only be written by hand; the parser drops it.
    kept = varint(20 << 3) + varint(AttributeProto.INT)
    assert data.count(kept) == 1
    return data.replace(kept, varint(20 << 3) + varint(99))


@case("attribute twice", "attribute `a` is given twice")
def _attribute_twice() -> Made:
    made = attributed(type=AttributeProto.INT, i=3)
    made.graph.node[0].attribute.append(made.graph.node[0].attribute[0])
    return made


@case("reference outside functions", "refers to a function's")
def _reference() -> Made:
    return attributed(type=AttributeProto.INT, ref_attr_name="b")


@case("tensor with a huge shape", "a dimension is 4611686018427387904")
def _huge_tensor() -> Made:
    node = helper.make_node("Constant", [], ["w"], value=tensor(dims=[2**62], raw_data=b""))
    return model([node, relu()])


# -- functions -----------------------------------------------------------------------------------


@case("bomb of functions", "more than 65536 nodes")
def _bomb() -> Made:
    chain = [
        function(f"f{n}", [call(f"f{n + 1}", "a", "c"), call(f"f{n + 1}", "c", "b")])
        for n in range(30)
    ]
    return model([call("f0")], functions=[*chain, function("f30", [relu("a", "b")])])


@case("bomb of wide functions", "more than 65536 nodes")
def _wide_bomb() -> Made:
    names = [f"v{n}" for n in range(1000)]
    inner = function("inner", [helper.make_node("Split", ["a"], [*names, "b"])])
    outer = function("outer", [call("inner", "a", f"c{n}") for n in range(999)] + [relu("a", "b")])
    return model([call("outer")], functions=[outer, inner])


@case("function that calls itself", "in a circle: `f` -> `f`")
def _itself() -> Made:
    return model([call("f")], functions=[function("f", [call("f", "a", "b")])])


@case("functions that call each other", "in a circle")
def _each_other() -> Made:
    first = function("f", [call("g", "a", "b")])
    return model([call("f")], functions=[first, function("g", [call("f", "a", "b")])])


@case("functions 100 deep", "more than 32 deep")
def _deep() -> Made:
    chain = [function(f"f{n}", [call(f"f{n + 1}", "a", "b")]) for n in range(100)]
    return model([call("f0")], functions=[*chain, function("f100", [relu("a", "b")])])


@case("call with too many inputs", "it has 2 inputs, the function that it calls has 1")
def _many_inputs() -> Made:
    node = helper.make_node("f", ["x", "x"], ["y"], domain="own")
    return model([node], functions=[function("f", [relu("a", "b")])])


@case("call with too many outputs", "it has 2 outputs, the function that it calls has 1")
def _many_outputs() -> Made:
    node = helper.make_node("f", ["x"], ["y", "z"], domain="own")
    return model([node], functions=[function("f", [relu("a", "b")])])


@case("call with a strange attribute", "has no attribute `alpha`")
def _strange_attribute() -> Made:
    return model([call("f", alpha=1.0)], functions=[function("f", [relu("a", "b")])])


@case("function twice", "function `f`: it is given twice")
def _function_twice() -> Made:
    made = function("f", [relu("a", "b")])
    return model([call("f")], functions=[made, made])


@case("function that reads the graph", "function `f`, node 0 (Relu): nothing computes")
def _reads_outside() -> Made:
    return model([call("f")], functions=[function("f", [relu("x", "b")])])


@case("function without its result", "it asks for `b`, which the function that it calls lacks")
def _no_result() -> Made:
    return model([call("f")], functions=[function("f", [relu("a", "c")])])


@case("function of a new opset", "function `f`: unsupported opset 99")
def _new_function() -> Made:
    made = function("f", [relu("a", "b")], opsets=[helper.make_opsetid("", 99)])
    return model([call("f")], functions=[made])


@case("circle in a function", "function `f`: nodes need each other in a circle")
def _function_circle() -> Made:
    return model([call("f")], functions=[function("f", [relu("c", "b"), relu("b", "c")])])


# -- sound, but not supported --------------------------------------------------------------------


def branch(name: str) -> Any:
    node = helper.make_node("Constant", [], [name], value=tensor("", raw_data=bytes(16)))
    return helper.make_graph([node], name, [], [info(name, (4,))])


@case("control flow", "control flow", stage="convert")
def _control_flow() -> Made:
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("t"), else_branch=branch("e"))
    return model([node], inputs=[info("c", (), TensorProto.BOOL)])


@case("sequence", "sequence", stage="convert")
def _sequence() -> Made:
    made = helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, None)
    return model([helper.make_node("SequenceLength", ["x"], ["y"])], inputs=[made])


@case("optional", "optional", stage="convert")
def _optional() -> Made:
    inner = helper.make_tensor_type_proto(TensorProto.FLOAT, [1])
    made = helper.make_value_info("x", helper.make_optional_type_proto(inner))
    return model([helper.make_node("OptionalGetElement", ["x"], ["y"])], inputs=[made])


@case("strings", "STRING", stage="convert")
def _strings() -> Made:
    made = info("x", (1,), TensorProto.STRING)
    return model([helper.make_node("Identity", ["x"], ["y"])], inputs=[made])


@case("unknown operator", "`evil.example`", stage="convert")
def _unknown_operator() -> Made:
    return model([helper.make_node("Relu", ["x"], ["y"], domain="evil.example")])


@case("training operator", "training", stage="convert")
def _training_operator() -> Made:
    domain = "ai.onnx.preview.training"
    return model([helper.make_node("Adam", ["x"], ["y"], domain=domain)])


@case("unknown attribute", "`surprise`", stage="convert")
def _unknown_word() -> Made:
    return model([relu(surprise=1)])
