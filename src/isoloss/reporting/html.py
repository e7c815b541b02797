"""A document as one HTML page that needs nothing else: no network, no scripts, no other file."""

from __future__ import annotations

import re
from html import escape
from importlib.resources import files

from isoloss.reporting.document import (
    Block,
    Cards,
    Code,
    Document,
    Figure,
    Paragraph,
    Points,
    Refusal,
    Section,
    Table,
)

# The page may style itself and load nothing; a browser then cannot be made to, whatever the data.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BRACKETS = re.compile("([(][^() <>]+\N{EN DASH}[^() <>]+[)])")
_QUIET = ' class="quiet"'


def to_html(document: Document) -> str:
    """Write a document as an HTML page; all its text is escaped, its figures stand inline."""
    style = files("isoloss.reporting").joinpath("page.css").read_text(encoding="utf-8")
    links = "\n".join(
        f'<a href="#{_anchor(section.title)}">{escape(section.title)}</a>'
        for section in document.sections[1:]
    )
    head, *rest = document.sections
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(document.title)}</title>",
            f"<style>\n{style}</style>",
            "</head>",
            "<body>",
            "<main>",
            "<header>",
            f"<h1>{escape(document.title)}</h1>",
            f'<p class="subtitle">{escape(document.subtitle)}</p>',
            f'<p class="date">{escape(document.date)}</p>',
            "</header>",
            _section(head),
            f'<nav aria-label="Contents">\n{links}\n</nav>',
            *map(_section, rest),
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _text(text: str) -> str:
    """Escape text, and keep numbers with their per cent sign and intervals on one line."""
    kept = escape(text).replace(" %", "\N{NO-BREAK SPACE}%")
    return _BRACKETS.sub(r'<span class="whole">\1</span>', kept)


def _section(section: Section) -> str:
    anchor = _anchor(section.title)
    blocks = "\n".join(_block(block) for block in section.blocks)
    return (
        f'<section aria-labelledby="{anchor}">\n<h2 id="{anchor}">{_text(section.title)}</h2>\n'
        f"{blocks}\n</section>"
    )


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _block(block: Block) -> str:
    match block:
        case Paragraph(text, quiet):
            return f"<p{_QUIET if quiet else ''}>{_text(text)}</p>"
        case Refusal(text):
            return f'<p class="refusal">{_text(text)}</p>'
        case Points(lines):
            return f"<ul>\n{_items(lines)}\n</ul>"
        case Code(text):
            return f"<pre><code>{escape(text)}</code></pre>"
        case Cards(cards):
            inner = "\n".join(
                f'<div class="card">\n<h3>{_text(card.question)}</h3>\n'
                f'<p class="answer">{_text(card.answer)}</p>\n<ul>\n{_items(card.lines)}\n</ul>\n'
                "</div>"
                for card in cards
            )
            return f'<div class="cards">\n{inner}\n</div>'
        case Figure():
            return _figure(block)
        case Table():
            return _table(block)


def _items(lines: tuple[str, ...]) -> str:
    return "\n".join(f"<li>{_text(line)}</li>" for line in lines)


def _figure(figure: Figure) -> str:
    return (
        f'<figure id="{escape(figure.name)}">\n<h3>{_text(figure.title)}</h3>\n'
        f'<div class="drawing scroll" tabindex="0">\n{figure.svg}\n</div>\n'
        f"<figcaption><b>How to read this:</b> {_text(figure.reading)}</figcaption>\n</figure>"
    )


def _table(table: Table) -> str:
    def cell(tag: str, column: int, text: str, scope: str = "") -> str:
        kind = ' class="words"' if column in table.words else ""
        return f"<{tag}{scope}{kind}>{_text(text)}</{tag}>"

    head = "".join(cell("th", i, text, ' scope="col"') for i, text in enumerate(table.head))
    head = f"<thead><tr>{head}</tr></thead>\n" if any(table.head) else ""
    rows = "\n".join(
        "<tr>"
        + cell("th", 0, row[0], ' scope="row"')
        + "".join(cell("td", i, text) for i, text in enumerate(row[1:], start=1))
        + "</tr>"
        for row in table.rows
    )
    note = f'\n<p class="note">{_text(table.note)}</p>' if table.note else ""
    return (
        f'<div class="tabular">\n<div class="scroll" tabindex="0">\n<table>\n'
        f"<caption>{_text(table.caption)}</caption>\n"
        f"{head}"
        f"<tbody>\n{rows}\n</tbody>\n</table>\n</div>{note}\n</div>"
    )
