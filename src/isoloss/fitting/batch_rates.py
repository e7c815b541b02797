"""How the best learning rate grows with the batch, and where it stops growing.

    ln rate = ln rate_max - alpha ln(1 + b_star / batch) + error

Given b_star the rest is a line, so the misfit is known at every point of a grid over b_star and
alpha, and an interval is where the misfit, the other two at their best, stays below a threshold.
Batches that all lie below b_star, or all above it, do not tell it, and then it has no end there.
What a step gains at best has the same form with alpha = 1 (`fitting.line_search`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, Status
from isoloss.fitting.intervals import Interval, check_level
from isoloss.laws.forms import Array
from isoloss.laws.relations import BatchRate

_ALPHAS = np.linspace(0.0, 2.0, 201)
_BEYOND = math.log(1e3)  # how far outside the batches b_star is looked for
_SPACING = 0.02  # of ln b_star
_WIDE = 0.5


@dataclass(frozen=True, eq=False)
class BatchRateFit:
    """The rule of the best rate at a batch, each coefficient an interval at `level`.

    rate_max: a rate; b_star: in the unit of the batch, whose ends may be 0 and infinite; alpha: its
    ends coincide where it was given. spread: of ln rate about the rule. batch, rate: what was
    fitted, (m,). status: advice.
    """

    law: BatchRate
    rate_max: Interval
    b_star: Interval
    alpha: Interval
    spread: float
    level: float
    batch: Array
    rate: Array
    status: tuple[Status, ...]


def batch_rate_rule(
    batch: ArrayLike,
    rate: ArrayLike,
    se: ArrayLike | None = None,
    *,
    alpha: float | None = None,
    level: float = 0.9,
) -> BatchRateFit:
    """Fit rate = rate_max / (1 + b_star / batch) ** alpha to tuned rates.

    batch: (m,) in any unit. rate: (m,) the best at each. se: (m,) standard errors of ln rate; left
    out, all are taken as alike and found from the scatter; scatter beyond them widens intervals
    either way. alpha: a fixed one, such as 1 for SGD; left out, it is fitted, from 0 to 2.
    Returns BatchRateFit; intervals by the profile of the squared errors with Student's t.
    Raises InputError for columns that are not positive or of one length, and for fewer points than
    one more than there are coefficients.
    Source: McCandlish et al. 2018, Eq. 2.6 and appendix A.3; the intervals are ours.
    """
    check_level(level)
    b, y, weight = _columns(batch, rate, se)
    alphas = _ALPHAS if alpha is None else np.array([float(alpha)])
    spare = len(b) - (3 if alpha is None else 2)
    if spare < 1:
        raise InputError(
            f"{len(b)} batches do not fix the rule of the rate: "
            f"{len(b) - spare + 1} or more are needed"
        )
    start = np.arange(np.log(b.min()) - _BEYOND, np.log(b.max()) + _BEYOND, _SPACING)
    coarse, _ = _misfit(start, alphas, b, y, weight)
    at = int(np.argmin(coarse.min(axis=1)))
    logs = np.sort(np.append(start, start[at] + _SPACING * np.linspace(-1, 1, 201)))
    misfit, offset = _misfit(logs, alphas, b, y, weight)
    where, chosen = np.unravel_index(int(np.argmin(misfit)), misfit.shape)
    least = float(misfit[where, chosen])
    scale = least / spare if se is None else max(1.0, least / spare)
    reach = least + scale * student_quantile(0.5 + 0.5 * level, spare) ** 2
    inside = np.asarray(misfit <= reach)
    law = BatchRate(
        math.exp(float(offset[where, chosen])),
        math.exp(float(logs[where])),
        float(alphas[chosen]),
    )
    b_star = _span(np.exp(logs), np.asarray(inside.any(axis=1)), law.b_star)
    half = np.sqrt(np.maximum(reach - misfit, 0.0) / weight.sum())
    low = math.exp(float((offset - half)[inside].min()))  # of level rates where b_star goes to 0
    high = math.exp(float((offset + half)[inside].max())) if b_star.high < np.inf else math.inf
    alpha_ends = alphas[inside.any(axis=0)]
    found = Interval(*(np.asarray(x) for x in (alpha_ends.min(), law.alpha, alpha_ends.max())))
    status = []
    if alpha is None and law.alpha in (alphas[0], alphas[-1]):
        status.append(Status.AT_BOUND)
    if found.high - found.low > 2 * _WIDE * law.alpha:
        status.append(Status.WIDE_EXPONENT)
    return BatchRateFit(
        law=law,
        rate_max=Interval(np.asarray(low), np.asarray(law.rate_max), np.asarray(high)),
        b_star=b_star,
        alpha=found,
        spread=math.sqrt(least / weight.sum() * len(b) / spare),
        level=level,
        batch=b,
        rate=np.exp(y),
        status=tuple(status),
    )


def _columns(batch: ArrayLike, rate: ArrayLike, se: ArrayLike | None) -> tuple[Array, ...]:
    """The batches, ln rates and weights, (m,) each."""
    b, r = (np.asarray(one, dtype=np.float64) for one in (batch, rate))
    errors = np.ones_like(b) if se is None else np.asarray(se, dtype=np.float64)
    for name, column in (("batch", b), ("rate", r), ("se", errors)):
        if column.shape != (b.size,) or not np.all(np.isfinite(column) & (column > 0)):
            raise InputError(f"{name} must be {b.size} positive numbers, one for each batch")
    return b, np.log(r), 1.0 / errors**2


def _misfit(logs: Array, alphas: Array, b: Array, y: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted squares and best offset, (u, a), at every ln b_star and alpha."""
    x = np.logaddexp(0.0, logs[:, None] - np.log(b))  # ln(1 + b_star / batch), (u, m)
    share = weight / weight.sum()
    offset = (share @ y) + alphas * (x @ share)[:, None]
    away_x, away_y = x - (x @ share)[:, None], y - share @ y
    xx, xy = (away_x**2) @ weight, away_x @ (weight * away_y)
    squares = away_y @ (weight * away_y) + 2 * alphas * xy[:, None] + alphas**2 * xx[:, None]
    return np.maximum(squares, 0.0), offset


def _span(values: Array, inside: NDArray[np.bool_], mid: float) -> Interval:
    """The values inside, without an end where they reach that of the grid."""
    low = 0.0 if inside[0] else float(values[inside].min())
    high = math.inf if inside[-1] else float(values[inside].max())
    return Interval(np.asarray(low), np.asarray(mid), np.asarray(high))
