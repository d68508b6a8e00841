"""The list of ONNX operators that users see."""

from onnx import defs

from cnncc.onnx.listing import Versions, defined_names, operator_rows, refused_names
from cnncc.onnx.table import rows


def test_every_rule_has_a_row_with_its_opsets():
    found = operator_rows()
    assert [(r["domain"], r["name"]) for r in found] == [(r.domain, r.op_type) for r in rows()]
    by_name = {row["name"]: row for row in found if not row["domain"]}
    assert by_name["Conv"]["opsets"] == [1, 11, 22]
    assert by_name["Conv"]["inputs"] == ["X", "W", "B?"]
    assert "group?" in by_name["Conv"]["attributes"]
    assert by_name["Upsample"]["versions"] == "1, 7, 9; until 9"
    assert all(row["summary"] and row["opsets"] for row in found)


def test_every_operator_of_onnx_is_in_one_list():
    taken = {row["name"] for row in operator_rows() if not row["domain"]}
    lists = [taken, set(defined_names()), set(refused_names())]
    assert sum(map(len, lists)) == len(set().union(*lists))
    known = {s.name for s in defs.get_all_schemas() if not s.domain and not s.deprecated}
    assert known <= set().union(*lists)
    assert {"Loop", "SequenceAt", "NonZero"} <= lists[2]


def test_versions_as_text():
    assert str(Versions((1, 6), None)) == "1, 6"
    assert str(Versions((7, 9), 10)) == "7, 9; until 9"
