"""A run held against the law it was planned by: on course, above it, or below, and by how much.

Where the interval of its compute factor holds 1 but also a factor of four, the answer is that it
cannot be told: a run may then waste three quarters of its compute, and no one should be reassured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting.parametric import Fit
from isoloss.laws.forms import Law
from isoloss.runs import Run, Runs
from isoloss.trust.curve_data import spec_of
from isoloss.trust.curves import CurveForecast, forecast_curve
from isoloss.trust.draws import Draws
from isoloss.trust.fit_file import FittedLaw
from isoloss.trust.quantiles import Interval

Verdict = Literal["on course", "above", "below", "cannot tell"]

WITHIN = 4.0
"""A run is on course if the interval of its compute factor holds 1 and stays within this of it."""

_FURTHEST = 40.0
_HALVINGS = 100
_FEWEST_ENDS = 3


@dataclass(frozen=True, eq=False)
class Course:
    """Where a run is heading, beside where its law says it should.

    verdict: "above" the law (a higher loss) or "below" where the interval of the gap leaves none
    out; else "on course" if `compute_factor` stays within a factor of four of 1, and "cannot tell"
    if it does not. n, d: of the run at its end.
    expected: the law's loss there; forecast: the run's, both with intervals at `level`.
    method: "forecast model" where the expected interval holds the misfit of the law beyond its
    runs, as `Draws.predict` has it by default, or "plain".
    shift: log of the final loss over that of the last evaluation on the curve, from sisters;
    already in `forecast`; 0 where unknown. compute_factor: the compute with which the law lies from
    its loss here as far as the forecast from the expected, at the run's tokens per parameter, over
    the run's own: below 1 the run wastes compute; 0 or infinite where the law gives that loss
    nowhere. notes: what was not known.
    """

    verdict: Verdict
    n: float
    d: float
    expected: Interval
    forecast: Interval
    method: str
    shift: float
    compute_factor: Interval
    level: float
    curve: CurveForecast
    notes: tuple[str, ...]


def track(
    run: Run,
    fitted: FittedLaw | Draws | Fit,
    *,
    sisters: Runs | None = None,
    level: float = 0.9,
) -> Course:
    """Say whether a run in progress will end where the law of its fit says.

    The end of its curve is forecast (`forecast_curve`) and held against the law's loss of such a
    run. It is off course where the interval of their ratio leaves 1 out, and on course only where
    that interval is worth less than a factor of four in compute to either side: a wider one cannot
    tell.

    run: its record (`read_record`). fitted: the law, from `fit`, `bootstrap` or `read_fit`; it
    forecasts a new run as `Draws.predict` does, plainly where a file holds no runs. sisters:
    finished runs with curves, which sharpen the forecast and show how a final loss compares with
    the curve's last evaluation (it is taken on other text); without them that is assumed to be
    nothing. level: of all intervals.
    Raises InputError if the record does not count parameters as the law does, has finished in
    divergence, or the law is not one of n and d; UnidentifiedError if the run has shown too little.
    """
    if not isinstance(run, Run):
        raise InputError(f"track takes the record of a run, such as read_record(path), not {run!r}")
    if isinstance(fitted, Fit | Draws):
        fitted = FittedLaw.of(fitted)
    if type(fitted.law).variables != ("n", "d"):
        raise InputError(f"track needs a law of (n, d), not {type(fitted.law).__name__}")
    if run.diverged:
        raise InputError(f"run {run.run_id} diverged; there is no course to be on")
    if fitted.loss_unit != "nats":
        raise InputError(f"the law gives {fitted.loss_unit}, a record nats; fit losses in nats")
    if fitted.n_convention not in run.n:
        known = ", ".join(run.n) or "nothing: its first line is torn"
        raise InputError(
            f"the law counts parameters as {fitted.n_convention!r}, the record as {known}; "
            "say how the runs of the fit were counted (--n-convention, or --n to choose a column)"
        )
    n = float(run.n[fitted.n_convention])
    spec = spec_of(run)
    end, d = spec.steps, float(spec.tokens_seen)
    notes = []
    if run.points and run.points[-1].step >= end:
        raise InputError(f"run {run.run_id} is at its last step; compare its loss with the law's")
    shift, spread = (0.0, 0.0) if sisters is None else _shift(sisters)
    if sisters is None or math.isnan(shift):
        shift, spread = 0.0, 0.0
        notes.append(
            "the curve's evaluations are taken for losses on the final held-out text; "
            "give finished sisters with both"
        )
    curve = forecast_curve(sisters, run, end, level=level)
    low, mid, high = curve.at(end)
    expected = fitted.loss(n, d, level)
    if fitted.method == "plain":
        notes += _plainly(fitted)
    forecast = _moved(low, mid, high, shift, spread, level)
    factors = _factors(fitted.law, n, d, expected, forecast)
    return Course(
        verdict=_verdict(expected, forecast, factors),
        n=n,
        d=d,
        expected=expected,
        forecast=forecast,
        method=fitted.method,
        shift=shift,
        compute_factor=factors,
        level=level,
        curve=curve,
        notes=tuple(notes),
    )


def _plainly(fitted: FittedLaw) -> list[str]:
    """What a plain interval of the law does not hold, and what would mend it."""
    left_out = "what is expected leaves out the law's misfit beyond its runs"
    why = f"the forecast model does not cover {type(fitted.law).__name__}"
    if fitted.fit is None:
        why = "the file of the fit holds no runs (write it again with isoloss fit --out)"
    notes = [f"{why}, so {left_out}"]
    if not fitted.sample:
        notes.append("the fit has no resamples, so its coefficients are taken as exact")
    return notes


def _shift(sisters: Runs) -> tuple[float, float]:
    """Mean and standard deviation of log final loss - log last evaluation; NaN if unknown."""
    if sisters.curves is None:
        return math.nan, math.nan
    found = []
    for name, d, loss in zip(sisters.run, sisters.d, sisters.loss, strict=True):
        last = (sisters.curves.run == name) & (sisters.curves.d >= 0.999 * d)
        if last.any():
            found.append(math.log(loss) - math.log(float(sisters.curves.loss[last][-1])))
    if len(found) < _FEWEST_ENDS:
        return math.nan, math.nan
    return float(np.mean(found)), float(np.std(found, ddof=1) * math.sqrt(1 + 1 / len(found)))


def _moved(
    low: float, mid: float, high: float, shift: float, spread: float, level: float
) -> Interval:
    """The curve's end moved to the final text, the uncertainty of the move added in squares."""
    extra = student_quantile(0.5 + 0.5 * level, 30) * spread
    down = math.hypot(math.log(mid) - math.log(max(low, 1e-3 * mid)), extra)
    up = math.hypot(math.log(high) - math.log(mid), extra)
    middle = mid * math.exp(shift)
    ends = (middle * math.exp(-down), middle, middle * math.exp(up))
    return Interval(*(np.asarray(end) for end in ends))


def _gap(expected: Interval, forecast: Interval) -> Interval:
    """The interval of log forecast - log expected; independent errors add in squares."""
    first, second = (np.log(np.asarray(part, dtype=np.float64)) for part in (expected, forecast))
    mid = second[1] - first[1]
    low = mid - math.hypot(second[1] - second[0], first[2] - first[1])
    high = mid + math.hypot(second[2] - second[1], first[1] - first[0])
    return Interval(np.asarray(low), np.asarray(mid), np.asarray(high))


def _verdict(expected: Interval, forecast: Interval, factors: Interval) -> Verdict:
    low, _, high = _gap(expected, forecast)
    if low > 0:
        return "above"
    if high < 0:
        return "below"
    near = float(factors.low) >= 1 / WITHIN and float(factors.high) <= WITHIN
    return "on course" if near else "cannot tell"


def _factors(law: Law, n: float, d: float, expected: Interval, forecast: Interval) -> Interval:
    """The compute factor of the forecast, and of the ends of the interval of the gap."""
    gap = _gap(expected, forecast)
    here = float(law(n, d))
    found = [compute_factor(law, n, d, here * float(np.exp(end))) for end in gap]
    return Interval(*(np.asarray(factor) for factor in reversed(found)))._replace(
        mid=np.asarray(found[1])
    )


def compute_factor(law: Law, n: float, d: float, loss: float) -> float:
    """Return k such that law(n sqrt(k), d sqrt(k)) = loss: compute-equivalents at fixed d / n.

    law: falls in n and in d. n: parameters, d: tokens, loss: in the law's unit. The root is found
    by bisection of ln k, which assumes nothing of the form. Returns infinity for a loss below all
    that the law gives, 0 for one above.
    Raises UnidentifiedError if the law does not depend on n and d there.
    """

    def at(log_k: float) -> float:
        half = math.exp(0.5 * log_k)
        return float(law(n * half, d * half))

    low, high = -_FURTHEST, _FURTHEST
    if at(low) <= at(high):
        raise UnidentifiedError("the law does not fall with n and d, so no compute matches a loss")
    if loss <= at(high):
        return math.inf
    if loss >= at(low):
        return 0.0
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        if at(middle) > loss:
            low = middle
        else:
            high = middle
    return math.exp(0.5 * (low + high))
