"""The numerical optimum against the closed form, and what must hold of any optimum."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from isoloss.laws import Chinchilla, KaplanND, allocate, near_optimal

Array = NDArray[np.float64]

laws = st.builds(
    Chinchilla,
    E=st.floats(0.3, 4.0),
    A=st.floats(4.0, 8.0).map(math.exp),
    B=st.floats(4.0, 10.0).map(math.exp),
    alpha=st.floats(0.2, 0.6),
    beta=st.floats(0.2, 0.6),
)
budgets = st.floats(18.0, 24.0).map(lambda x: 10.0**x)


def terms(law: Chinchilla, n: float, d: float) -> float:
    """The part of the loss that depends on n and d."""
    return float(law(n, d)) - law.E


def visible(law: Chinchilla, flops: float) -> bool:
    """Whether rounding of the loss still shows where the minimum is."""
    best = allocate(law, flops)
    return terms(law, float(best.n), float(best.d)) > 1e-3


@settings(max_examples=60, deadline=None, derandomize=True)
@given(laws, budgets)
def test_numerical_equals_closed_form(law: Chinchilla, flops: float) -> None:
    assume(visible(law, flops))
    closed = allocate(law, flops)
    assert closed.n > 10
    found = allocate(law, flops, cost=lambda n: 6 * n)
    assert abs(math.log(found.n / closed.n)) < 1e-8
    assert abs(found.loss / closed.loss - 1) < 1e-14
    by_function = allocate(lambda n, d: law(n, d), flops)
    assert abs(math.log(by_function.n / closed.n)) < 1e-8


@settings(max_examples=30, deadline=None, derandomize=True)
@given(laws, budgets, st.floats(0.5, 40.0), st.floats(0.8, 1.3))
def test_a_power_law_cost_has_the_shifted_closed_form(
    law: Chinchilla, flops: float, per_n: float, power: float
) -> None:
    """cost = k n^p turns B/d^beta into B (k/C)^beta n^(p beta): the optimum follows by hand."""
    assume(visible(law, flops))
    ratio = law.alpha * law.A / (power * law.beta * law.B)
    log_n = math.log(ratio) + law.beta * math.log(flops / per_n)
    log_n /= law.alpha + power * law.beta
    found = allocate(law, flops, cost=lambda n: per_n * n**power)
    assert abs(math.log(found.n) - log_n) < 1e-8


@settings(max_examples=30, deadline=None, derandomize=True)
@given(laws, budgets, st.floats(0.1, 10.0))
def test_rescaling_parameters_rescales_the_optimum(
    law: Chinchilla, flops: float, unit: float
) -> None:
    """Counting n in another unit moves only the unit: A' = A / unit^alpha, cost'(m) = 6 m unit."""
    assume(visible(law, flops))
    shifted = Chinchilla(
        E=law.E, A=law.A / unit**law.alpha, B=law.B, alpha=law.alpha, beta=law.beta
    )
    n = allocate(law, flops).n
    m = allocate(shifted, flops, cost=lambda m: 6 * m * unit).n
    assert abs(math.log(m * unit / n)) < 1e-8


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.builds(
        KaplanND,
        Nc=st.floats(25.0, 33.0).map(math.exp),
        Dc=st.floats(25.0, 33.0).map(math.exp),
        alpha_n=st.floats(0.05, 0.3),
        alpha_d=st.floats(0.05, 0.3),
    ),
    budgets,
)
def test_no_other_size_does_better(law: KaplanND, flops: float) -> None:
    best = allocate(law, flops, cost=lambda n: 6 * n + 3e3 * n ** (2 / 3))
    others = float(best.n) * np.geomspace(0.01, 100.0, 401)
    losses = law(others, flops / (6 * others + 3e3 * others ** (2 / 3)))
    assert float(np.min(losses)) >= float(best.loss) * (1 - 1e-14)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(laws, budgets, st.floats(0.01, 1.0))
def test_inside_the_near_optimal_range_and_only_there(
    law: Chinchilla, flops: float, excess: float
) -> None:
    assume(visible(law, flops))
    best = allocate(law, flops)
    low, high = near_optimal(law, flops, excess=excess)
    assert low < best.n < high

    def reaches(n: float) -> bool:
        return float(law(n, (1 + excess) * flops / (6 * n))) <= float(best.loss)

    assert reaches(low * 1.0001)
    assert reaches(high * 0.9999)
    assert not reaches(low * 0.9999)
    assert not reaches(high * 1.0001)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(laws, min_size=2, max_size=5), st.lists(budgets, min_size=1, max_size=4))
def test_draws_are_the_laws_one_by_one(many: list[Chinchilla], flops: list[float]) -> None:
    def stack(name: str) -> Array:
        return np.array([law.coefficients()[name] for law in many])

    together = Chinchilla(
        E=stack("E"), A=stack("A"), B=stack("B"), alpha=stack("alpha"), beta=stack("beta")
    )
    n = np.asarray(allocate(together, flops).n)
    assert n.shape == (len(many), len(flops))
    for i, law in enumerate(many):
        for j, budget in enumerate(flops):
            assert n[i, j] == np.float64(allocate(law, budget).n)
