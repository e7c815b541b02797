"""The lower envelope of learning curves: the least loss reached at each compute (approach 1).

It takes curves as they are. A point in the middle of a learning-rate decay lies above what a run
whose schedule ended there would have reached, so an envelope over long schedules is an upper bound
(Hoffmann et al. 2022, appendix B); only points at a schedule's end are what approach 1 means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.fitting.variables import some_runs
from isoloss.laws.forms import Array
from isoloss.runs import Runs


@dataclass(frozen=True, eq=False)
class Envelope:
    """The least loss at each compute, and the run that reached it; every array is (points,).

    c: FLOPs, rising and evenly spaced in the logarithm. loss: nats. n: parameters of the run that
    is lowest there, d: its tokens at that compute, run: its name.
    """

    c: Array
    loss: Array
    n: Array
    d: Array
    run: NDArray[np.str_]


def envelope(curves: Runs, *, points: int = 200) -> Envelope:
    """Find the lower envelope of learning curves over log-spaced compute.

    curves: one row per evaluation, named by `run`. points: how many values of compute.
    Between evaluations log loss and log d are straight in log c; no curve is extended.
    Returns an Envelope without the values of compute that no curve covers.
    Raises InputError if points is below two, or no run has two evaluations.

    Source: Hoffmann et al. 2022, section 3.1. Left out: their smoothing of the training loss.
    """
    if points < 2:
        raise InputError(f"an envelope needs two or more points, not {points}")
    some_runs(curves)
    names, where = np.unique(curves.run, return_inverse=True)
    log_c = np.log(curves.c)
    grid = np.linspace(log_c.min(), log_c.max(), points)
    least, best = np.full(points, np.inf), np.full(points, -1)
    tokens, size = np.zeros(points), np.zeros(points)
    for i in range(len(names)):
        rows = np.flatnonzero(where == i)
        rows = rows[np.argsort(log_c[rows], kind="stable")]
        if len(rows) < 2:
            continue
        x = log_c[rows]
        loss = np.interp(grid, x, np.log(curves.loss[rows]), left=np.inf, right=np.inf)
        lower = loss < least
        least[lower], best[lower] = loss[lower], i
        tokens[lower] = np.interp(grid[lower], x, np.log(curves.d[rows]))
        size[lower] = curves.n[rows[0]]
    found = best >= 0
    if not found.any():
        raise InputError("no run has two or more evaluations, so there is no curve to envelop")
    return Envelope(
        c=np.exp(grid[found]),
        loss=np.exp(least[found]),
        n=size[found],
        d=np.exp(tokens[found]),
        run=names[best[found]],
    )
