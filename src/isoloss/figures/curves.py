"""Learning curves against compute with their envelope, and the rest of one run against steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isoloss.errors import InputError
from isoloss.figures.bands import Band, shade
from isoloss.figures.labels import Label, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    RULE,
    axes_or_new,
    flops_axis,
    house_style,
    loss_axis,
    loss_label,
    ramp_colours,
    short_number,
)
from isoloss.fitting import Envelope
from isoloss.runs import Runs
from isoloss.trust import CurveForecast

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def learning_curves(
    runs: Runs, envelope: Envelope | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw every run's loss as its compute grows, violet for small models, yellow for large.

    runs: with `curves`, or itself a table of several evaluation points per run.
    envelope: of the same curves; drawn as the lowest loss reached with no more than that compute.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if no run has two points.
    Source: the picture of Kaplan et al. 2020, figure 2, and Hoffmann et al. 2022, figure 2.
    """
    table = runs if runs.curves is None else runs.curves
    names, rows = np.unique(table.run, return_inverse=True)
    paths = [np.flatnonzero(rows == index) for index in range(len(names))]
    paths = [path[np.argsort(table.c[path], kind="stable")] for path in paths if path.size > 1]
    if not paths:
        raise InputError(
            "no learning curves: every run has one point only; read a run directory, or a table "
            "with several evaluation points per run"
        )
    with house_style():
        ax = axes_or_new(ax)
        sizes = np.array([table.n[path[-1]] for path in paths])
        for path, colour in zip(paths, ramp_colours(sizes), strict=True):
            ax.plot(table.c[path], table.loss[path], color=colour, linewidth=1.0, alpha=0.85)
            ax.plot(table.c[path[-1]], table.loss[path[-1]], "o", color=colour, markersize=3.5)
        if envelope is not None:
            lowest = np.minimum.accumulate(envelope.loss)
            ax.plot(envelope.c, lowest, color=INK, linewidth=1.8, linestyle=(0, (4, 2)))
        flops_axis(ax.xaxis)
        loss_axis(ax.yaxis, loss_label(runs))
        labels = [] if envelope is None else [_envelope_label(envelope)]
        place_labels(ax, labels + _size_labels(table, paths))
    return ax


def curve_ahead(
    forecast: CurveForecast, runs: Runs | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw what a run has shown against its steps, and its forecast with the band.

    forecast: from `forecast_curve`. runs: the table it was made from, for the part already seen and
    its sisters behind it; without it the forecast is drawn alone.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if the curves do not say at
    which step they were evaluated.
    """
    with house_style():
        ax = axes_or_new(ax)
        if runs is not None:
            table = runs if runs.curves is None else runs.curves
            if table.batch is None:
                raise InputError("the curves do not say their steps; give them a batch in tokens")
            steps = table.d / table.batch
            for name in np.unique(table.run):
                rows = np.flatnonzero(table.run == name)
                rows = rows[np.argsort(steps[rows], kind="stable")]
                own = name == forecast.run
                ax.plot(
                    steps[rows],
                    table.loss[rows],
                    color=INK if own else RULE,
                    linewidth=1.6 if own else 0.7,
                    zorder=3 if own else 1,
                )
        shade(ax, forecast.steps, Band(forecast.mid, forecast.low, forecast.high))
        ax.plot(forecast.steps, forecast.mid, color=LAW, linewidth=1.6, zorder=2)
        ax.set_xscale("log")
        ax.set_xlabel("optimizer steps")
        loss_axis(ax.yaxis, *([] if runs is None else [loss_label(runs)]))
        return ax


def _envelope_label(envelope: Envelope) -> Label:
    """The envelope's name, to the left of where it has fallen by a third of its way."""
    logs = np.log(np.minimum.accumulate(envelope.loss))
    at = int(np.argmax(logs <= logs[0] - (logs[0] - logs[-1]) / 3))
    x, y = float(envelope.c[at]), float(np.exp(logs[at]))
    return Label(x, y, "envelope: lowest loss\nwith that much compute", -8, -2, "right", "top")


def _size_labels(table: Runs, paths: list[np.ndarray]) -> list[Label]:
    """Name each model size once, at the end of its longest run; the extremes come first."""
    longest: dict[float, int] = {}
    for path in paths:
        end = int(path[-1])
        best = longest.get(float(table.n[end]))
        if best is None or table.c[end] > table.c[best]:
            longest[float(table.n[end])] = end
    sizes = sorted(longest)
    order = sorted(sizes, key=lambda n: min(sizes.index(n), len(sizes) - 1 - sizes.index(n)))
    return [
        Label(float(table.c[end]), float(table.loss[end]), short_number(n))
        for n in order
        for end in [longest[n]]
    ]
