"""Steps to a loss at the best learning rate of every batch, from runs at several rates.

At one batch and target the steps form a bowl over the logarithm of the rate. A quadratic through
the runs near its lowest gives the best rate and the steps there. Where the fewest steps were made
at the largest or the smallest rate tried, or no more than two rates got there, that is the answer,
and the row is not `bracketed`: a rate beyond may be better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.fitting.crossings import Crossings, crossings
from isoloss.laws.forms import Array
from isoloss.runs import Runs

_NEAR = np.log(2.0)  # how far above the lowest log steps a rate still belongs to the bowl


@dataclass(frozen=True, eq=False)
class TunedSteps:
    """Steps to each target at the best rate of each batch; arrays are (m,), as the crossings'.

    crossings: one row for each size, batch and target; censored where no rate reached it.
    rate: the best; not a number where censored. bracketed: whether slower rates lie on both sides
    of it, which includes rates at which the runs never got there.
    """

    crossings: Crossings
    rate: Array
    bracketed: NDArray[np.bool_]


def tuned_steps(curves: Runs, targets: ArrayLike | None = None) -> TunedSteps:
    """Find the steps to each loss at the best rate of every batch.

    ln S(rate) = ln S_best + k (ln rate - ln rate_best)^2 near the lowest; S is the geometric mean
    over runs of one rate, and a rate at which one of them never got there is held to be slower,
    as is one whose run ended after one evaluation.
    curves: evaluations, named by `run`, with `steps`, `batch` (tokens) and `lr`. targets: as in
    `crossings`.
    Returns TunedSteps, ready for `critical_batch`. The runs of one size and batch have become one,
    whose luck its rows share.
    Raises InputError without rates, and as `crossings`.
    Source: McCandlish et al. 2018, appendix A.2 (rates tuned at every batch); the bowl is ours.
    """
    if curves.lr is None:
        raise InputError("rates are tuned by the column 'lr' of the curves, which is missing")
    found = crossings(curves, targets)
    begun = _begun(curves)
    got_there = {
        (str(run), float(target)): float(np.log(steps))
        for run, target, steps in zip(
            found.run[~found.censored],
            found.target[~found.censored],
            found.steps[~found.censored],
            strict=True,
        )
    }
    every = np.unique(np.stack([found.n, found.batch, -found.target], axis=1), axis=0)
    steps, best, censored, bracketed = [], [], [], []
    cells: list[tuple[float, float, float]] = []
    for n, batch, negative in every:
        target = -negative
        rows = (found.n == n) & (found.batch == batch) & (found.target == target)
        # A run that was above the loss and is not in `found` ended at once, and never got there.
        needed: dict[float, list[float]] = {}
        for one in begun:
            if (one.n, one.batch) == (n, batch) and one.loss > target:
                in_log = got_there.get((one.run, target), np.inf)
                needed.setdefault(one.rate, []).append(in_log)
        if not needed:  # all began below it, and the smoothed curves alone say otherwise
            continue
        rates = np.array(sorted(needed))
        log_steps = np.array([np.mean(needed[rate]) for rate in rates])
        missed = bool(np.isinf(log_steps).all())
        if missed:
            answer = (float(found.steps[rows & found.censored].max()), np.nan, False)
        else:
            answer = _lowest(np.log(rates), log_steps)
        cells.append((n, batch, target))
        steps.append(answer[0])
        best.append(answer[1])
        bracketed.append(answer[2])
        censored.append(missed)
    sizes, batches, losses = np.array(cells).T
    return TunedSteps(
        Crossings.of(losses, batches, steps, censored=censored, n=sizes),
        np.array(best),
        np.array(bracketed),
    )


class _Begun(NamedTuple):
    """A run: its size, batch and rate, and the loss it began with."""

    run: str
    n: float
    batch: float
    rate: float
    loss: float


def _begun(curves: Runs) -> list[_Begun]:
    assert curves.steps is not None  # `crossings` has looked
    assert curves.batch is not None
    assert curves.lr is not None
    if not np.all(np.isfinite(curves.lr) & (curves.lr > 0)):
        raise InputError("every run needs a rate above 0 in the column 'lr'")
    order = np.argsort(curves.steps, kind="stable")
    names, first = np.unique(curves.run[order], return_index=True)
    columns = curves.n, curves.batch, curves.lr, curves.loss
    return [
        _Begun(str(name), *(float(column[row]) for column in columns))
        for name, row in zip(names, order[first], strict=True)
    ]


def _lowest(x: Array, y: Array) -> tuple[float, float, bool]:
    """Steps and rate at the lowest of a bowl over log rates x, and whether both sides rise."""
    at = int(np.argmin(y))
    bracketed = 0 < at < len(x) - 1
    near = _stretch(y - y[at] <= _NEAR, at)
    if bracketed:  # the neighbours belong to it however steep the bowl is
        near[[at - 1, at + 1]] = np.isfinite(y[[at - 1, at + 1]])
    if near.sum() >= 3:
        bend, slope, level = np.polyfit(x[near] - x[at], y[near], 2)
        if bend > 0:
            low, high = x[max(at - 1, 0)] - x[at], x[min(at + 1, len(x) - 1)] - x[at]
            vertex = float(np.clip(-slope / (2 * bend), low, high))
            fewest = level + slope * vertex + bend * vertex**2
            return float(np.exp(fewest)), float(np.exp(x[at] + vertex)), bracketed
    return float(np.exp(y[at])), float(np.exp(x[at])), bracketed


def _stretch(near: NDArray[np.bool_], at: int) -> NDArray[np.bool_]:
    """The entries that are near without a gap between them and `at`."""
    away = np.abs(np.arange(len(near)) - at)
    for side in (np.arange(len(near)) < at, np.arange(len(near)) > at):
        far = side & ~near
        if far.any():
            near = near & ~(side & (away >= away[far].min()))
    return near
