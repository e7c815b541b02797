"""How a run in progress will go on: its loss at every later step, from its curve and its sisters'.

Two forms compete, each with several exponents: Kaplan's power law in steps and the annealing law of
Tissue et al. 2024, which knows the schedule. Which counts is decided by hold-out: the last part of
what the run has shown, predicted from the part before, and the ends of its sisters, predicted from
as much of them as the run has shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting.intervals import check_level
from isoloss.laws.forms import Array
from isoloss.runs import Run, Runs, Schedule
from isoloss.trust.curve_data import Curve, Planned, gather
from isoloss.trust.curve_model import (
    HoldOut,
    Panel,
    Population,
    build_panel,
    continued,
    learn,
    run_held_out,
    sisters_held_out,
    surprise,
)
from isoloss.trust.curve_points import scatter

_MOST_STEPS = 20_000_000  # the rate of every step is held in memory
_EXPONENTS = (0.4, 0.6, 0.8, 1.0)
_MEMORIES = (0.999, 0.99, None)
"""The memories of the annealing law (Tissue et al. 2024 use both), and None: Kaplan's form."""
_FEWEST_ALONE = 3
_TAILS = 4.0
"""Degrees of freedom of the hold-out score and of a band that no sister has tested."""
_FEWEST_TESTS = 3.0
"""How much nearness, in all, makes the sisters' errors a measure of the band."""
_WORTH = 20.0
"""How many independent points a hold-out, of the run or of its sisters, is worth."""
_ONE_SIGMA = 0.68
_LEAST_WEIGHT = 1e-3
_CHUNK = 20_000


@dataclass(frozen=True, eq=False)
class CurveForecast:
    """The loss of a run at the steps it has not reached yet.

    run: its name. seen: the last step evaluated. steps, low, mid, high: (k,) every later step, and
    the loss there with the interval at `level`, in the unit of the runs' loss. form: "annealing" or
    "kaplan", the one with more weight; weights: of the two by hold-out, in all 1. alpha: the
    exponent with most weight. sisters: how many runs it learnt from; tested: how many of them
    tested the width of the band, which is `reach` standard deviations to each side. noise: of one
    evaluation's log loss, which the band holds too; 0 where a sparse curve does not show it apart.
    """

    run: str
    seen: int
    steps: Array
    low: Array
    mid: Array
    high: Array
    level: float
    form: str
    weights: dict[str, float]
    alpha: float
    sisters: int
    tested: int
    reach: float
    noise: float = 0.0

    def at(self, step: float) -> tuple[float, float, float]:
        """Return (low, mid, high) at one of the steps.

        Raises InputError if the forecast does not hold that step.
        """
        place = int(np.searchsorted(self.steps, step))
        if place == len(self.steps) or self.steps[place] != step:
            raise InputError(
                f"the forecast goes from step {self.steps[0]:.0f} to {self.steps[-1]:.0f}, "
                f"and does not hold step {step:g}"
            )
        return float(self.low[place]), float(self.mid[place]), float(self.high[place])


@dataclass(frozen=True, eq=False)
class _Candidate:
    """One form with one exponent, its score in the hold-out, and the sisters' errors."""

    panel: Panel
    population: Population
    score: float
    tests: HoldOut


def forecast_curve(
    runs: Runs | None,
    run: str | Run,
    to_step: int,
    *,
    schedule: Schedule | None = None,
    warmup: int | None = None,
    steps: int | None = None,
    level: float = 0.9,
) -> CurveForecast:
    """Forecast the loss of a run in progress at every later step, up to `to_step`.

    With x the clock over its last seen value, and y the loss likewise,
    y(s) = b_0 + b_1 (x ** -alpha - 1) - b_2 z + misfit(s), where either x is the number of steps
    and z = 0 (Kaplan), or x is the learning rate spent over its peak and z the share of the peak
    lost, as far as the run has felt it (annealing). The coefficients b of all runs are drawn from
    one population, which sisters teach (`docs/methods/curves`); the run's own points do the rest.

    runs: with `curves`, or itself a table of several evaluations per run; all runs in it but this
    one are sisters and should be finished. None if there are none. run: the name of a run among
    the curves, all of whose evaluations count as seen, or a record (`read_record`), finished or
    not. to_step: the last step wanted. level: of the band, for each step by itself.
    schedule, warmup, steps: for curves that were not read from records: the shape of their
    schedules, its warm-up in steps, and how many steps this run is planned for (`to_step` if left
    out; a sister's last evaluation is taken for its end). Without a schedule the annealing law does
    not compete, and what the end of a schedule will gain is not foreseen.
    Returns a CurveForecast; the band holds noise, the coefficients' uncertainty and the misfit of
    the form as the sisters show it, and without ten sisters to test it Student's t instead.
    Raises InputError for a wrong call; UnidentifiedError if the run has no evaluation after its
    warm-up, or fewer than three and no sisters.

    Source: Kaplan et al. 2020, Eq. 1.6; Tissue et al. 2024 (annealing); Laird & Ware 1982 (random
    effects). Left out: Kaplan's S_min (steps are taken as they are), restarts of the schedule.
    """
    check_level(level)
    # A comparison first: NaN and infinity are no numbers to round.
    if not 1 <= to_step <= _MOST_STEPS or to_step != int(to_step):
        raise InputError(
            f"to_step is a whole number of steps from 1 to {_MOST_STEPS:,}, not {to_step!r}"
        )
    own, sisters = gather(runs, run, int(to_step), Planned(schedule, warmup, steps))
    if not sisters and own.step.size < _FEWEST_ALONE:
        raise UnidentifiedError(
            f"run {own.name!r} has {own.step.size} evaluations after its warm-up and no sisters; "
            f"wait for {_FEWEST_ALONE}, or give curves of other runs"
        )
    candidates = list(_candidates(own, sisters, int(to_step)))
    scores = np.array([one.score for one in candidates])
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    best = candidates[int(np.argmax(weights))]
    reach = float(weights @ [_reach(one.tests, level) for one in candidates])
    later = np.arange(int(own.step[-1]) + 1, int(to_step) + 1, dtype=np.float64)
    mid, sd = _mixed(own, candidates, weights, later)
    noise = scatter(own)
    half = np.hypot(reach * sd, NormalDist().inv_cdf(0.5 + 0.5 * level) * noise * mid)
    by_form = {
        name: float(weights[[c.panel.annealing == flag for c in candidates]].sum())
        for name, flag in (("annealing", True), ("kaplan", False))
    }
    return CurveForecast(
        run=own.name,
        seen=int(own.step[-1]),
        steps=later,
        # A loss is positive, however wide the band of a run that has hardly begun.
        low=np.maximum(mid - half, 0.0),
        mid=mid,
        high=mid + half,
        level=level,
        form=max(by_form, key=lambda name: by_form[name]),
        weights=by_form,
        alpha=best.population.alpha,
        sisters=len(best.panel.names),
        tested=len(best.tests.errors) if _tested(best.tests) else 0,
        reach=reach,
        noise=noise,
    )


def _candidates(own: Curve, sisters: tuple[Curve, ...], to_step: int) -> Iterator[_Candidate]:
    scheduled = tuple(curve for curve in sisters if curve.planned is not None)
    for memory in _MEMORIES:
        if memory is not None and own.planned is None:
            continue
        panel = build_panel(own, sisters if memory is None else scheduled, to_step, memory)
        for alpha in _EXPONENTS:
            population = learn(panel, alpha)
            tests = sisters_held_out(panel, population)
            score = _score(panel, population, tests)
            yield _Candidate(panel, population, score, tests)


def _score(panel: Panel, population: Population, tests: HoldOut) -> float:
    """Mean log density of what was hidden, of sisters and of the run itself, each worth as much,
    but less where there is little of it. The densities are as wide as the sisters' errors say."""
    width = _size(tests, _ONE_SIGMA) if _tested(tests) else 1.0
    score = 0.0
    own = run_held_out(panel, population, alone=not panel.names)
    for held in (tests, own):
        if held.errors.size:
            density = _log_density(held.errors / width) - np.log(held.spreads * width)
            worth = _WORTH * min(1.0, float(held.near.sum()) / _FEWEST_TESTS)
            score += worth * float(np.average(density, weights=held.near))
    return score


def _tested(tests: HoldOut) -> bool:
    return float(tests.near.sum()) >= _FEWEST_TESTS


def _size(tests: HoldOut, level: float, extra: float = 0.0) -> float:
    """The size that a share `level` of the errors stays below, by nearness; infinite if none does.

    extra: the nearness of one more error of any size.
    """
    order = np.argsort(np.abs(tests.errors))
    total = np.cumsum(tests.near[order])
    place = int(np.searchsorted(total, level * (total[-1] + extra)))
    return float(np.abs(tests.errors[order[place]])) if place < order.size else math.inf


def _log_density(z: Array) -> Array:
    return np.asarray(-0.5 * (_TAILS + 1.0) * np.log1p(z**2 / _TAILS))


def _mixed(
    own: Curve, candidates: list[_Candidate], weights: Array, steps: Array
) -> tuple[Array, Array]:
    """Mean and standard deviation of the weighted candidates at each step, (k,) each."""
    mean, square = np.zeros(steps.size), np.zeros(steps.size)
    counted = [
        (one, weight)
        for one, weight in zip(candidates, weights, strict=True)
        if weight >= _LEAST_WEIGHT
    ]
    total = sum(weight for _, weight in counted)
    for one, weight in counted:
        # A run unlike its sisters is foreseen worse than they were.
        wider = max(1.0, surprise(one.panel, one.population))
        for first in range(0, steps.size, _CHUNK):
            at = slice(first, first + _CHUNK)
            value, sd = continued(one.panel, one.population, own, steps[at])
            mean[at] += weight / total * value
            square[at] += weight / total * ((wider * sd) ** 2 + value**2)
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def _reach(tests: HoldOut, level: float) -> float:
    """How many standard deviations the band goes to each side.

    With enough sisters near enough it is the quantile of their errors that a new run, as near as
    can be, exceeds with probability 1 - level (Tibshirani et al. 2019); else Student's t.
    """
    student = student_quantile(0.5 + 0.5 * level, _TAILS)
    if not _tested(tests):
        return student
    size = _size(tests, level, extra=1.0)
    return size if math.isfinite(size) else max(student, _size(tests, level))
