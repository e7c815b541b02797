"""The normal distribution and Student's t: numpy has no distribution functions."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray


def normal_cdf(z: float) -> float:
    """Return the normal distribution function at z."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def student_quantile(share: float, degrees: float) -> float:
    """Return the quantile of Student's t: the root of its distribution function, by bisection."""
    low, high = -1e3, 1e3
    for _ in range(80):
        middle = 0.5 * (low + high)
        if student_cdf(middle, degrees) < share:
            low = middle
        else:
            high = middle
    return 0.5 * (low + high)


def student_cdf(t: float, degrees: float) -> float:
    """Return Student's t distribution function, by integrating its density in the angle.

    With t = sqrt(degrees) tan(a), P(T <= t) = 1/2 + C * integral_0^a cos(u) ** (degrees - 1) du.
    """
    angle = math.atan(t / math.sqrt(degrees))
    nodes, weights = _legendre()
    u = 0.5 * angle * (nodes + 1.0)
    integral = 0.5 * angle * float(np.sum(weights * np.cos(u) ** (degrees - 1.0)))
    log_constant = math.lgamma(0.5 * (degrees + 1)) - math.lgamma(0.5 * degrees)
    return 0.5 + math.exp(log_constant) / math.sqrt(math.pi) * integral


@cache
def _legendre() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return np.asarray(nodes), np.asarray(weights)
