"""A document as Markdown: the text and the tables; figures are in the HTML form of a report."""

from __future__ import annotations

import re

from isoloss.reporting.document import (
    Block,
    Cards,
    Code,
    Document,
    Figure,
    Paragraph,
    Points,
    Refusal,
    Table,
)

_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def to_markdown(document: Document) -> str:
    """Write a document as Markdown; figures are named, with what they show, but not drawn."""
    parts = [f"# {_safe(document.title)}", _safe(document.subtitle), _safe(document.date)]
    for section in document.sections:
        parts.append(f"## {_safe(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, _):
            return _safe(text)
        case Refusal(text):
            return f"> {_safe(text)}"
        case Points(lines):
            return "\n".join(f"- {_safe(line)}" for line in lines)
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
            return f"{fence}\n{text}\n{fence}"
        case Cards(cards):
            return "\n\n".join(
                "\n".join(
                    [
                        f"**{_safe(card.question)}** {_safe(card.answer)}",
                        "",
                        *(f"- {_safe(line)}" for line in card.lines),
                    ]
                )
                for card in cards
            )
        case Figure(_, title, reading, _):
            return f"*Figure, in the HTML form of this report: {_safe(title)}.* {_safe(reading)}"
        case Table():
            return _table(block)


def _table(table: Table) -> str:
    sides = [":--" if i == 0 or i in table.words else "--:" for i in range(len(table.head))]
    lines = [f"**{_safe(table.caption)}**", "", _row(tuple(map(_safe, table.head))), _row(sides)]
    lines += [_row(tuple(map(_safe, row))) for row in table.rows]
    return "\n".join(lines + (["", _safe(table.note)] if table.note else []))


def _row(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _safe(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
