"""Everything a report rests on, each part found or its refusal kept: one failure stops nothing.

A part that the runs do not allow (no curves, an unidentified law, no minimum at any budget) is a
`Missing` with the one line that says why and what would mend it; the rest of the report stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from isoloss.errors import FitError, IsolossError
from isoloss.fitting import Envelope, Fit, IsoFlop, PowerTrend, envelope, fit, power_trend
from isoloss.fitting.cost import paid_cost
from isoloss.laws import Cost, KaplanND, Law, PowerLaw
from isoloss.planning import Plan, plan
from isoloss.runs import Runs
from isoloss.trust import (
    Approaches,
    Backtest,
    Conventions,
    Draws,
    Forecast,
    Outcome,
    approaches,
    backtest,
    bootstrap,
    conventions,
)
from isoloss.trust.budgets import target_of

T = TypeVar("T")

_FEWEST_SIZES = 3
_MOST_DRAWS = 200  # for a table of many fits


@dataclass(frozen=True)
class Missing:
    """A part of the evidence that there is not, and why."""

    reason: str


@dataclass(frozen=True)
class Reading:
    """The same runs under one way of counting, with the law fitted and the plan under it."""

    runs: Runs
    fit: Fit | Missing
    draws: Draws | Missing
    plan: Plan | Missing
    cost: Cost | None

    @property
    def model(self) -> Draws | Fit | None:
        """The best there is to draw: draws, else a fit, else nothing."""
        if isinstance(self.draws, Draws):
            return self.draws
        return self.fit if isinstance(self.fit, Fit) else None


@dataclass(frozen=True)
class Evidence:
    """What the runs say, in every part of a report.

    main: as the runs are counted. others: counted otherwise, the fit and plan under each.
    conventions: the best size under every count that the runs carry. approaches: the three ways
    to it.
    kaplan: Kaplan's L(N, D); compute: a pure power law of c through the lowest losses; both as
    Kaplan counts where the runs allow it (`kaplan_runs`).
    envelope_trends: n and d along the envelope, from the compute of the smallest run on.
    """

    form: type[Law]
    target: float
    given: bool
    main: Reading
    others: tuple[Reading, ...]
    conventions: Conventions | Missing
    backtest: Backtest | Missing
    envelope: Envelope | Missing
    envelope_trends: tuple[PowerTrend, PowerTrend] | Missing
    approaches: Approaches | Missing
    kaplan_runs: Runs
    kaplan: Draws | Missing
    compute: Draws | Missing
    outcomes: tuple[Outcome, ...]
    pending: tuple[Forecast, ...]

    @property
    def isoflop(self) -> IsoFlop | Missing:
        """The budgets of approach 2."""
        if isinstance(self.approaches, Missing):
            return self.approaches
        if not self.approaches.minima.budgets:
            return Missing("no budget of compute holds four sizes: run four or more at one compute")
        return self.approaches.minima


def gather(
    runs: Runs,
    form: type[Law],
    *,
    target_flops: float | None,
    cost: Cost | None,
    outcomes: Sequence[Outcome],
    forecasts: Sequence[Forecast],
    draws: int,
    seed: int,
) -> Evidence:
    """Find everything a report shows; every refusal is kept as a `Missing`."""
    target = target_of(runs, target_flops)
    settled = [outcome.forecast for outcome in outcomes]
    counted_kaplan = _as_kaplan(runs)
    curve = attempt(lambda: envelope(_curves(runs)))
    return Evidence(
        form=form,
        target=target,
        given=target_flops is not None,
        main=_reading(runs, form, target, cost or paid_cost(runs), draws, seed),
        others=tuple(
            _reading(other, form, target, paid_cost(other), draws, seed)
            for other in _counted_otherwise(runs)
        ),
        conventions=attempt(
            lambda: conventions(form, runs, target, draws=min(draws, _MOST_DRAWS), seed=seed)
        ),
        backtest=attempt(lambda: backtest(form, runs, seed=seed)),
        envelope=curve,
        envelope_trends=curve
        if isinstance(curve, Missing)
        else attempt(lambda: _trends(curve, float(runs.c.min()))),
        approaches=attempt(lambda: approaches(runs, target, form=form, draws=draws, seed=seed)),
        kaplan_runs=counted_kaplan,
        kaplan=attempt(lambda: _doubted(fit(KaplanND, counted_kaplan), draws, seed)),
        compute=attempt(
            lambda: _doubted(fit(PowerLaw, lowest(counted_kaplan), x="c"), draws, seed)
        ),
        outcomes=tuple(outcomes),
        pending=tuple(forecast for forecast in forecasts if forecast not in settled),
    )


def attempt(find: Callable[[], T]) -> T | Missing:
    """Return what `find` finds, or the line of its refusal."""
    try:
        return find()
    except IsolossError as error:
        return Missing(str(error))


def lowest(runs: Runs) -> Runs:
    """Keep the runs whose loss is below that of every run of no more compute."""
    order = np.lexsort((runs.loss, runs.c))
    losses = runs.loss[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(losses)[:-1]])
    return runs[np.sort(order[losses < before])]


def _reading(
    runs: Runs, form: type[Law], target: float, cost: Cost | None, draws: int, seed: int
) -> Reading:
    fitted = attempt(lambda: fit(form, runs))
    if isinstance(fitted, Missing):
        return Reading(runs, fitted, fitted, fitted, cost)
    doubted = attempt(lambda: bootstrap(fitted, draws=draws, seed=seed))
    if isinstance(doubted, Missing):
        planned = attempt(lambda: plan(fitted, flops=target, cost=cost))
    else:
        planned = attempt(lambda: plan(doubted, flops=target, cost=cost))
    return Reading(runs, fitted, doubted, planned, cost)


def _doubted(fitted: Fit, draws: int, seed: int) -> Draws:
    return bootstrap(fitted.check(), draws=draws, seed=seed)


def _counted_otherwise(runs: Runs) -> list[Runs]:
    """The same runs by the two counts that matter, where known and not in use already."""
    others = []
    exact = "exact" if "exact" in runs.costs or runs.c_convention == "exact" else None
    for convention in ("non_embedding_plus_head", "non_embedding"):
        if convention != runs.n_convention and convention in runs.counts:
            others.append(runs.counted(convention, exact))
    kaplan = _as_kaplan(runs)
    if kaplan.n_convention == "non_embedding" and runs.c_convention != "6nd":
        others.append(kaplan)
    return others


def _as_kaplan(runs: Runs) -> Runs:
    """The runs in Kaplan's count and with his 6 N D, if they are counted so; else as they are."""
    if runs.n_convention != "non_embedding" and "non_embedding" not in runs.counts:
        return runs
    counted = runs.counted("non_embedding")
    return counted.replace(c=6.0 * counted.n * counted.d, c_convention="6nd", curves=None)


def _trends(curve: Envelope, start: float) -> tuple[PowerTrend, PowerTrend]:
    """Trends of n and d where runs end; before that no schedule has brought the loss down."""
    late = curve.c >= start
    if len(np.unique(curve.n[late])) < _FEWEST_SIZES:
        raise FitError(f"the envelope passes through fewer than {_FEWEST_SIZES} sizes")
    return power_trend(curve.c[late], curve.n[late]), power_trend(curve.c[late], curve.d[late])


def _curves(runs: Runs) -> Runs:
    if runs.curves is None:
        raise FitError("the table holds one loss per run")
    return runs.curves
