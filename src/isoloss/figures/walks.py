"""The walk from Kaplan's exponent to Hoffmann's: every step a point, with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from isoloss.figures.style import INK, LAW, MUTED, PAPER, RULE, RUN, axes_or_new, house_style
from isoloss.planning.walks.walk import Explanation, Walk

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = (RUN, LAW)
_APART = 0.3
_ROW = 0.2
_GAP = 0.4


def exponent_walks(found: Explanation, *, ax: Axes | None = None) -> Axes:
    """Draw the exponent of the best size in compute at every step of an explanation.

    One row a step, from the top down; walks of the same steps share rows, in two colours. A disc is
    quoted from the paper, with its interval, a hollow diamond computed from the paper's constants.
    Dotted: where the first walk begins and the last one does.
    found: from `explain`. Returns the axes, a new figure's if `ax` is None.
    """
    groups = [list(some) for _, some in groupby(found.walks, key=_labels)]
    rows = sum(1 + len(group[0].steps) for group in groups)
    with house_style():
        ax = axes_or_new(ax, height=0.7 + _ROW * rows)
        ends = (found.walks[0].steps[0].exponent.mid, found.walks[-1].steps[0].exponent.mid)
        for end in ends:
            ax.axvline(end, color=RULE, linestyle=":", linewidth=1.2, zorder=1)
        ticks: list[tuple[float, str]] = []
        y = 0.0
        for group in groups:
            _name(ax, group, y)
            for place, walk in enumerate(group):
                _draw(ax, walk, y + 1 + (place - (len(group) - 1) / 2) * _APART, _COLOURS[place])
            ticks += [(y + 1 + i, step.label.strip()) for i, step in enumerate(group[0].steps)]
            y += 1 + len(group[0].steps) + _GAP
        ax.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
        ax.tick_params(axis="y", length=0)
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_ylim(y - _GAP - 0.4, -0.7)
        ax.margins(x=0.04)
        ax.set_xlabel("exponent of the best size in compute; disc quoted, diamond computed")
    return ax


def _labels(walk: Walk) -> tuple[str, ...]:
    return tuple(step.label for step in walk.steps)


def _draw(ax: Axes, walk: Walk, y: float, colour: str) -> None:
    middles = [step.exponent.mid for step in walk.steps]
    heights = [y + i for i in range(len(middles))]
    if all(step.exponent.low is not None for step in walk.steps):
        ax.plot(middles, heights, color=colour, linewidth=0.8, alpha=0.3, zorder=2)
    for step, mid, height in zip(walk.steps, middles, heights, strict=True):
        low, _, high = step.exponent
        if low is not None and high is not None:
            ax.plot([low, high], [height, height], color=colour, linewidth=1.6, zorder=3)
        quoted = step.how == "quoted"
        ax.plot(
            mid,
            height,
            "o" if quoted else "D",
            color=colour if quoted else PAPER,
            markeredgecolor=PAPER if quoted else colour,
            markersize=6 if quoted else 5,
            markeredgewidth=0.6 if quoted else 1.3,
            zorder=4,
        )


def _name(ax: Axes, group: Sequence[Walk], y: float) -> None:
    """Head a group with its paper, and each of its walks in its colour."""
    names = [walk.name.partition(", ") for walk in group]
    words = [(0.0, names[0][0], INK, "bold")]
    words += [
        (0.34 + 0.22 * place, name, colour if len(group) > 1 else MUTED, "normal")
        for place, ((_, _, name), colour) in enumerate(zip(names, _COLOURS, strict=False))
    ]
    for x, text, colour, weight in words:
        ax.text(
            x,
            y,
            text,
            transform=ax.get_yaxis_transform(),
            va="center",
            color=colour,
            fontsize=8.5,
            fontweight=weight,
        )
