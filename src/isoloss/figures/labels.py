"""Words beside the thing they name, instead of a legend; a label that would cover another is left
out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isoloss.figures.style import INK, PAPER, spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GLYPH_WIDTH = 0.6
_LINE_HEIGHT = 1.25


@dataclass(frozen=True)
class Label:
    """Text at a data point; `dx`, `dy` in points from it, aligned as matplotlib aligns."""

    x: float
    y: float
    text: str
    dx: float = 5.0
    dy: float = 0.0
    ha: str = "left"
    va: str = "center"
    colour: str = INK
    size: float = 8.0
    weight: str = "normal"
    backed: bool = False


def place_labels(
    ax: Axes,
    labels: Iterable[Label],
    *,
    clear_of: Iterable[tuple[float, float]] = (),
    everything: bool = False,
) -> None:
    """Write labels in order, leaving out each that would cover an earlier one or leave the axes.

    labels: most important first; a text that has been written is not written again, so a second
    label with the same text is another place to try. `backed` ones hide what is behind them.
    clear_of: data points (x, y) that no label may cover.
    everything: write them all, whatever they cover. The axes' limits must be final.
    """
    placed = [_around(ax, x, y) for x, y in clear_of]
    written: set[str] = set()
    frame = ax.get_window_extent()
    for label in labels:
        box = _box(ax, label)
        # a label may hang over the frame's right edge: constrained layout makes room for it
        inside = frame.y0 - 2 <= box[1] and box[3] <= frame.y1 + 12 and box[0] >= frame.x0 - 2
        free = inside and not any(_overlap(box, other) for other in placed)
        if label.text not in written and (free or everything):
            placed.append(box)
            written.add(label.text)
            ax.annotate(
                label.text,
                (label.x, label.y),
                xytext=(label.dx, label.dy),
                textcoords="offset points",
                ha=label.ha,
                va=label.va,
                color=label.colour,
                fontsize=label.size,
                fontweight=label.weight,
                annotation_clip=False,
                zorder=9,
                bbox={"facecolor": PAPER, "alpha": 0.85, "pad": 1.5} if label.backed else None,
            )


def label_line_ends(ax: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines at their right ends, pushed apart vertically where they would overlap.

    ends: (x, y, text, colour) each; the axes' limits must be final. Where there is no room for
    all, every second, third, ... is named.
    """
    points = ax.figure.dpi / 72.0
    size = 8.0
    room = 0.9 * ax.get_window_extent().height
    tallest = max((1 + text.count("\n") for _, _, text, _ in ends), default=1)
    stride = max(1, math.ceil(len(ends) * tallest * size * _LINE_HEIGHT * points / room))
    ends = ends[::stride]
    pixels = [float(ax.transData.transform((x, y))[1]) for x, y, _, _ in ends]
    heights = [(1 + text.count("\n")) * size * _LINE_HEIGHT * points for _, _, text, _ in ends]
    placed = spread(pixels, heights)
    for (x, y, text, colour), at, moved in zip(ends, pixels, placed, strict=True):
        ax.annotate(
            text,
            (x, y),
            xytext=(5, (moved - at) / points),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=size,
            annotation_clip=False,
        )


def _box(ax: Axes, label: Label) -> tuple[float, float, float, float]:
    points = ax.figure.dpi / 72.0
    lines = label.text.split("\n")
    width = max(map(len, lines)) * label.size * _GLYPH_WIDTH * points
    height = len(lines) * label.size * _LINE_HEIGHT * points
    x, y = ax.transData.transform((label.x, label.y))
    x, y = float(x) + label.dx * points, float(y) + label.dy * points
    left = {"left": x, "center": x - width / 2, "right": x - width}[label.ha]
    bottom = {"bottom": y, "center": y - height / 2, "top": y - height}[label.va]
    return left, bottom, left + width, bottom + height


def _around(ax: Axes, x: float, y: float) -> tuple[float, float, float, float]:
    """The box of a marker."""
    across, up = ax.transData.transform((x, y))
    reach = 3.5 * ax.figure.dpi / 72.0
    return float(across) - reach, float(up) - reach, float(across) + reach, float(up) + reach


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
