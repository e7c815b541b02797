"""What a batch saves and what it costs, and how the critical one moves as the loss falls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np

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
    loss_name,
    ramp_colours,
    short_number,
)
from isoloss.fitting import CriticalBatchFit
from isoloss.laws.forms import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray


_MARKERS = ("o", "s", "D", "v", "p")  # of sizes, by their order


@dataclass(frozen=True, eq=False)
class NoiseAlong:
    """The noise scale along a run of one size; arrays are (points,).

    n: parameters. loss: nats, where it was measured. b_simple, low, high: tokens, and the interval;
    where high is infinite it was not measurable, and `low` is a bound.
    """

    n: float
    loss: Array
    b_simple: Array
    low: Array
    high: Array


def critical_batch_against_loss(
    found: CriticalBatchFit,
    *,
    apart: Sequence[CriticalBatchFit] = (),
    measured: Sequence[NoiseAlong] = (),
    unit: str = "tokens",
    ax: Axes | None = None,
) -> Axes:
    """Draw the critical batch of each size against the loss, the law, and the noise scale.

    found: the fit whose law is the line, with its band. apart: fits of one size and target each,
    whose critical batches are the points; `found`'s own without them. measured: noise scales,
    hollow and joined, or carets where they are lower bounds. unit: what batches are counted in.
    The loss falls to the right, as a run goes. Returns the axes, a new figure's if `ax` is None.
    Source: the picture of Kaplan et al. 2020, figure 10.
    """
    fits = list(apart) or [found]
    sizes = np.unique([*(n for fit in fits for n in fit.n), *(one.n for one in measured)])
    looks = dict(zip(sizes.tolist(), zip(ramp_colours(sizes), cycle(_MARKERS)), strict=False))
    with house_style():
        ax = axes_or_new(ax, height=4.4)
        ax.set_xscale("log")
        ax.set_yscale("log")
        for one in measured:
            _draw_noise(ax, one, *looks[float(one.n)])
        points = sorted(point for fit in fits for point in _draw_critical(ax, fit, looks))
        ends = {n: at for _, n, at in reversed(points)}  # where the loss is least
        if found.law is not None:
            order = np.argsort(found.target)
            low, high = found.b_crit.low[order], found.b_crit.high[order]
            ax.fill_between(found.target[order], low, high, color=LAW, alpha=0.15, zorder=1)
            across = np.geomspace(found.target.min(), found.target.max(), 80)
            ax.plot(across, found.law(across), color=LAW, linewidth=1.6, zorder=3)
        ax.margins(x=0.05, y=0.1)
        loss_axis(ax.xaxis, "loss, nats per token" if unit == "tokens" else "loss, held out")
        ax.invert_xaxis()
        count_axis(ax.yaxis, f"{unit} per step")
        right = float(ax.get_xlim()[1])
        names = [
            (right, at, f"{short_number(n)} parameters", looks[n][0]) for n, at in ends.items()
        ]
        label_line_ends(ax, names)
        hollow = "; hollow: the noise scale, carets: more than that" if measured else ""
        _note(ax, f"filled: the critical batch, and its law{hollow}")
    return ax


def steps_against_tokens(
    found: CriticalBatchFit,
    n: float | None = None,
    *,
    unit: str = "tokens",
    ax: Axes | None = None,
) -> Axes:
    """Draw the steps and the tokens that each batch needed to reach each loss, and the fit.

    Lines are (S/S_min - 1)(E/E_min - 1) = 1. Runs that stopped before the loss are hollow, and lie
    on what they had spent: the loss is further along their batch. n: the size to draw; all without.
    Returns the axes, a new figure's if `ax` is None. Raises InputError for a size not there.
    Source: Kaplan et al. 2020, Eq. 5.1, and the picture of their figure 18.
    """
    rows, cells = _of_size(found, n)
    data = found.crossings
    with house_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
        colours = ramp_colours(found.target[cells])
        batches = np.geomspace(data.batch[rows].min() / 1.5, data.batch[rows].max() * 1.5, 160)
        ends = []
        for i, colour in zip(cells, colours, strict=True):
            of = rows & (data.target == found.target[i]) & (data.n == found.n[i])
            _draw_runs(ax, data.batch * data.steps, data.steps, of, data.censored, colour)
            steps = found.s_min.mid[i] + found.e_min.mid[i] / batches
            ax.plot(batches * steps, steps, color=colour, linewidth=1.3)
            name = loss_name(found.target[i], unit)
            ends.append((float(batches[-1] * steps[-1]), float(steps[-1]), name, INK))
        ax.margins(x=0.1, y=0.1)
        count_axis(ax.xaxis, f"{unit} to reach the loss")
        count_axis(ax.yaxis, "steps to reach the loss")
        label_line_ends(ax, ends)
        if n is not None:
            ax.set_title(f"{short_number(n)} parameters")
        if data.censored[rows].any():
            _note(ax, "hollow: stopped before")
    return ax


def time_against_compute(
    found: CriticalBatchFit, *, unit: str = "tokens", ax: Axes | None = None
) -> Axes:
    """Draw what the runs of every target needed, in the least steps and the least compute.

    Across S / S_min, the time; up E / E_min, the compute, as text of one model costs the same
    everywhere. The line is (S/S_min - 1)(E/E_min - 1) = 1, the bargains that batches offer: at the
    critical one both are twice the least. Runs that stopped early are hollow. Returns the axes, a
    new figure's if `ax` is None.
    Source: McCandlish et al. 2018, Eq. 2.11, and the picture of their figure 1.
    """
    data = found.crossings
    with house_style():
        ax = axes_or_new(ax, height=4.2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        for i, colour in enumerate(ramp_colours(found.target)):
            rows = (data.target == found.target[i]) & (data.n == found.n[i])
            time = data.steps / found.s_min.mid[i]
            compute = data.steps * data.batch / found.e_min.mid[i]
            _draw_runs(ax, time, compute, rows, data.censored, colour)
        furthest = max(float(max(ax.get_xlim()[1], ax.get_ylim()[1])), 4.0)
        over = np.geomspace(1 / (furthest - 1), furthest - 1, 200)
        ax.plot(1 + over, 1 + 1 / over, color=LAW, linewidth=1.6, zorder=3)
        for least in (ax.axhline, ax.axvline):
            least(1.0, color=MUTED, linewidth=0.8, linestyle=":")
        ax.plot(2, 2, "D", color=LAW, markersize=8, markeredgecolor=PAPER, zorder=6)
        ax.margins(0.06)
        count_axis(ax.xaxis, "time: steps over the least")
        count_axis(ax.yaxis, f"compute: {unit} over the least")
        batches = "the critical batch:\ntwice the least of both"
        label = Label(2, 2, batches, 8, 8, "left", "bottom", LAW, backed=True)
        place_labels(ax, [label], everything=True)
        _note(
            ax, _range_of(found, unit) + ("; hollow: stopped before" if data.censored.any() else "")
        )
    return ax


def _draw_noise(ax: Axes, one: NoiseAlong, colour: str, marker: str) -> None:
    """The measured, joined and with their intervals; the bounds, as carets."""
    told = np.isfinite(one.high)
    order = np.flatnonzero(told)[np.argsort(one.loss[told])]
    loss, bound = one.loss[order], ~told & (one.low > 0)
    ax.plot(loss, one.b_simple[order], color=colour, linewidth=1.0, alpha=0.7, zorder=2)
    ax.vlines(loss, one.low[order], one.high[order], color=colour, linewidth=0.8, alpha=0.7)
    for x, y, look in ((loss, one.b_simple[order], marker), (one.loss[bound], one.low[bound], "^")):
        ax.plot(x, y, look, color=PAPER, markeredgecolor=colour, markersize=4.5)


def _draw_critical(
    ax: Axes, fit: CriticalBatchFit, looks: Mapping[float, tuple[str, str]]
) -> list[tuple[float, float, float]]:
    """The critical batches with their intervals; returns the target, the size and where it is."""
    points = []
    found = fit.b_crit
    for target, n, mid, low, high in zip(
        fit.target, fit.n, found.mid, found.low, found.high, strict=True
    ):
        colour, marker = looks[float(n)]
        ax.errorbar(
            target,
            mid,
            yerr=[[mid - low], [high - mid]],
            marker=marker,
            color=colour,
            markersize=6.5,
            markeredgecolor=PAPER,
            linewidth=1.2,
            zorder=5,
        )
        points.append((float(target), float(n), float(mid)))
    return points


def _of_size(found: CriticalBatchFit, n: float | None) -> tuple[NDArray[np.bool_], list[int]]:
    data = found.crossings
    if n is None:
        return np.ones(len(data), bool), list(range(len(found.target)))
    if n not in found.n:
        there = ", ".join(f"{size:g}" for size in np.unique(found.n))
        raise InputError(f"n is {n:g}, which no run has; use one of {there}")
    return data.n == n, np.flatnonzero(found.n == n).tolist()


def _draw_runs(
    ax: Axes,
    x: Array,
    y: Array,
    rows: NDArray[np.bool_],
    censored: NDArray[np.bool_],
    colour: str,
) -> None:
    for missed, marker, face in ((False, "o", colour), (True, "^", PAPER)):
        some = rows & (censored == missed)
        ax.plot(
            x[some], y[some], marker, color=face, markeredgecolor=colour, markersize=5, zorder=4
        )


def _range_of(found: CriticalBatchFit, unit: str) -> str:
    high, low = float(found.target.max()), float(found.target.min())
    return f"colours: {loss_name(high, unit)} (yellow) to {loss_name(low, unit)} (violet)"


def _note(ax: Axes, text: str) -> None:
    ax.text(0.99, 0.98, text, transform=ax.transAxes, ha="right", va="top", color=MUTED, fontsize=8)
