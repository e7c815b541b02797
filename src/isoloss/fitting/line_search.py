"""The step that lowers the loss most at each batch, and the batch where steps stop growing.

    eps_opt(B) = eps_max / (1 + B_noise / B),     gain(B) = gain_max / (1 + B_noise / B)

From measured changes of the loss along gradients of several batches: their mean over repeats is
followed to its lowest point, and both curves are fitted by `batch_rate_rule` with alpha = 1. Where
the loss is a parabola within the step and the theory holds, both give the same B_noise as products
with the Hessian do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import FitError, InputError
from isoloss.fitting.batch_rates import BatchRateFit, batch_rate_rule
from isoloss.fitting.intervals import Interval, log_interval
from isoloss.laws.forms import Array

_FEWEST_REPEATS = 4


@dataclass(frozen=True, eq=False)
class LineSearchFit:
    """The best step and its gain at each batch, and the law through either.

    batch: (m,) those whose best step lies inside the rates tried. eps_opt: rates, gain: the fall of
    the loss, each an interval (m,). of_eps, of_gain: their `b_star` is a B_noise each, in the unit
    of the batch. left_out: batches whose best step was not found.
    """

    batch: Array
    eps_opt: Interval
    gain: Interval
    of_eps: BatchRateFit
    of_gain: BatchRateFit
    left_out: tuple[float, ...]


def fit_line_search(
    batch: ArrayLike, eps: Sequence[ArrayLike], change: Sequence[ArrayLike], *, level: float = 0.9
) -> LineSearchFit:
    """Find eps_opt and the gain at each batch, and fit how they grow with it.

    batch: (m,). eps: m times (k,) rates, rising. change: m times (repeats, k): how the loss changed
    by a step of that rate along the gradient of one batch; the same repeats at every rate.
    The lowest point is the vertex of the parabola through the lowest mean and its two neighbours,
    no step at all being one of them. Standard errors by leaving out each repeat.
    Returns LineSearchFit. Raises InputError for shapes that do not fit and fewer than four repeats;
    FitError where fewer than three batches have their best step inside the rates tried.
    Source: McCandlish et al. 2018, Eqs 2.6 and 2.7, and the checks of their figure 5; the errors
    are ours.
    """
    sizes = np.atleast_1d(np.asarray(batch, dtype=np.float64))
    if not len(sizes) == len(eps) == len(change):
        raise InputError("batch, eps and change have one entry for each batch")
    found, missing = [], []
    for size, rates, changes in zip(sizes, eps, change, strict=True):
        best = _best_step(np.asarray(rates, np.float64), np.asarray(changes, np.float64))
        if best is None:
            missing.append(float(size))
        else:
            found.append((float(size), *best))
    if len(found) < 3:
        raise FitError(
            f"the best step was found at {len(found)} of {len(sizes)} batches, and three are "
            "needed: try more rates around it, or average over more repeats"
        )
    b, log_eps, log_gain, eps_se, gain_se, repeats = np.array(found).T
    degrees = float(repeats.min()) - 1
    return LineSearchFit(
        batch=b,
        eps_opt=log_interval(np.exp(log_eps), eps_se, degrees, level),
        gain=log_interval(np.exp(log_gain), gain_se, degrees, level),
        of_eps=batch_rate_rule(b, np.exp(log_eps), eps_se, alpha=1.0, level=level),
        of_gain=batch_rate_rule(b, np.exp(log_gain), gain_se, alpha=1.0, level=level),
        left_out=tuple(missing),
    )


def _best_step(eps: Array, change: Array) -> tuple[float, float, float, float, float] | None:
    """ln of the best rate and of its gain, their standard errors, and the repeats."""
    if change.ndim != 2 or change.shape[1:] != eps.shape or not np.all(np.diff(eps) > 0):
        raise InputError("change is (repeats, rates) of rates that rise, for every batch")
    if len(change) < _FEWEST_REPEATS:
        raise InputError(f"{len(change)} repeats at a batch give no error; use 4 or more")
    change = change[np.isfinite(change).all(axis=1)]
    if len(change) < _FEWEST_REPEATS or not eps.size or eps[0] <= 0:
        return None
    eps = np.concatenate([[0.0], eps])
    change = np.concatenate([np.zeros((len(change), 1)), change], axis=1)
    mean = change.mean(axis=0)
    lowest = int(np.argmin(mean))
    if not 0 < lowest < len(eps) - 1:
        return None
    near = slice(lowest - 1, lowest + 2)
    count = len(change)
    others = (change.sum(axis=0) - change) / (count - 1)
    at = np.array([_vertex(eps[near], one[near]) for one in (mean, *others)])
    if not np.all(at > 0):  # a repeat without which there is no vertex: nothing is known
        return None
    logs = np.log(at)
    away = logs[1:] - logs[1:].mean(axis=0)
    se = np.sqrt((count - 1) / count * (away**2).sum(axis=0))
    return *logs[0].tolist(), *np.maximum(se, 1e-9).tolist(), float(count)


def _vertex(x: Array, y: Array) -> tuple[float, float]:
    """Where the parabola through three points is lowest, and how far below zero; NaN if nowhere."""
    bend, slope, level = np.polyfit(x, y, 2)
    if not bend > 0:
        return np.nan, np.nan
    at = -slope / (2 * bend)
    return float(at), float(slope**2 / (4 * bend) - level)
