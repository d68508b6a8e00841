from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnncc.errors import InputError
from cnncc.passes import PASSES, FoldConstants, Fuse, InferTypes, Simplify
from cnncc.passes.listing import format_passes, parse_passes


@dataclass(frozen=True)
class Tuned:
    name: ClassVar[str] = "tuned"
    needs: ClassVar[str] = "typed"
    gives: ClassVar[str] = "typed"
    target: dict
    share: float = 0.5
    mode: str = "quick"


def test_a_list_names_passes_and_options() -> None:
    text = " infer-types , simplify,fuse{max_epilogue=4, pools=false}"
    assert parse_passes(text) == (InferTypes(), Simplify(), Fuse(max_epilogue=4, pools=False))
    assert parse_passes("fuse{max-epilogue=4}") == (Fuse(max_epilogue=4),)


def test_fields_that_no_text_can_say_are_given() -> None:
    made = parse_passes("tuned{share=0.25,mode=slow}", (Tuned,), {"target": {"l2": 1}, "x": 1})
    assert made == (Tuned({"l2": 1}, 0.25, "slow"),)
    assert format_passes(made) == "tuned{share=0.25,mode=slow}"


@given(
    st.lists(
        st.one_of(
            st.sampled_from([p() for p in PASSES]),
            st.builds(Fuse, st.integers(-9, 99), st.booleans()),
            st.builds(FoldConstants, max_bytes=st.integers(0, 10**12)),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_printing_and_parsing_a_list_gives_it_back(passes) -> None:
    assert parse_passes(format_passes(passes)) == tuple(passes)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "cannot read ''", "joined by commas"),
        ("infer-types,", "cannot read 'infer-types,'", "joined by commas"),
        ("fuse{max_epilogue=4", "cannot read", "joined by commas"),
        ("fuse;simplify", "cannot read", "joined by commas"),
        ("infer-type", "no pass is called `infer-type`", "did you mean `infer-types`?"),
        ("zzz", "no pass is called `zzz`", "known: absorb-pad, channels-first"),
        ("fuse{max_epilog=4}", "no option `max_epilog`", "did you mean `max_epilogue`?"),
        ("fuse{pools}", "`pools` has no value", "pools=..."),
        ("fuse{pools=1}", "expected true or false, got '1'", ""),
        ("fuse{max_epilogue=few}", "expected a whole number, got 'few'", ""),
    ],
)
def test_mistakes_are_typed_and_say_what_to_do(text: str, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_passes(text)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_an_object_cannot_be_written() -> None:
    with pytest.raises(InputError, match="cannot be written in a pass list"):
        parse_passes("tuned{target=1}", (Tuned,))
