"""What leaving the best size costs: the compute that other sizes need for the same loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoloss.errors import InputError
from isoloss.figures.bands import Array, Band, shade
from isoloss.figures.labels import Label, place_labels
from isoloss.figures.style import (
    HIT,
    INK,
    LAW,
    MISS,
    MUTED,
    PAPER,
    RULE,
    RUN,
    axes_or_new,
    count_axis,
    house_style,
    percent_axis,
    power_of_ten,
    short_number,
)
from isoloss.laws import Cost, allocate
from isoloss.laws.published import Kaplan2020
from isoloss.laws.required import compute_at_size
from isoloss.planning import plan
from isoloss.planning.doubt.decision import MOST_DRAWS, MOST_EXCESS, NEAR
from isoloss.trust import Draws

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOOKS = ((LAW, "D"), (RUN, "s"), (HIT, "^"), (MISS, "v"), (INK, "p"))
"""Colour and mark of the first source, the second, ...; a sixth is the first again."""

_REACH = 8.0
_POINTS = 257
_TOP = 60.0
_ROW = 0.075
"""Height of a source's row below the curves, over that of the curves."""


@dataclass(frozen=True)
class _Source:
    """One source: its best size, the least excess (%), and the excess of any sizes.

    within: the sizes whose excess is within 5 %, or None. counted: the convention of n.
    """

    name: str
    n: float
    least: float
    within: tuple[float, float] | None
    counted: str
    excess: Callable[[Array], Band]


def size_costs(
    sources: Mapping[str, Any] | Sequence[tuple[str, Any]],
    flops: float | Mapping[str, float],
    *,
    cost: Cost | Mapping[str, Cost | None] | None = None,
    level: float = 0.9,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much more compute other sizes than the best need to reach its loss.

    excess(n) = c(n, loss) / flops - 1, loss the least loss of the budget and c(n, loss) the compute
    with which n parameters reach it. Each draw counts against its own optimum: the line is the
    expected excess, marked where it is least (`best_bet`), the band holds the excess of the draws
    at each size. A curve that leaves the top goes on rising, or ends where a size is too small for
    the loss. A bar below the curves holds the sizes that a plan calls as good.
    sources: names with a law of (n, d), a PublishedLaw, a fit, draws, or `published.KAPLAN_2020`,
    whose curve is Eq. B.16 about the size of his Table 6. flops: the budget. cost: n -> training
    FLOPs per token, default 6 n. Both may be given by name. level: of the bands.
    Returns the axes, a new figure's if `ax` is None; sizes are counted as each source counts them.
    Raises InputError without sources, and where `plan` refuses one.
    Source: Kaplan et al. 2020, Eq. B.16 and Fig. 12, asked of any law; the same in steps, Eq. B.17,
    is `KaplanFrontier.steps_ratio`.
    """
    found = [
        _source(name, source, _by_name(flops, name), _by_name(cost, name), level)
        for name, source in _pairs(sources)
    ]
    reach = min(one.n for one in found) / _REACH, max(one.n for one in found) * _REACH
    sizes = np.geomspace(*reach, _POINTS)
    curves = [one.excess(sizes) for one in found]
    with house_style():
        ax = axes_or_new(ax, height=3.9 + 0.2 * len(found))
        ax.set_xscale("log")
        # One whose least is above the top is told in words, unless all are.
        top = max(_TOP, 2.0 * min(one.least for one in found))
        seen = sizes[np.any([curve.mid <= top for curve in curves], axis=0)]
        marked = [one.n for one in found]
        ax.set_xlim(min(seen[0], *marked) / 1.02, max(seen[-1], *marked) * 1.02)
        ax.set_ylim(-_ROW * top * (len(found) + 0.4), top)
        ax.axhline(0.0, color=RULE, linewidth=0.8, zorder=1)
        ax.axhline(100 * NEAR, color=MUTED, linewidth=1.0, linestyle=(0, (1, 2)), zorder=1)
        names = []
        for row, (one, curve) in enumerate(zip(found, curves, strict=True)):
            colour, mark = _LOOKS[row % len(_LOOKS)]
            shade(ax, sizes, curve, colour=colour)
            ax.plot(sizes, curve.mid, color=colour, lw=1.8, zorder=3)
            height = -_ROW * top * (row + 1)
            if one.within is not None:
                ax.plot(one.within, [height] * 2, color=colour, lw=5, solid_capstyle="butt")
            for y in (one.least, height):
                ax.plot(one.n, y, mark, color=colour, ms=8, markeredgecolor=PAPER, zorder=6)
            names.append(_label(ax, one, height, colour))
        _axes(ax, {one.counted for one in found}, flops, top)
        place_labels(ax, names, everything=True)
    return ax


def _pairs(sources: Mapping[str, Any] | Sequence[tuple[str, Any]]) -> list[tuple[str, Any]]:
    try:
        pairs = sources.items() if isinstance(sources, Mapping) else sources
        named = [(str(name), source) for name, source in pairs]
    except (TypeError, ValueError):
        raise InputError('give laws by name, such as {"Hoffmann 2022": law}') from None
    if not named:
        raise InputError("no law is given, so there is nothing to draw")
    return named


def _by_name(value: Any, name: str) -> Any:
    """What is given for the source of that name, or for all."""
    if not isinstance(value, Mapping):
        return value
    if name not in value:
        raise InputError(f"flops and cost by name need every name: {name!r} is missing")
    return value[name]


def _source(name: str, source: Any, flops: float, cost: Cost | None, level: float) -> _Source:
    if isinstance(source, Draws):
        return _drawn(name, source, flops, cost, level)
    found = plan(source, flops=flops, cost=cost, level=level)

    def excess(sizes: Array) -> Band:
        if isinstance(source, Kaplan2020):
            return Band(_percent(source.frontier.compute_ratio(sizes / found.n.mid)))
        return Band(_percent(compute_at_size(source, sizes, found.loss.mid, cost=cost) / flops))

    return _Source(name, found.n.mid, 0.0, found.near_optimal, found.n_convention, excess)


def _drawn(name: str, draws: Draws, flops: float, cost: Cost | None, level: float) -> _Source:
    found = plan(draws, flops=flops, cost=cost, level=level)
    losses = np.asarray(allocate(draws, flops, cost=cost).loss)

    def excess(sizes: Array) -> Band:
        each = _percent(compute_at_size(draws, sizes, losses, cost=cost) / flops)
        low, _, high = draws.interval(lambda _: each, level)
        return Band(each[:MOST_DRAWS].mean(axis=0), np.asarray(low), np.asarray(high))

    least = 100 * (found.expected_excess or 0.0)
    return _Source(name, found.n.mid, least, found.near_optimal, found.n_convention, excess)


def _percent(ratio: Array) -> Array:
    """The excess in per cent; one without end is drawn as high as `best_bet` counts it."""
    return np.asarray(100.0 * np.clip(ratio - 1.0, 0.0, MOST_EXCESS))


def _axes(ax: Axes, counted: set[str], flops: float | Mapping[str, float], top: float) -> None:
    from matplotlib.ticker import FixedLocator, MaxNLocator

    alike = len(counted) == 1
    count_axis(ax.xaxis, "parameters" if alike else "parameters, as each source counts them")
    budget = (
        "its budget" if isinstance(flops, Mapping) else f"{power_of_ten(flops, digits=3)} FLOPs"
    )
    percent_axis(ax.yaxis, f"compute beyond {budget} for the same loss")
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 5, 10]).tick_values(0.0, top)
    ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if 0 <= tick <= top]))
    rule = Label(
        ax.get_xlim()[1], 100 * NEAR, f"+{100 * NEAR:g} %", -4, 2, "right", "bottom", MUTED
    )
    place_labels(ax, [rule], everything=True)


def _label(ax: Axes, one: _Source, height: float, colour: str) -> Label:
    """The name and the best size beside a bar, on the side with more room."""
    words = f"{one.name}: {short_number(one.n)}"
    if one.within is None:
        words += f", expected +{one.least:.{0 if one.least >= 10 else 1}f} %"
    low, high = one.within or (one.n, one.n)
    left, right = ax.get_xlim()
    if right / high >= low / left:
        return Label(high, height, words, 8, 0, "left", "center", colour, weight="bold")
    return Label(low, height, words, -8, 0, "right", "center", colour, weight="bold")
