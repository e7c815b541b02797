"""Final held-out losses of records: along the context, and on other corpora than a run's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from isoloss.errors import FitError, InputError
from isoloss.figures.labels import label_line_ends
from isoloss.figures.style import (
    INK,
    MUTED,
    PAPER,
    axes_or_new,
    count_axis,
    house_style,
    loss_axis,
    ramp_colours,
    short_number,
)
from isoloss.fitting import fit_positions
from isoloss.runs import HeldOutLosses, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_N = "non_embedding_plus_head"
_POINTS = 25
_MARKS = ("o", "s", "^", "v", "D", "P", "X")


def position_curves(
    records: Sequence[Run], corpus: str | None = None, *, ax: Axes | None = None
) -> Axes:
    """Draw the final loss of runs against the tokens of context, violet for small models.

    corpus: one of the runs' eval_corpora; their own text without it. Points are means of
    neighbours, of more the farther out; the line is the fit a + b T^-c to every position, where
    they identify one (`fit_positions`). Runs see the same text, so their points scatter alike.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if no run has such losses.
    Source: the picture of Kaplan et al. 2020, figure 20.
    """
    found = [(run, one) for run in records for one in [_losses(run, corpus)] if one is not None]
    found = [(run, one) for run, one in found if len(one.by_position) > 1]
    if not found:
        what = "of their own" if corpus is None else f"on {corpus!r}"
        raise InputError(f"no record holds losses {what} along the context; train the runs again")
    found.sort(key=lambda pair: pair[0].n[_N])
    colours = ramp_colours([run.n[_N] for run, _ in found])
    ends: list[tuple[float, float, str, str]] = []
    with house_style():
        ax = axes_or_new(ax)
        for (run, one), colour in zip(found, colours, strict=True):
            losses = np.array(one.by_position)
            at = np.arange(1.0, len(losses) + 1)
            edges = np.unique(np.geomspace(1, len(losses) + 1, _POINTS).astype(int))
            counts = np.diff(edges)
            means = np.add.reduceat(losses, edges[:-1] - 1) / counts
            middle = np.add.reduceat(at, edges[:-1] - 1) / counts
            ax.plot(middle, means, "o", color=colour, markersize=3.5)
            end = float(losses[-max(1, len(losses) // 8) :].mean())
            try:
                line = fit_positions(losses)(at)
            except FitError:
                pass
            else:
                ax.plot(at, line, color=colour, linewidth=1.2)
                end = float(line[-1])
            ends.append((float(at[-1]), end, short_number(run.n[_N]), INK))
        count_axis(ax.xaxis, "tokens of context")
        loss_axis(ax.yaxis)
        label_line_ends(ax, ends)
    return ax


def transfer_points(records: Sequence[Run], *, ax: Axes | None = None) -> Axes:
    """Draw the final losses of runs on other corpora against those on their own.

    A mark is a run on a corpus, the thin line to it the way there while it trained, dashes are
    where both losses are equal. Violet is small, yellow large.
    Returns the axes, a new figure's if `ax` is None. Raises InputError if no run was evaluated on
    another corpus.
    Source: the picture of Kaplan et al. 2020, figure 8.
    """
    runs = [run for run in records if len(run.held_out) > 1]
    if not runs:
        raise InputError("no record holds losses on other corpora; give the runs eval_corpora")
    names = list(dict.fromkeys(one.corpus for run in runs for one in run.held_out[1:]))
    colours = ramp_colours([run.n[_N] for run in runs])
    ends: dict[str, tuple[float, float, str, str]] = {}
    with house_style():
        ax = axes_or_new(ax)
        for run, colour in zip(runs, colours, strict=True):
            for one in run.held_out[1:]:
                way = [
                    (point.loss, other.loss)
                    for point in run.points
                    for other in point.others
                    if other.corpus == one.corpus
                ]
                if way:
                    ax.plot(*zip(*way, strict=True), color=colour, linewidth=0.7, alpha=0.5)
                mark = _MARKS[names.index(one.corpus) % len(_MARKS)]
                x, y = run.held_out[0].loss, one.loss
                ax.plot(x, y, mark, color=colour, markersize=5, markeredgecolor=PAPER, zorder=3)
                if one.corpus not in ends or x > ends[one.corpus][0]:
                    ends[one.corpus] = (x, y, one.corpus, INK)
        loss_axis(ax.xaxis, "loss on the own text, nats per token")
        loss_axis(ax.yaxis, "loss on another text, nats per token")
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        low, high = max(left, bottom), min(right, top)
        if low < high:
            ax.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            ax.set_xlim(left, right)
            ax.set_ylim(bottom, top)
            label_line_ends(ax, [(high, high, "equal", MUTED)])
        label_line_ends(ax, list(ends.values()))
    return ax


def _losses(run: Run, corpus: str | None) -> HeldOutLosses | None:
    if corpus is None:
        return run.held_out[0] if run.held_out else None
    return next((one for one in run.held_out[1:] if one.corpus == corpus), None)
