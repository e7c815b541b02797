"""Quantiles of draws, and how far to widen them when few runs are left to measure the noise."""

from __future__ import annotations

import math

import numpy as np

from isoloss.distributions import normal_cdf, student_quantile
from isoloss.fitting.intervals import Interval as Interval
from isoloss.fitting.intervals import check_level, check_reach
from isoloss.laws.forms import Array


def interval(
    values: Array, level: float, spare: float = math.inf, asked: int | None = None
) -> Interval:
    """Return the central interval of draws over the first axis: quantiles, and the median.

    values: (k, ...). level: the share inside, such as 0.9. spare: how many runs are left over
    beyond the coefficients; the quantiles are taken as far out as Student's t with so many degrees
    of freedom lies beyond the normal, which keeps the shape of the draws. asked: how many draws
    were asked for, where some came to nothing; k without it.
    Raises InputError if level is not between 0 and 1, or so near 1 that too few draws lie beyond.
    """
    check_level(level)
    check_reach(level, asked or len(values))
    upper = 0.5 + 0.5 * level
    if math.isfinite(spare):
        upper = normal_cdf(student_quantile(upper, spare))
    values = np.asarray(values, dtype=np.float64)
    # Interpolating between infinities would be undefined; take a draw instead.
    finite = bool(np.all(np.isfinite(values)))
    at = np.array([1 - upper, 0.5, upper])
    found = np.quantile(values, at, axis=0, method="linear" if finite else "nearest")
    return Interval(found[0], found[1], found[2])
