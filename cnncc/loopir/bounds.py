"""Where loads, stores and views reach: index values as linear forms over ranged symbols.

A symbol is a loop's turn, an index parameter, or a value that is not linear in those (a quotient,
a minimum). An access is proven when the range of its form lies in the buffer, and an error when it
lies outside at every turn, or at some turn that is certain to happen. The rest is in doubt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cnncc.loopir.linear import EVERYTHING, INFINITY, Bound, Linear, Range, Symbols
from cnncc.loopir.nodes import (
    Alloc,
    Binary,
    BufferType,
    Call,
    Compare,
    Const,
    Convert,
    For,
    Func,
    If,
    Index,
    Kind,
    Load,
    Select,
    Stmt,
    Store,
    Type,
    Unary,
    Value,
    View,
)
from cnncc.loopir.rules import integer_range

_NEGATED = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}
# Conversion to an index keeps these; floats saturate, and what has 64 bits wraps around.
_NARROW = (Kind.BOOL, Kind.U8, Kind.U16, Kind.U32, Kind.I8, Kind.I16, Kind.I32)
_OUTSIDE, _DOUBTFUL = True, False
_NOTHING = Linear(0, {})


@dataclass(frozen=True, slots=True)
class Finding:
    """An access that may leave its buffer, or (`outside`) certainly does."""

    stmt: Stmt
    message: str
    outside: bool


@dataclass(frozen=True, slots=True)
class _Region:
    """A buffer as a part of another, which has `extent` elements: all from `start` on.

    `bytes` is where it begins, counted from the outermost buffer around it.
    """

    extent: int | None
    start: Linear
    bytes: Linear


class BoundsAnalysis:
    """One function, under what is known about its index parameters.

    Attributes:
        findings: accesses that are not proven.
        calls: for each callee, the range of each index argument over all calls.
    """

    def __init__(
        self, func: Func, ranges: Mapping[str, Range], callees: Mapping[str, Func]
    ) -> None:
        self.findings: list[Finding] = []
        self.calls: dict[str, list[Range]] = {}
        self._symbols = Symbols()
        self._forms: dict[Value, Linear] = {}
        self._conditions: dict[Value, tuple[str, Linear]] = {}
        self._masks: dict[Value, tuple[bool, ...]] = {}
        self._regions: dict[Value, _Region] = {}
        self._callees = callees
        self._certain = True
        self._silent = False
        for param in func.params:
            if isinstance(param.type, BufferType):
                self._new_root(param, param.type.extent)
            else:
                self._forms[param] = self._symbols.fresh(ranges.get(param.hint, EVERYTHING))
        self._body(func.body)

    # -- symbols -----------------------------------------------------------------------------------

    def _form(self, operand: Index) -> Linear:
        if isinstance(operand, int):
            return Linear(operand, {})
        form = self._forms.get(operand)
        if form is None:
            form = self._forms[operand] = self._symbols.fresh(EVERYTHING)
        return form

    def _new_root(self, buffer: Value, extent: int | None) -> None:
        self._regions[buffer] = _Region(extent, _NOTHING, _NOTHING)

    # -- statements --------------------------------------------------------------------------------

    def _body(self, body: Sequence[Stmt]) -> None:
        for stmt in body:
            match stmt:
                case Load(out, buffer, index, offset, mask):
                    self._access(stmt, buffer, index, offset, _lanes(out), mask)
                case Store(buffer, index, value, offset, mask):
                    self._access(stmt, buffer, index, offset, _lanes(value), mask)
                case For():
                    self._for(stmt)
                case If():
                    self._if(stmt)
                case View():
                    self._view(stmt)
                case Alloc(out):
                    self._new_root(out, _extent(out))
                case Call():
                    self._call(stmt)
                case Const(out, value):
                    self._const(out, value)
                case Compare(out, op, a, b):
                    if _is_index(a) and _is_index(b):
                        self._conditions[out] = (op, self._form(a).minus(self._form(b)))
                case Binary(out, op, a, b):
                    if _is_index(out):
                        self._forms[out] = self._symbols.binary(op, self._form(a), self._form(b))
                case Unary(out, "neg", a):
                    if _is_index(out):
                        self._forms[out] = self._form(a).scaled(-1)
                case Select(out, cond, a, b):
                    if _is_index(out):
                        self._forms[out] = self._select(cond, a, b)
                case Convert(out, a):
                    if _is_index(out):
                        self._forms[out] = self._convert(a)
                case _:
                    pass

    def _const(self, out: Value, value: object) -> None:
        if isinstance(value, int) and _is_index(out):
            self._forms[out] = Linear(int(value), {})
        elif out.type.kind is Kind.BOOL:
            lanes = value if isinstance(value, tuple) else (value,) * _lanes(out)
            self._masks[out] = tuple(map(bool, lanes))

    def _convert(self, a: Index) -> Linear:
        if _is_index(a):
            return self._form(a)
        kind = a.type.kind if isinstance(a, Value) else Kind.INDEX
        return self._symbols.fresh(integer_range(kind) if kind in _NARROW else EVERYTHING)

    def _select(self, cond: Value, a: Index, b: Index) -> Linear:
        decided = self._decide(cond)
        if decided is not None:
            return self._form(a if decided else b)
        ranges = self._symbols.range(self._form(a)), self._symbols.range(self._form(b))
        return self._symbols.fresh((min(r[0] for r in ranges), max(r[1] for r in ranges)))

    # -- loops and branches ------------------------------------------------------------------------

    def _for(self, loop: For) -> None:
        lo, hi = self._form(loop.lo), self._form(loop.hi)
        span = self._symbols.range(hi.minus(lo))[1]
        turns: Bound = math.ceil(span / loop.step) if abs(span) < INFINITY else span
        known = hi.minus(lo).constant is not None
        if turns <= 0:
            for result, init in zip(loop.results, loop.inits, strict=True):
                if _is_index(result):
                    self._forms[result] = self._form(init)
            return
        mark = len(self._symbols.ranges)
        turn = self._symbols.fresh((0, turns - 1), exact=known and self._certain)
        if known or lo.constant is not None:
            self._forms[loop.iv] = lo.plus(turn.scaled(loop.step))
        else:
            self._forms[loop.iv] = self._symbols.fresh(
                (self._symbols.range(lo)[0], self._symbols.range(hi)[1] - 1)
            )
        with self._context(certain=self._certain and known):
            self._carry(loop, turn, int(turns) if known else None, mark)

    def _carry(self, loop: For, turn: Linear, turns: int | None, mark: int) -> None:
        """Index values that grow by the same amount every turn are linear in the turn."""
        cursors = [
            (init, carried, yielded, result)
            for init, carried, yielded, result in zip(
                loop.inits, loop.carried, loop.yields, loop.results, strict=True
            )
            if _is_index(carried)
        ]
        growth = self._growth(loop, mark) if cursors else {}
        for init, carried, _, _ in cursors:
            step = growth.get(carried)
            self._forms[carried] = (
                self._symbols.fresh(EVERYTHING)
                if step is None
                else self._form(init).plus(self._symbols.product(step, turn))
            )
        self._body(loop.body)
        for init, carried, _, result in cursors:
            step = growth.get(carried)
            self._forms[result] = (
                self._symbols.fresh(EVERYTHING)
                if step is None or turns is None
                else self._form(init).plus(step.scaled(turns))
            )

    def _growth(self, loop: For, mark: int) -> dict[Value, Linear]:
        """By how much each carried index grows a turn, where that is the same in every turn."""
        cursors = [(c, y) for c, y in zip(loop.carried, loop.yields, strict=True) if _is_index(c)]
        for carried, _ in cursors:
            self._forms[carried] = self._symbols.fresh(EVERYTHING)
        with self._context(silent=True):
            self._body(loop.body)
        steps = [(c, self._form(y).minus(self._form(c))) for c, y in cursors]
        return {carried: step for carried, step in steps if all(s < mark for s in step.terms)}

    def _if(self, branch: If) -> None:
        decided = self._decide(branch.cond)
        if decided is not None:
            self._body(branch.then if decided else branch.orelse)
            return
        op, difference = self._conditions.get(branch.cond, ("ne", Linear(0, {})))
        for body, holds in ((branch.then, op), (branch.orelse, _NEGATED[op])):
            with self._context(certain=False), self._refined(holds, difference) as possible:
                if possible:
                    self._body(body)

    def _decide(self, cond: Value) -> bool | None:
        """Whether a condition holds always or never."""
        if cond in self._masks and len(self._masks[cond]) == 1:
            return self._masks[cond][0]
        if cond not in self._conditions:
            return None
        op, difference = self._conditions[cond]
        low, high = self._symbols.range(difference)
        always = {
            "lt": (high < 0, low >= 0),
            "le": (high <= 0, low > 0),
            "gt": (low > 0, high <= 0),
            "ge": (low >= 0, high < 0),
            "eq": (low == high == 0, low > 0 or high < 0),
            "ne": (low > 0 or high < 0, low == high == 0),
        }[op]
        return True if always[0] else False if always[1] else None

    @contextmanager
    def _context(self, *, certain: bool | None = None, silent: bool = False) -> Iterator[None]:
        before = self._certain, self._silent
        self._certain = self._certain if certain is None else certain
        self._silent = self._silent or silent
        yield
        self._certain, self._silent = before

    @contextmanager
    def _refined(self, op: str, difference: Linear) -> Iterator[bool]:
        """Inside, `difference op 0` holds; gives whether that can be."""
        if len(difference.terms) != 1:
            sum_ = Linear(0, difference.terms)
            after = _narrowed(self._symbols.range(sum_), op, 1, difference.const)
            self._symbols.facts.append((sum_, after))
            yield after[0] <= after[1]
            self._symbols.facts.pop()
            return
        ((symbol, factor),) = difference.terms.items()
        before = self._symbols.ranges[symbol]
        self._symbols.ranges[symbol] = after = _narrowed(before, op, factor, difference.const)
        yield after[0] <= after[1]
        self._symbols.ranges[symbol] = before

    # -- memory ------------------------------------------------------------------------------------

    def _report(self, stmt: Stmt, message: str, outside: bool) -> None:
        if not self._silent:
            self.findings.append(Finding(stmt, message, outside))

    def _access(
        self, stmt: Stmt, buffer: Value, index: Index, offset: int, lanes: int, mask: Value | None
    ) -> None:
        first = self._form(index).plus(Linear(offset, {}))
        blurred = mask is not None
        if mask in self._masks:
            active = [lane for lane, on in enumerate(self._masks[mask]) if on]
            if not active:
                return
            first, lanes = first.plus(Linear(active[0], {})), active[-1] - active[0] + 1
            blurred = False
        self._within(stmt, self._regions[buffer], first, lanes, blurred=blurred)

    def _within(
        self, stmt: Stmt, region: _Region, first: Linear, count: int, *, blurred: bool = False
    ) -> None:
        """Elements `first` to `first + count - 1` must lie in the region."""
        form = first.plus(region.start)
        low, high = self._symbols.range(form)
        least = self._symbols.range(first)[0] if region.start.terms or region.start.const else low
        limit = INFINITY if region.extent is None else region.extent
        if low > high or (min(low, least) >= 0 and high + count <= limit):
            return
        attained = self._certain and all(self._symbols.exact[symbol] for symbol in form.terms)
        beyond = low + count > limit or high < 0
        if region.extent is None and not beyond and not (attained and low < 0):
            return
        reach = f"reaches elements {low} to {high + count - 1} of {region.extent}"
        outside = not blurred and (beyond or (attained and (low < 0 or high + count > limit)))
        self._report(stmt, reach, _OUTSIDE if outside else _DOUBTFUL)

    def _view(self, stmt: View) -> None:
        region, start = self._regions[stmt.buffer], self._form(stmt.index)
        size, new_size = (v.type.kind.size_bytes for v in (stmt.buffer, stmt.out))
        extent = _extent(stmt.out)
        self._within(stmt, region, start, -(-(extent or 0) * new_size // size))
        begin = region.bytes.plus(start.scaled(size))
        if extent is None:
            self._regions[stmt.out] = _Region(region.extent, region.start.plus(start), begin)
            return
        self._regions[stmt.out] = _Region(extent, _NOTHING, begin)
        if new_size > size:
            self._aligned(stmt, begin, new_size)

    def _aligned(self, stmt: View, begin: Linear, size: int) -> None:
        """The first byte of a part must lie at a multiple of its elements' size."""
        rest = begin.split(size)[1]
        if rest.terms or rest.const:
            message = f"does not begin at a multiple of {size} bytes"
            certain = not rest.terms and self._certain
            self._report(stmt, message, _OUTSIDE if certain else _DOUBTFUL)

    def _call(self, stmt: Call) -> None:
        ranges = []
        for arg, param in zip(stmt.args, self._callees[stmt.callee].params, strict=True):
            if isinstance(arg, Value) and arg in self._regions:
                self._within(stmt, self._regions[arg], Linear(0, {}), _extent(param) or 0)
                ranges.append(EVERYTHING)
            else:
                ranges.append(self._symbols.range(self._form(arg)))
        if not self._silent:
            before = self.calls.get(stmt.callee, ranges)
            self.calls[stmt.callee] = [
                (min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(before, ranges, strict=True)
            ]


def _narrowed(range_: Range, op: str, factor: int, const: int) -> Range:
    """The part of a symbol's range where `factor*symbol + const op 0`."""
    if factor < 0:
        op = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}.get(op, op)
        factor, const = -factor, -const
    low, high = range_
    match op:
        case "lt":
            return low, min(high, (-const - 1) // factor)
        case "le":
            return low, min(high, -const // factor)
        case "gt":
            return max(low, -const // factor + 1), high
        case "ge":
            return max(low, -(const // factor)), high
        case "eq":
            at = -const // factor
            return (max(low, at), min(high, at)) if const % factor == 0 else (1, 0)
        case _:
            at = -const // factor
            holes = const % factor == 0
            return low + (holes and low == at), high - (holes and high == at)


def _lanes(value: Value) -> int:
    return value.type.lanes if isinstance(value.type, Type) else 1


def _extent(value: Value) -> int | None:
    return value.type.extent if isinstance(value.type, BufferType) else None


def _is_index(operand: Index) -> bool:
    return isinstance(operand, int) or operand.type == Type(Kind.INDEX)
