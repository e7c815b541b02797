"""Loss against parameters, tokens or compute, with what the law says and its band.

Against parameters or tokens, the colour of a run is the other resource, and thin lines are the law
at three amounts of it; the thick line is the law with the other resource unlimited, so every run
should lie above it. Against compute, the line is the law at the best split of each budget; runs
lie above it where their split was not the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoloss.errors import InputError
from isoloss.figures.bands import Array, Band, frontier_band, law_of, limit_band, shade
from isoloss.figures.forecasts import draw_forecasts
from isoloss.figures.labels import Label, label_line_ends, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    MINUS,
    MUTED,
    PAPER,
    RAMP,
    RUN,
    axes_or_new,
    count_axis,
    flops_axis,
    house_style,
    loss_axis,
    loss_label,
    ramp_colours,
    short_number,
)
from isoloss.fitting import Fit
from isoloss.laws import Cost
from isoloss.runs import Runs
from isoloss.trust import Forecast, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_against(
    runs: Runs,
    x: Literal["n", "d", "c"],
    model: Any = None,
    *,
    power: Fit | None = None,
    cost: Cost | None = None,
    forecasts: Sequence[Forecast] = (),
    outcomes: Sequence[Outcome] = (),
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Draw the runs' loss against parameters "n", tokens "d" or compute "c", and what a law says.

    model: a law of (n, d), a published law, a fit, or draws, whose band at `level` is shaded.
    power: a pure power law fitted on the same variable, drawn straight and dashed.
    cost: n -> training FLOPs per token, for x = "c"; default 6n.
    forecasts, outcomes: for x = "c", forecast intervals and what was then measured.
    Returns the axes, a new figure's if `ax` is None. Raises InputError for another x.
    """
    if x not in ("n", "d", "c"):
        raise InputError(f'x is {x!r}; loss is drawn against "n", "d" or "c"')
    with house_style():
        ax = axes_or_new(ax)
        ax.set_xscale("log")
        ax.set_yscale("log")
        labels: list[Label] = []
        ends: list[tuple[float, float, str, str]] = []
        if x == "c":
            labels = _against_compute(ax, runs, model, cost, level, forecasts, outcomes)
            flops_axis(ax.xaxis)
        else:
            ends = _against_resource(ax, runs, x, model, level)
            count_axis(ax.xaxis, "parameters" if x == "n" else "training tokens")
        if power is not None:
            labels += _draw_power(ax, power, getattr(runs, x))
        loss_axis(ax.yaxis, loss_label(runs))
        if model is not None:
            labels += _draw_floor(ax, model)
        label_line_ends(ax, ends)
        place_labels(ax, labels)
    return ax


def _against_compute(
    ax: Axes,
    runs: Runs,
    model: Any,
    cost: Cost | None,
    level: float,
    forecasts: Sequence[Forecast],
    outcomes: Sequence[Outcome],
) -> list[Label]:
    ax.plot(runs.c, runs.loss, "o", color=RUN, markersize=4.4, markeredgecolor=PAPER, zorder=3)
    further = [one.c for one in (*forecasts, *(outcome.forecast for outcome in outcomes))]
    labels: list[Label] = []
    if model is not None:
        grid = _grid(runs.c, further)
        line = frontier_band(model, grid, "loss", cost=cost, level=level)
        _draw_line(ax, grid, line, runs.c)
        under = line.mid if line.low is None else line.low
        at = len(grid) // 4
        words = "law, best split\nof each budget"
        labels = [Label(grid[at], float(under[at]), words, -4, -4, "right", "top", LAW)]
    if further:
        draw_forecasts(ax, forecasts, outcomes)
    return labels


def _against_resource(
    ax: Axes, runs: Runs, x: Literal["n", "d"], model: Any, level: float
) -> list[tuple[float, float, str, str]]:
    """Draw the runs and the law at three amounts of the other resource; return the line ends."""
    values, other = (runs.n, runs.d) if x == "n" else (runs.d, runs.n)
    colours = ramp_colours(other)
    ax.scatter(values, runs.loss, s=20, c=colours, edgecolors=PAPER, linewidths=0.5, zorder=3)
    if model is None:
        return []
    grid = _grid(values, [])
    line = limit_band(model, x, grid, level=level)
    _draw_line(ax, grid, line, values)
    wanted = np.geomspace(other.min(), other.max(), 3)
    amounts = np.unique([float(f"{amount:.2g}") for amount in wanted])
    law, word = law_of(model), "tokens" if x == "n" else "parameters"
    ends = [(float(grid[-1]), float(line.mid[-1]), f"unlimited\n{word}", LAW)]
    steps = np.rint(np.linspace(0, len(RAMP) - 1, len(amounts))).astype(int)
    for amount, step in zip(amounts, steps, strict=True):
        losses = law(grid, amount) if x == "n" else law(amount, grid)
        ax.plot(grid, losses, color=RAMP[step], linewidth=1.0)
        text = short_number(amount) if ends[1:] else f"{short_number(amount)}\n{word}"
        ends.append((float(grid[-1]), float(losses[-1]), text, INK))
    return ends


def _grid(values: Array, further: Sequence[float]) -> Array:
    low = float(values.min()) / 1.3
    high = max([float(values.max()) * 2.0, *(1.5 * value for value in further)])
    return np.geomspace(low, high, 60)


def _draw_line(ax: Axes, grid: Array, line: Band, values: Array) -> None:
    """Solid where there are runs, dashed beyond them."""
    shade(ax, grid, line)
    last = int(np.searchsorted(grid, float(values.max()) * 1.05))
    ax.plot(grid[:last], line.mid[:last], color=LAW, linewidth=2.0)
    ax.plot(
        grid[last - 1 :], line.mid[last - 1 :], color=LAW, linewidth=1.6, linestyle=(0, (2.5, 2))
    )


def _draw_power(ax: Axes, power: Fit, values: Array) -> list[Label]:
    grid = _grid(values, [])
    losses = power.law(grid)
    ax.plot(grid, losses, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    text = f"power law, slope {MINUS}{float(power.law.coefficients()['alpha']):.3f}"
    x, y = float(grid[0]), float(losses[0])
    return [Label(x, y, text, 6, 6, va="bottom"), Label(x, y, text, 0, -10, va="top")]


def _draw_floor(ax: Axes, model: Any) -> list[Label]:
    """Draw the law's irreducible loss if the frame reaches down to it."""
    floor = float(law_of(model).coefficients().get("E", 0.0))
    if not ax.get_ylim()[0] < floor:
        return []
    ax.axhline(floor, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    at = ax.get_xlim()[0]
    return [Label(at, floor, f"E = {floor:.2f}", 4, 2, "left", "bottom", MUTED)]
