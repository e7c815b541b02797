"""How hot the learning rate still was where a loss was measured, for runs that say what they were.

A loss measured at a high learning rate lies above what the same model would have reached had its
rate been lowered by then, so it is not the loss that a scaling law of finished runs is about.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Array
from isoloss.runs import Runs
from isoloss.runs.schedules import scheduled_rate

HOT = 0.5
"""A learning rate above this share of its peak has not been lowered."""


def rate_share(runs: Runs) -> Array:
    """Return the learning rate at each row over its peak, (m,); NaN where no spec says it.

    A row belongs to the run of `runs.specs` that has its name, at its number of steps.
    """
    share = np.full(len(runs), np.nan)
    if not runs.specs:
        return share
    for row, name in enumerate(runs.run):
        spec = runs.specs.get(str(name))
        if spec is not None and runs.steps is not None and np.isfinite(runs.steps[row]):
            step = min(max(int(runs.steps[row]), 1), spec.steps)
            share[row] = scheduled_rate(spec.schedule, 1.0, spec.steps, step - 1)
    return share


def hot(runs: Runs) -> NDArray[np.bool_]:
    """Say which rows were measured before the learning rate was lowered, (m,).

    Those whose rate is above half of its peak; and of a run with several rows at different tokens,
    all but the last, unless its spec says that the rate was low there.
    """
    share = rate_share(runs)
    names, where = np.unique(runs.run, return_inverse=True)
    last = np.zeros(len(names))
    np.maximum.at(last, where, runs.d)
    before_end = runs.d < last[where] * (1 - 1e-9)
    found: NDArray[np.bool_] = np.where(np.isnan(share), before_end, share > HOT)
    return found
