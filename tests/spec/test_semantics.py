"""What the statements of the language mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnncc import spec
from cnncc.errors import SpecError
from cnncc.ir.graph import Graph
from cnncc.ir.types import DType
from cnncc.spec.values import show

HEAD = "cnncc 1\nweights random\ninput x: 8x8x3\n"


def graph(body: str, **options: Any) -> Graph:
    return spec.load(HEAD + body, want_arrays=False, **options).graph


def names(found: Graph) -> list[str]:
    return [n.name for _, n in found.nodes() if n.op not in ("input", "constant", "normalize")]


def operand_names(found: Graph, name: str) -> list[str]:
    for node_id, node in found.nodes():
        if node.name == name:
            return [found[i].name for i in found.operands(node_id) if found[i].op != "constant"]
    raise AssertionError(name)


def codes(body: str, **options: Any) -> list[str]:
    try:
        return [d.code for d in spec.load(HEAD + body, want_arrays=False, **options).diagnostics]
    except SpecError as error:
        return [d.code for d in error.diagnostics]


def attrs(found: Graph, name: str) -> Any:
    return next(node.attrs for _, node in found.nodes() if node.name == name)


def shape(body: str, **options: Any) -> tuple[int, ...]:
    found = graph(body + "\noutput y\n", **options)
    return found.type_of(found.outputs[0][1]).shape


# -- flow ------------------------------------------------------------------------------------------


def test_lines_continue_from_the_line_above() -> None:
    one = graph("conv(3x3, filters=4)\nrelu\nmaxpool(2x2)\noutput y\n")
    other = graph("conv(3x3, filters=4) -> relu\n    -> maxpool(2x2)\noutput y\n")
    assert names(one) == names(other) == ["conv1", "relu1", "maxpool1"]


def test_joins_start_anew_and_take_what_is_piped_into_them() -> None:
    found = graph("a = relu\nb = tanh\nadd(a, b) -> sigmoid\nx -> relu -> add(b)\noutput y\n")
    assert operand_names(found, "add1") == ["relu1", "tanh1"]
    assert operand_names(found, "add2") == ["relu2", "tanh1"]
    assert operand_names(found, "tanh1") == ["relu1"]


def test_operands_may_be_flows_from_the_running_value() -> None:
    found = graph("tanh\nconcat(relu, x -> sigmoid, relu -> silu)\noutput y\n")
    assert operand_names(found, "relu1") == ["tanh1"]
    assert operand_names(found, "concat1") == ["relu1", "sigmoid1", "silu1"]


def test_output_takes_the_tensor_of_its_name_the_flow_or_the_running_value() -> None:
    found = graph("a = relu\ntanh\noutput a\noutput b = a -> sigmoid\noutput c\n")
    assert [(name, found[i].name) for name, i in found.outputs] == [
        *(("a", "relu1"), ("b", "sigmoid1"), ("c", "tanh1"))
    ]


def test_a_block_whose_condition_is_false_gives_its_input() -> None:
    found = graph("block b(on) {\n  if on { relu }\n}\nb(false) -> b(true)\noutput y\n")
    assert names(found) == ["b2.relu1"]


def test_names_of_an_if_are_seen_below_it() -> None:
    assert codes("if true { relu }\nif false {\n  t = relu\n} else {\n  t = tanh\n}\n"
                 "add(t, x)\noutput y\n") == []  # fmt: skip


def test_names_of_a_loop_end_with_its_turn() -> None:
    assert codes("for i in range(2) {\n  t = relu\n  add(t, x)\n}\noutput y\n") == []


def test_else_if() -> None:
    body = "let n = 2\nif n == 1 { relu } else if n == 2 { tanh } else { silu }\noutput y\n"
    assert names(graph(body)) == ["tanh1"]


# -- paths -----------------------------------------------------------------------------------------


def test_paths() -> None:
    found = graph(
        "block inner() { conv(1x1, filters=2) -> relu6 }\n"
        "block outer() { inner -> inner as 1x1 }\n"
        "outer as layer{1 + 1}.0\nouter\nconv(1x1, filters=2) as c -> conv(1x1, filters=2)\n"
        "output y\n"
    )
    assert names(found) == [
        *("layer2.0.inner1.conv1", "layer2.0.inner1.relu6_1"),
        *("layer2.0.1x1.conv1", "layer2.0.1x1.relu6_1"),
        *("outer2.inner1.conv1", "outer2.inner1.relu6_1"),
        *("outer2.1x1.conv1", "outer2.1x1.relu6_1"),
        *("c", "conv2"),
    ]


def test_spans_know_the_calls() -> None:
    found = graph("block b(f, k=1) {\n  conv(1x1, filters=f)\n}\nb(2 + 2, k=3) as l\noutput y\n")
    node = next(node for _, node in found.nodes() if node.name == "l.conv1")
    (span,) = node.spans
    assert (span.line, span.column) == (5, 3)
    assert [frame.text for frame in span.calls] == ["b(4, k=3) as l"]


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("7 // 2 + 2 * 3 - 1", 8),
        ("round(2.5)", 3),
        ("floor(2.9) + ceil(2.1)", 5),
        ("make_divisible(32 * 0.35, 8)", 16),
        ("make_divisible(37, 8)", 40),
        ("max(1, 2, 3) - min(1, 2)", 2),
        ("channels(x) + height(x) + width(x)", 19),
        ("4 if 1 < 2 and not (1 == 2 or false) else 5", 4),
        ("1 + -(-1)", 2),
        ('3 if "a" == "a" else 4', 3),
        ("2 if 3x3 == 3x3 else 1", 2),
    ],
)
def test_expressions(expression: str, value: int) -> None:
    assert shape(f"conv(1x1, filters={expression})") == (1, value, 8, 8)


def test_fractions_stay_fractions() -> None:
    assert codes("conv(1x1, filters=4 / 2)\noutput y\n") == ["E0304"]
    assert codes("conv(1x1, filters=2 * 1.0)\noutput y\n") == ["E0304"]
    assert attrs(graph("clip(low=0, high=6)\noutput y\n"), "clip1").high == 6.0


def test_loops_over_lists_of_lists() -> None:
    body = "for n, f in [[1, 4], [2, 5]] {\n  repeat n { conv(1x1, filters=f) }\n}\noutput y\n"
    assert names(graph(body)) == ["conv1", "conv2", "conv3"]


def test_params() -> None:
    body = "param f = 4 in [4, 8]\nparam k = 3x3\nparam b = true\nparam w = 1.0\n"
    body += "conv(k, filters=f, pad=1, bias=b)\noutput y\n"
    assert shape(body.removesuffix("output y\n"), params={"f": "8", "b": False}) == (1, 8, 8, 8)
    found = graph(body, params={"k": 5, "w": 2}).meta["params"]
    assert (show(found["k"]), found["w"]) == ("5x5", 2.0)
    for wrong in ({"f": 5}, {"f": "x"}, {"f": 8.0}, {"g": 1}, {"b": 1}, {"w": "1 +"}, {"w": None}):
        assert codes(body, params=wrong) == ["E0307"], wrong


def test_formals() -> None:
    body = "block b(t: tensor, n: int, r: float = 1, pad=0) {\n  conv(1x1, filters=n, pad=pad)\n"
    body += "  concat(in, in -> clip(low=0, high=r))\n}\n"
    assert shape(body + "b(x, 4)") == (1, 6, 8, 8)
    assert shape(body + "b(x -> tanh, n=4, pad=same)") == (1, 6, 8, 8)
    assert codes(body + "b(x, 4.5)\noutput y\n") == ["E0304"]
    assert codes(body + "b(4, 4)\noutput y\n") == ["E0304"]
    assert codes(body.replace("t: tensor", "t") + "b(x, 4)\noutput y\n") == ["E0304"]
    assert codes("block b(relu) { tanh }\nb(1)\noutput y\n") == []


# -- shapes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "wanted"),
    [
        ("conv(3, filters=2)", (1, 2, 6, 6)),
        ("conv(3x1, filters=2, stride=2x1)", (1, 2, 3, 8)),
        ("conv(3x3, filters=2, stride=2, pad=same)", (1, 2, 4, 4)),
        ("conv(3x3, filters=2, pad=[0, 1, 2, 3])", (1, 2, 8, 10)),
        ("conv(3x3, filters=2, dilation=2)", (1, 2, 4, 4)),
        ("dwconv(3x3, multiplier=2)", (1, 6, 6, 6)),
        ("deconv(3x3, filters=2, stride=2, pad=1, out_pad=1)", (1, 2, 16, 16)),
        ("maxpool(3x3, stride=2)", (1, 3, 3, 3)),
        ("maxpool(3x3, stride=2, round=ceil)", (1, 3, 4, 4)),
        ("maxpool(3x3)", (1, 3, 2, 2)),
        ("avgpool(2)", (1, 3, 4, 4)),
        ("global_avgpool", (1, 3, 1, 1)),
        ("flatten", (1, 192)),
        ("flatten -> flatten -> dense(7)", (1, 7)),
        ("upsample(2x3)", (1, 3, 16, 24)),
        ("pad([1, 2, 3, 4])", (1, 3, 12, 14)),
        ("crop(1)", (1, 3, 6, 6)),
        ("slice(start=1, stop=3)", (1, 2, 8, 8)),
        ("concat(x, x)", (1, 6, 8, 8)),
        ("mul(x -> global_avgpool, x)", (1, 3, 8, 8)),
    ],
)
def test_shapes(call: str, wanted: tuple[int, ...]) -> None:
    assert shape(call) == wanted


def test_same_pads() -> None:
    body = (
        "conv(4x3, filters=1, pad=same) as a\nconv(4x3, filters=1, pad=same_lower) as b\noutput y\n"
    )
    found = graph(body)
    assert attrs(found, "a").pads == (1, 1, 2, 1)
    assert attrs(found, "b").pads == (2, 1, 1, 1)


# -- inputs ----------------------------------------------------------------------------------------


def test_preprocessing() -> None:
    text = "cnncc 1\ninput x: 8x8x3 {props}\noutput y\n"
    plain = spec.load(text.format(props="")).graph
    assert [node.op for _, node in plain.nodes()] == ["input"]
    bytes_ = spec.load(text.format(props="{ dtype = u8, layout = chw, format = bgr }")).graph
    source, normal = (node for _, node in bytes_.nodes())
    assert source.type is not None
    assert source.type.dtype is DType.U8
    assert (source.attrs.memory, source.attrs.format) == ("chw", "bgr")
    assert (normal.attrs.scale, normal.attrs.mean, normal.attrs.std) == (
        1.0,
        (0.0,) * 3,
        (1.0,) * 3,
    )
    scaled = spec.load(text.format(props="{ scale = 1/255, std = [1, 2, 4] }")).graph
    assert scaled[scaled.outputs[0][1]].attrs.std == (1.0, 2.0, 4.0)


def test_several_inputs() -> None:
    text = "cnncc 1\ninput a: [4]\ninput b: 2x2x1\nb -> flatten -> add(a)\noutput y\n"
    found = spec.load(text).graph
    assert [found[i].name for i in found.inputs] == ["a", "b"]


# -- files -----------------------------------------------------------------------------------------


def project(folder: Path) -> Path:
    (folder / "blocks").mkdir()
    (folder / "names.txt").write_text("one\n\n  two \n", encoding="utf-8")
    (folder / "blocks" / "more.cnn").write_text(
        "cnncc 1\nparam wide = 2\nblock deep(f) { conv(1x1, filters=f * wide) -> bn }\nrelu\n"
    )
    (folder / "blocks" / "own.cnn").write_text(
        'cnncc 1\nuse "more.cnn" as more\nblock pair(f) { more.deep(f) -> relu }\n'
        "block broken() { maxpool(9x9) }\n"
    )
    return folder / "net.cnn"


def test_used_files(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_text(
        HEAD + 'use "blocks/own.cnn" as own\nown.pair(4) as p\nflatten -> dense(2)\n'
        'output y { labels = file("names.txt") }\n'
    )
    found = spec.load(path, want_arrays=False).graph
    assert names(found)[:3] == ["p.deep1.conv1", "p.deep1.bn1", "p.relu1"]
    assert found.constants["p.deep1.conv1.weight"].shape == (8, 3, 1, 1)
    assert found.meta["labels"] == {"y": ["one", "two"]}
    assert spec.check(path.parent / "blocks" / "own.cnn") == ()


def test_mistakes_in_used_files(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_text(HEAD + 'use "blocks/own.cnn" as own\nown.broken\nown.pear(3)\noutput y\n')
    found = spec.check(path)
    assert [(d.code, d.span and Path(d.span.file).name) for d in found] == [
        *(("E0201", "net.cnn"), ("E0401", "own.cnn"))
    ]
    assert "while expanding `own.broken" in spec.render_text(found)
    assert "maxpool(9x9)" in spec.render_text(found)


def test_files_outside_of_the_project(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    path = inner / "net.cnn"
    path.write_text(HEAD + 'output y { labels = file("../names.txt") }\n')
    assert [d.code for d in spec.check(path)] == ["E0505"]
    (tmp_path / "cnncc.toml").write_text("")
    assert spec.check(path) == ()
    (inner / "link.txt").symlink_to("/etc/hostname")
    path.write_text(HEAD + 'output y { labels = file("link.txt") }\n')
    assert [d.code for d in spec.check(path)] == ["E0505"]


def test_model_names(tmp_path: Path) -> None:
    path = tmp_path / "7 my-net.cnn"
    path.write_text(HEAD + "output y\n")
    assert spec.load(path).graph.name == "model_7_my_net"
    assert graph('model lenet { year = 1998, note = "x" }\noutput y\n').meta["model"] == {
        "year": 1998,
        "note": "x",
    }
