"""The points of a curve that count: all of a sparse one, averages over log steps of a dense one.

A curve says as much in one part of its log steps as in another, for that is where its misfit lives;
a thousand evaluations are a few dozen points, each the mean of its neighbours. What evaluations
scatter about them is no error of the curve, and is handed on apart (`scatter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoloss.fitting.intervals import robust_scale
from isoloss.laws.forms import Array
from isoloss.trust.curve_data import Curve

POINTS = 12
"""The most points of a sister; the run itself has twice as many."""
BACK = 10.0
"""How many times less of the clock than last seen a point may have used and still count."""
_END = 0.05
"""The log steps that the last point of a dense curve is the mean of, so that it is its end."""


@dataclass(frozen=True, eq=False)
class Points:
    """Points of b curves, at most m of each: x, z, y, log steps and which are real; all (b, m)."""

    x: Array
    z: Array
    y: Array
    log_step: Array
    real: NDArray[np.bool_]

    def rows(self, at: Any) -> Points:
        """Return the points at an index of all arrays."""
        return Points(self.x[at], self.z[at], self.y[at], self.log_step[at], self.real[at])

    def only(self, kept: NDArray[np.bool_]) -> Points:
        """Return the same points with those outside `kept` (b, m) no longer real."""
        return Points(self.x, self.z, self.y, self.log_step, self.real & kept)


@dataclass(frozen=True, eq=False)
class Means:
    """The points (k,) of one curve in its own units, steps rising; end: the log of the last step,
    which the last point lies a little before where it is a mean."""

    x: Array
    z: Array
    loss: Array
    log_step: Array
    end: float


def means_of(
    curve: Curve, low: float, high: float, most: int, share: float, memory: float | None
) -> Means:
    """Return the evaluations with a clock from low to high, as at most `most` points.

    More of them are averaged over even parts of their log steps, in logarithms. No part lies on
    both sides of `share` of the last step, where the curve is cut to test a forecast.
    """
    x, z = curve.clock(curve.step, memory)
    rows = np.flatnonzero((x >= low) & (x <= high * (1 + 1e-9)))
    steps = np.log(curve.step[rows])
    number = np.arange(rows.size) if rows.size <= most else _parts(steps, most, share)
    count = np.bincount(number)

    def mean(values: Array) -> Array:
        return np.asarray(np.bincount(number, values) / count)

    return Means(
        x=np.exp(mean(np.log(x[rows]))),
        z=mean(z[rows]),
        loss=np.exp(mean(np.log(curve.loss[rows]))),
        log_step=mean(steps),
        end=float(steps.max(initial=-np.inf)),
    )


def scatter(curve: Curve) -> float:
    """Return the standard deviation of one evaluation's log loss about its neighbours'.

    0 for a sparse curve, whose points are single evaluations: there the misfit holds it. Robust,
    from each evaluation's distance to the line through the two beside it.
    """
    rows = curve.step >= curve.step[-1] / BACK
    if rows.sum() <= 2 * POINTS:
        return 0.0
    steps, losses = np.log(curve.step[rows]), np.log(curve.loss[rows])
    part = (steps[1:-1] - steps[:-2]) / (steps[2:] - steps[:-2])
    apart = losses[1:-1] - (1.0 - part) * losses[:-2] - part * losses[2:]
    unit = np.sqrt(1.0 + part**2 + (1.0 - part) ** 2)
    return robust_scale(apart / unit)


def stacked(curves: Sequence[Means], clock: float, loss: float) -> Points:
    """Return the points of all curves in common units of clock and loss."""
    shape = (len(curves), max((one.x.size for one in curves), default=1))
    x, z, y, steps = np.ones(shape), np.zeros(shape), np.ones(shape), np.zeros(shape)
    real = np.zeros(shape, dtype=bool)
    for i, one in enumerate(curves):
        at = slice(0, one.x.size)
        x[i, at], z[i, at], y[i, at] = one.x / clock, one.z, one.loss / loss
        steps[i, at], real[i, at] = one.log_step, True
    return Points(x, z, y, steps, real)


def _parts(steps: Array, most: int, share: float) -> NDArray[np.intp]:
    """Which part of the log steps each evaluation falls in, (m,) from 0 up, no part empty."""
    edges = np.linspace(steps[0], steps[-1] - _END, most - 1)
    edges = np.sort(np.append(edges, steps[-1] + np.log(share)))
    _, number = np.unique(np.searchsorted(edges + 1e-9, steps), return_inverse=True)
    return np.asarray(number, dtype=np.intp)
