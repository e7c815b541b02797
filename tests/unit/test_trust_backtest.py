"""Back-tests and forecasts: below the cut only, and written down once."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, ChinchillaTied, PowerLaw
from isoloss.runs import Runs
from isoloss.trust import (
    Outcome,
    Target,
    backtest,
    backtest_fit,
    backtest_line,
    bootstrap,
    choose,
    make_forecasts,
    read_forecasts,
    rolling_backtest,
    write_forecasts,
)
from isoloss.trust.budgets import cutoffs

LAW = Chinchilla(1.7, 400.0, 2000.0, 0.34, 0.37)


def ladder(noise: float = 0.003, side: int = 6) -> Runs:
    random = np.random.default_rng(7)
    n, m = np.meshgrid(np.geomspace(1e6, 1e8, side), np.geomspace(4, 60, side))
    n, d = n.ravel(), (n * m).ravel()
    return Runs(
        n=n,
        d=d,
        loss=LAW(n, d) * np.exp(noise * random.standard_normal(n.size)),
        n_convention="total",
    )


def test_the_default_cut_leaves_ten_times_the_compute_beyond_it() -> None:
    runs = ladder()
    test = backtest(Chinchilla, runs, draws=200)
    assert test.cutoff * 10 <= runs.c.max()
    assert len(test.train) >= 8
    later = np.sort(runs.c)[np.sort(runs.c) > test.cutoff][0]
    assert later * 10 > runs.c.max()
    assert len(test.train) + len(test.test) == len(runs)
    assert (test.train.c <= test.cutoff).all()
    assert test.decades >= 1
    assert test.median_error < 0.02
    assert test.bias == pytest.approx(np.mean(test.error))
    assert 0.6 <= test.coverage <= 1


def test_only_the_runs_below_the_cut_decide() -> None:
    runs = ladder()
    spoilt = runs.replace(loss=np.where(runs.c > 1e16, 1.3, 1.0) * runs.loss)
    honest, other = (
        backtest(Chinchilla, table, cutoff=1e16, draws=100) for table in (runs, spoilt)
    )
    assert np.array_equal(honest.predicted, other.predicted)
    assert np.array_equal(honest.low, other.low)
    assert other.bias < honest.bias - 0.1
    assert other.coverage < honest.coverage


def test_of_many_runs_some_are_predicted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = backtest(Chinchilla, ladder(), cutoff=1e16, draws=100)
    monkeypatch.setattr(import_module("isoloss.trust.backtest"), "_AT_ONCE", 5)
    parts = backtest(Chinchilla, ladder(), cutoff=1e16, draws=100)
    assert len(whole.test) % 5 != 0
    for name in ("predicted", "low", "high", "error"):
        assert getattr(parts, name) == pytest.approx(getattr(whole, name), rel=1e-12)


def test_a_noise_free_law_is_predicted_exactly() -> None:
    test = backtest(Chinchilla, ladder(noise=0.0), draws=100, forecast="plain")
    assert test.median_error < 1e-8
    assert test.method == "plain"
    modelled = backtest(Chinchilla, ladder(noise=0.0), draws=100)
    assert modelled.method == "forecast model"
    assert modelled.median_error < 0.003
    assert modelled.coverage == 1.0
    assert modelled.score > test.score
    one = backtest(PowerLaw, ladder(noise=0.0), x="c", draws=100)
    assert one.bias < 0
    assert one.predicted.shape == one.error.shape


def test_a_short_range_is_tested_over_less_and_too_short_a_one_refused() -> None:
    runs = ladder()
    n, d = np.meshgrid(np.geomspace(1e6, 3e6, 12), np.geomspace(1e7, 2.5e7, 12))
    short = Runs(n=n.ravel(), d=d.ravel(), loss=LAW(n, d).ravel())
    assert short.c.max() / short.c.min() < 10
    assert 0.45 < backtest(Chinchilla, short, draws=100).decades < 1
    with pytest.raises(UnidentifiedError, match=r"no back-test is possible.*add cheaper runs"):
        backtest(Chinchilla, short[(short.c > 1e14) & (short.c < 2.9e14)])
    with pytest.raises(UnidentifiedError, match="4 distinct runs"):
        backtest(Chinchilla, runs[(runs.c > 6e15) & (runs.c < 1.5e16)])
    two_sizes = runs.replace(c=np.where(runs.n < 4e6, 1e14, 1e17))
    with pytest.raises(UnidentifiedError, match=r"below the cut, Chinchilla: 12 distinct runs"):
        backtest(Chinchilla, two_sizes)


def test_no_cut_splits_a_budget_whose_compute_differs_by_rounding() -> None:
    """Budgets a factor of ten apart, the compute of each run up to 0.9 % off: one split would be
    fitted on half of a budget and ask for the other half."""
    sizes = np.geomspace(0.3, 4.0, 7)
    off = 1 + np.array([0.0, 3e-4, 9e-3, -2e-6, 5e-3, 1e-3, 2e-3])
    c = np.concatenate([budget * off for budget in (1e18, 1e19, 1e20)])
    n = np.concatenate([0.1 * np.sqrt(budget) * sizes for budget in (1e18, 1e19, 1e20)])
    noise = np.exp(0.002 * np.random.default_rng(3).standard_normal(len(n)))
    runs = Runs(n=n, d=c / (6 * n), c=c, loss=LAW(n, c / (6 * n)) * noise)
    assert cutoffs(runs, 8, 10.0).tolist() == [c[7:14].max()]
    assert cutoffs(runs, 7, 3.0).tolist() == [c[:7].max(), c[7:14].max()]
    test = backtest(Chinchilla, runs, draws=100)
    assert len(test.train) == 14
    assert len(test.test) == 7
    rolling = rolling_backtest(Chinchilla, runs, cuts=4, draws=100)
    assert [len(test.test) for test in rolling.tests] == [7]


def test_what_a_fit_of_all_runs_refuses_or_doubts_is_heard() -> None:
    runs = ladder()
    bent = runs.replace(loss=np.where(runs.c > 1e16, 7.0, runs.loss))
    with pytest.raises(UnidentifiedError, match="end of its range"):
        fit(Chinchilla, bent).check()
    fit(Chinchilla, bent[bent.c <= 1e16]).check()  # so the runs below the cut would be fitted
    for test in (
        lambda: backtest(Chinchilla, bent, draws=100),
        lambda: backtest(Chinchilla, bent, cutoff=1e16, draws=100),
        lambda: rolling_backtest(Chinchilla, bent, draws=100),
        lambda: choose((Chinchilla,), bent, draws=100),
    ):
        with pytest.raises(UnidentifiedError, match="end of its range"):
            test()
    dearest = np.arange(len(runs)) == runs.c.argmax()
    odd = runs.replace(loss=np.where(dearest, 1.3, 1.0) * runs.loss)
    found = backtest(Chinchilla, odd, draws=100)
    assert Status.OUTLIER in found.status
    assert Status.OUTLIER not in found.fit.status  # it lies above the cut
    assert Status.OUTLIER in {one.code for one in found.findings}
    rolling = rolling_backtest(Chinchilla, odd, cuts=1, draws=100)
    assert (rolling.status, rolling.findings) == (found.status, found.findings)


def test_errors_are_shares_of_the_loss() -> None:
    """A tenth of the loss is 90 % too low, not 230 %; ten times it is 900 % too high."""
    runs = ladder()
    top = runs.c > 0.9 * runs.c.max()
    for factor, share in ((10.0, -0.9), (0.1, 9.0)):
        odd = backtest_fit(
            fit(Chinchilla, runs.replace(loss=np.where(top, factor, 1.0) * runs.loss)),
            cutoff=float(runs.c[~top].max()),
            draws=100,
            forecast="plain",
        )
        assert odd.error == pytest.approx(odd.predicted / odd.test.loss - 1)
        assert odd.error == pytest.approx(share, abs=0.1)
        assert odd.median_error == pytest.approx(abs(share), abs=0.1)
        assert odd.bias == pytest.approx(share, abs=0.1)
        assert f"median error of {odd.median_error:.1%}" in odd.line


def test_every_back_test_fits_as_fit_is_told() -> None:
    """Held, weighted, lopsided: below the cut as above, at one cut and at several."""
    runs = ladder()
    how = {"fixed": {"E": 1.7}, "delta": None, "asymmetry": 3.0, "residual": "linear"}
    found = fit(Chinchilla, runs, **how)
    direct, test = backtest_fit(found, draws=100), backtest(Chinchilla, runs, draws=100, **how)
    assert np.array_equal(direct.predicted, test.predicted)
    assert np.array_equal(direct.high, test.high)
    rolling = rolling_backtest(Chinchilla, runs, cuts=2, draws=100, **how)
    choice = choose((Chinchilla, ChinchillaTied), runs, cuts=2, draws=100, **how)
    every = (test, *rolling.tests, *(t for one in choice.tests for t in one.tests))
    assert len(every) >= 5
    for one in every:
        below = fit(one.form, runs[runs.c <= one.cutoff], **how)
        assert one.fit.coefficients == below.coefficients
        assert one.fit.coefficients["E"] == 1.7
    with pytest.raises(InputError, match="no coefficient 'F'"):
        choose((Chinchilla,), runs, fixed={"F": 1.0})
    with pytest.raises(TypeError, match="nonsense"):
        backtest(Chinchilla, runs, nonsense=1)


def test_a_cut_with_nothing_on_one_side_is_refused() -> None:
    for cutoff in (1e10, 1e30):
        with pytest.raises(InputError, match="leaves no run on one side"):
            backtest(Chinchilla, ladder(), cutoff=cutoff)


TARGETS = (Target("planned", 3e8, 9e9), Target("cheaper", 2e8, 4e9, c=7e18))


def test_forecasts_say_what_they_were_made_from() -> None:
    runs = ladder()
    draws = bootstrap(fit(Chinchilla, runs), draws=300)
    planned, cheaper = make_forecasts(draws, TARGETS)
    assert planned.low < planned.mid < planned.high
    assert planned.c == 6 * 3e8 * 9e9
    assert cheaper.c == 7e18
    assert cheaper.far == pytest.approx(7e18 / runs.c.max())
    assert planned.runs_hash == runs.hash
    assert planned.n_convention == "total"
    assert planned.law == "Chinchilla"
    assert planned.coefficients == draws.fit.coefficients
    assert planned.mid == pytest.approx(float(draws.predict(3e8, 9e9).mid))


def test_forecasts_are_written_once_and_read_back(tmp_path) -> None:
    draws = bootstrap(fit(Chinchilla, ladder()), draws=100)
    forecasts = make_forecasts(draws, TARGETS)
    path = tmp_path / "forecasts.json"
    digest = write_forecasts(path, forecasts)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_forecasts(path) == forecasts
    assert write_forecasts(path, forecasts) == digest
    before = path.read_bytes()
    with pytest.raises(InputError, match="holds other forecasts"):
        write_forecasts(path, forecasts[:1])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["forecasts.json"]
    with pytest.raises(InputError, match="there is no folder"):
        write_forecasts(tmp_path / "none" / "forecasts.json", forecasts)


def test_a_file_that_holds_no_forecasts_is_refused(tmp_path) -> None:
    with pytest.raises(InputError, match="there is no forecast file"):
        read_forecasts(tmp_path / "none.json")
    odd = tmp_path / "odd.json"
    for content, message in (
        ("{", "is not a forecast file"),
        ('{"format": "x"}', "its format is not"),
        (
            json.dumps({"format": "isoloss-forecasts-2", "forecasts": [{"name": "a"}]}),
            "lacks, or does not know, c, ",
        ),
    ):
        odd.write_text(content)
        with pytest.raises(InputError, match=message):
            read_forecasts(odd)


def test_an_outcome_hits_or_misses() -> None:
    draws = bootstrap(fit(Chinchilla, ladder()), draws=100)
    forecast, _ = make_forecasts(draws, TARGETS)
    assert Outcome(forecast, forecast.mid).hit
    missed = Outcome(forecast, 1.1 * forecast.high, se=0.01)
    assert not missed.hit
    assert missed.error < 0
    assert Outcome(forecast, forecast.mid).error == pytest.approx(0.0, abs=1e-12)


def test_a_target_must_be_a_run_and_the_law_one_of_n_and_d() -> None:
    with pytest.raises(InputError, match="n must be positive"):
        Target("odd", -1.0, 1e9)
    draws = bootstrap(fit(PowerLaw, ladder(), x="c"), draws=100)
    with pytest.raises(InputError, match=r"a law of \(n, d\)"):
        make_forecasts(draws, TARGETS)


def test_a_back_test_is_of_the_fit_as_it_was_made() -> None:
    """A floor held far too low spoils what lies beyond; the sentence must not test another fit."""
    runs = ladder()
    held = fit(Chinchilla, runs, fixed={"E": 0.4}, delta=None)
    test = backtest_fit(held, draws=100)
    assert test.fit.coefficients["E"] == 0.4
    assert test.fit.delta is None
    assert test.cutoff == backtest(Chinchilla, runs, draws=100).cutoff
    assert test.median_error > 2 * backtest(Chinchilla, runs, draws=100).median_error
    weights = np.where(np.arange(len(runs)) % 5 == 0, 0.0, 2.0)
    weighted = backtest_fit(fit(Chinchilla, runs, weights=weights), draws=100)
    assert (weighted.fit.weights == weights[runs.c <= weighted.cutoff]).all()
    assert len(weighted.test) == len(test.test)


def test_the_line_beside_a_forecast_says_what_the_back_test_found_or_why_there_is_none() -> None:
    draws = bootstrap(fit(Chinchilla, ladder()), draws=100)
    test = backtest_fit(draws.fit)
    line = backtest_line(draws)
    assert line == test.line
    assert f"{len(test.test)} dearer runs, up to {10**test.decades:.3g} times" in line
    assert f"{int(test.inside.sum())} inside 90% intervals" in line
    near = ladder()[np.flatnonzero(ladder().c > 0.2 * ladder().c.max())]
    few = bootstrap(fit(PowerLaw, near, x="c"), draws=100)
    assert backtest_line(few).startswith("back-test: no back-test is possible: ")


def test_the_line_is_told_at_any_level_that_the_draws_tell() -> None:
    draws = bootstrap(fit(Chinchilla, ladder()), draws=1000)
    assert "inside 99% intervals" in backtest_line(draws, level=0.99)
