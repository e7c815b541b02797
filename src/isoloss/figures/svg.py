"""Figures as files: deterministic bytes, written whole or not at all; and SVG for a page.

The same figure gives the same bytes every time: no date, no random ids. SVG keeps its text as
text, so it can be searched and read aloud, and its colours as CSS variables with their values
behind them, so that a page may set them for dark surroundings.
"""

from __future__ import annotations

import io
import re
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from isoloss.errors import InputError
from isoloss.figures.style import (
    GRID,
    HIT,
    INK,
    LAW,
    MISS,
    MUTED,
    PAPER,
    RAMP,
    RULE,
    RUN,
    house_style,
)
from isoloss.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "ink": INK,
    "muted": MUTED,
    "rule": RULE,
    "grid": GRID,
    "paper": PAPER,
    "run": RUN,
    "law": LAW,
    "hit": HIT,
    "miss": MISS,
} | {f"ramp{step}": colour for step, colour in enumerate(RAMP)}
"""The CSS variable of each colour of the style, without its leading dashes."""

MAKER = "isoloss"
"""What every file of a figure says made it, so that no other file is taken for one."""

_FORMATS = (".svg", ".png", ".pdf")


def save_figure(ax: Axes, path: str | Path) -> Path:
    """Write the figure of some axes to a .svg, .png or .pdf file, the same bytes every time.

    Returns the path. Raises InputError for another ending, a folder that is not there, or a file
    that cannot be written; one that was there stays whole until the new one is complete.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise InputError(f"{path}: figures are written as {', '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first")
    write_whole(path, _rendered(_figure(ax), path.suffix[1:]))
    return path


def inline_svg(ax: Axes, name: str, description: str) -> str:
    """Return the figure of some axes as an SVG element to stand inside an HTML page.

    name: letters, digits and dashes, unique on the page; every id in the element begins with it.
    description: what a reader who cannot see the figure is told.
    """
    text = _rendered(_figure(ax), "svg").decode("utf-8")
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    for variable, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{variable}, {colour})")
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    opening = re.search(r"<svg[^>]*>", text)
    assert opening is not None
    box = re.search(r'viewBox="[^"]+"', opening[0])
    assert box is not None
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{box[0]} role="img" aria-labelledby="{name}-what"><title id="{name}-what">'
        f"{escape(description)}</title>"
    )
    return head + text[opening.end() :].strip()


def _figure(ax: Axes) -> Figure:
    figure = ax.get_figure(root=True)
    if figure is None:
        raise InputError("these axes belong to no figure")
    return figure


def _rendered(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata = {
        "svg": {"Date": None, "Creator": MAKER},
        "pdf": {"CreationDate": None, "ModDate": None, "Creator": MAKER, "Producer": None},
        "png": {"Software": MAKER},
    }[kind]
    with house_style():
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
