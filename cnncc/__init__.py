"""cnncc: a compiler for convolutional neural networks.

    import cnncc

    net = cnncc.compile("network.cnn")
    answer = net(picture)

Names are loaded when they are first used, so importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import os

    from cnncc.abi import Interface, Port
    from cnncc.compiling import compile
    from cnncc.errors import (
        ArtifactError,
        CnnccError,
        InputError,
        InternalError,
        OnnxError,
        SpecError,
        TargetError,
        TypeInferenceError,
        UnsupportedError,
    )
    from cnncc.runtime.network import Memory, Network

__version__ = "0.1.0"

_HOMES = {
    "compile": "cnncc.compiling",
    "Interface": "cnncc.abi",
    "Port": "cnncc.abi",
    "Memory": "cnncc.runtime.network",
    "Network": "cnncc.runtime.network",
    "ArtifactError": "cnncc.errors",
    "CnnccError": "cnncc.errors",
    "InputError": "cnncc.errors",
    "InternalError": "cnncc.errors",
    "OnnxError": "cnncc.errors",
    "SpecError": "cnncc.errors",
    "TargetError": "cnncc.errors",
    "TypeInferenceError": "cnncc.errors",
    "UnsupportedError": "cnncc.errors",
}

__all__ = [
    "ArtifactError",
    "CnnccError",
    "InputError",
    "Interface",
    "InternalError",
    "Memory",
    "Network",
    "OnnxError",
    "Port",
    "SpecError",
    "TargetError",
    "TypeInferenceError",
    "UnsupportedError",
    "__version__",
    "compile",
    "load",
]


def load(path: str | os.PathLike[str], *, threads: int | None = None) -> Network:
    """A network that `Network.save` wrote.

    Raises:
        ArtifactError: the file is missing, damaged, or of another version.
        TargetError: this machine cannot run its code.
    """
    from cnncc.runtime.network import Network

    return Network.load(path, threads=threads)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module `cnncc` has no attribute `{name}`")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)
