"""The best size at each compute from losses at the end of a schedule (Chinchilla's approach 1).

The curve of one size is drawn through the ends of its runs, each of which lowered its learning
rate: log loss against log c, smooth. The lowest curve at each compute gives the best size there,
and where one size hands over to the next their geometric mean is the optimum, which no grid of
sizes rounds. Points within a schedule are refused, not enveloped: they lie above what a run that
ended there would have reached (Hoffmann et al. 2022, appendix B), and more so for longer schedules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import Status, UnidentifiedError
from isoloss.fitting.cooling import hot
from isoloss.fitting.levels import levels
from isoloss.fitting.trend import PowerTrend, power_trend
from isoloss.fitting.variables import some_runs
from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.units import format_number

_POINTS = 500
_CHUNK = 64
_FEWEST_SIZES = 3
_FEWEST_CHANGES = 3
_MOST_DEGREE = 3


@dataclass(frozen=True, eq=False)
class Frontier:
    """Where the lowest curve passes from one size to the next; every array is (changes,).

    c: FLOPs, n: parameters, the geometric mean of both sizes, d: tokens.
    n_trend, d_trend: through them. ends: how many runs' ends it rests on. left_out: how many rows
    were measured before the learning rate was lowered. status: codes whose value is advice.
    """

    c: Array
    n: Array
    d: Array
    n_trend: PowerTrend
    d_trend: PowerTrend
    ends: int
    left_out: int
    status: tuple[Status, ...]


@dataclass(frozen=True)
class _Curve:
    """The ends of one size: log c and log loss by rising compute, log tokens, log n."""

    log_n: float
    log_c: Array
    log_d: Array
    rows: NDArray[np.intp]

    def basis(self, log_c: Array) -> Array:
        """Powers of log c, centred and scaled, as columns."""
        middle, reach = self.log_c.mean(), np.ptp(self.log_c) / 2
        degree = min(_MOST_DEGREE, max(1, (len(self.log_c) + 1) // 2))
        return np.vander((log_c - middle) / reach, degree + 1)


def frontier(runs: Runs) -> Frontier:
    """Find the best size against compute from the ends of runs.

    runs: m runs at their ends; three or more sizes, each ended at two or more token counts.
    Returns Frontier. Raises UnidentifiedError if too few sizes have two ends, naming the cool-down
    that would give them another, or if the lowest size changes fewer than three times; InputError
    if there are no runs.

    Source: Hoffmann et al. 2022, section 3.1. Left out: their smoothing of the training loss, and
    their envelope over points within a schedule.
    """
    some_runs(runs)
    warm = hot(runs)
    ends = runs[~warm] if warm.any() else runs
    curves = _curves(ends)
    if len(curves) < _FEWEST_SIZES:
        raise UnidentifiedError(
            f"approach 1: {len(curves)} sizes have two or more ends of a schedule, and three are "
            f"needed{_left(warm)}; {_mend(ends, runs)}"
        )
    grid, losses = _losses(curves, np.log(ends.loss)[None])
    c, n, d = _changes(curves, grid, losses[0])
    if len(c) < _FEWEST_CHANGES:
        raise UnidentifiedError(
            f"approach 1: the lowest size changes {len(c)} times with compute, and three are "
            f"needed{_left(warm)}; {_further(curves, losses[0])}"
        )
    return Frontier(
        c, n, d, power_trend(c, n), power_trend(c, d), len(ends), int(warm.sum()), _status(warm)
    )


def resampled_trends(runs: Runs, noise: Array, flops: float) -> Array:
    """Return (k, 4): exponents of n and d, and ln n and ln d at `flops`, for k noisy copies.

    noise: (k, m), added to the log losses of the runs. Rows are NaN where a copy has no frontier.
    """
    ends = ~hot(runs)
    curves = _curves(runs[ends])
    log_loss = np.log(runs.loss[ends])
    found = np.full((len(noise), 4), np.nan)
    for start in range(0, len(noise), _CHUNK):
        moved = log_loss + noise[start : start + _CHUNK, ends]
        grid, losses = _losses(curves, moved)
        for i in range(len(moved)):
            c, n, d = _changes(curves, grid, losses[i])
            if len(c) >= 2 and np.ptp(np.log(c)) > 0:
                n_trend, d_trend = power_trend(c, n), power_trend(c, d)
                at = np.log([float(n_trend(flops)), float(d_trend(flops))])
                found[start + i] = n_trend.exponent, d_trend.exponent, *at
    return found


def _status(warm: NDArray[np.bool_]) -> tuple[Status, ...]:
    return (Status.HOT_AND_COOLED,) if warm.any() else ()


def _curves(ends: Runs) -> list[_Curve]:
    """The curve of each size with two or more ends at different computes."""
    label = levels(np.log(ends.n))
    curves = []
    for size in np.unique(label):
        rows = np.flatnonzero(label == size)
        rows = rows[np.argsort(ends.c[rows], kind="stable")]
        rows = _lowest_each(rows, np.log(ends.c[rows]), ends.loss[rows])
        if len(rows) >= 2:
            log_n = float(np.log(ends.n[rows]).mean())
            curves.append(_Curve(log_n, np.log(ends.c[rows]), np.log(ends.d[rows]), rows))
    return curves


def _lowest_each(rows: NDArray[np.intp], log_c: Array, loss: Array) -> NDArray[np.intp]:
    """Of ends at one compute (rates tried, seeds) the lowest, as an envelope takes it."""
    starts = np.flatnonzero(np.diff(levels(log_c), prepend=-1))
    groups = np.split(np.arange(len(rows)), starts[1:])
    return rows[[group[np.argmin(loss[group])] for group in groups]]


def _losses(curves: list[_Curve], log_loss: Array) -> tuple[Array, Array]:
    """Computes (g,) and the log loss of each size at them, infinite where it has no ends.

    log_loss: (k, m) of the ends. Returns (g,) and (k, sizes, g).
    """
    low = min(curve.log_c[0] for curve in curves)
    high = max(curve.log_c[-1] for curve in curves)
    grid = np.linspace(low, high, _POINTS)
    losses = np.full((len(log_loss), len(curves), _POINTS), np.inf)
    for i, curve in enumerate(curves):
        covered = (grid >= curve.log_c[0]) & (grid <= curve.log_c[-1])
        drawn = curve.basis(grid[covered]) @ np.linalg.pinv(curve.basis(curve.log_c))
        losses[:, i, covered] = log_loss[:, curve.rows] @ drawn.T
    return grid, losses


def _changes(curves: list[_Curve], grid: Array, losses: Array) -> tuple[Array, Array, Array]:
    """Compute, size and tokens where the lowest curve passes from one size to another.

    losses: (sizes, g) at the computes exp(grid).
    """
    best = losses.argmin(axis=0)
    found = []
    for k in np.flatnonzero(np.diff(best)):
        before, after = curves[best[k]], curves[best[k + 1]]
        pair = losses[[best[k], best[k + 1]], k : k + 2]
        if not np.all(np.isfinite(pair)):
            continue  # one of the two merely ends or begins here
        gap = pair[1] - pair[0]
        at = float(grid[k] + (grid[k + 1] - grid[k]) * gap[0] / (gap[0] - gap[1]))
        tokens = 0.5 * (_tokens(before, at) + _tokens(after, at))
        found.append((at, 0.5 * (before.log_n + after.log_n), tokens))
    table = np.exp(np.array(found, dtype=np.float64).reshape(-1, 3))
    return table[:, 0], table[:, 1], table[:, 2]


def _further(curves: list[_Curve], losses: Array) -> str:
    """Which sizes to add where the lowest size hardly changes."""
    order = np.argsort([curve.log_n for curve in curves])
    small, large = losses[order[:-1]], losses[order[1:]]
    both = np.isfinite(small) & np.isfinite(large)
    rises = (large[both] > small[both]) if both.any() else np.array([True, False])
    sizes = np.exp([curves[order[0]].log_n, curves[order[-1]].log_n])
    least, most = (format_number(float(size)) for size in sizes)
    if rises.all():
        return f"add sizes below {least}, ended at the computes of the others"
    if not rises.any():
        return f"add sizes above {most}, ended at the computes of the others"
    return f"add sizes between {least} and {most}, each ended at the computes of the others"


def _tokens(curve: _Curve, log_c: float) -> float:
    return float(np.interp(log_c, curve.log_c, curve.log_d))


def _left(warm: NDArray[np.bool_]) -> str:
    count = int(warm.sum())
    return f" ({count} rows were measured at a high learning rate and do not count)" * bool(count)


def _mend(ends: Runs, runs: Runs) -> str:
    """The cool-down that gives a size its second end."""
    source = ends if len(ends) else runs
    label = levels(np.log(source.n))
    sizes, counts = np.unique(label, return_counts=True)
    row = int(np.flatnonzero(label == sizes[np.argmin(counts)])[0])
    n, d = format_number(source.n[row]), float(source.d[row])
    where = d / 2 if len(ends) else d
    return (
        f"cool each size down at another token count as well: for n = {n} take the checkpoint at "
        f"{format_number(0.8 * where)} tokens and lower its learning rate to zero by "
        f"{format_number(where)} tokens"
    )
