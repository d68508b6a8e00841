"""What every operator must fulfil, over the registry: a new operator is covered once registered."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnncc.errors import TypeInferenceError
from cnncc.ir.op import NoAttrs, Op, Trait, lookup, registered
from cnncc.ir.tolerance import compare, tolerance
from cnncc.ir.types import DType, TensorType
from tests.numpy_scalar import NumpyScalar
from tests.ops.element_numpy import evaluate
from tests.strategies import ANY_RANK, GENERAL, MAKERS, Case, general_op_case, op_case

QUICK = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
COMPUTING = sorted(n for n, op in registered().items() if Trait.SOURCE not in op.traits)
ELEMENT = sorted(n for n, op in registered().items() if Trait.ELEMENT in op.traits)
POINTWISE = sorted(n for n, op in registered().items() if Trait.POINTWISE in op.traits)


def test_every_operator_has_a_strategy() -> None:
    assert sorted([*MAKERS, *GENERAL]) == COMPUTING


@pytest.mark.parametrize("name", sorted(registered()))
def test_documented(name: str) -> None:
    op = registered()[name]
    assert op.__doc__
    assert op.name == name
    if op.Attrs is not NoAttrs:
        assert op.Attrs.__doc__
        for field in dataclasses.fields(op.Attrs):
            assert f"{field.name}: " in op.Attrs.__doc__, f"{op.Attrs.__name__}.{field.name}"


@pytest.mark.parametrize("name", sorted(registered()))
def test_exactly_one_way_to_run(name: str) -> None:
    op = registered()[name]
    ways = op.traits & {Trait.SOURCE, Trait.ANCHOR, Trait.POINTWISE, Trait.ELEMENT}
    assert len(ways) == 1 or ways == {Trait.ANCHOR, Trait.ELEMENT}
    assert (op.scalar is not Op.scalar) == (Trait.POINTWISE in op.traits)
    assert (op.element is not Op.element) == (Trait.ELEMENT in op.traits)


@pytest.mark.parametrize("name", sorted(registered()))
def test_attributes_are_frozen_and_hashable(name: str) -> None:
    attrs = registered()[name].Attrs
    assert attrs.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert attrs.__hash__ is not None


@pytest.mark.parametrize("name", COMPUTING)
def test_inferred_type_is_that_of_the_reference(name: str) -> None:
    op = lookup(name)

    @QUICK
    @given(op_case(name))
    def check(case: Case) -> None:
        result = op.infer(case.types, case.attrs)
        made = op.reference(case.operands, case.attrs)
        assert made.shape == result.shape
        assert made.dtype == (np.float64 if result.dtype.is_float else result.dtype.numpy)
        cost = op.cost(case.types, result, case.attrs)
        assert min(cost.macs, cost.flops, cost.bytes) >= 0
        assert op.terms(case.types, case.attrs) >= 1

    check()


@pytest.mark.parametrize("name", sorted(ANY_RANK.keys() - GENERAL.keys()))
def test_inferred_type_at_any_rank(name: str) -> None:
    """Of operators whose other cases are feature maps and vectors of f32."""
    op = lookup(name)

    @QUICK
    @given(general_op_case(name))
    def check(case: Case) -> None:
        result = op.infer(case.types, case.attrs)
        made = op.reference(case.operands, case.attrs)
        assert made.shape == result.shape
        assert made.dtype == (np.float64 if result.dtype.is_float else result.dtype.numpy)

    check()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_each_sample_of_a_batch_is_on_its_own(name: str) -> None:
    op = lookup(name)

    @QUICK
    @given(op_case(name, "integers"))
    def check(case: Case) -> None:
        batch = case.types[0].shape[0]
        if name == "reshape" and case.attrs.shape[0] != -1:
            return
        whole = op.reference(case.operands, case.attrs)
        result = op.infer(case.types, case.attrs)
        per_sample = _batched(case, batch)
        for n in range(batch):
            one = [a[n : n + 1] if batched else a for a, batched in per_sample]
            np.testing.assert_allclose(
                op.reference(one, case.attrs), whole[n : n + 1], rtol=1e-12, atol=1e-12
            )
        assert result.shape[0] == batch

    check()


def _batched(case: Case, batch: int) -> list[tuple[np.ndarray, bool]]:
    """Each operand, and whether its first axis is the batch."""
    names = lookup(case.op).operand_names
    joins = case.op in ("add", "mul", "concat")
    fused_extra = 3 if case.op == "fused" and len(case.attrs.steps[0].args) == 3 else 2
    return [
        (a, k == 0 or joins or (case.op == "fused" and k >= fused_extra))
        for k, a in enumerate(case.operands)
        if k < len(names) or joins or case.op == "fused"
    ]


def _spread(op: type[Op], arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Operands that broadcast; parameters [C] stand along the channels."""
    behind = (1,) * (arrays[0].ndim - 2)
    return [a.reshape(1, -1, *behind) if k and op.per_channel else a for k, a in enumerate(arrays)]


@pytest.mark.parametrize("name", POINTWISE)
@pytest.mark.parametrize("values", ["float", "special"])
def test_scalar_rule_is_the_reference(name: str, values: str) -> None:
    op = lookup(name)

    @QUICK
    @given(op_case(name, values))
    def check(case: Case) -> None:
        spread = _spread(op, case.operands)
        expected = op.reference(case.operands, case.attrs)
        with np.errstate(all="ignore"):
            got = np.broadcast_to(op.scalar(NumpyScalar(), spread, case.attrs), expected.shape)
        bound = tolerance(name, case.attrs, case.operands, expected)
        assert compare(got, expected, bound) is None, (got, expected)

    check()


@pytest.mark.parametrize("name", POINTWISE)
def test_scalar_rule_in_f32_stays_within_its_bound(name: str) -> None:
    op = lookup(name)

    @QUICK
    @given(op_case(name))
    def check(case: Case) -> None:
        spread = _spread(op, case.arrays)
        expected = op.reference(case.operands, case.attrs)
        with np.errstate(all="ignore"):
            got = np.asarray(op.scalar(NumpyScalar(np.float32), spread, case.attrs))
        assert got.dtype == op.infer(case.types, case.attrs).dtype.numpy
        bound = tolerance(name, case.attrs, case.operands, expected)
        assert compare(np.broadcast_to(got, expected.shape), expected, bound) is None

    check()


@pytest.mark.parametrize("name", ELEMENT)
def test_element_rule_is_the_reference(name: str) -> None:
    """At some places of the result; rules compute in the operands' own types."""
    op = lookup(name)
    cases = general_op_case if name in ANY_RANK else op_case

    @QUICK
    @given(st.one_of(cases(name, values) for values in ("float", "special")))
    def check(case: Case) -> None:
        expected = op.reference(case.operands, case.attrs)
        bound = tolerance(name, case.attrs, case.operands, expected)
        places = list(np.ndindex(expected.shape))
        places = places[:: 1 + len(places) // 40]
        with np.errstate(all="ignore"):
            got = evaluate(op, case.arrays, case.attrs, places)
        wanted, allowed = (np.array([a[p] for p in places]) for a in (expected, bound))
        assert compare(got, wanted, allowed) is None, (got, wanted)

    check()


@pytest.mark.parametrize("name", sorted(GENERAL))
def test_errors_of_operands_of_any_rank_propagate(name: str) -> None:
    """Every float operand is disturbed; whole numbers and truth values are exact."""
    op = lookup(name)

    @QUICK
    @given(op_case(name), st.integers(0, 99), st.sampled_from([1e-6, 1e-4, 1e-2]))
    def check(case: Case, seed: int, size: float) -> None:
        rng = np.random.default_rng(seed)
        errors, wrong = [], []
        for a in case.operands:
            moves = size if a.dtype.kind == "f" else 0.0
            errors.append(np.abs(rng.normal(size=a.shape)) * moves)
            shift = errors[-1] * rng.choice([-1, 1], a.shape)
            wrong.append(a + shift if moves else a)
        made = op.reference(case.operands, case.attrs)
        bound = op.propagate(case.operands, errors, case.attrs)
        with np.errstate(all="ignore"):
            change = np.abs(op.reference(wrong, case.attrs) * 1.0 - made * 1.0)
        assert bound.shape == made.shape
        # Values that are no longer finite are judged by their class.
        assert np.all((change <= bound * (1 + 1e-3) + 1e-12) | ~np.isfinite(change))

    check()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_errors_of_operands_stay_within_what_propagates(name: str) -> None:
    """Disturbed feature maps change the result by no more than the bound (parameters are exact)."""
    op = lookup(name)

    @QUICK
    @given(op_case(name), st.integers(0, 99), st.sampled_from([1e-6, 1e-4, 1e-2]))
    def check(case: Case, seed: int, size: float) -> None:
        rng = np.random.default_rng(seed)
        data = [k == 0 or batched for k, (_, batched) in enumerate(_batched(case, 0))]
        data += [False] * (len(case.arrays) - len(data))
        errors = [
            np.abs(rng.normal(size=a.shape)) * size * moves
            for a, moves in zip(case.arrays, data, strict=True)
        ]
        wrong = [
            a + e * rng.choice([-1, 1], a.shape) for a, e in zip(case.operands, errors, strict=True)
        ]
        bound = op.propagate(case.operands, errors, case.attrs)
        change = np.abs(op.reference(wrong, case.attrs) - op.reference(case.operands, case.attrs))
        assert np.all(change <= bound * (1 + 1e-3) + 1e-12)
        assert np.all(bound <= 1e4 * size * (1.0 + float(np.abs(case.operands[0]).max())))

    check()


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_integer_cases_marked_exact_fit_f32(name: str) -> None:
    op = lookup(name)

    @QUICK
    @given(op_case(name, "integers"))
    def check(case: Case) -> None:
        if case.exact:
            made = op.reference(case.operands, case.attrs)
            assert np.array_equal(made.astype(np.float32).astype(np.float64), made)

    check()


@pytest.mark.parametrize("name", [n for n in COMPUTING if n != "fused"])
def test_wrong_operands_are_typed_errors(name: str) -> None:
    """Whatever shapes come, a type rule answers with a type or a `TypeInferenceError`."""
    op = lookup(name)
    shapes = st.lists(st.integers(0, 4), max_size=5).map(tuple)
    types = st.lists(st.builds(TensorType, st.sampled_from(list(DType)), shapes), max_size=6)

    @QUICK
    @given(op_case(name), types)
    def check(case: Case, wrong: list[TensorType]) -> None:
        with contextlib.suppress(TypeInferenceError):
            assert min(op.infer(wrong, case.attrs).shape, default=1) >= 1

    check()
