"""`add`, `mul` and `concat`: whether what they join has shapes that fit, and how to repair it."""

from __future__ import annotations

from collections.abc import Sequence

from cnncc.errors import Label
from cnncc.ir.types import DType
from cnncc.spec import ast
from cnncc.spec.arguments import name_place
from cnncc.spec.builtins import Builtin
from cnncc.spec.diagnostics import Reporter
from cnncc.spec.lexer import Place
from cnncc.spec.values import Tensor, Unknown, shape_text


def joinable(
    report: Reporter, row: Builtin, call: ast.Call, operands: Sequence[Tensor | Unknown]
) -> bool:
    """Whether the shapes fit; E0404 or E0405 if not."""
    known = [x for x in operands if isinstance(x, Tensor)]
    if len(known) != len(operands) or not all(map(_is_map_or_vector, known)):
        return True
    places = [arg.at for arg in call.args]
    if len(places) < len(operands):
        places.insert(0, name_place(call))
    if row.name == "concat":
        return _concatenable(report, known, places)
    a, b = (x.type for x in known)
    if a.shape == b.shape:
        return True
    if row.name == "mul" and a.is_feature_map and b.is_feature_map:
        ones = [t.shape[1] == a.shape[1] and t.shape[2:] == (1, 1) for t in (a, b)]
        if any(ones):
            return True
    _report_unequal(report, row, call, known, places)
    return False


def _is_map_or_vector(x: Tensor) -> bool:
    """Whether the language's own rules hold; of other tensors the operator knows the rule."""
    return x.type.dtype is DType.F32 and len(x.type.shape) in (2, 4)


def _concatenable(report: Reporter, operands: list[Tensor], places: list[Place]) -> bool:
    first = operands[0]
    for x, place in zip(operands[1:], places[1:], strict=True):
        if len(x.type.shape) != len(first.type.shape):
            report.error(
                "E0405",
                "`concat` needs all feature maps or all vectors "
                f"({shape_text(first.type)}, {shape_text(x.type)})",
                place,
                help="put `flatten` behind the feature map",
            )
            return False
        if x.type.shape[2:] != first.type.shape[2:]:
            _report_heights(report, first, x, place)
            return False
    return True


def _report_heights(report: Reporter, first: Tensor, x: Tensor, place: Place) -> None:
    (h, w), (oh, ow) = first.type.shape[2:], x.type.shape[2:]
    help = "bring it to the same height and width with `pad` or `crop`"
    if h % oh == 0 and w % ow == 0 and (h, w) > (oh, ow):
        factor = f"{h // oh}" if h // oh == w // ow else f"{h // oh}x{w // ow}"
        help = f"this branch is smaller: ... -> upsample({factor})"
    report.error(
        "E0405",
        f"`concat` needs equal height and width ({h}x{w}, {oh}x{ow})",
        place,
        caption=f"this is {shape_text(x.type)}, the first is {shape_text(first.type)}",
        help=help,
    )


def _report_unequal(
    report: Reporter, row: Builtin, call: ast.Call, known: list[Tensor], places: list[Place]
) -> None:
    a, b = known[0].type, known[1].type
    report.error(
        "E0404",
        f"`{row.name}` needs equal shapes: {shape_text(a)} and {shape_text(b)}",
        places[0],
        caption=shape_text(a),
        labels=(Label(report.span(places[1]), shape_text(b)),),
        help=_bring_together(call, known),
    )


def _bring_together(call: ast.Call, known: list[Tensor]) -> str:
    """How to repair unequal shapes: a 1x1 convolution on the larger map."""
    a, b = known[0].type, known[1].type
    if not (a.is_feature_map and b.is_feature_map):
        return "bring both to one shape"
    ha, wa, hb, wb = *a.shape[2:], *b.shape[2:]
    names = [arg.value.name if isinstance(arg.value, ast.Call) else "..." for arg in call.args]
    names = ["...", *names][-2:]
    large = 0 if ha * wa > hb * wb else 1
    big, little = (a, b) if large == 0 else (b, a)
    stride = -(-big.shape[2] // little.shape[2])
    fits = -(-big.shape[2] // stride) == little.shape[2]
    if not fits or -(-big.shape[3] // stride) != little.shape[3]:
        return "bring both to one height and width, with `pad`, `crop` or a stride"
    step = f", stride={stride}" if stride > 1 else ""
    name = names[large]
    return (
        f"bring `{name}` to {shape_text(little)}: "
        f"{name} -> conv(1x1, filters={little.shape[1]}{step})"
    )
