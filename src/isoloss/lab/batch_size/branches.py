"""The critical batch measured directly: branches from one checkpoint at larger and larger batches.

From the weights and the optimizer's state as they are, train on at k times the batch and k^(1/2)
(Adam) or k (SGD) times the rate, for the same number of examples. The critical batch is the largest
whose loss comes out within a tolerance of that at k = 1. Nothing is assumed of gradients, which is
what speaks for it where the noise scale is not to be trusted, as with Adam.

Source: Merrill et al. 2025, Critical Batch Size Revisited. Unlike them: the loss compared is held
out and the mean over three moments near the end of a branch, where they smooth the training loss;
and branches are repeated with other examples, so that the difference of losses has an interval. The
momentum's memory, counted in steps, is the same at every k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError
from isoloss.lab.batch_size.task import Learner

_EIGHTHS = (6, 7, 8)  # of a branch, at which its loss is taken


@dataclass(frozen=True, eq=False)
class BranchedBatch:
    """The largest batch that costs no more loss than `tolerance`, in examples.

    factor: (m,) rising from 1. loss: (m, repeats) at the end of each branch. excess: (m,) mean loss
    above that of k = 1, with its interval (low, high), (m,) each.
    b_crit: the largest batch up to which all mean excesses are within the tolerance. low: the same
    of the upper ends; high: the smallest batch whose lower end is above it, infinite where none is.
    censored: whether the largest batch tried is within the tolerance, so that b_crit is a bound.
    """

    batch: int
    factor: NDArray[np.int64]
    loss: NDArray[np.float64]
    excess: NDArray[np.float64]
    excess_low: NDArray[np.float64]
    excess_high: NDArray[np.float64]
    tolerance: float
    b_crit: float
    low: float
    high: float
    censored: bool


def branched_batch(
    learner: Learner,
    *,
    batch: int,
    rate: float,
    examples: int,
    tolerance: float,
    seed: int,
    factors: Sequence[int] = (1, 2, 4, 8, 16, 32),
    repeats: int = 4,
    power: float | None = None,
    level: float = 0.9,
) -> BranchedBatch:
    """Branch off at k times the batch and find the largest that loses nothing.

    learner: the checkpoint; it stays as it is. batch, rate: those at k = 1. examples: of each
    branch, a multiple of eight steps at every k. tolerance: in the loss's unit. seed: branches draw
    examples by `seed`, `seed` + 1, ..., of which the checkpoint's own would repeat what it has
    seen. factors: values of k, 1 among them. repeats: branches at each k. power: of k in the rate,
    by default 1/2 for Adam and 1 for SGD.
    Returns BranchedBatch. Raises InputError for factors without 1, fewer than two repeats,
    examples that are not so many, and a rate at which k = 1 diverges.
    """
    ks = sorted(set(factors))
    if not ks or ks[0] != 1:
        raise InputError(f"factors are {tuple(factors)}; they are whole numbers from 1, 1 included")
    if repeats < 2:
        raise InputError(f"repeats is {repeats}; the interval needs two or more")
    whole = math.lcm(*(8 * batch * k for k in ks))
    if examples < 1 or examples % whole:
        raise InputError(
            f"{examples} examples are not the same eighths of a branch at every k: use a multiple "
            f"of {whole}, or leave out the largest factors"
        )
    if power is None:
        power = 0.5 if learner.task.optimizer == "adam" else 1.0
    loss = np.array(
        [
            [
                _branch(learner.branch(seed + n), batch * k, rate * k**power, examples)
                for n in range(repeats)
            ]
            for k in ks
        ]
    )
    if not np.isfinite(loss[0]).all():
        raise InputError(f"a branch at the batch {batch} itself diverges: take a lower rate")
    apart = loss - loss[0]
    excess = apart.mean(axis=1)
    width = student_quantile(0.5 + 0.5 * level, repeats - 1) / math.sqrt(repeats)
    steady = np.isfinite(apart).all(axis=1)  # those where no branch diverged
    half = np.zeros(len(ks))
    half[steady] = width * apart[steady].std(axis=1, ddof=1)
    sizes = batch * np.array(ks)
    ends = [_last_within(sizes, one, tolerance) for one in (excess, excess + half)]
    over = sizes[~(excess - half <= tolerance)]
    return BranchedBatch(
        batch=batch,
        factor=np.array(ks),
        loss=loss,
        excess=excess,
        excess_low=excess - half,
        excess_high=excess + half,
        tolerance=tolerance,
        b_crit=ends[0],
        low=ends[1],
        high=float(over[0]) if over.size else math.inf,
        censored=bool(ends[0] == sizes[-1]),
    )


def _last_within(sizes: NDArray[np.int64], excess: NDArray[np.float64], tolerance: float) -> float:
    """The largest size such that it and all smaller ones are within the tolerance."""
    within = np.logical_and.accumulate(excess <= tolerance)
    return float(sizes[within][-1]) if within.any() else math.nan


def _branch(learner: Learner, batch: int, rate: float, examples: int) -> float:
    """Train on for so many examples; the mean held-out loss near the end, the same for every k."""
    steps, losses = examples // batch, []
    for step in range(1, steps + 1):
        learner.update(batch, rate)
        if step * 8 in [steps * eighth for eighth in _EIGHTHS]:
            losses.append(learner.held_out())
    loss = float(np.mean(losses))
    return loss if math.isfinite(loss) else math.inf
