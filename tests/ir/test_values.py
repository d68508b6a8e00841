"""Values of attributes and notes print and parse back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.errors import ArtifactError
from cnncc.ir.types import DType
from cnncc.ir.values import Reader, Record, Symbol, format_value


class Order(Enum):
    HWC = 1


@dataclass(frozen=True)
class Tile:
    rows: int
    order: Order
    name: str = "t"


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(list(DType)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


def parse(text: str, **records: type) -> Any:
    reader = Reader(text, "t:1", records)
    found = reader.value()
    reader.next("end")
    return found


@given(PLAIN)
def test_plain_data_comes_back(value: Any) -> None:
    text = format_value(value)
    assert "\n" not in text
    found = parse(text)
    assert found == value
    assert format_value(found) == text


def test_types_of_numbers_and_sequences_come_back() -> None:
    found = parse(format_value((1, 1.0, -0.0, True, [1], (1,), math.inf, -math.inf)))
    kinds = [int, float, float, bool, list, tuple, float, float]
    assert [type(v) for v in found] == kinds
    assert math.copysign(1, found[2]) == -1
    assert math.isnan(parse(format_value(math.nan)))
    assert format_value(np.float32(0.5)) == "0.5"
    assert format_value(np.int64(3)) == "3"


def test_dataclasses_come_back_as_themselves_or_as_records() -> None:
    text = format_value(Tile(3, Order.HWC))
    assert text == 'Tile{rows=3, order=Order.HWC, name="t"}'
    found = parse(text)
    assert found == Record("Tile", (("rows", 3), ("order", "Order.HWC"), ("name", "t")))
    assert isinstance(found.fields[1][1], Symbol)
    assert format_value(found) == text
    assert parse("Tile{rows=3, order=none}", Tile=Tile) == Tile(3, None)  # type: ignore[arg-type]


def test_foreign_objects_are_opaque_but_stable() -> None:
    text = format_value({"kernel": object()})
    assert text == '{kernel=Opaque{type="builtins.object"}}'
    assert format_value(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a value, found 'the end'"),
        ("[1, 2", "expected ,, found 'the end'"),
        ("[1 2]", "expected ,, found '2'"),
        ("{a 1}", "expected =, found '1'"),
        ("$", "cannot read"),
        ("word", "`word` is no value"),
        ('"abc', "cannot read"),
        (r'"\q"', "is not a sound string"),
        ("[" * 200, "nested deeper than 100"),
        ("1 2", "expected end, found '2'"),
        ("Tile{rows=1}", "missing 1 required positional argument"),
    ],
)
def test_damaged_texts_are_typed_errors(text: str, message: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse(text, Tile=Tile)
    assert message in caught.value.message
    assert caught.value.message.startswith("t:1: ")


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_typed_error(text: str) -> None:
    try:
        found = parse(text)
    except ArtifactError:
        return
    assert format_value(parse(format_value(found))) == format_value(found)
