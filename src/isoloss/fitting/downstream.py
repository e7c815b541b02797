"""Downstream error from loss: a straight line once gamma is given, so only gamma is searched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws.downstream import DownstreamError
from isoloss.laws.forms import Array

_GAMMAS = (1e-2, 50.0)
_GRID = 200
_NARROWINGS = 12  # each to a tenth of the width
_COEFFICIENTS = 3


@dataclass(frozen=True, eq=False)
class DownstreamFit:
    """A `DownstreamError` fitted to models.

    law: the fitted law. residuals: (m,) predicted - observed error. objective: half the sum of
    their squares. loss: (m,) nats; error: (m,) shares.
    """

    law: DownstreamError
    residuals: Array
    objective: float
    loss: Array
    error: Array


def fit_downstream(loss: ArrayLike, error: ArrayLike) -> DownstreamFit:
    """Fit the mean error of a set of tasks to the loss: least squares of the error.

    minimise sum_i (eps - k * exp(-gamma * loss_i) - error_i) ** 2 over k >= 0, gamma > 0.
    loss: (m,) nats, measured; to predict, call the fitted law with what a law of the loss predicts,
    which is the second of two steps. error: (m,) shares between 0 and 1, mean over the tasks.
    Raises InputError for bad input; UnidentifiedError with the fit in `.partial` if the error falls
    as the loss rises, or does not bend, so that gamma runs to an end of its range.
    Source: Gadre et al. 2024, by `curve_fit` there; for a given gamma the rest is linear.
    """
    x, y = _checked(loss, error)
    gammas = np.geomspace(*_GAMMAS, _GRID)
    for _ in range(1 + _NARROWINGS):
        _, sums = _line(x, y, gammas)
        best = int(np.argmin(sums))
        ends = gammas[max(best - 1, 0)], gammas[min(best + 1, len(gammas) - 1)]
        gammas = np.geomspace(*ends, 41)
    (coefficients,), _ = _line(x, y, gammas[[20]])
    middle = float(x.mean())
    gamma = float(gammas[20])
    law = DownstreamError(
        float(coefficients[0]), float(coefficients[1] * np.exp(gamma * middle)), gamma
    )
    residuals = law(x) - y
    found = DownstreamFit(law, residuals, 0.5 * float(residuals @ residuals), x, y)
    if coefficients[1] <= 0:
        raise UnidentifiedError(
            "the error does not rise with the loss; check that it is an error and not an accuracy",
            partial=found,
        )
    if not _GAMMAS[0] * 1.05 < gamma < _GAMMAS[1] / 1.05:
        raise UnidentifiedError(
            "the error does not bend with the loss enough to fix gamma; add models over a wider "
            "range of losses",
            partial=found,
        )
    return found


def _line(x: Array, y: Array, gammas: Array) -> tuple[Array, Array]:
    """eps and k * exp(-gamma * mean x), (k, 2), and sums of squares (k,), at gammas (k,)."""
    rise = -np.exp(-gammas[:, None] * (x - x.mean()))
    apart = rise - rise.mean(axis=1, keepdims=True)
    slope = np.maximum((apart @ (y - y.mean())) / (apart * apart).sum(axis=1), 0.0)
    level = y.mean() - slope * rise.mean(axis=1)
    off = level[:, None] + slope[:, None] * rise - y
    return np.stack([level, slope], axis=1), (off * off).sum(axis=1)


def _checked(loss: ArrayLike, error: ArrayLike) -> tuple[Array, Array]:
    x, y = np.asarray(loss, dtype=np.float64), np.asarray(error, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"loss and error have shapes {x.shape} and {y.shape}; give one of each per model"
        )
    if not np.all(np.isfinite(x) & (x > 0)):
        raise InputError("every loss must be a positive number of nats")
    if not np.all((y >= 0) & (y <= 1)):
        raise InputError("every error must be a share between 0 and 1; divide per cents by 100")
    if len(np.unique(x)) < _COEFFICIENTS:
        raise UnidentifiedError(
            f"{len(np.unique(x))} distinct losses cannot fix 3 coefficients; add models"
        )
    return x, y
