"""Intervals: from a standard error, from draws, from residuals."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from isoloss.distributions import student_quantile
from isoloss.errors import InputError
from isoloss.laws.forms import Array

_LEAST_OUTSIDE = 10
"""Draws beyond the ends of an interval, both together: of fewer the share that lies outside is not
known to a third of itself."""

_MAD = 1.4826  # the standard deviation of a normal over the median size of its deviations


class Interval(NamedTuple):
    """A range and its middle; each a number or an array of one shape."""

    low: Array
    mid: Array
    high: Array


def log_interval(mid: ArrayLike, se: ArrayLike, degrees: float, level: float) -> Interval:
    """Return exp(log mid -+ t se): the interval of a positive quantity.

    mid: its value. se: standard error of its logarithm. degrees: of freedom behind se.
    Raises InputError if level is not between 0 and 1.
    """
    check_level(level)
    middle = np.asarray(mid, dtype=np.float64)
    half = student_quantile(0.5 + 0.5 * level, degrees) * np.asarray(se, dtype=np.float64)
    with np.errstate(over="ignore"):
        low, high = middle * np.exp(-half), middle * np.exp(half)
    return Interval(np.asarray(low), middle, np.asarray(high))


def check_level(level: float) -> None:
    """Raise InputError if the level of an interval is not between 0 and 1."""
    if not (isinstance(level, Real) and 0 < level < 1):
        raise InputError(f"level is a share between 0 and 1, such as 0.9, not {level!r}")


def check_draws(draws: int, least: int = 2) -> None:
    """Raise InputError if there are too few draws for an interval."""
    if not (isinstance(draws, int | np.integer) and draws >= least):
        raise InputError(f"draws is a whole number from {least}, not {draws!r}")


def check_seed(seed: int) -> None:
    """Raise InputError if this is not what random numbers can start from."""
    if not (isinstance(seed, int | np.integer) and seed >= 0):
        raise InputError(f"seed is a whole number from 0, not {seed!r}")


def fewest_draws(level: float) -> int:
    """Return how many draws tell the ends of an interval, ten of them outside.

    That is 100 at a level of 0.9, 1,000 at 0.99.
    """
    return math.ceil(_LEAST_OUTSIDE / (1 - level) * (1 - 1e-9))


def check_reach(level: float, draws: int) -> None:
    """Raise InputError if the draws are too few to tell the ends of an interval.

    They are if there are fewer than `fewest_draws`.
    """
    fewest = fewest_draws(level)
    if draws >= fewest:
        return
    lower = f", or a level of {1 - _LEAST_OUTSIDE / draws:.6g}" if draws > _LEAST_OUTSIDE else ""
    raise InputError(
        f"{draws} draws are too few for an interval at level {level!r}: take {fewest:,} draws or "
        f"more{lower}"
    )


def robust_scale(residuals: ArrayLike, spare: float | None = None) -> float:
    """Return the standard deviation of noise by the median size of residuals, (m,).

    1.4826 median(|r|) sqrt(m / spare); 1.4826 makes it that of a normal distribution.
    spare: how many residuals there are beyond the coefficients fitted to them; by default m.
    Source: Hampel 1974; the correction for the coefficients is that of least squares.
    """
    size = np.abs(np.asarray(residuals, dtype=np.float64))
    grown = 1.0 if spare is None else float(np.sqrt(size.size / spare))
    return _MAD * float(np.median(size)) * grown
