"""What is wrong with runs that a law was fitted to: by their table, and by how they lie about it.

Every fit carries what `inspect_runs` sees in its table and what only the fit shows: a run far from
the others, a run that alone moves the answer, groups that lie apart.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError, Status
from isoloss.fitting.design import Design
from isoloss.fitting.intervals import robust_scale
from isoloss.fitting.runs_inspection import Finding, inspect_runs
from isoloss.laws.allocation import allocate
from isoloss.laws.forms import Array
from isoloss.runs import Runs

Names = NDArray[np.str_]

INFLUENCE = 1.25
"""A run is influential if without it the best size at ten times the largest compute moves by more
than this factor, and by more than all other runs' moves together (root of the summed squares)."""

_FAR, _FAR_AT_LEAST = 10.0, 0.05
_APART, _APART_AT_LEAST, _APART_SHARE = 8.0, 0.02, 0.6
"""Groups lie apart at this many standard errors, by this much in log loss, where that is this share
of what the residuals vary. What a law gets wrong at some budgets may be many standard errors too,
but on the public tables it is no more than 0.45 of what the residuals vary."""
_FEWEST_IN_GROUP = 4
_BANDS_SHARE, _BAND_SHARE = 0.9, 0.1
"""Runs lie in two bands if to which they belong is this share of what the residuals vary (at most
0.78 on the public tables; 0.64 for a normal distribution, cut in its middle), and the smaller holds
this share of the runs."""
_MISSED = 0.05
"""Half of the residuals above this are no noise: it is 0.04 on the public tables, rates left
untuned among them, and 0.08 across languages."""
_COARSE, _ROUNDING = 0.005, 0.7
"""Losses are coarse if their last digit counts this share of them, and rounding alone scatters them
by this share of what the residuals do."""
_EFFICIENT = 1.345  # robust scales: a Huber loss is then 95 % efficient on normal noise
_BEYOND = 10.0
_STEP = 1e-4
_LEAST_SPARE = 1e-6
_TINY = float(np.finfo(float).tiny)


def inspect(
    runs: Runs, design: Design, coordinates: Array, weights: Array, residuals: Array
) -> tuple[Finding, ...]:
    """Find what can be seen to be wrong with runs that a law was fitted to.

    design, coordinates: the solved problem, of the runs whose weight is above zero. weights: (m,).
    residuals: (m,) log predicted - log observed.
    """
    along_curves = bool({"steps", "s_min"} & set(design.form.variables))
    used = weights > 0
    of_table = inspect_runs(runs, along_curves=along_curves)
    mixed = any(one.code is Status.MIXED_DATA for one in of_table)
    grouped = _groups(runs.group[used], residuals[used])
    found = [
        *of_table,
        outlier(runs.run[used], residuals[used]),
        grouped,
        None if grouped or mixed else _bands(residuals[used]),
        None if along_curves or design.asymmetry != 1.0 else _misses(residuals[used]),
        _rounded(runs.loss[used], residuals[used]),
        _influential(design, coordinates, weights[used], runs.run[used], float(runs.c.max())),
    ]
    return tuple(one for one in found if one is not None)


def outlier(names: Names, residuals: Array, fitted: int = 0) -> Finding | None:
    """Find the run farthest from a law, if it lies out of all proportion to the others.

    names, residuals: (m,). fitted: how many residuals a median fit sets to zero, which say nothing
    of the noise: as many as it has coefficients, or 0 where there are far more runs than those.
    """
    size = np.abs(residuals)
    scale = robust_scale(np.sort(size)[min(fitted, len(size) - 1) :])
    row = int(size.argmax())
    if size[row] <= farthest_usual(scale):
        return None
    return Finding(
        Status.OUTLIER,
        f"run {names[row]!s} lies {size[row]:.0%} from the law, {scale:.1%} being usual",
    )


def farthest_usual(noise: float) -> float:
    """Return the log residual beyond which a run is an outlier: ten sds of noise, at least 0.05."""
    return max(_FAR * noise, _FAR_AT_LEAST)


def _groups(groups: Names, residuals: Array) -> Finding | None:
    """The group of runs that lies farthest to one side of the law, against all others."""
    names, where = np.unique(groups, return_inverse=True)
    farthest: tuple[float, str, float] = (0.0, "", 0.0)
    for number, name in enumerate(names):
        own, rest = residuals[where == number], residuals[where != number]
        if min(len(own), len(rest)) < _FEWEST_IN_GROUP:
            continue
        gap = float(rest.mean() - own.mean())
        error = float(np.sqrt(own.var(ddof=1) / len(own) + rest.var(ddof=1) / len(rest)))
        between = gap**2 * len(own) * len(rest) / len(residuals)
        share = between / max(float(np.sum((residuals - residuals.mean()) ** 2)), _TINY)
        if abs(gap) > max(_APART * error, _APART_AT_LEAST, farthest[0]) and share > _APART_SHARE:
            farthest = (abs(gap), str(name), gap)
    size, group, gap = farthest
    if not size:
        return None
    return Finding(
        Status.MIXED_GROUPS,
        f"the losses of group {group!r} lie {size:.1%} {'above' if gap > 0 else 'below'} those of "
        "the others, held against the law",
    )


def _bands(residuals: Array) -> Finding | None:
    """Two data sets without a column to tell them apart: residuals in two bands."""
    rising, count = np.sort(residuals), len(residuals)
    fewest = max(_FEWEST_IN_GROUP, math.ceil(_BAND_SHARE * count))
    total = float(np.sum((rising - rising.mean()) ** 2))
    cuts = np.arange(fewest, count - fewest + 1)
    if not len(cuts) or not total > 0:
        return None
    sums = np.cumsum(rising)
    below = sums[cuts - 1] / cuts
    gaps = (sums[-1] - sums[cuts - 1]) / (count - cuts) - below
    shares = gaps**2 * cuts * (count - cuts) / count / total
    at = int(shares.argmax())
    if shares[at] < _BANDS_SHARE or gaps[at] < _APART_AT_LEAST:
        return None
    return Finding(
        Status.MIXED_DATA,
        f"{count - cuts[at]} runs have losses {np.expm1(gaps[at]):.0%} below those of the other "
        f"{cuts[at]}, held against the law, with hardly any between",
    )


def _misses(residuals: Array) -> Finding | None:
    """A law that comes near no runs."""
    median = float(np.median(np.abs(residuals)))
    if median < _MISSED:
        return None
    return Finding(Status.POOR_FIT, f"half of the losses lie {median:.0%} or more from the law")


def _rounded(losses: Array, residuals: Array) -> Finding | None:
    """Losses given with too few digits for what the law leaves over."""
    middle = float(np.median(losses))
    for digits in (0, 1, 2):
        whole = losses * 10**digits
        if np.allclose(whole, np.round(whole), rtol=0.0, atol=1e-6):
            break
    else:
        return None
    step = 10.0**-digits
    alone, scale = step / math.sqrt(12) / middle, robust_scale(residuals)
    if step < _COARSE * middle or alone < _ROUNDING * scale:
        return None
    given = "whole numbers" if not digits else f"rounded to {step:g}"
    return Finding(
        Status.ROUNDED_LOSSES,
        f"all losses are {given}, which alone scatters them by {alone:.1%}; about the law they "
        f"scatter by {scale:.1%}",
    )


def _influential(
    design: Design, coordinates: Array, weights: Array, names: Names, largest: float
) -> Finding | None:
    """The run whose removal moves ln n at the optimum most, by one Gauss-Newton step each."""
    if design.form.variables != ("n", "d"):
        return None
    slope = slope_of_best(design, coordinates, _BEYOND * largest)
    if slope is None:
        return None
    (residuals,), (jacobian,) = design.evaluate(coordinates[None], design.log_loss[None])
    moved = np.abs(leave_one_out(residuals, jacobian, weights, slope))
    row = int(moved.argmax())
    others = float(np.sqrt(np.sum(moved**2) - moved[row] ** 2))
    if not moved[row] > max(np.log(INFLUENCE), others):
        return None
    return Finding(
        Status.INFLUENTIAL_RUN,
        f"without run {names[row]!s} the best size at {_BEYOND:g} times the largest compute moves "
        f"by a factor of {np.exp(min(moved[row], 20.0)):.3g}",
    )


def leave_one_out(residuals: Array, jacobian: Array, weights: Array, slope: Array) -> Array:
    """Return how far a quantity moves when each run is left out, by one Gauss-Newton step, (m,).

    slope . H^-1 J_i w_i r_i / (1 - h_i), with H = sum w J J^T and h_i the leverage; the weights are
    those of a Huber loss at 1.345 robust scales.
    residuals: (m,), jacobian: (q, m), weights: (m,), slope: (q,) of the quantity.
    Source: Cook 1977; Pregibon 1981 for the one step.
    """
    scale = max(robust_scale(residuals), _TINY)
    each = weights * np.minimum(1.0, _EFFICIENT * scale / np.maximum(np.abs(residuals), scale))
    unit = np.sqrt(np.maximum((each * jacobian**2).sum(axis=1), _TINY))
    columns = jacobian / unit[:, None]
    inverse = np.linalg.pinv((columns * each) @ columns.T, rcond=1e-12, hermitian=True)
    leverage = each * np.einsum("im,ij,jm->m", columns, inverse, columns)
    pull = (slope / unit) @ inverse @ columns
    moved: Array = pull * each * residuals / np.maximum(1.0 - leverage, _LEAST_SPARE)
    return moved


def slope_of_best(design: Design, coordinates: Array, flops: float) -> Array | None:
    """The slopes of ln n at the optimum in each coordinate, (q,); None without an optimum."""
    count = len(coordinates)
    step = _STEP * np.maximum(np.abs(coordinates), _STEP)
    low, high = design.bounds
    points = np.concatenate([coordinates + np.diag(step), coordinates - np.diag(step)])
    points = np.clip(points, low, high)
    try:
        best = allocate(design.law(points), flops)
    except InputError:
        return None
    log_n = np.log(np.asarray(best.n, dtype=np.float64))
    between = np.diagonal(points[:count] - points[count:])
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (log_n[:count] - log_n[count:]) / between
    found: Array = np.where(np.isfinite(slope), slope, 0.0)
    return found
