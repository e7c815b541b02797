"""A fit does not care for units or order: scale, shift and shuffle it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from isoloss.fitting import Fit, fit, isoflop, power_trend
from isoloss.laws import Chinchilla, KaplanND, SaturatingPowerLaw
from isoloss.runs import Runs
from isoloss.trust import bootstrap

FACTORS = st.floats(-12, 12).map(np.exp)
LAW = Chinchilla(1.7, 400.0, 2000.0, 0.34, 0.37)


def simulated(seed: int = 0, noise: float = 0.006) -> Runs:
    random = np.random.default_rng(seed)
    n, d = np.exp(random.uniform(14, 19, 24)), np.exp(random.uniform(17, 22, 24))
    return Runs(n=n, d=d, loss=LAW(n, d) * np.exp(noise * random.standard_normal(24)))


BASE = simulated()
FITS = {form: fit(form, BASE) for form in (Chinchilla, KaplanND)}
FLOOR = fit(SaturatingPowerLaw, BASE, x="c")


def same(one: Fit, other: Fit) -> None:
    """Both reach one optimum; a flat one fixes the objective better than the coefficients."""
    assert abs(one.objective / other.objective - 1) < 1e-9
    assert np.abs(one.residuals - other.residuals).max() < 1e-5


@settings(max_examples=5, deadline=None)
@given(FACTORS, FACTORS)
def test_the_units_of_n_and_d_change_only_the_scales(by_n: float, by_d: float) -> None:
    scaled = Runs(n=BASE.n * by_n, d=BASE.d * by_d, loss=BASE.loss)
    for form, base in FITS.items():
        found = fit(form, scaled)
        same(found, base)
        for name in form.exponents:
            assert abs(found.coefficients[name] / base.coefficients[name] - 1) < 1e-4
    found, base = fit(Chinchilla, scaled).law, FITS[Chinchilla].law
    assert abs(np.log(found.A / base.A) - base.alpha * np.log(by_n)) < 1e-2
    assert abs(found.E / base.E - 1) < 1e-4


@settings(max_examples=5, deadline=None)
@given(st.floats(-3, 3).map(np.exp))
def test_the_unit_of_the_loss_scales_the_law(factor: float) -> None:
    scaled = BASE.replace(loss=BASE.loss * factor)
    found, base = fit(Chinchilla, scaled), FITS[Chinchilla]
    same(found, base)
    assert abs(found.law.E / (base.law.E * factor) - 1) < 1e-4
    linear = fit(Chinchilla, BASE, residual="linear", delta=0.01)
    scaled_linear = fit(Chinchilla, scaled, residual="linear", delta=0.01 * factor)
    assert abs(scaled_linear.objective / (linear.objective * factor**2) - 1) < 1e-8


@settings(max_examples=4, deadline=None)
@given(st.permutations(range(24)))
def test_the_order_of_the_runs_does_not_matter(order: list[int]) -> None:
    shuffled = BASE[np.array(order)]
    for form, base in FITS.items():
        found = fit(form, shuffled)
        assert abs(found.objective / base.objective - 1) < 1e-9
        assert np.abs(found.residuals - base.residuals[order]).max() < 1e-5
    assert abs(fit(SaturatingPowerLaw, shuffled, x="c").objective / FLOOR.objective - 1) < 1e-9


@settings(max_examples=5, deadline=None)
@given(st.integers(2, 5))
def test_repeating_every_run_repeats_the_objective(times: int) -> None:
    repeated = BASE[np.repeat(np.arange(24), times)]
    same_law = fit(Chinchilla, repeated)
    assert abs(same_law.objective / (times * FITS[Chinchilla].objective) - 1) < 1e-9


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1e-4, 1e-3, 1e-2, 0.1]))
def test_no_other_coefficients_do_better_nearby(seed: int, step: float) -> None:
    random = np.random.default_rng(seed)
    base = FITS[Chinchilla]
    moved = base.coordinates * np.exp(step * random.standard_normal((400, 5)))
    residuals, _ = base.design.evaluate(moved, base.design.log_loss[None])
    size = np.abs(residuals)
    huber = np.where(size <= 1e-3, 0.5 * size**2, 1e-3 * (size - 0.5e-3)).sum(axis=1)
    assert (huber >= base.objective * (1 - 1e-12)).all()


@settings(max_examples=3, deadline=None)
@given(FACTORS, FACTORS)
def test_draws_do_not_care_for_units(by_n: float, by_d: float) -> None:
    scaled = Runs(n=BASE.n * by_n, d=BASE.d * by_d, loss=BASE.loss)
    at = (3e8, 1e10)
    one = bootstrap(FITS[Chinchilla], draws=100).predict(*at, forecast="plain")
    elsewhere = (at[0] * by_n, at[1] * by_d)
    other = bootstrap(fit(Chinchilla, scaled), draws=100).predict(*elsewhere, forecast="plain")
    assert np.allclose(one, other, rtol=1e-4)


@settings(max_examples=5, deadline=None)
@given(FACTORS, FACTORS)
def test_vertices_and_trends_move_with_the_units(by_n: float, by_c: float) -> None:
    n = np.concatenate([np.geomspace(1e7, 9e7, 7), np.geomspace(3e7, 4e8, 7)])
    c = np.repeat([1e18, 2e19], 7)
    runs = Runs(n=n, d=c / 6 / n, c=c, loss=LAW(n, c / 6 / n))
    moved = runs.replace(n=n * by_n, c=c * by_c)
    for one, other in zip(isoflop(runs).budgets, isoflop(moved).budgets, strict=True):
        assert one.usable == other.usable
        assert np.isclose(one.n_opt * by_n, other.n_opt, rtol=1e-6, equal_nan=True)
    x, y = np.array([1.0, 3.0, 7.0, 20.0]), np.array([2.0, 3.0, 6.0, 9.0])
    base, scaled = power_trend(x, y), power_trend(x * by_n, y * by_c)
    assert abs(scaled.exponent - base.exponent) < 1e-9
    assert abs(scaled.se - base.se) < 1e-9
