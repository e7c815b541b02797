"""The global search: polish every promising start briefly, then the distinct minima to the end.

With three exponents or more the objective of a small delta has many shallow hollows: the starts
first descend by least squares, whose landscape is smoother, and the best of them as they are too.
"""

from __future__ import annotations

import numpy as np

from isoloss.fitting.design import Design
from isoloss.fitting.polish import Solutions, polish
from isoloss.fitting.projection import FEW_EXPONENTS, starts
from isoloss.laws.forms import Array

_GRID_SAMPLE = 100
_SAMPLE = 300
_SHORT = 30
_ROUGH = 1e-7
_MOST_MINIMA, _MORE_MINIMA = 6, 12
_SMOOTH, _SMOOTH_ROUGH = 30, 1e-4
_AS_THEY_ARE = 40
_SAME_OBJECTIVE = 1e-4


def minima(design: Design, weights: Array, delta: float | None) -> Solutions:
    """Return the distinct local minima that the search finds, k of them, the best first.

    weights: (m,). delta: in units of the residual, or None for squares. Large tables are searched
    on a sample of their runs and finished on all of them.
    """
    few, some = _sample(design, weights, _GRID_SAMPLE), _sample(design, weights, _SAMPLE)
    begun = starts(*few, delta)
    rugged = len(design.exponents) > FEW_EXPONENTS
    if rugged and delta is not None:
        at = some[0], begun, some[0].log_loss, some[1], None
        smooth = polish(*at, steps=_SMOOTH, tolerance=_SMOOTH_ROUGH)
        begun = np.concatenate([smooth.coordinates, begun[:_AS_THEY_ARE]])
    short = polish(some[0], begun, some[0].log_loss, some[1], delta, steps=_SHORT, tolerance=_ROUGH)
    begun = _distinct(short).coordinates[: _MORE_MINIMA if rugged else _MOST_MINIMA]
    return _distinct(polish(design, begun, design.log_loss, weights, delta))


def solve(design: Design, weights: Array, delta: float | None) -> Solutions:
    """Return the global minimum, as one solution (k = 1); arguments as for `minima`."""
    return minima(design, weights, delta).at(np.array([0]))


def _sample(design: Design, weights: Array, most: int) -> tuple[Design, Array]:
    """The design and weights at no more than about `most` of the runs, drawn once for all."""
    count = len(design.log_loss)
    if count <= 2 * most:
        return design, weights
    rows = np.sort(np.random.default_rng(0).permutation(count)[:most])
    return design.take(rows), weights[rows]


def _distinct(found: Solutions) -> Solutions:
    """The solutions by rising objective, but for those that reach the objective of one before."""
    order = np.argsort(found.objectives, kind="stable")
    ranked = found.objectives[order]
    apart = np.diff(ranked, prepend=-np.inf) > _SAME_OBJECTIVE * ranked
    apart[0] = True
    return found.at(order[apart])
