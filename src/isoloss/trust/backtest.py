"""The test a forecast must pass first: fit below a cut in compute, predict every run above."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import FitError, InputError, IsolossError, Status, UnidentifiedError
from isoloss.fitting.design import Residual
from isoloss.fitting.intervals import check_draws, check_level, check_reach, fewest_draws
from isoloss.fitting.parametric import Fit, fit, refit
from isoloss.fitting.runs_inspection import Finding
from isoloss.fitting.variables import Given, variables_of
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs
from isoloss.trust.budgets import cutoffs
from isoloss.trust.draws import Draws, bootstrap
from isoloss.trust.forecast_model import Method
from isoloss.units import percent

_REACHES = (10.0, 5.0, 3.0)
_FEWEST = 8
_DRAWS = 400
_AT_ONCE = 30_000
"""Runs predicted at a time: all draws of very many at once need not fit in memory."""


class FitOptions(TypedDict, total=False):
    """How a law is fitted before it is tested: the keyword arguments of `fit`."""

    x: str | None
    residual: Residual
    delta: float | None
    fixed: Mapping[str, float] | None
    weights: ArrayLike | None
    asymmetry: float
    given: Given | None


@dataclass(frozen=True, eq=False)
class Backtest:
    """A law fitted to the runs with c <= cutoff, held against the runs with c > cutoff.

    predicted, low, high: (m,) losses of the test runs in nats: the forecast and its interval at
    `level`. error: (m,) predicted / observed - 1, as a share of the loss. method: "forecast model"
    or "plain". fit: to the runs below the cutoff, with doubts of its own. status, findings: what a
    fit to all runs is doubted for, as in `Fit`.
    """

    form: type[Law]
    cutoff: float
    level: float
    train: Runs
    test: Runs
    fit: Fit
    predicted: Array
    low: Array
    high: Array
    error: Array
    method: str
    status: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def median_error(self) -> float:
        """The median size of the error, as a share of the loss."""
        return float(np.median(np.abs(self.error)))

    @property
    def bias(self) -> float:
        """The mean error, as a share of the loss: positive if the law predicts too high a one."""
        return float(np.mean(self.error))

    @property
    def coverage(self) -> float:
        """The share of test runs inside their interval, to hold against `level`."""
        return float(np.mean(self.inside))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Whether each test run lies in its interval: (m,)."""
        inside: NDArray[np.bool_] = (self.low <= self.test.loss) & (self.test.loss <= self.high)
        return inside

    @property
    def scores(self) -> Array:
        """The interval score of each log loss: width, and 2 / (1 - level) times what lies outside.

        Source: Gneiting & Raftery 2007, Eq. 43; the lower, the better.
        """
        low, high, seen = np.log(self.low), np.log(self.high), np.log(self.test.loss)
        outside = np.maximum(low - seen, 0.0) + np.maximum(seen - high, 0.0)
        scores: Array = high - low + 2.0 / (1.0 - self.level) * outside
        return scores

    @property
    def score(self) -> float:
        """The mean interval score of the test runs."""
        return float(np.mean(self.scores))

    @property
    def decades(self) -> float:
        """How far the farthest test run lies beyond the cutoff, in factors of ten of compute."""
        return float(np.log10(self.test.c.max() / self.cutoff))

    @property
    def line(self) -> str:
        """What became of it, in one sentence without a full stop, to stand beside a forecast."""
        count = len(self.test)
        runs = "1 dearer run" if count == 1 else f"{count} dearer runs"
        return (
            f"back-test: {runs}, up to {10**self.decades:.3g} times the compute fitted, predicted "
            f"with a median error of {self.median_error:.1%}, {int(self.inside.sum())} inside "
            f"{percent(self.level)} intervals"
        )


def backtest(
    form: type[Law],
    runs: Runs,
    *,
    cutoff: float | None = None,
    level: float = 0.9,
    draws: int = _DRAWS,
    seed: int = 0,
    forecast: Method | None = None,
    **estimating: Unpack[FitOptions],
) -> Backtest:
    """Fit a law to the cheaper runs and predict the dearer ones.

    form: as in `fit`. cutoff: FLOPs; runs with c <= cutoff are fitted, the others predicted. By
    default it is the dearest budget (runs whose compute differs by 1 % or less are of one) that
    leaves the farthest test run at least 10 times beyond it, or else 5 or 3 times, with at least 8
    runs (and 3 more than the law has coefficients) that identify the law up to it.
    level: of the intervals. draws, seed: as in `bootstrap`. forecast: as in `Draws.predict`; if
    "plain", the law itself predicts. estimating: x, residual, delta, fixed, weights, asymmetry and
    given, as in `fit`.
    Raises InputError if the cutoff leaves no run on one side; UnidentifiedError if no cutoff is
    possible, or if all runs, or those below it, do not identify the law.
    """
    return backtest_fit(
        fit(form, runs, **estimating),
        cutoff=cutoff,
        level=level,
        draws=draws,
        seed=seed,
        forecast=forecast,
    )


def backtest_fit(
    found: Fit,
    *,
    cutoff: float | None = None,
    level: float = 0.9,
    draws: int = _DRAWS,
    seed: int = 0,
    forecast: Method | None = None,
) -> Backtest:
    """Back-test a fit as it was made: its residual, delta, weights, held coefficients and the rest.

    found: from `fit`. cutoff, level, draws, seed, forecast: as in `backtest`. Runs of weight zero
    are predicted like any other.
    Raises what `backtest` raises. Left out: where a critical batch turns steps into s_min it reads
    each run's own loss, the test runs' too.
    """
    check_level(level)
    check_draws(draws)
    check_reach(level, draws)
    found.check()
    test = partial(_tested, found, level=level, draws=draws, seed=seed, forecast=forecast)
    return _searched(found, test) if cutoff is None else test(cutoff)


def backtest_line(draws: Draws, *, level: float = 0.9, forecast: Method | None = None) -> str:
    """Return the sentence that belongs beside every forecast of these draws: `Backtest.line`.

    draws: of the law that forecasts; it is fitted anew below the cut. level, forecast: as in
    `Draws.predict`. Where no back-test is possible the sentence says so, and why.
    """
    try:
        count = max(_DRAWS, fewest_draws(level))
        found = backtest_fit(
            draws.fit, level=level, draws=count, seed=draws.seed, forecast=forecast
        )
        return found.line
    except IsolossError as error:
        return f"back-test: {error}"


def fewest_runs(form: type[Law]) -> int:
    """Return how many runs must lie below a cut-off for it to be tested."""
    return max(_FEWEST, len(form.scales) + len(form.exponents) + 3)


def _searched(found: Fit, test: Callable[[float], Backtest]) -> Backtest:
    """The back-test at the cut-off of the farthest reach that can be tested."""
    fewest = fewest_runs(found.form)
    reasons: list[str] = []
    for reach in _REACHES:
        allowed = cutoffs(found.runs, fewest, reach)
        if not len(allowed):
            continue
        try:
            return test(float(allowed[-1]))
        except FitError as error:
            reasons.append(str(error))
    reason = (
        f"below a tenth, a fifth or a third of the largest compute there are not {fewest} runs"
        if not reasons
        else f"below the cut, {reasons[-1]}"
    )
    raise UnidentifiedError(
        f"no back-test is possible: {reason}; add cheaper runs, or one at 10 times the compute"
    )


def _tested(
    found: Fit, cutoff: float, *, level: float, draws: int, seed: int, forecast: Method | None
) -> Backtest:
    runs = found.runs
    below: NDArray[np.bool_] = runs.c <= cutoff
    if below.all() or not below.any():
        raise InputError(
            f"the cutoff {cutoff:.3g} leaves no run on one side; compute goes from "
            f"{runs.c.min():.3g} to {runs.c.max():.3g} FLOPs"
        )
    fitted = refit(found, below)
    points = variables_of(found.form, runs, found.x, found.given)
    held_out = [column[~below] for column in points]
    resampled = bootstrap(fitted, draws=draws, seed=seed)
    parts = [
        resampled.predict(*(c[i : i + _AT_ONCE] for c in held_out), level=level, forecast=forecast)
        for i in range(0, len(held_out[0]), _AT_ONCE)
    ]
    low, predicted, high = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    method = resampled.forecast_method(forecast)
    if method == "plain":
        predicted = fitted.law(*held_out)
    test = runs[~below]
    return Backtest(
        form=found.form,
        cutoff=float(cutoff),
        level=level,
        train=fitted.runs,
        test=test,
        fit=fitted,
        predicted=predicted,
        low=low,
        high=high,
        error=predicted / test.loss - 1.0,
        method=method,
        status=found.status,
        findings=found.findings,
    )
