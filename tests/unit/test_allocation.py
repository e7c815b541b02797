"""The optimum under a budget: shapes, kinks, edges and refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.laws import (
    Allocation,
    Chinchilla,
    KaplanND,
    PowerLaw,
    allocate,
    as_law,
    near_optimal,
    published,
)

Array = NDArray[np.float64]
LAW = Chinchilla(E=1.7, A=350.0, B=900.0, alpha=0.33, beta=0.31)


def six_n(n: Array) -> Array:
    return 6 * n


def draws(count: int = 7) -> Chinchilla:
    rng = np.random.default_rng(3)
    return Chinchilla(
        E=rng.normal(1.8, 0.05, count),
        A=np.exp(rng.normal(6.0, 0.3, count)),
        B=np.exp(rng.normal(7.6, 0.4, count)),
        alpha=rng.normal(0.34, 0.02, count),
        beta=rng.normal(0.36, 0.02, count),
    )


def test_one_law_and_one_budget_give_plain_numbers() -> None:
    best = allocate(LAW, 3e19)
    assert all(type(value) is float for value in (best.n, best.d, best.c, best.loss))
    assert best.c == 3e19
    assert 6 * best.n * best.d == pytest.approx(3e19, rel=1e-12)
    assert best.loss == pytest.approx(float(LAW(best.n, best.d)), rel=1e-15)


@pytest.mark.parametrize("cost", [None, six_n])
def test_draws_come_before_budgets(cost: Callable[[Array], Array] | None) -> None:
    laws, budgets = draws(), np.array([3e18, 2e20, 5e22])
    both = allocate(laws, budgets, cost=cost)
    assert isinstance(both.n, np.ndarray)
    assert both.n.shape == np.shape(both.d) == np.shape(both.c) == np.shape(both.loss) == (7, 3)
    assert np.shape(allocate(laws, 3e18, cost=cost).n) == (7,)
    low, high = near_optimal(laws, budgets, cost=cost)
    assert np.shape(low) == np.shape(high) == (7, 3)
    for i in (0, 4):
        one = Chinchilla(**{k: float(v[i]) for k, v in laws.coefficients().items()})
        for j, budget in enumerate(budgets):
            single = allocate(one, float(budget), cost=cost)
            assert both.n[i, j] == pytest.approx(single.n, rel=1e-10)
            assert np.asarray(both.loss)[i, j] == pytest.approx(single.loss, rel=1e-12)
            ends = near_optimal(one, float(budget), cost=cost)
            assert (np.asarray(low)[i, j], np.asarray(high)[i, j]) == pytest.approx(ends, rel=1e-9)


def test_coefficients_may_be_numbers_and_arrays_together() -> None:
    mixed = Chinchilla(E=np.array([1.7, 1.9]), A=350.0, B=900.0, alpha=0.33, beta=0.31)
    best = allocate(mixed, 3e19)
    assert isinstance(best.n, np.ndarray)
    assert best.n[0] == best.n[1] == pytest.approx(allocate(LAW, 3e19).n)
    assert np.asarray(best.loss)[1] - np.asarray(best.loss)[0] == pytest.approx(0.2)


def test_draws_in_blocks_equal_draws_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = allocate(draws(), [3e18, 5e22], cost=six_n)
    monkeypatch.setattr("isoloss.laws.allocation._BLOCK", 100)
    assert np.array_equal(allocate(draws(), [3e18, 5e22], cost=six_n).n, whole.n)


def test_kaplan_nd_optimum_is_stationary() -> None:
    """d ln L / d ln n = 0: ratio (Nc/n)^ratio = Dc/d at ratio = alpha_n / alpha_d."""
    law = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)
    best = allocate(law, 7.3e20)
    ratio = 0.076 / 0.103
    assert ratio * (6.4e13 / best.n) ** ratio == pytest.approx(1.8e13 / best.d, rel=1e-9)


def test_published_laws_and_holders_are_laws() -> None:
    @dataclass
    class Held:
        law: Chinchilla

    assert allocate(Held(LAW), 1e20) == allocate(LAW, 1e20)
    inner = published.HOFFMANN_2022.law
    assert as_law(published.HOFFMANN_2022) is inner
    assert allocate(published.HOFFMANN_2022, 1e20) == allocate(inner, 1e20)  # type: ignore[arg-type]


def test_any_function_of_n_and_d_is_a_law() -> None:
    found = allocate(lambda n, d: LAW(n, d), np.array([1e17, 1e23]))
    assert found.n == pytest.approx(allocate(LAW, np.array([1e17, 1e23])).n, rel=1e-10)


def test_a_dearer_large_model_moves_the_optimum_down() -> None:
    """With cost = 6 n (n / n0)^k the optimum has a closed form; k > 0 favours small models."""
    k, n0, budget = 0.4, 1e6, 2e20
    best = allocate(LAW, budget, cost=lambda n: 6 * n * (n / n0) ** k)
    grown = LAW.beta * (1 + k)
    scale = (LAW.B * (6 / n0**k / budget) ** LAW.beta) * grown / (LAW.A * LAW.alpha)
    assert best.n == pytest.approx(scale ** (-1 / (LAW.alpha + grown)), rel=1e-10)
    assert best.n < allocate(LAW, budget).n


def test_the_optimum_may_lie_on_a_kink_of_the_cost() -> None:
    """Cost jumps in slope at n = 2e8, where the optimum is then pinned."""
    kink = 2e8

    def cost(n: Array) -> Array:
        return 6 * n * np.where(n > kink, (n / kink) ** 3, (n / kink) ** -0.8)

    best = allocate(LAW, 4e19, cost=cost)
    assert best.n == pytest.approx(kink, rel=1e-8)


def test_a_tabulated_cost_is_enough() -> None:
    log_n = np.log(np.geomspace(1e5, 1e12, 30))

    def cost(n: Array) -> Array:
        return np.exp(np.interp(np.log(n), log_n, math.log(6) + log_n))

    # Outside the table the cost stays flat, as np.interp has it: the optimum is inside.
    assert allocate(LAW, 4e19, cost=cost).n == pytest.approx(allocate(LAW, 4e19).n, rel=1e-6)


@pytest.mark.parametrize("cost", [None, six_n, lambda n: 6 * n + 4e4 * np.sqrt(n)])
def test_near_optimal_ends_cost_the_excess(cost: Callable[[Array], Array] | None) -> None:
    budget, excess = 6e19, 0.07
    best = allocate(LAW, budget, cost=cost)
    ends = near_optimal(LAW, budget, excess=excess, cost=cost)
    assert ends[0] < best.n < ends[1]
    for n in ends:
        d = (1 + excess) * budget / float((cost or six_n)(np.asarray(n)))
        assert float(LAW(n, d)) == pytest.approx(best.loss, rel=1e-13)


def test_near_optimal_widens_with_the_excess() -> None:
    narrow, wide = near_optimal(LAW, 6e19, excess=0.02), near_optimal(LAW, 6e19, excess=0.5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_near_optimal_stops_at_one_parameter_and_one_token() -> None:
    """A loss that is nearly flat in n: even one parameter is within a hundredfold compute."""
    flat = Chinchilla(E=2.0, A=1.0, B=1.0, alpha=0.01, beta=0.01)
    low, high = near_optimal(flat, 1e9, excess=1e6)
    assert low == pytest.approx(1.0)
    assert high == pytest.approx(1e15 / 6, rel=1e-6)


@pytest.mark.parametrize("flops", [0, -1e20, math.nan, math.inf, [1e20, 0], [], "much", None])
def test_a_bad_budget_is_refused(flops: object) -> None:
    with pytest.raises(InputError, match="FLOPs"):
        allocate(LAW, flops)  # type: ignore[arg-type]


@pytest.mark.parametrize("excess", [0, -0.1, math.nan, math.inf])
def test_a_bad_excess_is_refused(excess: float) -> None:
    with pytest.raises(InputError, match="excess"):
        near_optimal(LAW, 1e20, excess=excess)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_bad_cost_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="cost"):
        allocate(LAW, 1e20, cost=lambda n: 0 * n + value)


def test_what_is_not_a_law_of_n_and_d_is_refused() -> None:
    with pytest.raises(InputError, match=r"PowerLaw is a law of \(x\)"):
        allocate(PowerLaw(xc=8.8e13, alpha=0.076), 1e20)
    with pytest.raises(InputError, match=r"law of \(n, s_min\)"):
        allocate(published.KAPLAN_2020.loss_ns, 1e20)
    for wrong in (3.0, None, Chinchilla, "Chinchilla"):
        with pytest.raises(InputError, match="not a law"):
            allocate(wrong, 1e20)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"A": 0.0}, {"B": 0.0}, {"A": 0.0, "B": 0.0}])
@pytest.mark.parametrize("cost", [None, six_n])
def test_a_law_without_an_optimum_is_refused(
    change: dict[str, float], cost: Callable[[Array], Array] | None
) -> None:
    law = Chinchilla(**({"E": 1.7, "A": 350.0, "B": 900.0, "alpha": 0.3, "beta": 0.3} | change))
    with pytest.raises(InputError, match="no best size at 1e\\+20 FLOPs"):
        allocate(law, 1e20, cost=cost)


def test_a_budget_too_small_for_a_model_is_refused_by_its_value() -> None:
    with pytest.raises(InputError, match="at 8 FLOPs"):
        allocate(LAW, [1e20, 8.0])
    with pytest.raises(InputError, match="at 8 FLOPs"):
        allocate(LAW, [1e20, 8.0], cost=six_n)


@pytest.mark.parametrize("cost", [None, six_n])
def test_draws_without_an_optimum_are_marked_and_stand_at_the_end(
    cost: Callable[[Array], Array] | None,
) -> None:
    laws = Chinchilla(
        E=1.7,
        A=np.array([350.0, 0.0, 350.0]),
        B=np.array([900.0, 900.0, 0.0]),
        alpha=0.33,
        beta=0.31,
    )
    best = allocate(laws, 1e20, cost=cost)
    assert isinstance(best, Allocation)
    assert np.asarray(best.at_edge).tolist() == [False, True, True]
    n = np.asarray(best.n)
    assert n[0] == pytest.approx(allocate(LAW, 1e20).n)
    assert n[1] == pytest.approx(1.0)
    assert 0.7 < n[2] / (1e20 / 6) < 1 + 1e-12
    assert np.isfinite(np.asarray(best.loss)).all()
    low, high = (np.asarray(end) for end in near_optimal(laws, 1e20, cost=cost))
    assert (low <= n * (1 + 1e-12)).all()
    assert (n <= high * (1 + 1e-12)).all()
