"""Between a caller's dense arrays and the layouts inside, and between two layouts inside.

Also a constant that is a value of the network: it is copied to where its readers want it. And a
row-major array [1,H,W,C] is the map [1,C,H,W] in hwc order, so a transpose from one to the other is
such a copy.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from cnncc.errors import InternalError
from cnncc.ir.types import DType
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import NO_HALO, AnyLayout, DenseLayout, Layout, Picked, RowMajor
from cnncc.kernels.movement import KINDS, Cells, movement
from cnncc.kernels.moves.copy_loops import Scaling
from cnncc.kernels.moves.copy_nest import CopyNest
from cnncc.kernels.template import Arg, Estimate, Kernel, Launch, OperandArg, PackedArg, Site


class Relayout(Kernel):
    """The same values in another layout; `normalize` scales them on the way.

    One work item is one row of one channel block. (x·scale - mean)/std is computed as x·a + b with
    a = scale/std and b = -mean/std, each rounded once: within 4·u·(|x·scale| + |mean|)/|std|.
    """

    name: ClassVar[str] = "relayout"
    anchors: ClassVar[frozenset[str]] = frozenset({"relayout", "normalize", "transpose"})

    def refuses(self, site: Site) -> str:
        """One side is blocked, the other any array that LoopIR has elements for."""
        if len(site.steps) > 1:
            return "has no epilogue"
        if site.anchor.op == "transpose" and site.anchor.attrs.perm != _turn(site):
            return "turns rows of pixels into maps, and maps into rows of pixels"
        source, out = _source(site)[0], _out(site)
        readable = isinstance(source, Layout | DenseLayout | Picked)
        if not readable or not isinstance(out, Layout | DenseLayout):
            return "needs blocked or dense layouts"
        if isinstance(source, DenseLayout) and not isinstance(out, Layout):
            return "one side must be blocked"
        if isinstance(source, DenseLayout) and source.dtype not in KINDS:
            return f"cannot read arrays of {source.dtype}"
        if isinstance(out, DenseLayout) and out.dtype is not DType.F32:
            return f"writes f32 only, not {out.dtype}"
        if not all(np.isfinite(v).all() for v in scaling_of(site) or ()):
            return "scale/std or mean/std is too large for f32"
        return ""

    def estimate(self, site: Site) -> Estimate:
        """Memory traffic and the cycles that the shape of the loops costs."""
        nest = _nest(site)
        return predict(site, nest.cycles, nest.shape, {"elements": float(nest.move.dest.size)})

    def lower(self, site: Site) -> list[Launch]:
        """One launch."""
        return [_nest(site).launch(self.name, _source(site)[1])]


def _source(site: Site) -> tuple[AnyLayout | None, Arg]:
    """Where the values lie; a constant is packed as the result wants it."""
    operand, out = site.anchor.args[0], site.out
    constant = site.constants[operand]
    if constant is None:
        found = site.layouts[operand]
        if found is None:
            return None, OperandArg(operand)
        return _turned(site, as_dense(found)), OperandArg(operand)
    if isinstance(out, Layout):
        packed = out.with_halo(NO_HALO)
    else:
        channels, height, width = (*site.types[operand].shape[1:], 1, 1)[:3]
        packed = Layout(site.lanes, (channels,), height, width)
    return packed, PackedArg(packed.pack(np.asarray(constant, np.float32)))


def _out(site: Site) -> AnyLayout:
    return _turned(site, as_dense(site.out))


def _turn(site: Site) -> tuple[int, ...]:
    """The order of axes in which a transpose is a copy: to maps, or from maps."""
    return (0, 3, 1, 2) if isinstance(site.out, Layout) else (0, 2, 3, 1)


def _turned(site: Site, layout: AnyLayout) -> AnyLayout:
    """The dense side of a transpose as the map that it is; all else stays."""
    if site.anchor.op != "transpose" or not isinstance(layout, DenseLayout):
        return layout
    if layout.memory != "chw":
        raise InternalError(f"{site.name}: a transpose of {layout}")
    height, width, channels = layout.channels, layout.height, layout.width
    return DenseLayout(layout.dtype, channels, height, width, "hwc")


def as_dense(layout: AnyLayout) -> AnyLayout:
    """A row-major map [1,C,H,W] or vector [1,K] as the dense array that it is; others stay."""
    if not isinstance(layout, RowMajor) or len(layout.shape) not in (2, 4) or layout.shape[0] != 1:
        return layout
    channels, height, width = (*layout.shape[1:], 1, 1)[:3]
    return DenseLayout(layout.dtype, channels, height, width, "chw")


def _nest(site: Site) -> CopyNest:
    source, out = _source(site)[0], _out(site)
    if not isinstance(source, Layout | DenseLayout | Picked):
        raise InternalError(f"{site.name}: a re-layout of {source}")
    if not isinstance(out, Layout | DenseLayout):
        raise InternalError(f"{site.name}: a re-layout of {source} to {out}")
    return CopyNest(movement(Cells.of(source), Cells.of(out)), site.lanes, scaling_of(site))


def scaling_of(site: Site) -> Scaling | None:
    """Factor and summand of each channel of a `normalize`; None for a plain copy."""
    if site.anchor.op != "normalize":
        return None
    attrs = site.anchor.attrs
    std = np.asarray(attrs.std, np.float64)
    with np.errstate(over="ignore"):
        factor = np.asarray(attrs.scale / std)
        summand = -np.asarray(attrs.mean, np.float64) / std
        return factor.astype(np.float32), summand.astype(np.float32)
