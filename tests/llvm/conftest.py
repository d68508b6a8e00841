from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.llvm.native import NativeChild


@pytest.fixture(scope="session")
def native() -> Iterator[NativeChild]:
    child = NativeChild()
    yield child
    child.close()
