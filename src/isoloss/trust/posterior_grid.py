"""The posterior of a law with a Gaussian discrepancy, on a grid over its exponents and scales.

For given exponents a law is linear in the weights of its terms, and for given scales of noise and
drift everything is Gaussian: weights and discrepancy are integrated out exactly, and what is left,
one or two exponents and two scales, lies on a grid that is narrowed until it resolves the weight.
The discrepancy is basis @ steps with independent standard normal steps, times the drift's scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from isoloss.fitting.design import Design
from isoloss.laws.forms import Array

NOISES = np.exp(np.linspace(np.log(3e-4), np.log(8e-2), 14))
"""The standard deviations of a run's log loss that are tried."""

DRIFT_SPREAD = 0.5
"""Standard deviation of the logarithm of the drift's scale."""

_DRIFTS = np.exp(np.linspace(-1.0, 1.0, 6))
SCALES = np.array(list(product(NOISES, _DRIFTS)))
"""Pairs of a noise and a scale of the drift: (s, 2)."""

MOST_EXPONENTS = 2
_PRIOR_FREEDOM = 4.0
_WEIGHT_SPREAD = 2.0  # of the terms' weights, where the loss at the centre is 1
_SIDES = {0: 1, 1: 128, 2: 28}
_WIDEST = (0.02, 3.0)
_WHOLE = 0.5
_LEAST_WEIGHT = 12.0  # in log units below the heaviest cell
_CELL_NUMBERS = 4_000_000
_MOST_NEGATIVE = -2.8  # deviations: beyond it a draw is positive once in 400 times
_TRIES = 12
_LARGEST_LOG = 100.0


@dataclass(frozen=True)
class ExponentPrior:
    """A Student's t in the logarithm of each exponent: its median, and the scale there."""

    median: float
    spread: float

    def log_density(self, design: Design, theta: Array) -> Array:
        """Of exponents (k, p) of a law with an irreducible loss; flat for other laws: (k,)."""
        total = np.zeros(len(theta))
        if "E" not in design.form.scales:
            return total
        for i in range(theta.shape[1]):
            if _logarithmic(design, i):
                z = np.log(theta[:, i] / self.median) / self.spread
                total -= 0.5 * (_PRIOR_FREEDOM + 1) * np.log1p(z**2 / _PRIOR_FREEDOM)
        return total


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells that carry weight: exponents (k, p), weights' mean (k, j) and precision (k, j, j).

    share: of the posterior. scale: index into the scales of noise and drift.
    """

    theta: Array
    scale: NDArray[np.intp]
    mean: Array
    precision: Array
    share: Array


def search(
    prior: ExponentPrior,
    design: Design,
    basis: Array,
    weights: Array,
    refinements: int,
    fitted: Array,
) -> Grid:
    """The posterior on a grid over exponents and scales, narrowed until it resolves the weight.

    fitted: exponents (p,) of the plain fit, through which every grid is laid: where the runs are
    many the weight is far narrower than a cell of the first grids, which else would miss it.
    """
    count, side = len(design.exponents), _SIDES[len(design.exponents)]
    edges = [_whole_range(design, i) for i in range(count)]
    logs = [_logarithmic(design, i) for i in range(count)]
    through = [float(np.log(v)) if log else float(v) for v, log in zip(fitted, logs, strict=True)]
    scales = np.arange(len(SCALES))
    for _ in range(refinements + 1):
        axes = [_laid(ends, side, at) for ends, at in zip(edges, through, strict=True)]
        theta = np.array(list(product(*axes))).reshape(-1, count)
        for i in range(count):
            if logs[i]:
                theta[:, i] = np.exp(theta[:, i])
        cells = cells_of(prior, design, theta, basis, weights, SCALES[scales])
        found = cells[0] > cells[0].max() - _LEAST_WEIGHT
        grid = _heavy(theta, scales, found, *cells)
        scales = scales[found.any(axis=1)]
        shape = (side,) * count
        inside = [
            found.any(axis=0).reshape(shape).any(axis=_others(i, count)) for i in range(count)
        ]
        narrower = [_around(axis, kept) for axis, kept in zip(axes, inside, strict=True)]
        if all(
            new[1] - new[0] > _WHOLE * (old[1] - old[0])
            for new, old in zip(narrower, edges, strict=True)
        ):
            break
        edges = narrower
    return grid


def _laid(ends: tuple[float, float], side: int, through: float) -> Array:
    """An even axis from end to end, moved by less than a step to have a place at `through`."""
    axis = np.linspace(*ends, side)
    away = through - axis
    nearest = int(np.abs(away).argmin())
    if ends[0] <= through <= ends[1]:
        axis = axis + away[nearest]
    return np.asarray(axis, dtype=np.float64)


def _around(axis: Array, kept: NDArray[np.bool_]) -> tuple[float, float]:
    """The part of an axis from one place before the first kept to one after the last."""
    at = np.flatnonzero(kept)
    return float(axis[max(0, at[0] - 1)]), float(axis[min(len(axis) - 1, at[-1] + 1)])


def _others(axis: int, count: int) -> tuple[int, ...]:
    return tuple(i for i in range(count) if i != axis)


def _logarithmic(design: Design, index: int) -> bool:
    """Whether an exponent is searched in its logarithm; a place on an axis is one already."""
    return design.exponents[index] not in design.places


def _whole_range(design: Design, index: int) -> tuple[float, float]:
    low, high = (float(bound[len(design.scales) + index]) for bound in design.bounds)
    if not _logarithmic(design, index):
        return low, high
    return float(np.log(max(low, _WIDEST[0]))), float(np.log(min(high, _WIDEST[1])))


def _heavy(
    theta: Array,
    scales: NDArray[np.intp],
    found: NDArray[np.bool_],
    evidence: Array,
    mean: Array,
    precision: Array,
) -> Grid:
    """The cells found heavy (s, k); evidence (s, k), mean (s, k, j), and so on."""
    scale, cell = np.nonzero(found)
    share = np.exp(evidence[found] - evidence.max())
    return Grid(theta[cell], scales[scale], mean[found], precision[found], share / share.sum())


def cells_of(
    prior: ExponentPrior, design: Design, theta: Array, basis: Array, weights: Array, scales: Array
) -> tuple[Array, Array, Array]:
    """Log evidence (s, k) with the prior, and mean and precision of the terms' weights."""
    rows = max(1, _CELL_NUMBERS // ((len(design.scales) + 1) * len(weights)))
    noise, drift = (scales**2).T
    variance, turn = np.linalg.eigh((basis * weights[:, None]).T @ basis)
    variance, basis = np.maximum(variance, 0.0), basis @ turn
    grams = []
    for first in range(0, len(theta), rows):
        linear = linearised(design, theta[first : first + rows])
        weighted = linear * weights
        along = weighted @ basis
        pairs = (along[:, :, None, :] * along[:, None, :, :]).reshape(-1, len(variance))
        shrunk = pairs @ (drift / (noise + drift * variance[:, None]))
        whole = weighted @ linear.transpose(0, 2, 1)
        grams.append(np.moveaxis(whole[..., None] - shrunk.reshape(*whole.shape, -1), -1, 0))
    gram = np.concatenate(grams, axis=1) / noise[:, None, None, None]
    precision = gram[..., 1:, 1:] + np.eye(gram.shape[-1] - 1) / _WEIGHT_SPREAD**2
    moment = gram[..., 1:, 0]
    factor = np.linalg.cholesky(precision)
    whitened = _forward(factor, moment)
    mean = _backward(factor, whitened)
    left = gram[..., 0, 0] - (whitened**2).sum(axis=-1)
    volume_of_weights = 2 * np.log(np.diagonal(factor, axis1=-2, axis2=-1)).sum(axis=-1)
    volume = len(weights) * np.log(noise)
    volume = volume + np.log1p(variance * (drift / noise)[:, None]).sum(axis=1)
    evidence = -0.5 * (left + volume[:, None] + volume_of_weights)
    strayed = np.log(scales[:, 1]) / DRIFT_SPREAD
    evidence = evidence - 0.5 * strayed[:, None] ** 2
    found: Array = evidence + prior.log_density(design, theta)
    # A term of negative weight may fit better than any law: such cells are no law's.
    columns = np.eye(moment.shape[-1])
    inverse = [_forward(factor, np.broadcast_to(column, mean.shape)) for column in columns]
    deviation = np.sqrt(np.stack([(part**2).sum(axis=-1) for part in inverse], axis=-1))
    lawful = (mean > _MOST_NEGATIVE * deviation).all(axis=-1)
    if lawful.any():
        found = np.where(lawful, found, -np.inf)
    return found, mean, precision


def _forward(factor: Array, right: Array) -> Array:
    """Solve L y = right for triangular factors (..., j, j): all cells at once, a row at a time."""
    y = np.empty_like(right)
    for i in range(right.shape[-1]):
        known = (factor[..., i, :i] * y[..., :i]).sum(axis=-1)
        y[..., i] = (right[..., i] - known) / factor[..., i, i]
    return y


def _backward(factor: Array, right: Array) -> Array:
    """Solve L^T y = right likewise."""
    y = np.empty_like(right)
    for i in reversed(range(right.shape[-1])):
        known = (factor[..., i + 1 :, i] * y[..., i + 1 :]).sum(axis=-1)
        y[..., i] = (right[..., i] - known) / factor[..., i, i]
    return y


def linearised(design: Design, theta: Array) -> Array:
    """What the terms must add up to, and each free term, over the loss: (k, 1 + j, m).

    With weights w the first less w times the others is, to first order, log observed - log
    predicted.
    """
    terms, _ = design.logarithms(theta)
    outer = design.outer(theta)
    observed = (design.log_loss - design.mean_log_loss) / outer
    shape = (len(theta), len(design.log_loss))
    target = np.broadcast_to(outer, shape)
    free = []
    for name, term in zip(design.form.scales, terms, strict=True):
        part = outer * np.exp(np.minimum(term - observed, _LARGEST_LOG))
        if name in design.fixed:
            target = target - part
        else:
            free.append(np.broadcast_to(part, shape))
    return np.stack([target, *free], axis=1)


def draw(grid: Grid, draws: int, random: np.random.Generator) -> tuple[NDArray[np.intp], Array]:
    """Cells (k,) and coordinates (k, q) drawn from the posterior, no weight negative."""
    factor = np.linalg.inv(np.linalg.cholesky(grid.precision)).transpose(0, 2, 1)
    cells: list[NDArray[np.intp]] = []
    weights: list[Array] = []
    for _ in range(_TRIES):
        cell = random.choice(len(grid.share), size=draws, p=grid.share)
        normal = random.standard_normal((draws, grid.mean.shape[1], 1))
        weight = grid.mean[cell] + (factor[cell] @ normal)[:, :, 0]
        allowed = (weight >= 0).all(axis=1)
        cells.append(cell[allowed])
        weights.append(weight[allowed])
        if sum(len(part) for part in cells) >= draws:
            break
    else:  # the runs all but exclude a positive weight: put it at zero
        cells.append(cell)
        weights.append(np.maximum(weight, 0.0))
    chosen, kept = np.concatenate(cells)[:draws], np.concatenate(weights)[:draws]
    return chosen, np.concatenate([kept, grid.theta[chosen]], axis=1)
