"""What the demo found, in a dozen lines a newcomer understands."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isoloss.experiments.demo.story import LEVEL, DemoResult
from isoloss.laws import published
from isoloss.planning import Estimate
from isoloss.runs import describe_machine
from isoloss.trust import Draws, Outcome
from isoloss.units import format_number


def summary(result: DemoResult) -> tuple[str, ...]:
    """The lines `isoloss demo` ends with: exponents, forecasts with outcomes, plan, report."""
    runs, machine = result.runs, describe_machine()
    level = f"{100 * LEVEL:.0f} %"
    return (
        f"{len(runs)} runs of n {_span(runs.n)} on {_span(runs.d)} tokens, "
        f"{_span(runs.c)} FLOPs; {machine['cpu']}, {machine['cores']} cores, "
        f"{result.seconds / 60:.1f} min",
        f"measured beside published, n with the head but no embeddings, {level} intervals:",
        *_exponents(result),
        _minima(result),
        f"seeds of one configuration differ by {_percent(result.seed_spread)} in loss",
        *_backtests(result),
        f"forecasts by {result.candidates[0].name}, written before the runs they are about "
        f"(sha256 {result.forecast_hash[:12]}):",
        *(_outcome(outcome) for outcome in result.outcomes),
        f"  ({_held(result)})",
        f"plan for {result.plan.flops:.2g} FLOPs: n {_estimate(result.plan.n)}, "
        f"tokens {_estimate(result.plan.d)}, loss {_loss(result.plan.loss)}",
        *_near_optimal(result),
        f"report: {result.report}",
    )


def _held(result: DemoResult) -> str:
    """What the forecasts' intervals allow for."""
    if result.outcomes[0].forecast.method == "plain":
        return "they hold a run's noise and the coefficients' doubt, not a wrong form of law"
    return "they hold a run's noise, the coefficients' doubt, and the law's drift beyond the sweep"


def _exponents(result: DemoResult) -> tuple[str, ...]:
    """Each law's exponents beside those of the paper it is from, never across."""
    hoffmann = (
        ("Hoffmann", published.HOFFMANN_2022.law),
        ("Besiroglu", published.BESIROGLU_2024.law),
    )
    kaplan = (("Kaplan", published.KAPLAN_2020.loss_nd.law),)
    asked: dict[str, tuple[tuple[Any, ...], ...]] = {
        "Chinchilla": (
            ("alpha", "size", lambda law: law.alpha, hoffmann),
            ("beta", "tokens", lambda law: law.beta, hoffmann),
            (
                "a", "best size with compute", lambda law: law.beta / (law.alpha + law.beta),
                hoffmann,
            ),
        ),
        "KaplanND": (
            ("alpha_n", "size", lambda law: law.alpha_n, kaplan),
            ("alpha_d", "tokens", lambda law: law.alpha_d, kaplan),
        ),
    }  # fmt: skip
    return tuple(
        _exponent(candidate.draws, *what)
        for candidate in result.candidates
        for what in asked[candidate.name]
    )


def _exponent(
    draws: Draws,
    name: str,
    meaning: str,
    fn: Callable[[Any], Any],
    theirs: Sequence[tuple[str, Any]],
) -> str:
    low, mid, high = draws.interval(fn, level=LEVEL)
    papers = ", ".join(f"{who} {fn(law):.2f}" for who, law in theirs)
    form = draws.fit.form.__name__
    return f"  {form} {name} ({meaning}) {mid:.2f} [{low:.2f}, {high:.2f}]; {papers}"


def _minima(result: DemoResult) -> str:
    usable = [budget for budget in result.isoflop.budgets if budget.usable]
    trend = result.isoflop.n_trend
    places = ", ".join(f"{b.c:.2g} FLOPs: n {format_number(b.n_opt)}" for b in usable)
    line = f"  IsoFLOP minima at {places or 'none of the budgets'}"
    return line if trend is None else f"{line}; best n grows as C^{trend.exponent:.2f}"


def _backtests(result: DemoResult) -> tuple[str, ...]:
    tested = [(c.name, c.backtest) for c in result.candidates if c.backtest is not None]
    if not tested:
        return ("no back-test: too few runs lie above any cut",)
    return tuple(
        f"back-test of {name} below {test.cutoff:.2g} FLOPs: {len(test.test)} runs above it missed "
        f"by {_percent(test.median_error)} (median)"
        for name, test in tested
    )


def _outcome(outcome: Outcome) -> str:
    forecast = outcome.forecast
    verdict = "hit" if outcome.hit else "MISS"
    return (
        f"  {forecast.far:4.1f}x compute, n {format_number(forecast.n)}: forecast "
        f"{forecast.mid:.3f} [{forecast.low:.3f}, {forecast.high:.3f}], measured "
        f"{outcome.loss:.3f}: {verdict}, {100 * math.expm1(-outcome.error):+.1f} %"
    )


def _near_optimal(result: DemoResult) -> tuple[str, ...]:
    span = result.plan.near_optimal
    if span is None:
        return ()
    low, high = (format_number(float(end)) for end in span)
    return (f"  any n from {low} to {high} is as good (at most 5 % more compute)",)


def _estimate(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return format_number(value.mid)
    low, mid, high = (format_number(v) for v in (value.low, value.mid, value.high))
    return f"{mid} [{low}, {high}]"


def _loss(value: Estimate) -> str:
    if value.low is None or value.high is None:
        return f"{value.mid:.3f}"
    return f"{value.mid:.3f} [{value.low:.3f}, {value.high:.3f}]"


def _span(values: np.ndarray) -> str:
    return f"{format_number(float(values.min()))} to {format_number(float(values.max()))}"


def _percent(fraction: float) -> str:
    return "an unknown amount" if math.isnan(fraction) else f"{100 * fraction:.2f} %"
