"""What a figure draws of a law: the line of the fit, and the band of its draws.

A figure takes any of a law, a published law, a fit or the draws of a fit. Only draws give a band.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isoloss.laws import Cost, Law, allocate
from isoloss.trust import Draws

Array = NDArray[np.float64]

_KNOTS = 16


@dataclass(frozen=True)
class Band:
    """A line (m,), and where there are draws its lower and upper edge (m,)."""

    mid: Array
    low: Array | None = None
    high: Array | None = None


def law_of(model: Any) -> Law:
    """Return the one law of a law, a published law, a fit, or the draws of a fit."""
    if isinstance(model, Draws):
        model = model.fit
    while not isinstance(model, Law):
        model = model.law
    return model


def limit_band(model: Any, variable: Literal["n", "d"], grid: Array, *, level: float = 0.9) -> Band:
    """Evaluate the least loss a law of (n, d) allows with one variable, the other unlimited.

    grid: (m,) of the variable. level: of the interval, in (0, 1).
    """

    def losses(law: Law) -> Array:
        stacked = law.column()
        return stacked(grid, np.inf) if variable == "n" else stacked(np.inf, grid)

    return _band(model, losses, level)


def frontier_band(
    model: Any,
    flops: Array,
    what: Literal["n", "d", "loss"],
    *,
    cost: Cost | None = None,
    level: float = 0.9,
) -> Band:
    """Evaluate the compute-optimal n, d or loss along rising (m,) budgets.

    The edges are found at 16 budgets and drawn straight between them in logarithms.
    """
    mid = np.asarray(getattr(allocate(law_of(model), flops, cost=cost), what))
    if not isinstance(model, Draws):
        return Band(mid)
    knots = np.geomspace(flops[0], flops[-1], _KNOTS)
    edges = _band(
        model, lambda law: np.asarray(getattr(allocate(law, knots, cost=cost), what)), level
    )
    low, high = (
        np.exp(np.interp(np.log(flops), np.log(knots), np.log(np.asarray(edge))))
        for edge in (edges.low, edges.high)
    )
    return Band(mid, low, high)


def _band(model: Any, quantity: Callable[[Law], Array], level: float) -> Band:
    mid = np.atleast_2d(quantity(law_of(model)))[0]
    if not isinstance(model, Draws):
        return Band(mid)
    interval = model.interval(quantity, level)
    return Band(mid, np.asarray(interval.low), np.asarray(interval.high))
