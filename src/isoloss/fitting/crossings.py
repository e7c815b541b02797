"""When a run first reached a loss: the steps that a smoothed learning curve needed for it.

Evaluations are noisy, and the first one below a target is early by the noise: the lowest of many.
So the curve is first made to fall, by the closest falling curve to its log losses (pool adjacent
violators), which has nothing to tune, and the crossing is read off between its points, straight in
log steps and log loss. A run that never reaches the target is censored: it needed more steps than
it made, and that is information too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.fitting.variables import nats_only
from isoloss.laws.forms import Array
from isoloss.runs import Runs

_TARGETS = 5


@dataclass(frozen=True, eq=False)
class Crossings:
    """Steps to reach a loss, one row for each run and target; every array is (m,).

    target: nats. batch: tokens per step. steps: to reach it; where `censored`, the steps made
    without reaching it. n: parameters; rows of one size share the least steps to a target.
    run: rows of one run share its luck, and are left out together when doubt is measured.
    """

    target: Array
    batch: Array
    steps: Array
    censored: NDArray[np.bool_]
    n: Array
    run: NDArray[np.str_]

    @classmethod
    def of(
        cls,
        target: ArrayLike,
        batch: ArrayLike,
        steps: ArrayLike,
        *,
        censored: ArrayLike | None = None,
        n: ArrayLike | None = None,
        run: Sequence[str] | NDArray[np.str_] | None = None,
    ) -> Crossings:
        """Build from columns; without `run` every batch of a size is one run, without `n` one size.

        Raises InputError for columns of different lengths or values that are not positive.
        """
        columns = [np.asarray(column, dtype=np.float64) for column in (target, batch, steps)]
        size = columns[0].size
        columns.append(np.ones(size) if n is None else np.asarray(n, dtype=np.float64))
        for name, column in zip(("target", "batch", "steps", "n"), columns, strict=True):
            if column.shape != (size,):
                raise InputError(f"{name} has shape {column.shape}; it must be ({size},)")
            if not np.all(np.isfinite(column) & (column > 0)):
                raise InputError(f"{name} must be positive and finite in every row")
        missed = np.zeros(size, bool) if censored is None else np.asarray(censored, dtype=bool)
        if run is None:
            run = [f"{at:.17g} {of:.17g}" for at, of in zip(columns[3], columns[1], strict=True)]
        names = [str(name) for name in run]
        if missed.shape != (size,) or len(names) != size:
            raise InputError(f"censored and run must have {size} values, one per row")
        return cls(columns[0], columns[1], columns[2], missed, columns[3], np.array(names))

    def __len__(self) -> int:
        return int(self.target.size)

    def take(self, rows: NDArray[np.bool_]) -> Crossings:
        """Return some of the rows."""
        return Crossings(
            self.target[rows],
            self.batch[rows],
            self.steps[rows],
            self.censored[rows],
            self.n[rows],
            self.run[rows],
        )


def crossings(curves: Runs, targets: ArrayLike | None = None) -> Crossings:
    """Find the steps at which each run first reached each loss.

    curves: evaluations, named by `run`, with `steps` and `batch` (tokens). targets: losses in nats;
    by default five that most of the runs reach, evenly spaced in the logarithm.
    A run already below a target at its first evaluation says nothing about it and is left out.
    Returns Crossings. Raises InputError if steps or batch are missing, the losses are not in nats,
    no run has two evaluations, or no run reaches any target.
    Source: Kaplan et al. 2020, section 5.1 and appendix D.3 (the scans); the smoothing is ours.
    """
    if curves.steps is None or curves.batch is None:
        missing = "steps" if curves.steps is None else "batch"
        raise InputError(f"steps to a loss need {missing!r} at every evaluation of the curves")
    nats_only(curves)
    smooth = [
        (rows, *falling(curves.steps[rows], curves.loss[rows]))
        for rows in _rows_of(curves)
        if len(rows) > 1
    ]
    if not smooth:
        raise InputError("no run has two or more evaluations, so no loss is seen to be reached")
    wanted = _default(smooth) if targets is None else np.unique(np.asarray(targets, np.float64))
    if not (wanted.size and np.all(np.isfinite(wanted) & (wanted > 0))):
        raise InputError("targets are losses in nats, positive and finite")
    found: list[tuple[float, float, float, bool, float, str]] = []
    for rows, log_steps, log_loss in smooth:
        first = rows[0]
        about = float(curves.n[first]), str(curves.run[first])
        for target in np.log(wanted):
            if log_loss[0] <= target:
                continue
            reached = bool(log_loss[-1] <= target)
            # The smoothed losses fall, so their negatives rise as interp wants them to.
            log_at = np.interp(-target, -log_loss, log_steps) if reached else log_steps[-1]
            found.append((np.exp(target), curves.batch[first], np.exp(log_at), not reached, *about))
    if not any(not row[3] for row in found):
        raise InputError(
            f"no run reaches {wanted.max():.4g} nats after its first evaluation; choose targets "
            f"between the first and the last losses of the curves"
        )
    target, batch, steps, censored, n, run = zip(*found, strict=True)
    return Crossings.of(target, batch, steps, censored=censored, n=n, run=run)


def falling(steps: Array, loss: Array) -> tuple[Array, Array]:
    """Return the closest falling curve: log steps and log loss of its level stretches' middles.

    Pool adjacent violators on log loss, least squares; strictly falling from entry to entry.
    """
    log_steps, heights, widths = [], [], []
    for x, y in zip(np.log(steps), np.log(loss), strict=True):
        log_steps.append(float(x))
        heights.append(float(y))
        widths.append(1)
        while len(heights) > 1 and heights[-1] >= heights[-2]:
            y, width, x = heights.pop(), widths.pop(), log_steps.pop()
            together = widths[-1] + width
            heights[-1] = (heights[-1] * widths[-1] + y * width) / together
            log_steps[-1] = (log_steps[-1] * widths[-1] + x * width) / together
            widths[-1] = together
    return np.array(log_steps), np.array(heights)


def _rows_of(curves: Runs) -> list[NDArray[np.intp]]:
    """The rows of each run, by rising steps."""
    assert curves.steps is not None
    names, where = np.unique(curves.run, return_inverse=True)
    order = np.lexsort((curves.steps, where))
    return np.split(order, np.cumsum(np.bincount(where, minlength=len(names)))[:-1])


def _default(smooth: list[tuple[NDArray[np.intp], Array, Array]]) -> Array:
    """Five losses between where all runs have begun to fall and what most of them reach."""
    high = float(min(log_loss[0] for _, _, log_loss in smooth))
    low = float(np.quantile([log_loss[-1] for _, _, log_loss in smooth], 0.75))
    if not low < high:
        raise InputError("the curves share no range of losses; name targets of your own")
    return np.exp(np.linspace(high, low, _TARGETS + 1)[1:])
