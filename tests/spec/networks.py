"""Random networks as `.cnn` text that elaborates without errors: every operation can come up."""

from __future__ import annotations

import random


def network(seed: int) -> str:
    """A random network of a few operations on a small feature map."""
    chance = random.Random(seed)
    h, w = chance.randrange(6, 14), chance.randrange(6, 14)
    c = chance.choice([1, 3, 4, 6, 8])
    dtype = chance.choice(["u8", "f32", "i8", "f16"])
    mean = ", ".join(str(chance.randrange(3)) for _ in range(c))
    props = chance.choice([f"dtype = {dtype}", f"scale = 1/255, mean = [{mean}]", "layout = chw"])
    lines = ["cnncc 1", f'model m {{ year = {seed % 3000}, words = [true, "a\\"b", 3x3] }}']
    lines += ["param knob = 0.5 in [0.25, 0.5]"]
    lines += chance.choice([[], ["weights random { seed = 3, init = xavier }"]])
    lines.append(f"input photo: {h}x{w}x{c} {{ {props} }}")
    names = ["photo"]
    shapes = {"photo": (h, w, c)}
    for index in range(chance.randrange(1, 9)):
        source = chance.choice(names[-2:])
        call, shape = step(chance, source, shapes)
        name = f"t{index}"
        label = f" as layer{index}.x" if chance.random() < 0.4 and " -> " in call else ""
        lines.append(f"{name} = {call}{label}")
        names.append(name)
        shapes[name] = shape
    lines.append(f"output y = {names[-1]} -> softmax {{ top = 2 }}")
    if chance.random() < 0.3:
        lines.append(f"output other = {names[-1]} -> flatten(order=chw)")
    return "\n".join(lines) + "\n"


Shape = tuple[int, int, int]


def step(chance: random.Random, x: str, shapes: dict[str, Shape]) -> tuple[str, Shape]:
    """A statement's right side on `x`, and its shape."""
    h, w, c = shapes[x]
    f = chance.choice([1, 2, 4, 5]) * c
    s = chance.choice([1, 2])
    half = (-(-h // s), -(-w // s))
    small = h < 4 or w < 4
    options: list[tuple[str, Shape]] = [
        (f"conv(1x1, filters={f}, groups={c}, bias=false)", (h, w, f)),
        (f"conv(3x3, filters={f}, stride={s}, pad=same)", (*half, f)),
        (f"conv(3, filters={f}, stride={s}x1, pad=same_lower)", (half[0], w, f)),
        ("dwconv(3x3, pad=1, multiplier=2)", (h, w, 2 * c)),
        (f"deconv(2x2, filters={f}, stride=2)", (2 * h, 2 * w, f)),
        (f"conv(3x3, filters={f}, dilation=2, pad=[2, 2, 2, 2])", (h, w, f)),
        (f"avgpool(3x3, stride={s}, pad=same, count_pad=true)", (*half, c)),
        (f"maxpool(2x2, stride={s}, pad=same)", (*half, c)),
        ("upsample(2, mode=bilinear)", (2 * h, 2 * w, c)),
        ("upsample(2x1)", (2 * h, w, c)),
        ("pad([1, 0, 2, 0], value=-1.5)", (h + 3, w, c)),
        ("global_avgpool", (1, 1, c)),
        ("global_maxpool", (1, 1, c)),
        (f"slice(stop={max(1, c // 2)})", (h, w, max(1, c // 2))),
        (f"channel_shuffle({c})", (h, w, c)),
        ("lrn(3, alpha=2e-4)", (h, w, c)),
        ("clip(low=-1, high=1e+3)", (h, w, c)),
        *((op, (h, w, c)) for op in ("bn", "bn(eps=1e-3)", "scale", "scale(bias=false)", "prelu")),
        *((op, (h, w, c)) for op in ("relu", "relu6", "sigmoid", "tanh", "silu", "hswish")),
        *((op, (h, w, c)) for op in ("hsigmoid", "leaky_relu", "dropout(0.1)", "softmax")),
    ]
    if not small:
        options.append(("crop([1, 0, 0, 2])", (h - 1, w - 2, c)))
        options.append(("maxpool(3x2, stride=1)", (h - 2, w - 1, c)))
    call, shape = chance.choice(options)
    joins: list[tuple[str, Shape]] = [
        (f"add({x}, {x})", (h, w, c)),
        (f"mul({x}, {x} -> global_avgpool)", (h, w, c)),
        (f"concat({x}, {x} -> relu, {x})", (h, w, 3 * c)),
    ]
    if chance.random() < 0.2:
        return chance.choice(joins)
    if max(shape) > 64:
        return f"{x} -> relu", (h, w, c)
    return f"{x} -> {call}", shape
