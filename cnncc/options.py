"""What a user may ask of the compiler beside the target: optimisations to leave out, and tuning.

Results stay right with any of them switched off; an ablation (`docs/performance.md`) measures what
each is worth. A kernel names its switch in `Kernel.switch`; a pass is told in `pipeline.standard`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from cnncc.errors import InputError

SWITCHES: dict[str, str] = {
    "winograd": "convolutions with fewer multiplications, in a transformed domain",
    "strassen": "1x1 convolutions with 7 products of blocks instead of 8",
    "pool-order": "averages, upsampling and 1x1 convolutions in the cheaper order",
    "conv-block": "a depthwise convolution in the loop nest of the convolution before it",
    "gates": "the gates of squeeze-and-excitation multiplied into the filters behind them",
    "planes": "convolutions of few output channels with lanes of input channels or columns",
    "row-means": "global averages begun in the depthwise convolution before them",
    "conv-pool": "a pool computed in the loop nest of the convolution before it",
    "epilogues": "pointwise steps and pools in the loop nest of what they follow",
    "gather": "channels read where they lie: shuffles, cuts and repeated joins without a copy",
}
# Those that compute a product of matrices or a convolution by another sum than the definition's.
FEWER_PRODUCTS = frozenset({"winograd", "strassen"})
TUNING = ("off", "quick")


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is compiled.

    Attributes:
        without: optimisations that are switched off, names of `SWITCHES`.
        tune: `off` chooses kernels by the cost model, `quick` times the best few on this machine.

    Raises:
        InputError: there is no such switch or way of tuning; the message lists those there are.
    """

    without: frozenset[str] = frozenset()
    tune: str = "off"

    def __post_init__(self) -> None:
        for name in sorted(self.without):
            if name not in SWITCHES:
                raise _unknown("optimisation", name, tuple(SWITCHES))
        if self.tune not in TUNING:
            raise _unknown("way of tuning", self.tune, TUNING)

    def uses(self, switch: str) -> bool:
        """Whether an optimisation is on; what has no switch always is."""
        return switch not in self.without


DEFAULTS = Options()


def _unknown(what: str, name: str, known: tuple[str, ...]) -> InputError:
    near = difflib.get_close_matches(name, known, n=1)
    guess = f"did you mean `{near[0]}`? " if near else ""
    return InputError(f"no {what} is called `{name}`", hint=f"{guess}known: {', '.join(known)}")
