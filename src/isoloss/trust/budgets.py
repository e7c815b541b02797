"""Budgets of compute: those that runs were given, a target beyond them, and how a law spends it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from isoloss.errors import InputError
from isoloss.fitting.levels import levels
from isoloss.fitting.variables import some_runs
from isoloss.laws import Law, allocate
from isoloss.laws.allocation import Cost
from isoloss.laws.forms import Array
from isoloss.runs import Runs

BEYOND = 10.0
"""Without a target, ask at this many times the compute of the largest run."""

_STEP = 1.05


class Spent(NamedTuple):
    """Each (k,): exponents of the best size and tokens with compute, and n, d and loss there."""

    a: Array
    b: Array
    n: Array
    d: Array
    loss: Array


def target_of(runs: Runs, flops: float | None) -> float:
    """Return the target in FLOPs, by default BEYOND times the largest run's.

    Raises InputError if it is not a positive number, or there are no runs.
    """
    some_runs(runs)
    target = BEYOND * float(runs.c.max()) if flops is None else float(flops)
    if not (np.isfinite(target) and target > 0):
        raise InputError(f"flops is {flops!r}; give FLOPs, such as 1e21")
    return target


def cutoffs(runs: Runs, fewest: int, reach: float) -> Array:
    """Return computes to cut the runs at, rising: each the dearest run of a budget.

    Runs whose compute differs by 1 % or less are of one budget, which no cut splits. fewest: how
    many runs must lie at or below a cut. reach: how many times beyond the budget the farthest run
    must lie.
    Raises InputError if there are no runs.
    """
    some_runs(runs)
    budget = levels(np.log(runs.c))
    least = np.full(int(budget.max()) + 1, np.inf)
    most = np.zeros_like(least)
    np.minimum.at(least, budget, runs.c)
    np.maximum.at(most, budget, runs.c)
    below = np.cumsum(np.bincount(budget))
    found: Array = most[(below >= fewest) & (least * reach <= most[-1])]
    return found


def spend(law: Law, flops: float, cost: Cost | None) -> Spent:
    """Return where a law with coefficients (k,) spends a budget, and how that moves with it."""
    best = allocate(law, flops * np.array([1 / _STEP, 1.0, _STEP]), cost=cost)
    n, d, loss = (np.asarray(part) for part in (best.n, best.d, best.loss))
    a, b = (np.log(part[:, 2] / part[:, 0]) / (2 * np.log(_STEP)) for part in (n, d))
    return Spent(a, b, n[:, 1], d[:, 1], loss[:, 1])
