"""Steps against batch: the trade between time and text, and the critical batch where it turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isoloss.figures.labels import Label, label_line_ends, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    MUTED,
    PAPER,
    axes_or_new,
    count_axis,
    house_style,
    loss_name,
    ramp_colours,
    short_number,
)
from isoloss.fitting import CriticalBatchFit

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def steps_against_batch(
    found: CriticalBatchFit, *, unit: str = "tokens", ax: Axes | None = None
) -> Axes:
    """Draw the steps to each target loss against the batch, the fit, and the critical batches.

    Points are runs, hollow and pointing up where the run stopped before it reached the target.
    Lines are S_min (1 + B_crit / B); a diamond sits at each critical batch, at twice the least
    steps, with its interval. unit: what batches are counted in. Returns
    the axes, a new figure's if `ax` is None.
    Source: the picture of McCandlish et al. 2018, figure 4, and Kaplan et al. 2020, figure 18.
    """
    data = found.crossings
    with house_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.margins(x=0.12, y=0.1)
        batches = np.geomspace(data.batch.min(), data.batch.max(), 120)
        colours = ramp_colours(found.target)
        many = len(np.unique(found.n)) > 1
        ends, marks = [], []
        for i, (target, n, colour) in enumerate(zip(found.target, found.n, colours, strict=True)):
            rows = (data.target == target) & (data.n == n)
            for missed, marker, face in ((False, "o", colour), (True, "^", PAPER)):
                some = rows & (data.censored == missed)
                ax.plot(
                    data.batch[some],
                    data.steps[some],
                    marker,
                    color=face,
                    markeredgecolor=colour,
                    markersize=5,
                    zorder=4,
                )
            s_min, b_crit = float(found.s_min.mid[i]), float(found.b_crit.mid[i])
            curve = s_min * (1 + b_crit / batches)
            ax.plot(batches, curve, color=colour, linewidth=1.3)
            reach = [[b_crit - float(found.b_crit.low[i])], [float(found.b_crit.high[i]) - b_crit]]
            ax.errorbar(
                b_crit,
                2 * s_min,
                xerr=reach,
                color=LAW,
                marker="D",
                markersize=7,
                markeredgecolor=PAPER,
                linewidth=1.2,
                zorder=6,
            )
            marks.append((b_crit, 2 * s_min))
            name = loss_name(target, unit) + (f", {short_number(n)}" if many else "")
            ends.append((float(batches[-1]), float(curve[-1]), name, INK))
        count_axis(ax.xaxis, f"batch, {unit} per step")
        count_axis(ax.yaxis, "steps to reach the loss")
        label_line_ends(ax, ends)
        place_labels(ax, _outer_labels(marks))
        ax.text(
            0.99,
            0.97,
            "diamonds: the critical batch, at twice the least steps",
            transform=ax.transAxes,
            ha="right",
            va="top",
            color=MUTED,
            fontsize=8,
        )
    return ax


def _outer_labels(marks: list[tuple[float, float]]) -> list[Label]:
    """Name the highest and the lowest diamond, on their free sides; those between follow."""
    high, low = max(marks, key=lambda at: at[1]), min(marks, key=lambda at: at[1])
    labels = [Label(*high, short_number(high[0]), 6, 6, "left", "bottom", LAW, weight="bold")]
    if low != high:
        labels.append(Label(*low, short_number(low[0]), -6, -5, "right", "top", LAW, weight="bold"))
    return labels
