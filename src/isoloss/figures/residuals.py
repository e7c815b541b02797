"""What the law leaves over, run by run: a pattern here is something the law does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.figures.style import (
    GRID,
    LAW,
    MUTED,
    RUN,
    axes_or_new,
    count_axis,
    flops_axis,
    house_style,
    percent_axis,
)
from isoloss.fitting import Fit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


def residuals(fit: Fit, against: Literal["n", "d", "c"] = "n", *, ax: Axes | None = None) -> Axes:
    """Draw measured minus fitted loss, in per cent of the fitted loss, against one variable.

    The shaded strip holds the middle 90 % of the residuals; the line is their running median, left
    out below twelve runs. Returns the axes, a new figure's if `ax` is None.
    Raises InputError for another variable.
    """
    if against not in ("n", "d", "c"):
        raise InputError(f'against is {against!r}; residuals are drawn against "n", "d" or "c"')
    x: Array = getattr(fit.runs, against)
    y = 100 * np.expm1(-np.asarray(fit.residuals))
    with house_style():
        ax = axes_or_new(ax, height=3.0)
        ax.set_xscale("log")
        low, high = np.quantile(y, [0.05, 0.95])
        ax.axhspan(float(low), float(high), color=GRID, alpha=0.7, linewidth=0)
        ax.axhline(0, color=MUTED, linewidth=1.0)
        ax.plot(x, y, "o", color=RUN, markersize=4, alpha=0.75, markeredgewidth=0)
        if len(x) >= 12:
            ax.plot(*_running_median(x, y), color=LAW, linewidth=1.6)
        reach = 1.15 * float(np.max(np.abs(y))) or 1.0
        ax.set_ylim(-reach, reach)
        percent_axis(ax.yaxis, "measured minus fitted")
        if against == "c":
            flops_axis(ax.xaxis)
        else:
            count_axis(ax.xaxis, "parameters" if against == "n" else "training tokens")
    return ax


def _running_median(x: Array, y: Array) -> tuple[Array, Array]:
    """Medians of about eight groups along x; runs within 2 % of one another stay together."""
    order = np.argsort(x, kind="stable")
    least = max(4, len(x) // 8)
    groups: list[list[int]] = [[]]
    for index in order:
        if len(groups[-1]) >= least and x[index] > 1.02 * x[groups[-1][-1]]:
            groups.append([])
        groups[-1].append(int(index))
    if len(groups) > 1 and len(groups[-1]) < least // 2:
        last = groups.pop()
        groups[-1] += last
    centres = np.array([np.exp(np.mean(np.log(x[group]))) for group in groups])
    medians = np.array([np.median(y[group]) for group in groups])
    return centres, medians
