"""How far the best size may be off because the law is not quite right, beside the runs' noise.

A plain fit weighs the runs' errors into ln n* as w' (noise + misfit), w = J' (J J')^-1 g, with J
the slopes of log loss in the coefficients at the runs and g those of ln n*. The noise is known from
the residuals; the misfit is what the law gets wrong between the runs and the target: a Brownian
path in log compute and one in log tokens per parameter, pinned at the target's optimum, so that
runs far away share an error that no number of them averages out.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from isoloss.errors import InputError
from isoloss.laws import allocate
from isoloss.laws.allocation import per_token
from isoloss.laws.forms import Array
from isoloss.planning.estimate import Estimate

if TYPE_CHECKING:
    from isoloss.fitting import Fit
    from isoloss.laws import Cost
    from isoloss.trust import Draws

DRIFT = 0.002
"""How far, in log loss, the law goes astray over one e-fold, as far as the best size is concerned;
less than a forecast allows for, since errors that runs share hardly move where the optimum lies."""

_RIDGE = 1e-10


def best_size(
    draws: Draws,
    flops: float,
    *,
    level: float = 0.9,
    drift: float = DRIFT,
    cost: Cost | None = None,
) -> Estimate:
    """Return the interval of the best size for a budget, the law's misfit allowed for.

    The quantiles of the draws' own optima, spread about their median in ln n by the square root of
    w' (sigma^2 I + K) w / w' sigma^2 w, where K is the covariance of the misfit.
    draws: of a law of (n, d). flops: the budget. level: of the interval. drift: how far the law
    goes astray over one e-fold, in log loss; 0 for the draws alone. cost: n -> FLOPs per token, 6 n
    by default; the slope of the best size is that at 6 n.
    Returns Estimate in parameters: low, median and high. Raises InputError for a bad drift.
    Source: the misfit is that of the forecast model; its size is chosen and its coverage measured
    in `benchmarks/next_runs`. Left out: the robust weights of the fit.
    """
    if not (math.isfinite(drift) and drift >= 0):
        raise InputError(f"drift is {drift:g}; give a fraction of the loss, such as 0.002, or 0")
    sizes = np.asarray(allocate(draws, flops, cost=cost).n)
    low, mid, high = (float(x) for x in draws.interval(lambda _: sizes, level=level))
    by = widening(draws, flops, drift, cost=cost)
    return Estimate(mid * (low / mid) ** by, mid, mid * (high / mid) ** by)


def widening(
    draws: Draws, flops: float, drift: float = DRIFT, *, cost: Cost | None = None
) -> float:
    """Return by how much the misfit widens the interval of ln n* that noise alone would give.

    1 where the law has no optimum to weigh, or the runs leave no noise. Arguments as `best_size`.
    """
    from isoloss.fitting.inspection import slope_of_best

    fit = draws.fit
    noise = float(np.mean(draws.noise**2))
    decision = slope_of_best(fit.design, fit.coordinates, flops)
    if drift == 0 or decision is None or not noise > 0:
        return 1.0
    used = fit.weights > 0
    n, d = np.asarray(fit.runs.n)[used], np.asarray(fit.runs.d)[used]
    slopes, unit = run_slopes(fit, n, d)
    weights = error_weights(slopes, decision / unit)
    wrong = float(weights @ misfit(fit, n, d, flops, drift, cost=cost) @ weights)
    return math.sqrt(1.0 + wrong / (noise * float(weights @ weights)))


def run_slopes(fit: Fit, n: Array, d: Array) -> tuple[Array, Array]:
    """Return the slopes of log loss in each coordinate at runs (m,), scaled, and the scale.

    Slopes (q, m) have unit length in each coordinate; scale (q,) is what they were divided by.
    """
    there = replace(
        fit.design, logs=(np.log(n), np.log(d)), log_loss=np.log(fit.law(n, d)), residual="log"
    )
    slopes = there.evaluate(fit.coordinates[None], there.log_loss[None])[1][0]
    unit = np.maximum(np.sqrt((slopes**2).sum(axis=1)), np.finfo(float).tiny)
    return slopes / unit[:, None], unit


def error_weights(slopes: Array, decision: Array) -> Array:
    """Return how the runs' errors weigh into the decision: w = J' (J J')^-1 g, (m,)."""
    return np.asarray(decision @ inverse(slopes @ slopes.T) @ slopes)


def inverse(moment: Array) -> Array:
    """Invert (..., q, q) sums of products of scaled slopes, though runs hardly tell some apart."""
    return np.asarray(np.linalg.inv(moment + _RIDGE * np.eye(moment.shape[-1])))


def misfit(
    fit: Fit, n: Array, d: Array, flops: float, drift: float, *, cost: Cost | None = None
) -> Array:
    """Return the covariance (m, m) of what the law gets wrong at runs, as seen from the budget.

    n, d: of the runs, (m,). flops: the budget. drift: in log loss over one e-fold. cost: n ->
    FLOPs per token, 6 n by default.
    """
    best = allocate(fit, flops, cost=cost)
    along = np.log(per_token(n, cost) * d / flops)
    across = np.log(d / n) - math.log(float(best.d) / float(best.n))
    return drift**2 * (_path(along) + _path(across))


def _path(away: Array) -> Array:
    """The covariance of a Brownian path pinned at zero, between places so far away, (m, m)."""
    one, other = away[:, None], away[None, :]
    return np.where(one * other > 0, np.minimum(np.abs(one), np.abs(other)), 0.0)
