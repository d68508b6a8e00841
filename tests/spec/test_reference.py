"""The documents of the language say what the tables of the code say, and their examples work.

After a change of the tables: `CNNCC_BLESS=1 pytest tests/spec/test_reference.py`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from cnncc import spec
from cnncc.spec.builtins import BUILTINS
from cnncc.spec.catalogue import CATALOGUE
from cnncc.spec.lexer import RESERVED
from cnncc.spec.reference import tables

DOCS = Path(__file__).resolve().parents[2] / "docs"
LANGUAGE = DOCS / "language.md"
EXAMPLES = re.findall(r"```cnn\n(.*?)```", LANGUAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_error_index() -> None:
    page = DOCS / "errors.md"
    if os.environ.get("CNNCC_BLESS"):
        page.write_text(spec.error_index(), encoding="utf-8")
    assert page.read_text(encoding="utf-8") == spec.error_index()


@pytest.mark.parametrize("name", tables())
def test_tables(name: str) -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    mark = f"<!-- table: {name} -->\n\n"
    before, _, after = text.partition(mark)
    written, gap, rest = after.partition("\n\n")
    if os.environ.get("CNNCC_BLESS"):
        LANGUAGE.write_text(before + mark + tables()[name] + gap + rest, encoding="utf-8")
        written = tables()[name]
    assert written == tables()[name]


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_examples(text: str) -> None:
    assert spec.load(text, want_arrays=False).diagnostics == ()
    assert len(text.splitlines()) < 8 or spec.format_text(text) == text


def test_every_operation_and_reserved_word_is_named() -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    assert [word for word in (*BUILTINS, *RESERVED) if word not in text] == []


def test_explain() -> None:
    found = spec.explain("e0402")
    assert found is not None
    assert found.startswith("E0402: a flat vector is needed\n")
    assert "Right:\n\n    maxpool(2x2)" in found
    assert spec.explain("E9999") is None
    assert all(spec.explain(code) for code in CATALOGUE)
