"""Sites for the kernels with weights: a convolution or dense layer, written in one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cnncc.ir.op import NoAttrs, lookup
from cnncc.ir.types import f32
from cnncc.kernels.convolution.conv_geometry import conv_halo
from cnncc.kernels.convolution.conv_transposed import transposed_halo
from cnncc.kernels.template import Kernel, Site
from cnncc.ops.conv import Conv2dAttrs, Conv2dTransposeAttrs
from cnncc.ops.fused import Step
from cnncc.targets import Target
from tests.kernels.harness import Runner, blocked, check, dense, interpret, make_site

Halo = tuple[int, int, int, int]
NO_HALO: Halo = (0, 0, 0, 0)


@dataclass(frozen=True)
class Conv:
    """A convolution: x [1,c,h,w], filters [o,c/groups,*kernel], everything else by keyword.

    Attributes:
        x: channels, rows, columns of the input.
        filters: output channels.
        kernel: rows and columns of the window.
        attrs: the operator's attributes.
        bias: whether there is one.
        steps: what follows; further operands begin at index `first_extra`.
        extras: those operands: [C] is a constant, [1,C,h,w] a value.
        halo: halo beyond what is needed.
        out_halo: halo of the result and of further operands.
        segments: of the input; empty for one.
        out_segments: of the result; empty for one.
        narrow: whether the input's blocks have as many lanes as it has channels.
        block: channels of the input's blocks; None for the lanes, or as `narrow` says.
        outside: whether the input is a caller's array of planes.
        in_place: operand that the result overwrites.
        values: `normal`, `special` (some NaN and infinities), `negative`, `whole` (numbers).
        out_block: channels of a block of the result; None for the lanes of the target.
    """

    x: tuple[int, int, int]
    filters: int
    kernel: tuple[int, int] = (3, 3)
    attrs: Any = field(default_factory=Conv2dAttrs)
    bias: bool = True
    steps: tuple[Step, ...] = ()
    extras: tuple[np.ndarray, ...] = ()
    halo: Halo = NO_HALO
    out_halo: Halo = NO_HALO
    segments: tuple[int, ...] = ()
    out_segments: tuple[int, ...] = ()
    narrow: bool = False
    block: int | None = None
    outside: bool = False
    in_place: int | None = None
    values: str = "normal"
    out_block: int | None = None
    seed: int = 0

    @property
    def op(self) -> str:
        return "conv2d_transpose" if isinstance(self.attrs, Conv2dTransposeAttrs) else "conv2d"

    @property
    def first_extra(self) -> int:
        return 3 if self.bias else 2

    def arrays(self) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        groups, channels = self.attrs.groups, self.x[0]
        shape = (self.filters, channels // groups, *self.kernel)
        if self.op == "conv2d_transpose":
            shape = (channels, self.filters // groups, *self.kernel)
        x = rng.standard_normal((1, *self.x)).astype(np.float32)
        if self.values == "negative":
            x = -1 - np.abs(x)
        elif self.values == "special":
            flat = x.reshape(-1)
            for number, special in enumerate((np.nan, np.inf, -np.inf)):
                flat[(number * 7919) % flat.size] = special
        made = [x, rng.standard_normal(shape).astype(np.float32)]
        if self.values == "whole":
            made = [np.round(4 * a) for a in made]
        if self.bias:
            made.append(rng.standard_normal(self.filters).astype(np.float32))
        return [*made, *self.extras]

    def site(self, target: Target) -> Site:
        arrays, lanes = self.arrays(), target.lanes()
        types = [f32(*a.shape) for a in arrays[: self.first_extra]]
        result = lookup(self.op).infer(types, self.attrs)
        rule = conv_halo if self.op == "conv2d" else transposed_halo
        needed = rule(self.attrs, types[0], types[1], result)
        top, left, bottom, right = (a + b for a, b in zip(needed, self.halo, strict=True))
        x = blocked(
            arrays[0].shape,
            self.block or (self.x[0] if self.narrow else lanes),
            segments=self.segments,
            halo=(top, left, bottom, right),
        )
        source = dense(arrays[0].shape, "chw") if self.outside else x
        filters = {a for s in self.steps if s.op == "conv2d" for a in s.args[1:]}
        others = [
            None if self.first_extra + i in filters else self._operand(a, lanes)
            for i, a in enumerate(self.extras)
        ]
        shape = result.shape
        for step in self.steps:
            if step.op == "conv2d" or step.op.endswith("pool2d"):
                more = [f32(*arrays[a].shape) for a in step.args[1:]]
                shape = lookup(step.op).infer([f32(*shape), *more], step.attrs).shape
        return make_site(
            self.op,
            self.attrs,
            arrays,
            [source, *[None] * (self.first_extra - 1), *others],
            blocked(shape, self.out_block or lanes, segments=self.out_segments, halo=self.out_halo),
            target,
            steps=self.steps,
            in_place=self.in_place,
        )

    def _operand(self, array: np.ndarray, lanes: int) -> Any:
        if array.ndim == 1:
            return None
        return blocked(array.shape, lanes, segments=self.out_segments, halo=self.out_halo)


def depthwise(x, kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1), dilations=(1, 1), **more):
    """A depthwise convolution of an input [C,H,W], by default 3x3 that keeps the map's size."""
    attrs = Conv2dAttrs(strides, pads, dilations, x[0])
    return Conv(x, x[0], kernel, attrs, **more)


def run(kernel: Kernel, conv: Conv, target: Target, runner: Runner = interpret) -> np.ndarray:
    """Assert all that a kernel promises of this convolution; returns the result."""
    return check(kernel, conv.site(target), conv.arrays(), runner=runner, splits=SPLITS)


SPLITS = ((1, 1), (3, -1))


def chain(first: int, *names: str | tuple[str, Any]) -> tuple[Step, ...]:
    """Steps behind an anchor; operands are `first`, `first + 1`, ...

    `add`, `mul` and `prelu` take one, `conv2d` a filter and a bias.
    """
    steps: list[Step] = []
    operand = first
    for name in names:
        op, attrs = name if isinstance(name, tuple) else (name, None)
        args: list[int] = [~len(steps)]
        if op in ("add", "mul", "prelu"):
            args.append(operand)
            operand += 1
        elif op == "conv2d":
            args += [operand, operand + 1]
            operand += 2
        steps.append(Step(op, attrs if attrs is not None else lookup(op).Attrs(), tuple(args)))
    return tuple(steps)


def numbers(*shape: int, seed: int = 9) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


__all__ = ["NO_HALO", "Conv", "NoAttrs", "Sequence", "chain", "numbers", "run"]
