"""IsoLoss contours: where every split of compute leads, the best one, and where the runs lie."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from isoloss.errors import InputError
from isoloss.figures.bands import Array, frontier_band, law_of, shade
from isoloss.figures.labels import Label, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    MUTED,
    PAPER,
    RULE,
    RUN,
    axes_or_new,
    count_axis,
    flops_axis,
    house_style,
    short_number,
)
from isoloss.laws import Cost, Law, near_optimal
from isoloss.runs import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CONTOURS = 10


def isoloss_contours(
    model: Any,
    runs: Runs | None = None,
    *,
    flops: float | None = None,
    span: tuple[float, float] | None = None,
    cost: Cost | None = None,
    excess: float = 0.05,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Draw lines of equal loss over compute and parameters, the efficient frontier, and the runs.

    model: a law of (n, d), a published law, a fit, or draws (then the frontier has its band).
    flops: a budget to mark. span: compute from, to; default what `runs` and `flops` need.
    cost: n -> training FLOPs per token; default 6n.
    excess: the pale strip holds the sizes that need at most (1 + excess) of the least compute.
    Returns the axes, a new figure's if `ax` is None. Raises InputError without runs, flops or span.
    Source: the picture of Hoffmann et al. 2022, figure 4.
    """
    low, high = span or _span(runs, flops)
    budgets = np.geomspace(low, high, 60)
    law = law_of(model)
    best = frontier_band(model, budgets, "n", cost=cost, level=level)
    bottom, top = (
        np.asarray(edge) for edge in near_optimal(law, budgets, excess=excess, cost=cost)
    )
    with house_style():
        ax = axes_or_new(ax, height=4.6)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.grid(False)
        seen = [] if runs is None else [runs.n]
        sizes = np.concatenate([bottom, top, *seen])
        ax.set_xlim(low, high)
        ax.set_ylim(float(sizes.min()) / 1.6, float(sizes.max()) * 1.6)
        losses = frontier_band(law, budgets, "loss", cost=cost).mid
        marks = np.empty((2, 0)) if runs is None else np.array([runs.c, runs.n])
        _draw_contours(ax, law, budgets, losses, best.mid, cost, np.log(marks))
        ax.fill_between(budgets, bottom, top, color=LAW, alpha=0.12, linewidth=0)
        shade(ax, budgets, best, alpha=0.22)
        ax.plot(budgets, best.mid, color=LAW, linewidth=2.0)
        if runs is not None:
            ax.plot(runs.c, runs.n, "o", color=RUN, markersize=4.6, markeredgecolor=PAPER, zorder=5)
        flops_axis(ax.xaxis)
        count_axis(ax.yaxis, "parameters")
        names = _frontier_names(budgets, bottom, top)
        place_labels(ax, names, clear_of=[(float(c), float(n)) for c, n in marks.T])
        if flops is not None:
            here = frontier_band(model, np.array([flops]), "n", cost=cost, level=level)
            _mark_target(ax, flops, float(here.mid[0]))
    return ax


def _span(runs: Runs | None, flops: float | None) -> tuple[float, float]:
    values = ([] if runs is None else [*runs.c.tolist()]) + ([] if flops is None else [flops])
    if not values:
        raise InputError("nothing says which compute to draw: give runs, flops or span")
    low, high = min(values), max(values)
    if runs is None:
        low /= 1000.0
    return low / 1.8, high * (2.5 if high == flops else 1.8)


def _draw_contours(
    ax: Axes, law: Law, budgets: Array, losses: Array, best: Array, cost: Cost | None, marks: Array
) -> None:
    """Contours through evenly spaced budgets of the frontier, each with its loss written on it."""
    low, high = ax.get_ylim()
    sizes = np.geomspace(low, high, 90)
    per_token = 6 * sizes if cost is None else np.asarray(cost(sizes))
    tokens = budgets[None, :] / per_token[:, None]
    field = np.log(np.asarray(law(sizes[:, None], tokens)))
    levels, digits = _levels(losses)
    levels = levels[(np.log(levels) > field.min()) & (np.log(levels) < field.max())]
    if not levels.size:
        return
    drawn = ax.contour(
        budgets, sizes, field, np.log(levels), colors=RULE, linewidths=1.0, linestyles="solid"
    )
    spots = []
    for level in levels:
        at = float(np.interp(-level, -losses, np.log(best)))
        spots += _spot(np.log(budgets), np.log(sizes), field, math.log(level), at, marks)
    ax.clabel(
        drawn,
        fontsize=8,
        colors=MUTED,
        inline=True,
        inline_spacing=6,
        fmt=lambda value: f"{math.exp(value):.{digits}f}",
        manual=spots,
    )


def _levels(losses: Array) -> tuple[Array, int]:
    """Losses at evenly spaced budgets of the frontier, rounded as far as they stay apart."""
    inner = losses[np.linspace(0, len(losses) - 1, _CONTOURS + 2).astype(int)[1:-1]]
    gap = float(np.min(-np.diff(inner)))
    digits = min(4, max(1, math.ceil(-math.log10(max(gap, 1e-4)))))
    return np.unique(np.round(inner, digits)), digits


def _spot(
    log_c: Array, log_n: Array, field: Array, level: float, frontier: float, marks: Array
) -> list[tuple[float, float]]:
    """A place on one contour for its loss: above the frontier, clear of the runs; or none.

    log_c (m,), log_n (k,), field (k, m): the log losses. frontier: log n there. marks: (2, r),
    log c and log n of the runs.
    """
    width, height = np.ptp(log_c), np.ptp(log_n)
    for share in (0.45, 0.6, 0.33, 0.75, 0.25, 0.88):
        row = int(np.argmin(np.abs(log_n - frontier - share * (log_n[-1] - frontier))))
        losses = field[row]
        if not losses[-1] < level < losses[0]:
            continue
        at = float(np.interp(-level, -losses, log_c))
        across = np.abs(marks[0] - at) / width
        up = np.abs(marks[1] - log_n[row]) / height
        inside = log_c[0] + 0.03 * width < at < log_c[-1] - 0.03 * width
        if inside and np.all((across > 0.035) | (up > 0.05)):
            return [(math.exp(at), math.exp(log_n[row]))]
    return []


def _frontier_names(budgets: Array, bottom: Array, top: Array) -> list[Label]:
    """Places for the frontier's name: above it to the left, below it to the right."""
    places: list[Label] = []
    for share in (0.3, 0.2, 0.4, 0.5, 0.6):
        i, j = int(share * len(budgets)), int((share + 0.3) * len(budgets))
        x, y = float(budgets[i]), float(top[i])
        words = "efficient frontier"
        places.append(Label(x, y, words, -4, 5, "right", "bottom", LAW, backed=True))
        x, y = float(budgets[j]), float(bottom[j])
        places.append(Label(x, y, words, 6, -5, "left", "top", LAW, backed=True))
    return places


def _mark_target(ax: Axes, flops: float, n: float) -> None:
    ax.axvline(flops, color=INK, linewidth=1.0, linestyle=(0, (1, 2)))
    ax.plot(flops, n, "D", color=LAW, markersize=7, markeredgecolor=PAPER, zorder=6)
    bottom = ax.get_ylim()[0]
    place_labels(
        ax,
        [
            Label(flops, n, short_number(n), 8, -8, weight="bold"),
            Label(flops, bottom, "target", 5, 5, va="bottom", colour=MUTED),
        ],
        everything=True,
    )
