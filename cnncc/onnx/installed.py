"""Whether the `onnx` package is there; asked before anything of this room that needs it."""

from __future__ import annotations

import importlib.util

from cnncc.errors import UnsupportedError


def require() -> None:
    """Nothing, where the `onnx` package is installed.

    Raises:
        UnsupportedError: it is not.
    """
    if importlib.util.find_spec("onnx") is None:
        raise UnsupportedError(
            "reading ONNX files needs the package `onnx`", hint="pip install 'cnncc[onnx]'"
        )
