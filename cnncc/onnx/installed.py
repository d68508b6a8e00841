"""Whether the `onnx` package is there; asked before anything of this room that needs it."""

from __future__ import annotations

from cnncc.errors import UnsupportedError


def require() -> None:
    """Nothing, where the `onnx` package is installed.

    Raises:
        UnsupportedError: it is not.
    """
    try:
        import onnx  # noqa: F401 - to see whether it can be
    except ImportError as error:
        raise UnsupportedError(
            "reading ONNX files needs the package `onnx`", hint="pip install 'cnncc[onnx]'"
        ) from error
