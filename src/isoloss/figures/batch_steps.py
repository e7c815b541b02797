"""What a batch makes of a step: the best rate and its gain, and what larger batches lose."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike

from isoloss.figures.labels import Label, label_line_ends, place_labels
from isoloss.figures.style import (
    GRID,
    LAW,
    MUTED,
    RUN,
    axes_or_new,
    count_axis,
    house_style,
    rate_axis,
    short_number,
    signed,
)
from isoloss.fitting import BatchRateFit, LineSearchFit
from isoloss.laws.relations import BatchRate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_IN_SIGHT = 10.0  # tolerances
_WORDS = {"eps": "best rate of one step", "gain": "fall of the loss by it"}


def best_step(
    found: LineSearchFit,
    what: Literal["eps", "gain"],
    *,
    said: BatchRate | None = None,
    unit: str = "tokens",
    ax: Axes | None = None,
) -> Axes:
    """Draw the best step at each batch, or what it gains, with the law fitted to it.

    found: of line searches; points with their intervals. said: what the Hessian says of the same
    weights, dashed. Returns the axes, a new figure's if `ax` is None.
    Source: the picture of McCandlish et al. 2018, figure 5 (eps_opt against the batch).
    """
    points, fit = (found.eps_opt, found.of_eps) if what == "eps" else (found.gain, found.of_gain)
    b = float(fit.law.b_star)
    text = f"searched: B = {short_number(b)}"
    lines = [(fit.law, text, LAW, "-")]
    if said is not None:
        lines.append((said, f"Hessian: B = {short_number(said.b_star)}", MUTED, "--"))
    with house_style():
        ax = axes_or_new(ax)
        _points(ax, found.batch, points.low, points.mid, points.high)
        _laws(ax, found.batch, lines)
        count_axis(ax.xaxis, f"batch, {unit}")
        rate_axis(ax.yaxis, _WORDS[what])
        _name(ax, found.batch, lines)
    return ax


def best_rates(found: BatchRateFit, *, unit: str = "tokens", ax: Axes | None = None) -> Axes:
    """Draw the tuned rate of each batch, the rule fitted to them, and the batch where it turns.

    Returns the axes, a new figure's if `ax` is None.
    """
    law = found.law
    with house_style():
        ax = axes_or_new(ax)
        _points(ax, found.batch, found.rate, found.rate, found.rate)
        lines = [(law, f"alpha = {law.alpha:.2g}", LAW, "-")]
        _laws(ax, found.batch, lines)
        count_axis(ax.xaxis, f"batch, {unit} per step")
        rate_axis(ax.yaxis, "best learning rate")
        _name(ax, found.batch, lines)
        low, high = found.batch.min(), found.batch.max()
        if low < law.b_star < high:
            at = (law.b_star, float(law(law.b_star)))
            ax.plot(*at, "D", color=LAW, markersize=7, zorder=6)
            text = f"B* = {short_number(law.b_star)}"
            place_labels(ax, [Label(*at, text, 8, -8, "left", "top", LAW, weight="bold")])
    return ax


def branch_losses(
    batch: ArrayLike,
    excess: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    tolerance: float,
    unit: str = "tokens",
    ax: Axes | None = None,
) -> Axes:
    """Draw the loss that larger batches end with above that of the smallest, from one checkpoint.

    batch: (m,). excess: (m,) of the loss, with its interval. tolerance: what counts as none; above
    ten times that, and where branches diverged, there are carets at the top. Returns the axes, a
    new figure's if `ax` is None.
    Source: the procedure of Merrill et al. 2025.
    """
    b, mid, ends = (np.asarray(one, dtype=np.float64) for one in (batch, excess, (low, high)))
    there = mid <= _IN_SIGHT * tolerance
    with house_style():
        ax = axes_or_new(ax)
        ax.axhspan(0.0, tolerance, color=GRID, zorder=0)
        _points(ax, b[there], ends[0][there], mid[there], ends[1][there])
        ax.plot(b[there], mid[there], color=RUN, linewidth=1.0)
        ax.margins(y=0.12)
        if not there.all():
            top = max(ax.get_ylim()[1], 2.0 * tolerance)
            ax.plot(b[~there], np.full((~there).sum(), top), "^", color=RUN, zorder=4)
            words = "carets: more than ten tolerances above, or diverged"
            ax.set_title(words, color=MUTED, fontsize=8, fontweight="normal", loc="right")
        count_axis(ax.xaxis, f"batch, {unit} per step")
        ax.set_ylabel("loss above that of the smallest batch")
        words = f"tolerance, {signed(tolerance)}"
        label_line_ends(ax, [(float(ax.get_xlim()[1]), tolerance, words, MUTED)])
    return ax


def _points(ax: Axes, x: ArrayLike, low: ArrayLike, mid: ArrayLike, high: ArrayLike) -> None:
    """Measured points with their intervals."""
    low, mid, high = (np.asarray(one, dtype=np.float64) for one in (low, mid, high))
    ax.errorbar(
        x,
        mid,
        yerr=[mid - low, high - mid],
        fmt="o",
        color=RUN,
        markersize=5,
        linewidth=1.2,
        zorder=4,
    )


def _laws(ax: Axes, batch: ArrayLike, lines: list[tuple[BatchRate, str, str, str]]) -> None:
    across = np.geomspace(np.min(batch), np.max(batch), 120)
    for law, _, colour, style in lines:
        if math.isfinite(law.rate_max) and math.isfinite(law.b_star):
            ax.plot(across, law(across), style, color=colour, linewidth=1.4, zorder=3)


def _name(ax: Axes, batch: ArrayLike, lines: list[tuple[BatchRate, str, str, str]]) -> None:
    right = float(np.max(batch))
    label_line_ends(
        ax,
        [
            (right, float(law(right)), text, colour)
            for law, text, colour, _ in lines
            if math.isfinite(float(law(right)))
        ],
    )
