"""Matrix products, and what is made of them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from cnncc.ir.types import DType
from cnncc.onnx.call import Call
from cnncc.onnx.refusals import Refused
from cnncc.onnx.rules.movement import sliced
from cnncc.onnx.rules.reduction import reduced
from cnncc.onnx.table import rule

_LARGEST_DET = 4


@rule("MatMul", summary="matrix products, with a batch that is broadcast")
def matmul(call: Call) -> int:
    """A fully connected layer where the right operand is a constant matrix, else as it stands."""
    return product(call, call.operand(0), call.operand(1))


def product(call: Call, a: int, b: int) -> int:
    """`a @ b` as NumPy defines it."""
    return call.add("matmul", [a, b])


@rule("Gemm", summary="alpha·A·B + beta·C, either matrix transposed")
def gemm(call: Call) -> int:
    """A fully connected layer where weights are constants."""
    a, b = call.operand(0), call.operand(1)
    alpha, beta = call.real("alpha", 1.0), call.real("beta", 1.0)
    call.ignore("broadcast")
    if len(call.type_of(a).shape) != 2 or len(call.type_of(b).shape) != 2:
        raise Refused(f"matrices are wanted, got {call.type_of(a)} and {call.type_of(b)}")
    if call.flag("transA"):
        a = call.transpose(a, (1, 0))
    whole = call.type_of(a).dtype.is_integer
    if (alpha % 1 or beta % 1) and whole:
        raise Refused(f"alpha {alpha} and beta {beta} of whole numbers")
    transposed = call.flag("transB")
    known = call.graph.constant(b) is not None and call.type_of(a).dtype is DType.F32
    known = known and call.type_of(a).shape[0] == 1  # what is fully connected sees one sample
    c = call.operand(2) if call.has(2) and beta else None
    if c is not None and beta != 1:
        c = call.add("mul", [c, call.like(beta, c)])
    if not known:
        made = product(call, a, call.transpose(b, (1, 0)) if transposed else b)
        made = made if alpha == 1 else call.add("mul", [made, call.like(alpha, made)])
        return made if c is None else call.add("add", [made, c])
    w = b if transposed else call.transpose(b, (1, 0))
    if alpha != 1:
        w = call.add("mul", [w, call.like(alpha, w)])
    units = call.type_of(w).shape[0]
    if c is None:
        return call.add("dense", [a, w])
    if _is_bias(call, c, units):
        return call.add("dense", [a, w, call.reshape(c, (units,))])
    return call.add("add", [call.add("dense", [a, w]), c])


def _is_bias(call: Call, c: int, units: int) -> bool:
    shape = call.type_of(c).shape
    return call.graph.constant(c) is not None and shape in ((units,), (1, units))


@rule(
    "Einsum",
    summary="sums of products by index letters",
    limits="a summed letter has one extent in all operands",
)
def einsum(call: Call) -> int:
    """Diagonals, transposes and sums of single operands; matrix products from left to right."""
    equation = call.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != call.count:
        raise Refused(f"`equation` is {equation!r} for {call.count} operands")
    ranks = [len(call.type(i).shape) for i in range(call.count)]
    terms = [_spread(t, rank) for t, rank in zip(terms, ranks, strict=True)]
    most = max((sum(c.isdigit() for c in t) for t in terms), default=0)
    if not arrow:
        letters = "".join(terms)
        right = "..." + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
        right = "".join(c for c in right if not c.isdigit())
    right = right.replace("...", "".join(map(str, range(10 - most, 10))))
    if any(len(t) != rank for t, rank in zip(terms, ranks, strict=True)):
        raise Refused(f"`equation` {equation!r}: not one letter an axis")
    operands = [_diagonals(call, call.operand(i), t) for i, t in enumerate(terms)]
    first = operands[0]
    for place, second in enumerate(operands[1:], 2):
        wanted = right + "".join(term for _, term in operands[place:])
        first = _pair(call, first, second, wanted)
    return _ordered(call, *first, right)


def _spread(term: str, rank: int) -> str:
    """Digits stand for the axes of `...`, aligned at the end."""
    letters = term.replace("...", "")
    count = rank - len(letters) if "..." in term else 0
    if not 0 <= count < 10:
        raise Refused(f"`equation` has {term!r} for an operand of {rank} axes")
    return term.replace("...", "".join(map(str, range(10 - count, 10))))


def _diagonals(call: Call, x: int, term: str) -> tuple[int, str]:
    """An operand whose equal letters have become one, behind the others."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            pair = term.index(letter), term.rindex(letter)
            others = [a for a in range(len(term)) if a not in pair]
            x = call.transpose(x, (*others, *pair))
            *front, rows, columns = call.type_of(x).shape
            if rows != columns:
                raise Refused(f"`equation` wants a diagonal of {rows} x {columns} elements")
            # Neighbours on the diagonal lie n + 1 elements apart.
            flat = call.reshape(x, (*front, rows * columns))
            starts, steps = [0] * len(front), [1] * len(front)
            x = sliced(call, flat, (*starts, 0), (*steps, columns + 1), (*front, rows))
            term = "".join(term[a] for a in others) + letter
    return x, term


def _ordered(call: Call, x: int, term: str, right: str) -> int:
    """Axes that the result has not are summed, the others brought into order."""
    gone = tuple(a for a, c in enumerate(term) if c not in right)
    kept = "".join(c for c in term if c in right)
    x = reduced(call, x, "sum", gone, False)
    if sorted(kept) != sorted(right):
        raise Refused("the result has letters that no operand has, or one twice")
    return call.transpose(x, [kept.index(c) for c in right])


def _pair(
    call: Call, left: tuple[int, str], right: tuple[int, str], wanted: str
) -> tuple[int, str]:
    """The product of two operands, summed over the letters that nobody wants any more.

    Both are brought into the form [batch, rows, inner] and [batch, inner, columns].
    """
    (a, ta), (b, tb) = (
        _without(call, *mine, other[1] + wanted) for mine, other in ((left, right), (right, left))
    )
    batch = [c for c in ta if c in tb and c in wanted]
    inner = [c for c in ta if c in tb and c not in wanted]
    rows = [c for c in ta if c not in tb]
    columns = [c for c in tb if c not in ta]
    size_a, size_b = (
        dict(zip(t, call.type_of(n).shape, strict=True)) for n, t in ((a, ta), (b, tb))
    )
    if any(size_a[c] != size_b[c] for c in inner):
        raise Refused("a summed letter is broadcast")
    made = product(
        call,
        _matrix(call, a, ta, [batch, rows, inner]),
        _matrix(call, b, tb, [batch, inner, columns]),
    )
    shape = call.type_of(made).shape[: len(batch)]
    extents = (*(size_a[c] for c in rows), *(size_b[c] for c in columns))
    return call.reshape(made, (*shape, *extents)), "".join((*batch, *rows, *columns))


def _without(call: Call, x: int, term: str, wanted: str) -> tuple[int, str]:
    """An operand summed over letters that are not wanted."""
    lone = tuple(a for a, c in enumerate(term) if c not in wanted)
    return reduced(call, x, "sum", lone, False), "".join(c for c in term if c in wanted)


def _matrix(call: Call, x: int, term: str, order: Sequence[Sequence[str]]) -> int:
    """An operand with its letters in groups, all but the first of which become one axis each."""
    flat = [c for group in order for c in group]
    turned = call.transpose(x, [term.index(c) for c in flat])
    places = iter(call.type_of(turned).shape)
    groups = [[next(places) for _ in group] for group in order]
    return call.reshape(turned, (*groups[0], *(math.prod(g) for g in groups[1:])))


@rule(
    "Det", summary="determinants of small matrices", limits=f"up to {_LARGEST_DET}x{_LARGEST_DET}"
)
def det(call: Call) -> int:
    """By cofactors of the first row, each made once."""
    *front, rows, columns = (*call.type(0).shape,) if len(call.type(0).shape) > 1 else (0, 1)
    if rows != columns or rows > _LARGEST_DET:
        raise Refused(
            f"the determinant of {call.type(0)}",
            f"square matrices up to {_LARGEST_DET}x{_LARGEST_DET} are supported",
        )
    x, zeros, ones = call.operand(0), (0,) * len(front), (1,) * len(front)

    def entry(row: int, column: int) -> int:
        part = sliced(call, x, (*zeros, row, column), (*ones, 1, 1), (*front, 1, 1))
        return call.reshape(part, front)

    @functools.cache
    def minor(row: int, left: tuple[int, ...]) -> int:
        if row == rows - 1:
            return entry(row, left[0])
        total = None
        for place, column in enumerate(left):
            others = (*left[:place], *left[place + 1 :])
            term = call.add("mul", [entry(row, column), minor(row + 1, others)])
            if total is None:
                total = term
            else:
                total = call.add("sub" if place % 2 else "add", [total, term])
        return total or 0

    return minor(0, tuple(range(rows)))
