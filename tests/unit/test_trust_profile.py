"""Profiles: a second solver's constrained optima, coverage, and sides that nothing bounds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, PowerLaw, SaturatingPowerLaw, allocate
from isoloss.runs import Runs
from isoloss.trust import bootstrap, profile

LAW = Chinchilla(1.82, 480.0, 2100.0, 0.347, 0.367)
C = 1e22


def study(seed: int, sigma: float = 0.005) -> Runs:
    n, d = np.meshgrid(np.geomspace(3e7, 1e9, 5), np.geomspace(3e8, 3e10, 5))
    n, d = n.ravel(), d.ravel()
    noise = sigma * np.random.default_rng(seed).standard_normal(n.size)
    return Runs(n=n, d=d, loss=LAW(n, d) * np.exp(noise))


def log_best(law: Chinchilla) -> float:
    return float(np.log(allocate(law, C).n))


def huber(r: np.ndarray, delta: float) -> float:
    size = np.abs(r)
    return float(np.where(size <= delta, r * r / 2, delta * (size - delta / 2)).sum())


def test_the_profile_is_that_of_scipys_constrained_optima() -> None:
    runs = study(0)
    found = profile(fit(Chinchilla, runs), lambda law: np.exp(log_best(law)))
    x, y, z = np.log(runs.n), np.log(runs.d), np.log(runs.loss)

    def residuals(p: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = p
        return np.logaddexp(np.logaddexp(e, a - alpha * x), b - beta * y) - z

    def size(p: np.ndarray) -> float:
        return log_best(Chinchilla(*np.exp(p[:3]), *p[3:]))

    start = np.array([np.log(1.82), np.log(480), np.log(2100), 0.347, 0.367])
    delta = found.delta
    best = start
    for _ in range(3):
        best = minimize(lambda p: 1e4 * huber(residuals(p), delta), best, tol=1e-12).x
    r = residuals(best)
    psi = np.clip(r, -delta, delta)
    factor = (psi**2).sum() / 20 / np.mean(np.abs(r) <= delta)
    assert found.best == pytest.approx(np.exp(size(best)), rel=1e-3)
    for value, rise in zip(found.values[::4], found.rise[::4], strict=True):
        held = {"type": "eq", "fun": lambda p, v=value: size(p) - np.log(v)}
        other = minimize(
            lambda p: 1e4 * huber(residuals(p), delta), best, constraints=held,
            method="SLSQP", options={"maxiter": 500, "ftol": 1e-13},
        )  # fmt: skip
        theirs = 2 * (other.fun / 1e4 - huber(r, delta)) / factor
        assert rise == pytest.approx(theirs, rel=0.01, abs=0.01)


def test_the_rise_grows_away_from_the_best_and_ends_at_the_quantile() -> None:
    found = profile(fit(Chinchilla, study(1)), "alpha", level=0.9)
    at = int(np.flatnonzero(found.values == found.best)[0])
    assert found.rise[at] == 0
    assert (np.diff(found.rise[: at + 1]) < 0).all()
    assert (np.diff(found.rise[at:]) > 0).all()
    ends = np.interp(found.interval[::2], found.values, found.rise)
    assert ends == pytest.approx(1.7247**2, rel=0.01)  # Student's t, 20 to spare, 95 %


def test_a_narrower_level_lies_inside() -> None:
    fitted = fit(Chinchilla, study(2))
    wide, narrow = (profile(fitted, "E", level=level).interval for level in (0.9, 0.5))
    assert wide.low < narrow.low < narrow.mid < narrow.high < wide.high
    assert wide.mid == narrow.mid


def test_a_side_that_the_runs_do_not_bound_is_infinite() -> None:
    """Runs too few and noisy to show an irreducible loss: it may as well be nothing."""
    n = np.geomspace(1e7, 1e9, 10)
    noise = 0.1 * np.random.default_rng(3).standard_normal(10)
    runs = Runs(n=n, d=20 * n, loss=SaturatingPowerLaw(0.6, 60.0, 0.2)(n) * np.exp(noise))
    fitted = fit(SaturatingPowerLaw, runs, x="n")
    floor = profile(fitted, "E").interval
    assert floor.low == 0
    assert np.isfinite(floor.high)


@pytest.mark.parametrize(
    ("sigma", "studies"),
    [
        (0.005, 20),
        pytest.param(0.005, 60, marks=pytest.mark.full),
        pytest.param(0.015, 60, marks=pytest.mark.full),
    ],
)
def test_intervals_hold_the_truth(sigma: float, studies: int) -> None:
    """90 % of ln N* over simulated studies, within three binomial errors."""
    true = np.exp(log_best(LAW))
    inside = 0
    for seed in range(studies):
        fitted = fit(Chinchilla, study(seed, sigma))
        low, _, high = profile(fitted, lambda law: allocate(law, C).n).interval
        inside += bool(low <= true <= high)
    assert abs(inside / studies - 0.9) < 3 * np.sqrt(0.09 / studies)


def test_wrong_calls_are_refused() -> None:
    fitted = fit(PowerLaw, study(0), x="n")
    with pytest.raises(InputError, match="there are xc, alpha"):
        profile(fitted, "E")
    with pytest.raises(InputError, match="share between 0 and 1"):
        profile(fitted, "alpha", level=90)
    with pytest.raises(InputError, match="finite number"):
        profile(fitted, lambda law: np.nan)
    two = fit(PowerLaw, study(0)[[0, 1]], x="n")
    with pytest.raises(UnidentifiedError, match="add at least 1"):
        profile(two, "alpha")


def test_a_law_without_its_floor_and_quantities_that_some_laws_lack() -> None:
    """The floor came out zero, so its interval begins there; a best size is not always there."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(3e7, 1e9, 4), np.geomspace(3e8, 3e10, 4)))
    noise = 0.01 * np.random.default_rng(0).standard_normal(n.size)
    fitted = fit(
        Chinchilla,
        Runs(n=n, d=d, loss=Chinchilla(1e-6, 20.0, 40.0, 0.1, 0.1)(n, d) * np.exp(noise)),
    )
    floor = profile(fitted, "E").interval
    assert floor.low == 0
    assert 0 < floor.high < 3
    low, mid, high = profile(fitted, lambda law: allocate(law, 1e22).n).interval
    assert 0 <= low < mid < high


def test_a_lopsided_fit_is_profiled_about_its_own_optimum() -> None:
    fitted = fit(Chinchilla, study(4), asymmetry=10.0)
    found = profile(fitted, "E")
    assert found.rise.min() == 0
    drawn = bootstrap(fitted, draws=200).interval(lambda law: law.E)
    assert float(found.interval.low) < float(drawn.mid) < float(found.interval.high)


def test_a_term_that_vanished_says_nothing_of_its_scale() -> None:
    d = np.geomspace(3e8, 3e10, 6)
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(3e7, 1e9, 5), d))
    noise = 0.002 * np.random.default_rng(1).standard_normal(n.size)
    runs = Runs(n=n, d=d, loss=(1.8 + 2000 / d**0.37) * np.exp(noise + 0.002 * np.log(n / n.min())))
    fitted = fit(Chinchilla, runs)
    assert fitted.coefficients["A"] == 0
    with pytest.raises(UnidentifiedError, match="A does not depend on what these runs fix"):
        profile(fitted, "A")
