"""How the loss falls along the context: loss at token T as a + b T^-c.

The positions of one document are one measurement repeated, and the documents are the sample: where
their losses are given one by one, doubt comes from drawing whole documents again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import diagnosis
from isoloss.fitting.batch import solve_many
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import Interval, check_draws, check_level, check_reach, log_interval
from isoloss.fitting.search import solve
from isoloss.laws.forms import Array, SaturatingPowerLaw

_FEWEST_DOCUMENTS = 10


@dataclass(frozen=True, eq=False)
class PositionFit:
    """Loss at position T: a + b / T ** c, with intervals at `level`.

    a: nats, what no context removes; b: nats; c: without unit. residuals: (m,) log predicted - log
    observed. documents: how many the doubt rests on; 0 where only means or fewer than ten documents
    were given, and then the intervals take positions as independent. status: codes whose value is
    advice.
    """

    a: Interval
    b: Interval
    c: Interval
    residuals: Array
    documents: int
    level: float
    status: tuple[Status, ...]

    def __call__(self, position: ArrayLike) -> Array:
        """Return the loss in nats at a position, counted from 1."""
        at = np.asarray(position, dtype=np.float64)
        return np.asarray(self.a.mid + self.b.mid * at ** -float(self.c.mid))


def fit_positions(
    loss: ArrayLike,
    position: ArrayLike | None = None,
    *,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> PositionFit:
    """Fit loss = a + b / position ** c by least squares of the log loss.

    loss: nats, (m,) means at each position, or (documents, m), one row a document.
    position: (m,) from 1; by default 1, 2, ..., m. level: of the intervals. draws: how many times
    ten or more documents are drawn again; seed: of those.
    Returns PositionFit. Raises InputError for other shapes, level or draws, or losses that are not
    positive; UnidentifiedError if the losses do not fix a, b and c.
    Source: Kaplan et al. 2020, appendix D.5. Left out: the first tokens of models trained with
    a short context, which this form does not describe.
    """
    check_level(level)
    check_draws(draws)
    check_reach(level, draws)
    losses = np.atleast_2d(np.asarray(loss, dtype=np.float64))
    at = np.arange(1.0, losses.shape[-1] + 1) if position is None else np.asarray(position, float)
    if not losses.size:
        raise InputError("there are no losses; give one for each position")
    if losses.ndim != 2 or at.shape != losses.shape[-1:]:
        raise InputError("losses are (m,) or (documents, m), and positions (m,) beside them")
    if not np.all(np.isfinite(at) & (at > 0)) or not np.all(np.isfinite(losses) & (losses >= 0)):
        raise InputError("positions count from 1 and losses are in nats: both positive and finite")
    mean = losses.mean(axis=0)
    if not np.all(mean > 0):
        raise InputError("a mean loss of zero at a position leaves no logarithm; leave it out")
    design = Design.over(SaturatingPowerLaw, [at], mean, "log", {})
    solution = solve(design, np.ones(len(at)), None)
    verdict = diagnosis.diagnose(design, solution)
    if verdict.refusal:
        raise UnidentifiedError(f"loss by position: {verdict.refusal}")
    centre = solution.coordinates
    residuals, jacobian = design.evaluate(centre, design.log_loss[None])
    documents = len(losses) if len(losses) >= _FEWEST_DOCUMENTS else 0
    if documents:
        intervals = _drawn(design, centre, losses, draws, seed, level)
    else:
        intervals = _linear(design, centre, residuals[0], jacobian[0], level)
    return PositionFit(*intervals, residuals[0], documents, level, verdict.status)


def _drawn(
    design: Design, centre: Array, losses: Array, draws: int, seed: int, level: float
) -> tuple[Interval, Interval, Interval]:
    """Intervals from whole documents drawn again."""
    count = len(losses)

    def resample(number: int, size: int) -> tuple[Array, Array]:
        random = np.random.default_rng([seed, number])
        times = random.multinomial(count, np.full(count, 1 / count), size=size)
        means = np.maximum(times @ losses / count, 1e-12)
        return np.log(means), np.ones((1, losses.shape[1]))

    solved = solve_many(design, centre, resample, draws, None)
    law, found = design.law(solved.coordinates), design.law(centre)
    ends = np.array([0.5 - 0.5 * level, 0.5 + 0.5 * level])
    intervals = []
    for name in ("E", "A", "alpha"):
        low, high = np.quantile(np.asarray(getattr(law, name)), ends)
        mid = np.asarray(getattr(found, name))[0]
        intervals.append(Interval(np.asarray(low), np.asarray(mid), np.asarray(high)))
    return intervals[0], intervals[1], intervals[2]


def _linear(
    design: Design, centre: Array, residuals: Array, jacobian: Array, level: float
) -> tuple[Interval, Interval, Interval]:
    """Intervals from the slopes at the optimum, in the logarithm of each coefficient."""
    spare = max(len(residuals) - len(jacobian), 1)
    noise = float(residuals @ residuals) / spare
    covariance = noise * np.linalg.pinv(jacobian @ jacobian.T, hermitian=True)
    step = 1e-5 * np.maximum(np.abs(centre[0]), 1e-5)
    up, down = design.law(centre + np.diag(step)), design.law(centre - np.diag(step))
    found = design.law(centre)
    intervals = []
    for name in ("E", "A", "alpha"):
        mid = float(np.asarray(getattr(found, name))[0])
        slope = (np.asarray(getattr(up, name)) - np.asarray(getattr(down, name))) / (2 * step)
        se = float(np.sqrt(slope @ covariance @ slope)) / max(mid, np.finfo(float).tiny)
        intervals.append(log_interval(mid, se, spare, level))
    return intervals[0], intervals[1], intervals[2]
