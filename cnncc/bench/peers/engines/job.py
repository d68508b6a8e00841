"""What an engine is asked to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]


class EngineError(Exception):
    """The engine does not take the model; the message says why."""


@dataclass(frozen=True)
class Job:
    """A model and how to run it.

    Attributes:
        model: an ONNX file; for cnncc a saved network.
        feeds: an array for each input, in the model's order.
        outputs: names of the outputs, in the model's order.
        threads: of the engine.
        cache: a folder for converted models, used for this model alone.
        beside: the folder in which the user may have put the model in an engine's own format.
        stem: name of such a file, without its ending.
    """

    model: Path
    feeds: dict[str, Array]
    outputs: list[str]
    threads: int
    cache: Path
    beside: Path | None = None
    stem: str = ""

    def own_format(self, *endings: str) -> Path:
        """The user's file in an engine's own format.

        Raises:
            EngineError: there is none.
        """
        for ending in endings:
            if self.beside is not None and (self.beside / f"{self.stem}{ending}").exists():
                return self.beside / f"{self.stem}{ending}"
        raise EngineError(
            f"needs the model in its own format: put {self.stem}{' or '.join(endings)} beside it"
        )
