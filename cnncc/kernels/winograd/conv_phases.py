"""Strided convolution of few channels by minimal filtering, its pool in the same loop nest.

A work item is one row of tiles. What a pool reads of the rows above waits in a ring.

A NaN, an infinity or a number near overflow in an input reaches all results of the tiles that read
it, not only of the windows that do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cnncc.errors import InternalError
from cnncc.ir.op import F64, Array, lookup
from cnncc.ir.tolerance import Rounding
from cnncc.ir.types import TensorType
from cnncc.kernels.convolution.tile_choice import choose_tile
from cnncc.kernels.cost import predict
from cnncc.kernels.layout import Layout
from cnncc.kernels.pool_behind import pool_of
from cnncc.kernels.template import (
    Estimate,
    Kernel,
    Launch,
    Site,
)
from cnncc.kernels.winograd.cook_toom import transform_places
from cnncc.kernels.winograd.phase_choice import PhaseChoice, PhaseShape, phase_choice
from cnncc.kernels.winograd.phase_nest import PhasesNest
from cnncc.kernels.winograd.plane_rows import refuses_planes
from cnncc.kernels.winograd.tile_rounding import tile_rounding
from cnncc.ops.conv import Conv2dAttrs
from cnncc.ops.fused import Step
from cnncc.ops.pool import WINDOW_POOLS
from cnncc.targets.target import Target

_POOLED = 14.0  # cycles of a vector of maxima


class ConvPhases(Kernel):
    """One work item is one row of tiles, for all output channels."""

    name: ClassVar[str] = "conv_phases"
    anchors: ClassVar[frozenset[str]] = frozenset({"conv2d"})
    switch: ClassVar[str] = "winograd"

    def refuses(self, site: Site) -> str:
        x, w = site.anchor.args[:2]
        if site.constants[w] is None:
            return "the filter is computed at run time"
        reason = refuses_planes(site.layouts[x])
        if reason:
            return reason
        if not isinstance(site.out, Layout) or site.out.block != site.lanes:
            return f"the result's blocks must have {site.lanes} channels"
        attrs: Conv2dAttrs = site.anchor.attrs
        types = [site.types[a] for a in site.anchor.args]
        return refuses_phases(site.target, attrs, types, site.constant(w), site.steps[-1])

    def estimate(self, site: Site) -> Estimate:
        choice = _choice(site)
        filters = choice.planes * choice.depth * site.blocked_out.blocks
        _, back = transform_places(choice.vertical.core, choice.horizontal.core)
        steps = filters + site.blocked_out.blocks * back
        cycles = choice.cycles
        if site.ends_in_pool:
            pool = pool_of(site)
            cycles += _POOLED * site.blocked_out.blocks * pool.rows * pool.columns
        return predict(
            site,
            cycles,
            str(choice),
            {"error_bound_k": choice.rounding},
            fmas=steps * choice.down * choice.across,
            weights=filters * site.target.vector_bits / 8,
        )

    def code_bytes(self, site: Site) -> int:
        return 8 << 10

    def algorithm(self, site: Site) -> Rounding:
        """Rule C: the error of a tile, infinite where it meets numbers that are not finite."""
        choice = _choice(site)

        def rounding(op: str, attrs: Any, arrays: Sequence[Array]) -> F64 | None:
            return tile_rounding(choice, attrs, arrays[0], arrays[1]) if op == "conv2d" else None

        return rounding

    def lower(self, site: Site) -> list[Launch]:
        return PhasesNest(site, _shape(site), _choice(site)).launches(self.name)


def refuses_phases(
    target: Target,
    attrs: Conv2dAttrs,
    types: Sequence[TensorType],
    filters: NDArray[Any],
    last: Step,
) -> str:
    """Why a convolution cannot be computed over phases of its stride, whatever its layouts.

    Args:
        target: the machine.
        attrs: of the convolution.
        types: input [1,C,H,W], filters [O,C/g,kh,kw], bias if there is one.
        filters: the constant.
        last: the step that the loop nest ends with.
    """
    if attrs.groups != 1 or attrs.dilations != (1, 1):
        return "has groups or dilations"
    choice = phase_choice(target, phase_shape(target, attrs, types))
    if choice is None:
        return "no transform saves multiplications of such windows, strides and channels"
    if last.op in WINDOW_POOLS and last.op != "max_pool2d":
        return "of pools it computes maxima only"
    if last.op in WINDOW_POOLS and last.attrs.window[0] > choice.vertical.outputs + 1:
        return "a window reaches over more rows than a row of tiles and the one above hold"
    if not np.isfinite(filters).all():
        return "a filter is not finite, and would spread over its tile"
    return ""


def phase_shape(target: Target, attrs: Conv2dAttrs, types: Sequence[TensorType]) -> PhaseShape:
    """What the choice depends on."""
    (_, channels, _, _), (filters, _, *kernel) = types[0].shape, types[1].shape
    rows, columns = lookup("conv2d").infer(types, attrs).shape[2:]
    blocks = -(-filters // target.lanes())
    strides = (attrs.strides[0], attrs.strides[1])
    return PhaseShape(channels, rows, columns, blocks, (kernel[0], kernel[1]), strides)


def phases_pay(target: Target, attrs: Conv2dAttrs, types: Sequence[TensorType]) -> bool:
    """Whether that is predicted to be quicker than the definition."""
    shape = phase_shape(target, attrs, types)
    choice = phase_choice(target, shape)
    steps = shape.channels * shape.kernel[0] * shape.kernel[1]
    direct = choose_tile(target, shape.rows, shape.columns, shape.out_blocks, steps)
    return choice is not None and choice.cycles < direct.cycles


def _shape(site: Site) -> PhaseShape:
    """The shape of a site, with the blocks that its result has."""
    shape = phase_shape(site.target, site.anchor.attrs, [site.types[a] for a in site.anchor.args])
    return replace(shape, out_blocks=site.blocked_out.blocks)


def _choice(site: Site) -> PhaseChoice:
    choice = phase_choice(site.target, _shape(site))
    if choice is None:
        raise InternalError(f"{site.name}: no transform for {_shape(site)}")
    return choice
