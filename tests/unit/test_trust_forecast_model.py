"""The forecast model against dense algebra, its own assumptions, and truths it does not know."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import (
    Chinchilla,
    ChinchillaTied,
    KaplanND,
    Overtraining,
    PowerLaw,
    SaturatingPowerLaw,
)
from isoloss.laws.bends import BrokenPowerLaw
from isoloss.runs import Runs
from isoloss.trust import bootstrap
from isoloss.trust import forecast_model as modelled
from isoloss.trust import posterior_grid as grid
from isoloss.trust.drift import BrownianPath
from isoloss.trust.forecast_model import ForecastModel, posterior

LAW = Chinchilla(E=1.82, A=482.0, B=2085.0, alpha=0.348, beta=0.366)


def sweep(noise: float, seed: int = 0, law: Chinchilla = LAW) -> Runs:
    """Five IsoFLOP budgets of seven sizes, off centre."""
    budgets, multiples = np.geomspace(1e17, 1e19, 5), np.geomspace(0.2, 4.0, 7)
    c, m = (part.ravel() for part in np.meshgrid(budgets, multiples))
    n = 0.11 * (c / 6) ** 0.5 * m
    d = c / (6 * n)
    random = np.random.default_rng(seed)
    return Runs(n=n, d=d, c=c, loss=law(n, d) * np.exp(noise * random.standard_normal(n.size)))


def test_a_path_has_the_covariance_of_brownian_motion_pinned_at_its_anchor() -> None:
    places = np.array([-2.0, -0.5, 0.0, 0.3, 1.1, 1.1, 4.0])
    path = BrownianPath.through(places, 0.0)
    basis = path.basis(places)
    distance = np.minimum(np.abs(places[:, None]), np.abs(places))
    same_side = np.sign(places[:, None]) * np.sign(places) > 0
    assert basis @ basis.T == pytest.approx(np.where(same_side, distance, 0.0))
    assert path.reach(places) == pytest.approx(0.0)
    far = np.array([-3.0, 0.7, 6.25])
    assert path.reach(far) ** 2 == pytest.approx(np.array([[1, 0], [0, 0], [0, 2.25]]))
    variance = (path.basis(far) ** 2).sum(axis=1) + (path.reach(far) ** 2).sum(axis=1)
    assert variance[[0, 2]] == pytest.approx([3.0, 6.25])


def test_many_places_share_knots() -> None:
    places = np.random.default_rng(1).normal(size=900)
    path = BrownianPath.through(places, 0.2)
    assert path.basis(places).shape[1] <= 40
    variance = (path.basis(places) ** 2).sum(axis=1)
    # A hat loses at most a quarter of a step, of which there are 20 on a side.
    assert np.abs(variance - np.abs(places - 0.2)).max() <= 0.25 * np.abs(places - 0.2).max() / 20


def test_the_evidence_is_that_of_the_dense_gaussian() -> None:
    """Second implementation: the weights' prior folded into one covariance of all runs."""
    runs = sweep(0.01)[:12]
    design = fit(Chinchilla, runs).design
    model = ForecastModel()
    basis = modelled._basis(model, modelled._paths(design), design.logs)
    weights = np.linspace(0.4, 1.0, len(runs))
    theta = np.array([[0.3, 0.31], [0.5, 0.2], [0.35, 0.42]])
    scales = np.array([[0.01, 1.0], [0.004, 2.2]])
    prior = grid.ExponentPrior(model.exponent, model.exponent_spread)
    found, mean, _ = grid.cells_of(prior, design, theta, basis, weights, scales)
    linear = grid.linearised(design, theta)
    for (s, (noise, drift)), cell in product(enumerate(scales), range(len(theta))):
        target, columns = linear[cell, 0], linear[cell, 1:]
        of_runs = np.diag(noise**2 / weights) + drift**2 * basis @ basis.T
        dense = of_runs + 4.0 * columns.T @ columns
        log_density = -0.5 * (target @ np.linalg.solve(dense, target) + np.linalg.slogdet(dense)[1])
        believed = prior.log_density(design, theta)[cell]
        strayed = -0.5 * (np.log(drift) / grid.DRIFT_SPREAD) ** 2
        constant = 0.5 * (np.log(weights).sum() + 3 * np.log(0.25))
        expected = log_density + believed + strayed - constant
        assert found[s, cell] - expected == pytest.approx(0.0, abs=1e-6 * abs(expected))
        gained = 4.0 * columns @ np.linalg.solve(dense, target)
        assert mean[s, cell] == pytest.approx(gained, rel=1e-5)


def test_intervals_widen_with_distance_and_do_not_depend_on_one_another() -> None:
    draws = bootstrap(fit(Chinchilla, sweep(0.003)), draws=400, seed=2)
    factors = np.array([1.0, 10.0, 1e2, 1e4])
    n, d = 5e8 * factors**0.5, 1e10 * factors**0.5
    low, mid, high = draws.predict(n, d)
    widths = np.log(high / low)
    assert (np.diff(widths) > 0).all()
    assert widths[3] > 2.5 * widths[0]
    alone = draws.predict(n[2], d[2])
    assert (alone.low, alone.mid, alone.high) == (low[2], mid[2], high[2])
    plain = draws.predict(n, d, forecast="plain")
    assert np.log(plain.high / plain.low)[2] < widths[2]
    assert draws.forecast_method() == "forecast model"
    assert draws.forecast_method("plain") == "plain"


def test_a_prior_and_a_drift_matter_less_the_more_the_runs_say() -> None:
    fitted = fit(Chinchilla, sweep(0.001))
    sure = posterior(ForecastModel(drift=1e-4), fitted, draws=300, seed=0).law
    assert float(np.median(sure.alpha)) == pytest.approx(LAW.alpha, rel=0.1)
    few = fit(Chinchilla, sweep(0.03, seed=3))
    held = posterior(ForecastModel(exponent_spread=0.01), few, draws=300, seed=0).law
    assert float(np.median(held.alpha)) == pytest.approx(0.3, rel=0.15)


def test_laws_the_model_does_not_cover_are_forecast_plainly_and_said_so() -> None:
    x = np.geomspace(1e15, 1e21, 24)
    truth = BrokenPowerLaw(a=0.4, b=900.0, c0=0.15, c1=0.12, d1=3e18, f1=0.3)
    noise = np.exp(0.002 * np.random.default_rng(4).standard_normal(x.size))
    runs = Runs(n=x**0.5, d=x**0.5 / 6, c=x, loss=truth(x) * noise)
    broken = bootstrap(fit(BrokenPowerLaw, runs, x="c"), draws=100)
    assert broken.forecast_method() == "plain"
    with pytest.raises(InputError, match=r"1 to 2 exponents.*use forecast='plain'"):
        broken.predict(1e22, forecast=ForecastModel())
    assert bootstrap(fit(KaplanND, sweep(0.01)), draws=100).forecast_method() == "plain"
    for form in (PowerLaw, SaturatingPowerLaw):
        one = bootstrap(fit(form, runs, x="c"), draws=100)
        assert one.forecast_method() == "forecast model"
        low, mid, high = one.predict([1e20, 1e23])
        assert (low < mid).all()
        assert (mid < high).all()


@pytest.mark.parametrize("count", [310, 1500, 20_000])
def test_many_runs_are_forecast_no_worse_than_few(count: int) -> None:
    """The weight is then far narrower than a cell of the first grid, and must still be found."""
    random = np.random.default_rng(5)
    n, d = 10 ** random.uniform(7, 9.5, count), 10 ** random.uniform(9, 11, count)
    loss = LAW(n, d) * np.exp(0.01 * random.standard_normal(count))
    draws = bootstrap(fit(Chinchilla, Runs(n=n, d=d, loss=loss)), draws=100)
    mid = draws.predict(n[:60], d[:60]).mid
    assert np.abs(np.log(mid / LAW(n[:60], d[:60]))).max() < 0.02


def test_lopsided_fits_and_other_variables_are_forecast_plainly() -> None:
    """An edge of the runs is not their middle, and c times m is not compute."""
    runs = sweep(0.01)
    assert not ForecastModel().covers(fit(Chinchilla, runs, asymmetry=10.0))
    assert not ForecastModel().covers(fit(Overtraining, runs))
    assert ForecastModel().covers(fit(ChinchillaTied, runs))


def test_a_wrong_model_is_refused() -> None:
    for wrong in ({"exponent": 0.0}, {"drift": -1.0}, {"exponent_spread": np.nan}, {"ratio": -0.1}):
        with pytest.raises(InputError, match=f"ForecastModel: {next(iter(wrong))} must"):
            ForecastModel(**wrong)
    draws = bootstrap(fit(Chinchilla, sweep(0.01)), draws=100)
    with pytest.raises(InputError, match='forecast is a ForecastModel or "plain"'):
        draws.predict(1e9, 1e10, forecast="bayes")  # type: ignore[arg-type]


def test_a_loss_that_is_no_loss_does_not_stop_the_forecast() -> None:
    runs = sweep(0.003)
    loss = runs.loss.copy()
    loss[3] = 1e-6
    spoiled = bootstrap(fit(Chinchilla, runs.replace(loss=loss)), draws=100)
    sound = bootstrap(fit(Chinchilla, runs), draws=100)
    assert spoiled.predict(1e9, 1e11).mid == pytest.approx(sound.predict(1e9, 1e11).mid, rel=0.02)


@pytest.mark.parametrize(
    "fixed", [{"alpha": 0.34, "beta": 0.36}, {"E": 1.8, "A": 480.0, "B": 2100}]
)
def test_a_law_held_nearly_whole_is_forecast_plainly(fixed: dict[str, float]) -> None:
    random = np.random.default_rng(0)
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(3e7, 5e8, 5), np.geomspace(5e8, 1e10, 5)))
    law = Chinchilla(1.8, 480.0, 2100.0, 0.34, 0.36)
    runs = Runs(n=n, d=d, loss=law(n, d) * np.exp(0.003 * random.standard_normal(n.size)))
    draws = bootstrap(fit(Chinchilla, runs, fixed=fixed), draws=100, seed=0)
    assert draws.forecast_method() == "plain"
    low, mid, high = draws.predict(2e9, 4e10)
    assert low < mid < high
