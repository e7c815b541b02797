"""Back-tests at rolling cuts in compute: how error grows with reach, and which law to trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Unpack

import numpy as np

from isoloss.errors import FitError, InputError, Status, UnidentifiedError
from isoloss.fitting.parametric import Fit, fit
from isoloss.fitting.runs_inspection import Finding
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs
from isoloss.trust.backtest import Backtest, FitOptions, backtest_fit, fewest_runs
from isoloss.trust.budgets import cutoffs
from isoloss.trust.forecast_model import Method

_LEAST_REACH = 3.0


@dataclass(frozen=True)
class Reach:
    """What forecasts did whose run cost low to high times the cut-off, as factors of compute.

    runs: forecasts counted, a run once for every cut below it. median_error, bias: as shares of
    the loss. coverage: the share inside its interval. score: mean interval score of log loss.
    """

    low: float
    high: float
    runs: int
    median_error: float
    bias: float
    coverage: float
    score: float


@dataclass(frozen=True, eq=False)
class RollingBacktest:
    """Back-tests of one form at rising cut-offs; left_out says why a cut could not be tested.

    status, findings: what a fit to all runs is doubted for, as in `Fit`.
    """

    form: type[Law]
    tests: tuple[Backtest, ...]
    left_out: tuple[str, ...]
    status: tuple[Status, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def score(self) -> float:
        """The mean over the cuts of their mean interval score of log loss; lower is better."""
        return float(np.mean([test.score for test in self.tests]))

    def by_reach(self) -> tuple[Reach, ...]:
        """Return error, bias, coverage and score for each decade of compute beyond the cut."""
        decade = np.concatenate([np.log10(test.test.c / test.cutoff) for test in self.tests])
        error = np.concatenate([test.error for test in self.tests])
        inside = np.concatenate([test.inside for test in self.tests])
        scores = np.concatenate([test.scores for test in self.tests])
        found = []
        for number in range(int(np.ceil(decade.max()))):
            rows = (decade > number) & (decade <= number + 1)
            if rows.any():
                found.append(
                    Reach(
                        low=10.0**number,
                        high=10.0 ** (number + 1),
                        runs=int(rows.sum()),
                        median_error=float(np.median(np.abs(error[rows]))),
                        bias=float(np.mean(error[rows])),
                        coverage=float(np.mean(inside[rows])),
                        score=float(np.mean(scores[rows])),
                    )
                )
        return tuple(found)


@dataclass(frozen=True, eq=False)
class Choice:
    """The form of the least back-test score, and the back-tests, the best first.

    left_out: forms that the runs do not fix, each with the reason.
    """

    form: type[Law]
    tests: tuple[RollingBacktest, ...]
    left_out: tuple[tuple[type[Law], str], ...]


def rolling_backtest(
    form: type[Law],
    runs: Runs,
    *,
    cuts: int = 4,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
    forecast: Method | None = None,
    **estimating: Unpack[FitOptions],
) -> RollingBacktest:
    """Back-test a law at several cut-offs in compute.

    form, level, draws, seed, forecast, estimating: as in `backtest`. cuts: how many cut-offs,
    spread over the budgets between the first that leaves enough runs below it (8, and 3 more than
    the law has coefficients) and the last that leaves the dearest run three times beyond it.
    Raises UnidentifiedError if all runs do not identify the law, or no cut can be tested.
    """
    found = fit(form, runs, **estimating).check()
    test = partial(backtest_fit, level=level, draws=draws, seed=seed, forecast=forecast)
    return _at(_spread(runs, fewest_runs(form), cuts), found, test)


def _at(places: Array, found: Fit, test: Callable[..., Backtest]) -> RollingBacktest:
    """The back-tests of a fit at given cut-offs."""
    tests, left_out = [], []
    for cutoff in places:
        try:
            tests.append(test(found, cutoff=float(cutoff)))
        except FitError as error:
            left_out.append(f"below {cutoff:.3g} FLOPs, {error}")
    if not tests:
        reason = left_out[-1] if left_out else "too few runs below a third of the largest compute"
        raise UnidentifiedError(
            f"{found.form.__name__} cannot be back-tested: {reason}; add cheaper runs, or a dearer "
            "one"
        )
    return RollingBacktest(found.form, tuple(tests), tuple(left_out), found.status, found.findings)


def choose(
    forms: Sequence[type[Law]],
    runs: Runs,
    *,
    cuts: int = 4,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
    forecast: Method | None = None,
    **estimating: Unpack[FitOptions],
) -> Choice:
    """Choose between laws by how well each predicts dearer runs from cheaper ones.

    forms: of the same variables, the plainer first, which is kept where scores tie. The others:
    as in `rolling_backtest`, alike for every form. All are cut where the form of the most
    coefficients can be, and scores are compared at the cut-offs that every form came through.
    Returns Choice. Raises InputError without forms; UnidentifiedError if the runs fix none of the
    forms, or allow no back-test at a cut that all share.
    Source: the interval score of Gneiting & Raftery 2007.
    """
    if isinstance(forms, type) or not forms:
        raise InputError("choose needs one form or more in a list, such as (Chinchilla, KaplanND)")
    places = _spread(runs, max(fewest_runs(form) for form in forms), cuts)
    tester = partial(backtest_fit, level=level, draws=draws, seed=seed, forecast=forecast)
    tested: list[RollingBacktest] = []
    left_out: list[tuple[type[Law], str]] = []
    for form in forms:
        try:
            tested.append(_at(places, fit(form, runs, **estimating).check(), tester))
        except FitError as error:
            left_out.append((form, str(error)))
    if not tested:
        raise UnidentifiedError("; ".join(reason for _, reason in left_out))
    shared = set.intersection(*({test.cutoff for test in one.tests} for one in tested))
    if not shared:
        raise UnidentifiedError(
            "no cut-off in compute can be tested for every form: add runs, or choose among fewer"
        )
    alike = [
        replace(one, tests=tuple(test for test in one.tests if test.cutoff in shared))
        for one in tested
    ]
    ranked = tuple(sorted(alike, key=lambda one: one.score))
    return Choice(ranked[0].form, ranked, tuple(left_out))


def _spread(runs: Runs, fewest: int, cuts: int) -> Array:
    """Computes to cut at, rising, at most `cuts`, with at least `fewest` runs below each."""
    if cuts < 1:
        raise InputError(f"cuts is {cuts}; one or more")
    possible = cutoffs(runs, fewest, _LEAST_REACH)
    if len(possible) <= cuts:
        return possible
    wanted = np.geomspace(possible[0], possible[-1], cuts)
    nearest = np.abs(np.log(possible) - np.log(wanted)[:, None]).argmin(axis=1)
    return np.asarray(possible[np.unique(nearest)], dtype=np.float64)
