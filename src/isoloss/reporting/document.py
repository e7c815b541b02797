"""What a report is made of, before it is a page: sections of paragraphs, tables, figures, facts.

Everything here is plain text; the writers of HTML and Markdown escape it. Nothing here knows about
laws or runs.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Paragraph:
    """A paragraph; `quiet` for what only qualifies."""

    text: str
    quiet: bool = False


@dataclass(frozen=True)
class Refusal:
    """One line where something could not be said: what, and why."""

    text: str


@dataclass(frozen=True)
class Points:
    """A list of short lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Something typed or computed, to be copied as it stands."""

    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells under a head; the first cell of a row names it, the others are aligned right.

    `words`: columns after the first that hold prose and are aligned left.
    """

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Figure:
    """A drawing with its title and one sentence on how to read it.

    name: letters, digits and dashes, unique in the document. svg: an element, already safe.
    """

    name: str
    title: str
    reading: str
    svg: str


@dataclass(frozen=True)
class Card:
    """One answer of the summary: a question, the answer in a line, and what qualifies it."""

    question: str
    answer: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cards:
    """The answers, side by side."""

    cards: tuple[Card, ...]


Block = Paragraph | Refusal | Points | Code | Table | Figure | Cards


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A whole report. date: its only line that changes between two reports of the same data."""

    title: str
    subtitle: str
    date: str
    sections: tuple[Section, ...] = field(default=())
