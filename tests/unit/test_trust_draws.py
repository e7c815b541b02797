"""`bootstrap` and Draws: what is resampled, what the intervals hold, and that seeds decide all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isoloss.distributions import normal_cdf, student_quantile
from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, KaplanND, PowerLaw
from isoloss.laws.forms import Law
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap, resampling
from isoloss.trust.quantiles import interval

LAW = Chinchilla(1.7, 400.0, 2000.0, 0.34, 0.37)


def simulated(side: int = 4, noise: float = 0.005, seed: int = 0, **columns) -> Runs:
    random = np.random.default_rng(seed)
    n, d = np.meshgrid(np.geomspace(1.1e6, 8e7, side), np.geomspace(1.7e7, 9e8, side + 1))
    n, d = n.ravel(), d.ravel()
    return Runs(n=n, d=d, loss=LAW(n, d) * np.exp(noise * random.standard_normal(n.size)))


def draws_of(runs: Runs, **options) -> Draws:
    return bootstrap(fit(Chinchilla, runs), **{"draws": 200, **options})


def test_the_same_seed_gives_the_same_draws_and_another_others() -> None:
    fitted = fit(Chinchilla, simulated())
    first, again = bootstrap(fitted, draws=150, seed=3), bootstrap(fitted, draws=150, seed=3)
    other = bootstrap(fitted, draws=150, seed=4)
    assert np.array_equal(first.law.E, again.law.E)
    assert first.predict(1e8, 1e9) == again.predict(1e8, 1e9)
    assert not np.array_equal(first.law.E, other.law.E)
    assert len(first) == 150
    assert first.failed == 0


def test_more_draws_continue_the_same_sequence() -> None:
    fitted = fit(Chinchilla, simulated())
    few, many = bootstrap(fitted, draws=256), bootstrap(fitted, draws=600)
    assert np.array_equal(few.law.alpha, many.law.alpha[:256])


def test_few_clusters_have_their_residuals_dealt_and_many_are_drawn() -> None:
    assert draws_of(simulated(side=4)).resampled == "residuals"
    assert draws_of(simulated(side=5)).resampled == "clusters"


def test_intervals_hold_any_quantity_and_scale_with_the_level() -> None:
    draws = draws_of(simulated())
    narrow, wide = draws.interval(lambda law: law.E, 0.5), draws.interval(lambda law: law.E)
    assert wide.low < narrow.low < narrow.mid == wide.mid < narrow.high < wide.high
    table = draws.interval(lambda law: law.column()([1e7, 1e8], [1e9, 1e9]).reshape(200, 2, 1))
    assert table.low.shape == (2, 1)
    mean = draws.predict([1e7, 1e8], [1e9, 1e9], kind="mean")
    assert table.mid[:, 0] == pytest.approx(mean.mid)
    with pytest.raises(InputError, match="one value for each of the 200 draws"):
        draws.interval(lambda law: 1.0)
    with pytest.raises(InputError, match="level"):
        draws.interval(lambda law: law.E, 90)


def test_a_new_run_is_less_certain_than_the_mean_and_keeps_the_shape() -> None:
    draws = draws_of(simulated())
    n, d = np.array([[2e7, 5e7, 1e8]]), np.array([[3e8], [9e8]])
    run, mean = draws.predict(n, d, forecast="plain"), draws.predict(n, d, kind="mean")
    assert run.low.shape == (2, 3)
    assert (run.high - run.low > mean.high - mean.low).all()
    assert (run.low < run.mid).all()
    assert (run.mid < run.high).all()
    alone = draws.predict(5e7, 9e8, forecast="plain")
    assert alone.low.shape == ()
    assert alone.low == run.low[1, 1]
    with pytest.raises(InputError, match="kind"):
        draws.predict(1e8, 1e9, kind="seed")


def test_a_run_interval_is_about_as_wide_as_the_noise() -> None:
    draws = draws_of(simulated(side=8, noise=0.01), draws=1000)
    run = draws.predict(1e7, 1e8, forecast="plain")
    assert np.log(run.high / run.low) == pytest.approx(2 * 1.645 * 0.01, rel=0.3)


def test_skewed_noise_points_the_way_it_did_in_the_runs() -> None:
    runs = simulated(side=8, noise=0.001)
    late = np.arange(len(runs)) % 6 == 0
    skewed = draws_of(runs.replace(loss=runs.loss * np.where(late, 1.05, 1.0)), draws=1000)
    run = skewed.predict(1e7, 1e8, forecast="plain")
    assert np.log(run.high / run.mid) > 0.03 > 3 * np.log(run.mid / run.low)


def test_the_spread_between_seeds_is_a_floor_of_the_noise() -> None:
    runs = simulated(side=4, noise=1e-5)
    seeds = Runs(n=[2e7] * 4, d=[2e8] * 4, loss=2.9 * np.exp([0.02, -0.02, 0.015, -0.015]))
    spread = resampling.seed_spread(Runs.concat([runs, seeds]))
    assert spread == pytest.approx(np.std([0.02, -0.02, 0.015, -0.015], ddof=1))
    draws = draws_of(Runs.concat([runs, seeds]), draws=500)
    assert np.sqrt(np.mean(draws.noise**2)) >= spread * (1 - 1e-9)
    assert resampling.seed_spread(runs) == 0.0
    stated = runs.replace(sd=np.full(len(runs), 0.03))
    assert resampling.seed_spread(stated) == pytest.approx(np.median(0.03 / runs.loss))


def test_seeds_of_one_configuration_and_rows_of_one_run_are_one_cluster() -> None:
    runs = Runs(
        n=[1e6, 1e6, 1e6, 2e6, 2e6, 3e6],
        d=[1e8, 1e8, 1e8, 1e8, 2e8, 1e8],
        loss=[4.0, 4.1, 4.2, 3.9, 3.8, 3.7],
        lr=[1e-3, 1e-3, 2e-3, 1e-3, 1e-3, 1e-3],
        seed=[0, 1, 0, 0, 0, 0],
        run=["a", "b", "c", "d", "d", "e"],
    )
    numbers = resampling.clusters(runs)
    together = [set(np.flatnonzero(numbers == k)) for k in range(numbers.max() + 1)]
    assert {0, 1} in together
    assert {2} in together
    assert {3, 4} in together
    assert {5} in together


def test_drawn_clusters_stay_whole_and_keep_their_number() -> None:
    numbers = np.array([0, 0, 1, 2, 2, 2, 3])
    drawn = resampling.drawn_clusters(numbers, 500, np.random.default_rng(0))
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3] == drawn[:, 5]).all()
    assert (drawn[:, [0, 2, 3, 6]].sum(axis=1) == 4).all()
    assert drawn.mean(axis=0) == pytest.approx(1.0, abs=0.15)


def test_dealt_residuals_come_from_whole_clusters_with_one_sign() -> None:
    numbers = np.array([0, 1, 1, 2])
    residuals = np.array([0.5, 1.0, 3.0, 0.25])
    dealt = resampling.dealt_residuals(residuals, numbers, 2000, np.random.default_rng(0))
    assert set(np.unique(np.abs(dealt))) == {0.25, 0.5, 1.0, 3.0}
    assert (np.sign(dealt[:, 1]) == np.sign(dealt[:, 2])).all()
    pairs = {tuple(sorted(pair)) for pair in np.abs(dealt[:, 1:3])}
    assert pairs == {(0.5, 0.5), (1.0, 3.0), (0.25, 0.25)}
    assert dealt.mean(axis=0) == pytest.approx(0.0, abs=0.1)


def test_residuals_are_spread_by_their_leverage() -> None:
    random = np.random.default_rng(4)
    columns = random.standard_normal((2, 30))
    residuals = random.standard_normal(30)
    hat = columns.T @ np.linalg.solve(columns @ columns.T, columns)
    expected = residuals / np.sqrt(1 - np.diag(hat))
    found = resampling.spread_residuals(residuals, columns, None)
    assert found == pytest.approx(expected)


def test_too_few_independent_runs_are_refused_naming_how_many_are_missing() -> None:
    runs = simulated(side=4, noise=0.0)[np.array([0, 5, 10, 15, 2])]
    with pytest.raises(UnidentifiedError, match=r"5 independent runs for 5 .* add at least 1"):
        bootstrap(fit(Chinchilla, runs))


def test_a_noise_free_table_has_no_doubt() -> None:
    draws = draws_of(simulated(noise=0.0))
    low, _, high = draws.predict(1e8, 1e9, forecast="plain")
    assert high == pytest.approx(LAW(1e8, 1e9), rel=1e-6)
    assert low == pytest.approx(LAW(1e8, 1e9), rel=1e-6)


def test_every_law_and_option_can_be_resampled() -> None:
    runs = simulated(noise=0.01)
    one = bootstrap(fit(PowerLaw, runs, x="d"), draws=100)
    assert one.predict([1e9, 2e9]).low.shape == (2,)
    assert bootstrap(fit(KaplanND, runs), draws=100).law.Nc.shape == (100,)
    linear = bootstrap(fit(Chinchilla, runs, residual="linear", delta=0.01), draws=100)
    assert 0.8 < float(linear.predict(5e7, 5e8).mid / LAW(5e7, 5e8)) < 1.2
    held = bootstrap(fit(Chinchilla, runs, fixed={"E": 1.7}), draws=100)
    assert held.interval(lambda law: law.E) == (1.7, 1.7, 1.7)
    assert held.predict(5e7, 5e8).low < held.predict(5e7, 5e8).high
    weighted = bootstrap(fit(Chinchilla, runs, weights=(runs.d > 2e7).astype(float)), draws=100)
    assert weighted.spare == 16 - 5


def test_draws_that_did_not_settle_count_as_asked_for() -> None:
    drawn = bootstrap(fit(Chinchilla, simulated(noise=0.01)), draws=100)
    fewer = replace(drawn, failed=drawn.failed + 1, law=_first(drawn.law, len(drawn) - 1))
    assert fewer.asked == 100
    assert np.isfinite(fewer.interval(lambda law: law.alpha).low)
    alone = replace(fewer, failed=0)
    with pytest.raises(InputError, match="99 draws are too few"):
        alone.interval(lambda law: law.alpha)


def _first(law: Law, count: int) -> Law:
    return type(law)(**{k: np.asarray(v)[:count] for k, v in law.coefficients().items()})


def test_a_wrong_call_is_refused() -> None:
    fitted = fit(Chinchilla, simulated())
    with pytest.raises(InputError, match="draws"):
        bootstrap(fitted, draws=1)
    with pytest.raises(InputError, match="delta"):
        bootstrap(fitted, delta=-1.0)


def test_quantiles_are_student_s_where_few_runs_are_spare() -> None:
    stats = pytest.importorskip("scipy.stats")
    for degrees in (1, 2, 5, 11, 60, 300):
        for share in (0.6, 0.95, 0.995):
            expected = stats.t.ppf(share, degrees)
            assert student_quantile(share, degrees) == pytest.approx(expected, rel=1e-8)
    assert normal_cdf(1.6448536) == pytest.approx(0.95, abs=1e-7)
    values = np.random.default_rng(0).standard_normal(200_000)
    assert interval(values, 0.9).high == pytest.approx(1.645, abs=0.02)
    assert interval(values, 0.9, 5).high == pytest.approx(stats.t.ppf(0.95, 5), abs=0.03)


def test_infinite_draws_give_an_infinite_end_and_no_warning() -> None:
    values = np.concatenate([np.linspace(1, 2, 80), np.full(20, np.inf)])
    found = interval(values, 0.9)
    assert found.low < found.mid < np.inf
    assert found.high == np.inf


def test_points_where_no_run_can_be_are_refused() -> None:
    draws = draws_of(simulated())
    for n in (0.0, -1e6, np.nan, np.inf):
        with pytest.raises(InputError, match="positive 'n' at every point"):
            draws.predict(n, 1e9)
    with pytest.raises(InputError, match=r"Chinchilla takes \(n, d\)"):
        draws.predict(1e8)


@pytest.mark.parametrize("seed", [-1, 1.5, None, "a"])
def test_a_seed_that_is_none_is_refused(seed: object) -> None:
    with pytest.raises(InputError, match="seed is a whole number from 0"):
        bootstrap(fit(Chinchilla, simulated()), seed=seed)  # type: ignore[arg-type]
