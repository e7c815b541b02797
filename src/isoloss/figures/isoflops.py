"""IsoFLOP curves: at one budget of compute, loss against model size, with the minimum of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.figures.labels import Label, label_line_ends, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    MUTED,
    PAPER,
    axes_or_new,
    count_axis,
    house_style,
    loss_axis,
    loss_label,
    power_of_ten,
    ramp_colours,
    short_number,
)
from isoloss.fitting import IsoFlop, IsoFlopBudget
from isoloss.runs import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]

_MOST_NAMED = 7


def isoflop_curves(isoflop: IsoFlop, runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Draw loss against parameters at each budget, the parabola in log n, and its minimum.

    runs: those the budgets were found in. A budget whose minimum the runs do not bracket is drawn
    hollow, without a minimum, and says so; the dashed line joins the minima. Of more than seven
    budgets every second, third, ... is named.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if there is no budget.
    Source: the picture of Hoffmann et al. 2022, figure 3.
    """
    if not isoflop.budgets:
        raise InputError("no budget holds four sizes: run four or more sizes at one compute")
    with house_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.margins(y=0.12)
        colours = ramp_colours([budget.c for budget in isoflop.budgets])
        ends = []
        for budget, colour in zip(isoflop.budgets, colours, strict=True):
            n, loss = runs.n[budget.rows], runs.loss[budget.rows]
            ends.append(_draw_budget(ax, budget, n, loss, colour))
        usable = [budget for budget in isoflop.budgets if budget.usable]
        ax.plot(
            [budget.n_opt for budget in usable],
            [budget.loss_opt for budget in usable],
            color=LAW,
            linewidth=1.2,
            linestyle=(0, (3, 2)),
            marker="D",
            markersize=7,
            markeredgecolor=PAPER,
            zorder=6,
        )
        count_axis(ax.xaxis, "parameters")
        loss_axis(ax.yaxis, loss_label(runs))
        stride = -(-len(ends) // _MOST_NAMED)
        label_line_ends(ax, ends[::stride])
        place_labels(ax, [_minimum_label(budget) for budget in usable])
    return ax


def _draw_budget(
    ax: Axes, budget: IsoFlopBudget, n: Array, loss: Array, colour: str
) -> tuple[float, float, str, str]:
    """Draw the runs and the parabola of one budget; return its name at the right end."""
    ax.plot(
        n,
        loss,
        "o",
        markersize=5,
        markeredgecolor=PAPER if budget.usable else colour,
        markeredgewidth=0.6 if budget.usable else 1.2,
        color=colour if budget.usable else PAPER,
        zorder=4,
    )
    sizes = np.geomspace(budget.n_low, budget.n_high, 60)
    first, second, third = budget.parabola
    curve = first + second * np.log(sizes) + third * np.log(sizes) ** 2
    style = "solid" if budget.usable else (0, (1, 2))
    ax.plot(sizes, curve, color=colour, linewidth=1.3, linestyle=style)
    name = f"{power_of_ten(budget.c, digits=3)} FLOPs"
    name += "" if budget.usable else "\nno minimum"
    return float(sizes[-1]), float(curve[-1]), name, INK if budget.usable else MUTED


def _minimum_label(budget: IsoFlopBudget) -> Label:
    text = short_number(budget.n_opt)
    return Label(budget.n_opt, budget.loss_opt, text, -3, -7, "right", "top", LAW, weight="bold")
