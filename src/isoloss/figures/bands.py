"""What a figure draws of a law: a line, and where there are draws their band.

A figure takes any of a law, a published law, a fit or the draws of a fit. Only draws give a band,
and then the line is their median, as in a plan; else it is the law's own value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from isoloss.figures.style import LAW
from isoloss.laws import Cost, Law, allocate
from isoloss.trust import Draws

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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

    The draws are asked at 16 budgets, and drawn straight between them in logarithms.
    """

    def optimum(law: Law, budgets: Array) -> Array:
        return np.asarray(getattr(allocate(law, budgets, cost=cost), what))

    if not isinstance(model, Draws):
        return Band(optimum(law_of(model), flops))
    if len(flops) <= _KNOTS:
        return _band(model, lambda law: optimum(law, flops), level)
    knots = np.geomspace(flops[0], flops[-1], _KNOTS)
    found = _band(model, lambda law: optimum(law, knots), level)
    low, mid, high = (
        np.exp(np.interp(np.log(flops), np.log(knots), np.log(np.asarray(edge))))
        for edge in (found.low, found.mid, found.high)
    )
    return Band(mid, low, high)


def shade(ax: Axes, grid: Array, found: Band, *, alpha: float = 0.16, colour: str = LAW) -> None:
    """Shade a band, if there is one, without letting its ends decide the limits of the axes."""
    if found.low is None or found.high is None:
        return
    from matplotlib.patches import Polygon

    outline = np.concatenate(
        [np.column_stack([grid, found.low]), np.column_stack([grid, found.high])[::-1]]
    )
    # add_artist, unlike add_patch and fill_between, leaves the limits alone
    ax.add_artist(Polygon(outline, closed=True, facecolor=colour, alpha=alpha, linewidth=0))


def _band(model: Any, quantity: Callable[[Law], Array], level: float) -> Band:
    if not isinstance(model, Draws):
        return Band(np.atleast_2d(quantity(law_of(model)))[0])
    low, mid, high = (np.asarray(edge) for edge in model.interval(quantity, level))
    return Band(mid, low, high)
