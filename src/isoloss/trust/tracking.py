"""A run held against the law it was planned by: on course, above it, or below, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting.intervals import student_quantile
from isoloss.laws.forms import Array, Law
from isoloss.runs import Run, Runs
from isoloss.trust.curves import CurveForecast, forecast_curve
from isoloss.trust.quantiles import Interval

Verdict = Literal["on course", "above", "below"]

_FURTHEST = 40.0
_HALVINGS = 100
_FEWEST_ENDS = 3


@dataclass(frozen=True, eq=False)
class FittedLaw:
    """A law with what is needed to doubt it: a fit as `isoloss fit --out` leaves it.

    law: of n and d. residuals: (m,) log predicted - log observed of its runs. sample: coefficients
    of resampled fits, (k,) each, empty if there are none. n_convention: how its n is counted.
    """

    law: Law
    residuals: Array
    n_convention: str
    loss_unit: str = "nats"
    sample: Mapping[str, Array] = field(default_factory=dict)

    def loss(self, n: float, d: float, level: float) -> Interval:
        """Return the loss of one run by the law, with what the fit left over as its noise."""
        mid = float(self.law(n, d))
        spare = max(len(self.residuals) - len(self.law.coefficients()), 1)
        variance = float(np.sum(self.residuals**2)) / spare
        if self.sample:
            drawn = type(self.law)(**self.sample)(n, d)
            variance += float(np.var(np.log(drawn)))
        half = student_quantile(0.5 + 0.5 * level, spare) * math.sqrt(variance)
        return Interval(*(np.asarray(mid * math.exp(side * half)) for side in (-1.0, 0.0, 1.0)))


@dataclass(frozen=True, eq=False)
class Course:
    """Where a run is heading, beside where its law says it should.

    verdict: "on course", "above" the law (a higher loss) or "below". n, d: of the run at its end.
    expected: the law's loss there; forecast: the run's, both with intervals at `level`.
    shift: log of the final loss over that of the last evaluation on the curve, from sisters;
    already in `forecast`; 0 where unknown. compute_factor: the compute with which the law gives the
    forecast loss, at the run's tokens per parameter, over the run's own: below 1 the run wastes
    compute; 0 or infinite where the law gives that loss nowhere. notes: what was not known.
    """

    verdict: Verdict
    n: float
    d: float
    expected: Interval
    forecast: Interval
    shift: float
    compute_factor: Interval
    level: float
    curve: CurveForecast
    notes: tuple[str, ...]


def track(
    run: Run,
    fitted: FittedLaw,
    *,
    sisters: Runs | None = None,
    level: float = 0.9,
) -> Course:
    """Say whether a run in progress will end where the law of its fit says.

    The end of its curve is forecast (`forecast_curve`) and held against the law's loss of such a
    run; it is off course where the interval of their ratio leaves 1 out.

    run: its record (`read_record`). fitted: the law. sisters: finished runs with curves, which
    sharpen the forecast and show how a final loss compares with the curve's last evaluation (it is
    taken on other text); without them that is assumed to be nothing. level: of all intervals.
    Raises InputError if the record does not count parameters as the law does, has finished in
    divergence, or the law is not one of n and d; UnidentifiedError if the run has shown too little.
    """
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
            "fit with --n set to one of these"
        )
    n = float(run.n[fitted.n_convention])
    batch = float(run.spec["batch"])
    end = max(1, round(float(run.spec["tokens"]) / batch))
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
    expected = fitted.loss(n, end * batch, level)
    if not fitted.sample:
        notes.append("the fit has no resamples, so its coefficients are taken as exact")
    forecast = _moved(low, mid, high, shift, spread, level)
    return Course(
        verdict=_verdict(expected, forecast),
        n=n,
        d=end * batch,
        expected=expected,
        forecast=forecast,
        shift=shift,
        compute_factor=_factors(fitted.law, n, end * batch, expected, forecast),
        level=level,
        curve=curve,
        notes=tuple(notes),
    )


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


def _verdict(expected: Interval, forecast: Interval) -> Verdict:
    low, _, high = _gap(expected, forecast)
    if low > 0:
        return "above"
    return "below" if high < 0 else "on course"


def _factors(law: Law, n: float, d: float, expected: Interval, forecast: Interval) -> Interval:
    """The compute factor of the forecast, and of the ends of the interval of the gap."""
    gap = _gap(expected, forecast)
    found = [compute_factor(law, n, d, float(expected.mid * np.exp(end))) for end in gap]
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
