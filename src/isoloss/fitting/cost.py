"""What a token costs at each size, as the runs themselves paid it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.laws import Cost
from isoloss.runs import Runs

_NOTHING = 0.01
_STEEPEST = 2.0


def paid_cost(runs: Runs) -> Cost | None:
    """Make the function n -> training FLOPs per token from the compute the runs report.

    cost(n) = 6 n (1 + k n ** -p), with k and p by least squares of log |c / (6 n d) - 1| on log n:
    what 6 n leaves out (attention, an output layer not counted in n) or counts too much (an input
    table) matters less the larger the model, so the cost tends to 6 n beyond the runs.
    Returns None, which means 6 n everywhere, where c is 6 n d within 1 %. Where 6 n is too low for
    some sizes and too high for others, the factor is their geometric mean at every size.
    """
    factor = runs.c / (6.0 * runs.n * runs.d)
    if np.all(np.abs(factor - 1) < _NOTHING):
        return None
    excess = factor - 1
    k, p = float(np.expm1(np.mean(np.log(factor)))), 0.0
    if np.all(excess > 0) or np.all(excess < 0):
        log_n, log_excess = np.log(runs.n), np.log(np.abs(excess))
        centred = log_n - log_n.mean()
        if np.ptp(log_n) > _NOTHING:
            slope = -float(centred @ log_excess) / float(centred @ centred)
            p = float(np.clip(slope, 0.0, _STEEPEST))
        k = float(np.sign(excess[0]) * np.exp(np.mean(log_excess + p * log_n)))

    def cost(n: ArrayLike) -> NDArray[np.float64]:
        size = np.asarray(n, dtype=np.float64)
        return np.asarray(6.0 * size * np.maximum(1.0 + k * size**-p, 0.01))

    return cost
