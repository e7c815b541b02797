"""One look for every figure: colours, type, axes with human numbers, deterministic SVG.

What it decides: measured runs are blue, what a law says is vermilion, an outcome that was
forecast is a diamond in green (inside its interval) or a cross in purple (outside), sizes run
along one ramp from violet (small) to yellow (large). The hues are Okabe and Ito's, chosen to stay
apart for colour-blind readers; shape or a word always says the same thing as the hue.

The style is set by a local `rc_context` around each drawing; nothing global is changed, and
pyplot is never used, so no figure outlives its caller.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.runs import Runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

INK = "#1f2328"
MUTED = "#656d76"
RULE = "#c9ced6"
GRID = "#e9ecf0"
PAPER = "#ffffff"
RUN = "#0072b2"
LAW = "#d55e00"
HIT = "#008a64"
MISS = "#aa3a86"
RAMP = (
    "#3a1a63",
    "#3f3d8a",
    "#335c8d",
    "#277a8e",
    "#1e958b",
    "#2cae7c",
    "#55bf62",
    "#7fbd3a",
    "#a8ad1a",
)
"""Nine steps from small to large, near viridis, stopped before its pale end."""

WIDTH = 7.2
"""Inches: one figure at the width of a report's column or of a paper's page."""

_STYLE: dict[str, Any] = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.0,
    "text.color": INK,
    "text.usetex": False,
    "text.parse_math": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 8.0,
    "axes.facecolor": PAPER,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.xmargin": 0.04,
    "axes.ymargin": 0.06,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "lines.linewidth": 1.5,
    "lines.solid_capstyle": "round",
    "patch.linewidth": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": PAPER,
    "figure.dpi": 100.0,
    "figure.constrained_layout.h_pad": 0.06,
    "figure.constrained_layout.w_pad": 0.06,
    "savefig.dpi": 200.0,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "svg.hashsalt": "isoloss",
}

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the one style of this package; on leaving, every setting is as it was."""
    import matplotlib

    settings: Any = matplotlib.rcParams
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings.update(_STYLE)
        yield


def panels(columns: int = 1, *, height: float = 4.0, sharey: bool = False) -> list[Axes]:
    """Make a figure of `columns` axes side by side, `height` in inches, outside pyplot."""
    from matplotlib.figure import Figure

    with house_style():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        grid = figure.subplots(1, columns, sharey=sharey, squeeze=False)
        return list(grid[0])


def axes_or_new(ax: Axes | None, *, height: float = 4.0) -> Axes:
    """Return `ax`, or the axes of a new figure."""
    return panels(height=height)[0] if ax is None else ax


def ramp_colours(values: ArrayLike) -> list[str]:
    """Colour positive values from violet (small) to yellow (large), by their logarithm.

    values: (m,) positive. Returns m colours; one distinct value gets the middle of the ramp.
    """
    logs = np.log(np.asarray(values, dtype=float))
    low, high = float(logs.min()), float(logs.max())
    if high - low < 1e-12:
        return [RAMP[len(RAMP) // 2]] * logs.size
    steps = np.rint((logs - low) / (high - low) * (len(RAMP) - 1)).astype(int)
    return [RAMP[step] for step in steps]


def short_number(value: float) -> str:
    """Write a count for an axis or a label, in at most three figures: 800, 1.5K, 10M, 70B."""
    value = float(f"{value:.3g}")
    if value >= 1e15:
        return power_of_ten(value)
    for scale, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= scale:
            return f"{value / scale:.3g}{suffix}"
    return f"{value:.3g}"


def power_of_ten(value: float, digits: int = 2) -> str:
    """Write a compute budget as people print it: 10²¹, or 3.2 times 10¹¹."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    power = f"10{str(int(exponent)).translate(_SUPERSCRIPT)}"
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return power if mantissa == "1" else f"{mantissa}{TIMES}{power}"


def count_axis(axis: Axis, label: str) -> None:
    """Make an axis logarithmic in a count (parameters, tokens): 10K, 100K, 1M."""
    _log_axis(axis, label, short_number)


def rate_axis(axis: Axis, label: str) -> None:
    """Make an axis logarithmic in a small number: 0.001, 0.003, 0.01."""
    _log_axis(axis, label, lambda value: f"{value:.2g}")


def flops_axis(axis: Axis, label: str = "training compute, FLOPs") -> None:
    """Make an axis logarithmic in compute: 10¹⁸, 10¹⁹."""
    _log_axis(axis, label, power_of_ten)


def loss_axis(axis: Axis, label: str = "loss, nats per token") -> None:
    """Make an axis logarithmic in the loss with plain, evenly valued ticks: 2.0, 2.5, 3.0."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    _scale(axis, "log")
    low, high = axis.get_view_interval()
    even = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    ticks = _thinned([tick for tick in even if low <= tick <= high and tick > 0], low, high)
    digits = max(map(_decimals, ticks), default=1)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}f}"))
    axis.set_label_text(label)


def loss_name(loss: float, unit: str) -> str:
    """A loss in words: in nats where batches are counted in tokens, else in the task's own unit."""
    return f"{loss:.3g} nats" if unit == "tokens" else f"loss {loss:.3g}"


def loss_label(runs: Runs) -> str:
    """Name the loss with its unit."""
    return f"loss, {loss_unit(runs)}"


def loss_unit(runs: Runs) -> str:
    """Name the unit of the loss as people say it."""
    unit = runs.loss_unit.replace("_", " ")
    return {"nats": "nats per token", "bits": "bits per token"}.get(unit, unit)


def percent_axis(axis: Axis, label: str) -> None:
    """Write signed percentages on a linear axis: -0.5 %, 0 %, +0.5 %."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{signed(value)} %"))
    axis.set_label_text(label)


def signed(value: float) -> str:
    """Write a number with its sign, a true minus, and none before zero."""
    return "0" if abs(value) < 1e-12 else f"{value:+.3g}".replace("-", MINUS)


def spread(positions: Sequence[float], heights: Sequence[float]) -> NDArray[np.float64]:
    """Move intervals apart until none overlap, as little as possible in the sense of squares.

    positions: (m,) wanted centres. heights: (m,) lengths. Returns (m,) centres in the same order;
    neighbours that touch are pooled (isotonic regression).
    """
    if not len(positions):
        return np.empty(0)
    order = np.argsort(positions, kind="stable")
    tall = np.asarray(heights, dtype=float)[order]
    below = np.concatenate([[0.0], np.cumsum((tall[1:] + tall[:-1]) / 2)])
    pools: list[tuple[float, int]] = []
    for value in np.asarray(positions, dtype=float)[order] - below:
        pools.append((float(value), 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (mean_b, size_b), (mean_a, size_a) = pools.pop(), pools.pop()
            size = size_a + size_b
            pools.append(((mean_a * size_a + mean_b * size_b) / size, size))
    placed = np.empty(len(positions))
    placed[order] = np.concatenate([np.full(size, mean) for mean, size in pools]) + below
    return placed


def _log_axis(axis: Axis, label: str, write: Any) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    _scale(axis, "log")
    low, high = axis.get_data_interval()
    if 0 < high <= low * (1 + 1e-9):  # one value has no span of its own to show
        if axis is axis.axes.xaxis:
            axis.axes.set_autoscalex_on(False)
            axis.axes.set_xlim(low / 2.0, high * 2.0)
        else:
            axis.axes.set_autoscaley_on(False)
            axis.axes.set_ylim(low / 2.0, high * 2.0)
    low, high = axis.get_view_interval()
    axis.set_major_locator(FixedLocator(_round_ticks(low, high, _inches(axis))))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))
    axis.set_label_text(label)


def _round_ticks(low: float, high: float, inches: float) -> list[float]:
    """Round values between the ends of a log axis, as many as its length has room for."""
    from matplotlib.ticker import MaxNLocator

    decades = math.log10(high / low)
    choices = ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,))
    steps = next((s for s in choices if len(s) * decades * 0.45 <= inches), choices[-1])
    stride = max(1, math.ceil(decades * 0.5 / inches))
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [s * 10.0**p for p in powers if p % stride == 0 for s in steps]
    ticks = [tick for tick in ticks if low <= tick <= high]
    if len(ticks) < 3 and decades < 1:
        even = MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        ticks = _thinned([float(t) for t in even if low <= t <= high and t > 0], low, high)
    return ticks


def _scale(axis: Axis, scale: str) -> None:
    set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale  # type: ignore[attr-defined]
    if axis.get_scale() != scale:
        set_scale(scale)


def _inches(axis: Axis) -> float:
    box = axis.axes.get_window_extent()
    dpi = axis.axes.figure.dpi
    return float(box.width if axis.axis_name == "x" else box.height) / dpi  # type: ignore[attr-defined]


def _thinned(ticks: Sequence[float], low: float, high: float) -> list[float]:
    """Drop ticks of a log axis that would print on top of their neighbour."""
    kept: list[float] = []
    for tick in ticks:
        if not kept or math.log(tick / kept[-1]) >= 0.055 * math.log(high / low):
            kept.append(float(tick))
    return kept


def _decimals(value: float) -> int:
    return next((digits for digits in range(1, 6) if abs(value - round(value, digits)) < 1e-9), 6)
