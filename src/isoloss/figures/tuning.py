"""Loss against learning rate for each model of a sweep, with the optimum of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isoloss.errors import InputError
from isoloss.figures.labels import Label, place_labels
from isoloss.figures.style import (
    INK,
    LAW,
    MUTED,
    PAPER,
    axes_or_new,
    house_style,
    loss_axis,
    loss_label,
    ramp_colours,
    rate_axis,
    short_number,
)
from isoloss.fitting import Configuration, Tuning
from isoloss.fitting.tuning.section import phi

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_MODELS = 24


def tuning_curves(tuning: Tuning, *, ax: Axes | None = None) -> Axes:
    """Draw loss against the learning rate, the bowl of each model, and its optimum with interval.

    Sizes run from violet (small) to yellow (large); a line is named by its parameters and tokens.
    A model that is undertuned has a hollow diamond, one without an optimum none, its arms hollow.
    Of more than 24 models 24 are drawn, spread evenly over their losses.
    Where batch or weight decay were swept too, the bowl is the section at their best values, and
    arms at other values lie above it.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if no model has an optimum.
    """
    if not tuning.usable:
        raise InputError("no model has a known optimum: run three rates or more at one n and d")
    with house_style():
        ax = axes_or_new(ax, height=4.8)
        ax.set_xscale("log")
        ax.set_yscale("log")
        models = _shown(tuning)
        colours = ramp_colours([one.n for one in models])
        names = [
            _draw(ax, tuning, one, colour) for one, colour in zip(models, colours, strict=True)
        ]
        ax.margins(y=0.08)
        rate_axis(ax.xaxis, "peak learning rate")
        loss_axis(ax.yaxis, loss_label(tuning.runs))
        place_labels(ax, names, clear_of=[at for one in models for at in _points(tuning, one)])
    return ax


def _shown(tuning: Tuning) -> list[Configuration]:
    """The models to draw, by falling loss."""
    models = sorted(tuning.configurations, key=lambda one: -one.grid_loss)
    places = np.linspace(0, len(models) - 1, min(len(models), _MOST_MODELS)).round().astype(int)
    return [models[place] for place in places]


def _points(tuning: Tuning, one: Configuration) -> list[tuple[float, float]]:
    """What no name may cover: the arms and the ends of the interval."""
    assert tuning.runs.lr is not None
    arms = list(zip(tuning.runs.lr[one.rows], tuning.runs.loss[one.rows], strict=True))
    return [*arms, *([(end, one.loss) for end in one.lr] if one.usable else [])]


def _draw(ax: Axes, tuning: Tuning, one: Configuration, colour: str) -> Label:
    """Draw the arms, the bowl and the optimum of one model; return its name at the right end."""
    assert tuning.runs.lr is not None
    rates, losses = tuning.runs.lr[one.rows], tuning.runs.loss[one.rows]
    ax.plot(
        rates,
        losses,
        "o",
        markersize=4,
        color=colour if one.usable else PAPER,
        markeredgecolor=PAPER if one.usable else colour,
        markeredgewidth=0.5 if one.usable else 1.0,
        zorder=4,
    )
    right, height = float(rates.max()), float(losses[np.argmax(rates)])
    if one.usable:
        low, best, high = one.lr
        grid = np.geomspace(min(rates.min(), best), max(rates.max(), best), 60)
        curve = one.loss * np.exp(one.curvature * phi(np.log(grid / best), tuning.lean[1]))
        ax.plot(grid, curve, color=colour, linewidth=1.1)
        ax.plot([low, high], [one.loss] * 2, color=LAW, linewidth=1.4, zorder=5)
        ax.plot(
            [best],
            [one.loss],
            "D",
            markersize=5,
            color=PAPER if one.status else LAW,
            markeredgecolor=LAW,
            markeredgewidth=1.0,
            zorder=6,
        )
        right, height = float(grid[-1]), float(curve[-1])
    name = f"{short_number(one.n)}, {short_number(one.d)} tokens"
    return Label(right, height, name, 6, colour=INK if one.usable else MUTED)
