"""The covariance of a fit, against least squares by the book and against simulation."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, PowerLaw, SaturatingPowerLaw
from isoloss.runs import Runs

RANDOM = np.random.default_rng(31)
X = np.exp(np.linspace(12.3, 23.9, 60) + RANDOM.uniform(-0.1, 0.1, 60))
LAW = SaturatingPowerLaw(1.4, 60.0, 0.25)


def noisy(seed: int, noise: float = 0.01, scale: float = 1.0) -> Runs:
    random = np.random.default_rng(seed)
    return Runs(n=scale * X, d=X, loss=LAW(X) * np.exp(noise * random.standard_normal(60)))


def test_squares_of_a_straight_line_have_the_sandwich_of_the_book() -> None:
    """log loss = alpha log xc - alpha log x, so White's formula holds for (intercept, alpha)."""
    runs = noisy(1)
    found = fit(PowerLaw, runs, x="n", delta=None)
    columns = np.column_stack([np.ones(60), -np.log(X)])
    inverse = np.linalg.inv(columns.T @ columns)
    meat = columns.T @ (columns * found.residuals[:, None] ** 2)
    white = inverse @ meat @ inverse * 60 / 58
    intercept_by = np.array([[found.law.alpha / found.law.xc, np.log(found.law.xc)], [0.0, 1.0]])
    assert intercept_by @ found.covariance() @ intercept_by.T == pytest.approx(white, rel=1e-6)
    assert found.standard_errors["alpha"] == pytest.approx(np.sqrt(white[1, 1]), rel=1e-6)


@pytest.mark.parametrize(("delta", "tolerance"), [(None, 0.2), (0.01, 0.2), (1e-3, 0.3)])
def test_standard_errors_are_the_spread_of_estimates(delta, tolerance) -> None:
    fits = [fit(SaturatingPowerLaw, noisy(seed), x="n", delta=delta) for seed in range(40)]
    errors = [found.standard_errors for found in fits]
    for name in ("E", "alpha"):
        spread = np.std([found.coefficients[name] for found in fits], ddof=1)
        stated = np.sqrt(np.mean([error[name] ** 2 for error in errors]))
        assert stated == pytest.approx(spread, rel=tolerance)


def test_units_scale_the_covariance_and_fixed_coefficients_have_none() -> None:
    for residual in ("log", "linear"):
        one = fit(SaturatingPowerLaw, noisy(3), x="n", residual=residual)
        other = fit(SaturatingPowerLaw, noisy(3, scale=1e6), x="n", residual=residual)
        assert other.standard_errors["alpha"] == pytest.approx(
            one.standard_errors["alpha"], rel=1e-4
        )
    held = fit(SaturatingPowerLaw, noisy(3), x="n", fixed={"E": 1.4})
    assert held.standard_errors["E"] == 0.0
    assert held.covariance().shape == (2, 2)
    assert held.standard_errors["alpha"] < one.standard_errors["alpha"]


def test_rows_of_one_name_are_one_run() -> None:
    runs = noisy(5)
    twice = Runs.concat([runs, runs]).replace(run=[*runs.run, *runs.run])
    one, both = (fit(SaturatingPowerLaw, r, x="n", delta=None) for r in (runs, twice))
    assert both.standard_errors["alpha"] == pytest.approx(one.standard_errors["alpha"], rel=1e-6)


def test_a_coefficient_that_a_bound_holds_has_no_error() -> None:
    runs = Runs(n=X, d=X, loss=PowerLaw(1e15, 0.09)(X) * (1 + 0.01 * np.sin(X)))
    n = np.exp(RANDOM.uniform(14, 21, 60))
    flat = Runs(n=n, d=X, loss=2.0 + 400 / X**0.3)
    found = fit(Chinchilla, flat)
    assert np.isnan(found.standard_errors["A"])
    assert np.isfinite(found.standard_errors["beta"])
    assert np.isfinite(fit(PowerLaw, runs, x="n").covariance()).all()
