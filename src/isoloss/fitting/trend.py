"""A power law through points: y = coefficient * x ** exponent, by least squares of logarithms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws.forms import Array


@dataclass(frozen=True)
class PowerTrend:
    """y = coefficient * x ** exponent; se is the standard error of the exponent.

    se is NaN with two points, which leave no residual to judge by.
    """

    coefficient: float
    exponent: float
    se: float

    def __call__(self, x: ArrayLike) -> Array:
        """Return y at x."""
        value: Array = self.coefficient * np.asarray(x, dtype=np.float64) ** self.exponent
        return value


def power_trend(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> PowerTrend:
    """Fit y = coefficient * x ** exponent by weighted least squares of log y on log x.

    x, y: (m,), positive. weights: (m,), not negative, such as 1 / variance of log y.
    Raises InputError for other input, UnidentifiedError if fewer than two x differ.
    Source: Hoffmann et al. 2022, section 3.2, where x is compute and y the best size.
    """
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    w = np.ones_like(xs) if weights is None else np.asarray(weights, dtype=np.float64)
    if not xs.shape == ys.shape == w.shape or xs.ndim != 1:
        raise InputError("power_trend takes x, y and weights of one length")
    if not np.all((xs > 0) & (ys > 0) & np.isfinite(xs) & np.isfinite(ys)):
        raise InputError("power_trend needs x and y positive and finite")
    if not np.all(np.isfinite(w) & (w >= 0)):
        raise InputError("power_trend needs weights that are finite and not negative")
    xs, ys, w = np.log(xs[w > 0]), np.log(ys[w > 0]), w[w > 0]
    if len(xs) < 2 or np.ptp(xs) < 1e-9:
        raise UnidentifiedError("a power trend needs points at two or more different x")
    x_mean, y_mean = np.average(xs, weights=w), np.average(ys, weights=w)
    spread = float(np.sum(w * (xs - x_mean) ** 2))
    exponent = float(np.sum(w * (xs - x_mean) * (ys - y_mean))) / spread
    residuals = ys - y_mean - exponent * (xs - x_mean)
    se = float("nan")
    if len(xs) > 2:
        se = float(np.sqrt(np.sum(w * residuals**2) / (len(xs) - 2) / spread))
    coefficient = float(np.exp(np.clip(y_mean - exponent * x_mean, -700.0, 700.0)))
    return PowerTrend(coefficient, exponent, se)
