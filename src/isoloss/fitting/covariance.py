"""The covariance of fitted coefficients by the sandwich formula: quick, and right near the optimum.

The slopes are those of the law itself in its own coefficients, by a complex step. With the
published delta of 1e-3 only a few runs lie where the Huber loss is curved, and counting them would
be a wild estimate of the mean curvature; a median regression takes a wider window and so does this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from statistics import NormalDist

import numpy as np

from isoloss.fitting import diagnosis
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import robust_scale
from isoloss.laws.forms import Array, Law
from isoloss.runs import Runs

_STEP = 1e-30


def sought(form: type[Law], fixed: Mapping[str, float]) -> tuple[str, ...]:
    """Return the coefficients that are not fixed, in the order of the law."""
    return tuple(field.name for field in fields(form) if field.name not in fixed)


def sandwich(
    law: Law,
    design: Design,
    coordinates: Array,
    weights: Array,
    variables: Sequence[Array],
    runs: Runs,
    delta: float | None,
) -> Array:
    """Return the covariance (p, p) of the coefficients sought; see `Fit.covariance`.

    weights: (m,), zero for runs that were left out. variables: the law's, each (m,).
    """
    used = weights > 0
    predicted = law(*(variable[used] for variable in variables))
    slopes = _slopes(law, design, [variable[used] for variable in variables])
    observed = runs.loss[used]
    residuals = predicted - observed
    if design.residual == "log":
        slopes, residuals = slopes / predicted, np.log(predicted) - np.log(observed)
    pull = weights[used]
    if design.asymmetry != 1.0:
        pull = pull * np.where(residuals > 0, design.asymmetry, 1.0)
    scores = residuals if delta is None else np.clip(residuals, -delta, delta)
    curvature: Array = np.ones(len(residuals))
    if delta is not None:
        width = max(delta, _window(residuals, slopes.shape[0]))
        curvature = np.where(np.abs(residuals) <= width, delta / width, 0.0)
    names = sought(design.form, design.fixed)
    free = np.array([name in _free(design, coordinates) for name in names], dtype=bool)
    result = np.full((len(names), len(names)), np.nan)
    size = np.sqrt((slopes * slopes).sum(axis=1))
    columns = slopes[free] / size[free, None]
    bread = np.linalg.pinv((columns * (pull * curvature)) @ columns.T, rcond=1e-15, hermitian=True)
    _, names_of_runs = np.unique(runs.run[used], return_inverse=True)
    clusters = int(names_of_runs.max()) + 1
    summed = np.array([np.bincount(names_of_runs, row * pull * scores) for row in columns])
    share = clusters / max(clusters - int(free.sum()), 1)
    inner = bread @ (summed @ summed.T) @ bread * share
    result[np.ix_(free, free)] = inner / np.outer(size[free], size[free])
    return result


def _slopes(law: Law, design: Design, variables: Sequence[Array]) -> Array:
    """Slopes of the predicted loss in each coefficient sought, (p, m)."""
    rows = []
    for name in sought(design.form, design.fixed):
        shifted = replace(law, **{name: complex(getattr(law, name), _STEP)})
        rows.append(np.imag(shifted(*variables)) / _STEP)
    return np.array(rows)


def _free(design: Design, coordinates: Array) -> set[str]:
    free = diagnosis.decided(design, coordinates)
    names = (*design.scales, *design.exponents)
    return {name for name, decided in zip(names, free, strict=True) if decided}


def _window(residuals: Array, count: int) -> float:
    """Half the width in which the density of residuals at zero is measured.

    Hall & Sheather's share of the runs, for a median at 95 %, at the normal's quantile.
    """
    spare = max(len(residuals) - count, 1)
    normal = NormalDist()
    share = len(residuals) ** (-1 / 3) * normal.inv_cdf(0.975) ** (2 / 3)
    share *= (1.5 * normal.pdf(0.0) ** 2) ** (1 / 3)
    return robust_scale(residuals, spare) * normal.inv_cdf(0.5 + min(share, 0.4))
