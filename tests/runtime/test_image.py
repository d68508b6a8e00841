import re
from dataclasses import replace
from pathlib import Path

import pytest

from cnncc.errors import ArtifactError
from cnncc.runtime.image import Loaded
from tests.runtime.programs import image

pytestmark = pytest.mark.native


def test_memory_is_never_writable_and_executable():
    loaded = Loaded(image())
    code = loaded["main_run"] - image().exports["main_run"]
    assert _rights(code) == "r-xp"
    assert _rights(code + image().constants) == "r--p"


def _rights(address: int) -> str:
    maps = Path("/proc/self/maps").read_text()
    for start, end, rights in re.findall(r"^(\w+)-(\w+) (\S{4})", maps, re.MULTILINE):
        if int(start, 16) <= address < int(end, 16):
            return rights
    return "unmapped"


def test_exports_have_addresses():
    loaded = Loaded(image())
    assert "main_run" in loaded
    assert "main" not in loaded
    assert loaded["main_run"] - loaded["main_serial"] == (
        image().exports["main_run"] - image().exports["main_serial"]
    )


def test_a_missing_c_function_is_named():
    broken = replace(image(), imports={"no_such_function_here": image().constants})
    with pytest.raises(ArtifactError, match="`no_such_function_here`"):
        Loaded(broken)


def test_no_memory_is_an_error_of_the_machine():
    huge = replace(image(), code=_Endless())
    with pytest.raises(ArtifactError, match=r"refuses .* bytes for machine code"):
        Loaded(huge)


class _Endless(bytes):
    """Claims more bytes than any machine maps."""

    def __len__(self):
        return 1 << 62
