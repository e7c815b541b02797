"""Where to start: a grid over the exponents, with the weights of the terms solved exactly at each.

For given exponents every law is linear in the weights of its terms (after taking loss to the power
1 / outer), so a search over all coefficients becomes one over the exponents alone, small enough to
cover. Relative residuals of that linear problem are the log residuals to first order, and a few
reweightings make it robust. The best cells, and all that are lower than their neighbours, go on to
the polish on the true objective.

Source: variable projection, Golub & Pereyra 1973; non-negative least squares on the face of every
subset of terms, which is exact and, for the two to four terms of a law, faster than iterating.
"""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray

from isoloss.fitting.design import Design
from isoloss.fitting.polish import huber, lopsided
from isoloss.laws.forms import Array

_CELLS = 256  # of one or two exponents; four times as many for each more
_REWEIGHTINGS = 2
_BLOCKS = 4  # per exponent: the best cell of each block is a start, however poor
_STARTS, _MORE_STARTS = (12, 40), (40, 400)  # of one or two exponents, of more
_MOST_POLISHED, _MORE_POLISHED = 4000, 10_000
FEW_EXPONENTS = 2
_LARGEST_LOG = 100.0  # its exponential, and that one's square, stay finite
_SMALL = 0.05
_ROUNDING = 1e-12
_RIDGE = 1e-13


def nonnegative(gram: Array, moment: Array) -> Array:
    """Return the exact non-negative least squares solutions, (k, j), of k small problems.

    minimise |X c - y|^2 over c >= 0, given gram = X^T X (k, j, j) and moment = X^T y (k, j).
    The optimum is the plain solution on some subset of columns, so every subset is solved.
    """
    count, size = moment.shape
    norm = np.sqrt(np.maximum(np.diagonal(gram, axis1=1, axis2=2), np.finfo(float).tiny))
    gram, moment = gram / (norm[:, :, None] * norm[:, None, :]), moment / norm
    best, best_gain = np.zeros((count, size)), np.zeros(count)
    for columns in (c for n in range(1, size + 1) for c in combinations(range(size), n)):
        index = np.array(columns)
        part = gram[:, index[:, None], index] + _RIDGE * np.eye(len(index))
        solved = np.linalg.solve(part, moment[:, index, None])[:, :, 0]
        gain = (solved * moment[:, index]).sum(axis=1)
        better = (solved >= 0).all(axis=1) & (gain > best_gain)
        best[better] = 0.0
        best[np.ix_(better, index)] = solved[better]
        best_gain[better] = gain[better]
    scaled: Array = best / norm
    return scaled


def starts(design: Design, weights: Array, delta: float | None) -> Array:
    """Return coordinates (k, q) to polish from: promising cells of a grid over the exponents."""
    coordinates, objectives, shape = cells(design, weights, delta)
    few = len(design.exponents) <= FEW_EXPONENTS
    polished, limits = (_MOST_POLISHED, _STARTS) if few else (_MORE_POLISHED, _MORE_STARTS)
    most = int(np.clip(polished // len(design.log_loss), *limits))
    return coordinates[_promising(objectives, shape, most)]


def cells(
    design: Design, weights: Array, delta: float | None
) -> tuple[Array, Array, tuple[int, ...]]:
    """Return coordinates (cells, q) and objectives (cells,) on the grid, and the grid's shape."""
    theta, shape = _grid(design)
    return *_project(design, theta, weights, delta), shape


def _grid(design: Design) -> tuple[Array, tuple[int, ...]]:
    """Exponents (cells, p) and the grid's shape."""
    count = len(design.exponents)
    if not count:
        return np.empty((1, 0)), ()
    cells = _CELLS * 4 ** max(0, count - FEW_EXPONENTS)
    side = max(4, round(cells ** (1 / count))) if count > 1 else 64
    axes = []
    ranges = zip(*(bound[len(design.scales) :] for bound in design.bounds), strict=True)
    for name, (low, high) in zip(design.exponents, ranges, strict=True):
        if name in design.places:
            axes.append(_middles(low, high, side))
        elif low > 0:
            axes.append(np.exp(_middles(np.log(low), np.log(high), side)))
        else:
            # Of either sign: evenly in the logarithm of its size, but for the smallest.
            ends = np.arcsinh(low / _SMALL), np.arcsinh(high / _SMALL)
            axes.append(_SMALL * np.sinh(_middles(*ends, side)))
    return np.array(list(product(*axes))), (side,) * count


def _middles(low: float, high: float, count: int) -> Array:
    edges = np.linspace(low, high, count + 1)
    middles: Array = 0.5 * (edges[1:] + edges[:-1])
    return middles


def _project(
    design: Design, theta: Array, weights: Array, delta: float | None
) -> tuple[Array, Array]:
    """Coordinates (cells, q) with robust weights of the terms, and their objectives (cells,)."""
    logarithms, _ = design.logarithms(theta)
    outer = design.outer(theta)
    observed = (design.log_loss - design.mean_log_loss) / outer
    cells = (len(theta), len(design.log_loss))
    parts = [
        np.broadcast_to(np.exp(np.minimum(term - observed, _LARGEST_LOG)), cells)
        for term in logarithms
    ]
    free = [p for name, p in zip(design.form.scales, parts, strict=True) if name in design.scales]
    held = sum(p for name, p in zip(design.form.scales, parts, strict=True) if name in design.fixed)
    columns = np.stack(free, axis=1) if free else np.empty((len(theta), 0, cells[1]))
    loss = np.exp(design.log_loss) if design.residual == "linear" else np.ones(cells[1])
    reweighted = weights * loss * loss
    found = np.zeros((len(theta), len(free)))
    for repeats_left in reversed(range(1 + _REWEIGHTINGS)):
        if free:
            scaled = columns * np.atleast_2d(reweighted)[:, None, :]
            moment = scaled @ np.broadcast_to(1.0 - held, cells)[:, :, None]
            found = nonnegative(scaled @ columns.transpose(0, 2, 1), moment[:, :, 0])
        ratio = (found[:, None, :] @ columns)[:, 0] + held
        if repeats_left:
            size = np.abs(ratio - 1.0)
            scale = np.maximum(size.mean(axis=1, keepdims=True), _ROUNDING)
            reweighted = weights * loss * loss * (scale / np.maximum(size, scale))
            reweighted = lopsided(design, reweighted, ratio - 1.0)
    residuals = outer * np.log(np.maximum(ratio, _ROUNDING))
    if design.residual == "linear":
        residuals = loss * np.expm1(np.minimum(residuals, _LARGEST_LOG))
    objectives = (lopsided(design, weights, residuals) * huber(residuals, delta)).sum(axis=1)
    return np.concatenate([found, theta], axis=1), objectives


def _promising(objectives: Array, shape: tuple[int, ...], most: int) -> NDArray[np.intp]:
    """The best cell of every block of the grid and every cell lower than its neighbours."""
    grid = objectives.reshape(shape)
    lowest = np.ones(shape, dtype=bool)
    block = np.zeros(shape, dtype=np.intp)
    for axis, size in enumerate(shape):
        edge = np.full_like(np.take(grid, [0], axis), np.inf)
        padded = np.concatenate([edge, grid, edge], axis)
        lowest &= grid <= np.take(padded, range(size), axis)
        lowest &= grid <= np.take(padded, range(2, size + 2), axis)
        along = np.arange(size) * _BLOCKS // size
        block = block * _BLOCKS + along.reshape([-1 if a == axis else 1 for a in range(grid.ndim)])
    order = np.argsort(objectives, kind="stable")
    _, firsts = np.unique(block.ravel()[order], return_index=True)
    leads = np.zeros(len(order), dtype=bool)
    leads[firsts] = True
    return order[leads | lowest.ravel()[order]][:most]
