"""What was said beforehand, and what then happened: forecasts and the back-test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.figures.labels import Label, place_labels
from isoloss.figures.style import (
    GRID,
    HIT,
    INK,
    LAW,
    MINUS,
    MISS,
    MUTED,
    PAPER,
    RUN,
    TIMES,
    axes_or_new,
    flops_axis,
    house_style,
    percent_axis,
    short_number,
    spread,
)
from isoloss.trust import Backtest, Forecast, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


def forecasts_and_outcomes(
    outcomes: Sequence[Outcome],
    pending: Sequence[Forecast] = (),
    *,
    unit: str = "nats per token",
    ax: Axes | None = None,
) -> Axes:
    """Draw each forecast interval and, on it, the loss that was measured afterwards.

    outcomes: forecasts whose run is finished. pending: forecasts still waiting for theirs.
    unit: of the losses.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if there are none.
    """
    rows: list[tuple[Forecast, Outcome | None]] = [(item.forecast, item) for item in outcomes]
    rows += [(forecast, None) for forecast in pending]
    if not rows:
        raise InputError("no forecasts to draw: make some with make_forecasts")
    rows.sort(key=lambda row: row[0].c)
    with house_style():
        ax = axes_or_new(ax, height=0.75 + 0.72 * len(rows))
        for y, (forecast, outcome) in enumerate(rows):
            ends = [forecast.low, forecast.high]
            ax.plot(
                ends, [y, y], color=LAW, linewidth=9, alpha=0.28, solid_capstyle="butt", zorder=2
            )
            ax.plot([forecast.mid], [y], "|", color=LAW, markersize=11, markeredgewidth=1.8)
            if outcome is not None:
                _draw_outcome(ax, outcome, outcome.loss, y, horizontal=True)
            verdict = "waiting for its run" if outcome is None else _verdict(outcome)
            _write_row(ax, y, 0.0, _row_name(forecast), INK)
            _write_row(ax, y, 1.0, f"{verdict}\n ", _colour(outcome))  # on the name's first line
        ax.set_yticks([])
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_ylim(len(rows) - 0.6, -0.85)
        ax.margins(x=0.1)
        ax.locator_params(axis="x", nbins=5)
        ax.set_xlabel(f"loss, {unit}")
    return ax


def backtest_errors(backtest: Backtest, *, ax: Axes | None = None) -> Axes:
    """Draw by how much the held-out runs missed the law fitted below the cutoff.

    Each held-out run stands at its compute; zero is the prediction, the bar its interval, both as
    a percentage of the predicted loss. Returns the axes, a new figure's if `ax` is None.
    """
    predicted = np.asarray(backtest.predicted)
    missed = 100 * (np.asarray(backtest.test.loss) / predicted - 1)
    low = 100 * (np.asarray(backtest.low) / predicted - 1)
    high = 100 * (np.asarray(backtest.high) / predicted - 1)
    inside = (missed >= low) & (missed <= high)
    start, end = float(backtest.train.c.min()) / 1.3, float(backtest.test.c.max()) * 1.4
    slots = max(70, 3 * len(backtest.test))
    x = _side_by_side(backtest.test.c, backtest.test.n, math.log(end / start) / slots)
    with house_style():
        ax = axes_or_new(ax, height=3.2)
        ax.set_xscale("log")
        ax.axvspan(start, backtest.cutoff, color=GRID, alpha=0.6, linewidth=0)
        ax.axhline(0, color=LAW, linewidth=1.2)
        ax.vlines(x, low, high, color=LAW, linewidth=max(0.6, 315 / slots), alpha=0.28)
        for mask, marker, colour in ((inside, "D", HIT), (~inside, "X", MISS)):
            ax.plot(
                x[mask],
                missed[mask],
                marker,
                color=colour,
                markersize=max(2.8, 5.5 * min(1.0, 140 / slots)),
                markeredgecolor=PAPER,
                markeredgewidth=0.5,
            )
        ax.set_xlim(start, max(end, float(x.max()) * 1.2))
        reach = 1.12 * float(np.max(np.abs(np.concatenate([missed, low, high]))))
        ax.set_ylim(-reach * 1.1, reach * 1.3)
        rug = np.full(len(backtest.train), -reach * 1.02)
        ax.plot(backtest.train.c, rug, "|", color=RUN, markersize=7, alpha=0.6)
        flops_axis(ax.xaxis)
        percent_axis(ax.yaxis, "measured minus predicted")
        _name_sides(ax, backtest, int(inside.sum()), len(x))
    return ax


def draw_forecasts(ax: Axes, forecasts: Sequence[Forecast], outcomes: Sequence[Outcome]) -> None:
    """Add forecast intervals, and the outcomes, to a picture of loss against compute."""
    measured = [outcome.forecast for outcome in outcomes]
    pending = [forecast for forecast in forecasts if forecast not in measured]
    every = [*pending, *measured]
    results: list[Outcome | None] = [*(None for _ in pending), *outcomes]
    low, high = (math.log(limit) for limit in ax.get_xlim())
    x = _side_by_side(
        np.array([forecast.c for forecast in every]),
        np.array([forecast.n for forecast in every]),
        (high - low) / 60,
    )
    for at, forecast, outcome in zip(x, every, results, strict=True):
        ends = [forecast.low, forecast.high]
        ax.plot(
            [at, at],
            ends,
            color=LAW,
            linewidth=8,
            alpha=0.5,
            solid_capstyle="butt",
            zorder=4,
        )
        ax.plot([at], [forecast.mid], "_", color=LAW, markersize=8, markeredgewidth=1.6, zorder=4)
        if outcome is not None:
            _draw_outcome(ax, outcome, at, outcome.loss, horizontal=False)


def _draw_outcome(ax: Axes, outcome: Outcome, x: float, y: float, *, horizontal: bool) -> None:
    error = outcome.se if outcome.se > 0 else None
    ax.errorbar(
        x,
        y,
        xerr=error if horizontal else None,
        yerr=None if horizontal else error,
        fmt="D" if outcome.hit else "X",
        color=_colour(outcome),
        markersize=(6.5 if outcome.hit else 8) * (1.0 if horizontal else 0.75),
        markeredgecolor=PAPER,
        markeredgewidth=0.8,
        elinewidth=1.4,
        zorder=6,
    )


def _colour(outcome: Outcome | None) -> str:
    if outcome is None:
        return MUTED
    return HIT if outcome.hit else MISS


def _verdict(outcome: Outcome) -> str:
    missed = f"{100 * (outcome.loss / outcome.forecast.mid - 1):+.1f}".replace("-", MINUS)
    return f"{'inside' if outcome.hit else 'outside'}, {missed} %"


def _row_name(forecast: Forecast) -> str:
    far = f", {forecast.far:.0f}{TIMES} beyond" if forecast.far > 1 else ""
    return (
        f"{forecast.name}{far}\n"
        f"{short_number(forecast.n)} parameters, {short_number(forecast.d)} tokens"
    )


def _write_row(ax: Axes, y: float, across: float, text: str, colour: str) -> None:
    """Write above the bar of a row, at the left (0) or the right (1) edge of the axes."""
    ax.annotate(
        text,
        (across, y),
        xycoords=("axes fraction", "data"),
        xytext=(0, 8),
        textcoords="offset points",
        ha="left" if across == 0 else "right",
        va="bottom",
        fontsize=8.5,
        color=colour,
    )


def _side_by_side(c: Array, n: Array, gap: float) -> Array:
    """Move runs of one budget apart, smallest model first, so that each can be seen."""
    order = np.lexsort((n, np.round(np.log(c), 2)))
    moved = np.empty(len(c))
    moved[order] = np.exp(spread(np.log(c)[order].tolist(), [gap] * len(c)))
    return moved


def _name_sides(ax: Axes, backtest: Backtest, hits: int, total: int) -> None:
    top = ax.get_ylim()[1]
    said = f"predicted: {hits} of {total} inside"
    place_labels(
        ax,
        [
            Label(
                backtest.cutoff,
                top,
                f"fitted on {len(backtest.train)} runs",
                -6,
                -4,
                "right",
                "top",
            ),
            Label(backtest.cutoff, top, said, 6, -4, "left", "top"),
        ],
        everything=True,
    )
