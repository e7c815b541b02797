"""Prose out of documentation: what a page keeps, what counts as prose, what was read before."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from isoloss.lab.corpus.clean import (
    Paragraph,
    Seen,
    group,
    html_paragraphs,
    is_prose,
    plain_paragraphs,
    prose,
    unwrap,
)

GOOD = "The server reads the file when it starts, and it will not read it again until then."

PAGE = f"""<!DOCTYPE html>
<html><head><title>Not text</title><style>p {{}}</style></head>
<body><header>Site</header><nav><ul><li>Home</li></ul></nav>
<!-- a comment with <p>markup</p> -->
<h2 class="x">Start&nbsp;here</h2>
<p>{GOOD.replace("file", "<em>file</em>")}</p>
<pre><code>code = "is not prose"</code></pre>
<ul><li>First &lt;item&gt; of a list
over two lines</li><li>Second</li></ul>
<script>var a = "<p>no</p>";</script>
<table><tr><td>left</td><td>right</td></tr></table>
<svg><text>drawn</text></svg><br/>caf&eacute;
<footer>Copyright</footer></body></html>"""


def test_a_page_keeps_headings_and_paragraphs() -> None:
    assert html_paragraphs(PAGE) == [
        Paragraph("Start here", heading=True),
        Paragraph(GOOD),
        Paragraph("First <item> of a list over two lines"),
        Paragraph("Second"),
        Paragraph("left"),
        Paragraph("right"),
        Paragraph("caf\xe9"),
    ]


class _Oracle(HTMLParser):
    """The same reading by Python's own parser: all text outside of dropped elements."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self.dropped: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag in ("script", "style", "pre", "nav", "header", "footer", "svg", "head"):
            self.dropped.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.dropped and tag == self.dropped[-1]:
            self.dropped.pop()

    def handle_data(self, data: str) -> None:
        if not self.dropped:
            self.words += data.split()


def test_a_page_holds_the_words_a_parser_finds() -> None:
    oracle = _Oracle()
    oracle.feed(PAGE * 3)
    found = " ".join(text for text, _ in html_paragraphs(PAGE * 3)).split()
    assert found == oracle.words


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (GOOD, True),
        ("Too short to be kept.", False),
        ("Of the six words here none.", False),
        ("apple banana cherry damson elder fig grape hazel ivy juniper kale lemon mint", False),
        ("x = f(a[0], b[1]) + g(c[2]); if (y != 0) { return the(of) & and | to; } // is it", False),
        ("La r\xe9ponse est \xe0 c\xf4t\xe9 de la for\xeat, o\xf9 l'\xe9t\xe9 s'ach\xe8ve", False),
    ],
)
def test_what_reads_as_prose(text: str, kept: bool) -> None:
    assert is_prose(text) is kept


def test_what_was_read_before_is_dropped() -> None:
    seen = Seen(bits=20)
    assert seen.is_new(GOOD)
    assert not seen.is_new(GOOD.upper().replace(",", " 12 "))
    assert not seen.is_new(GOOD + " And so on and so forth.")
    assert seen.is_new("Another sentence about the same file that the server reads when it starts.")
    assert seen.is_new("Quite other words stand here, and none of them was seen in that order.")


def test_a_document_keeps_a_heading_only_before_what_is_kept() -> None:
    longer = GOOD + " " + GOOD.replace("file", "table")
    paragraphs = [
        Paragraph("Dropped", heading=True),
        Paragraph("Kept", heading=True),
        Paragraph("tiny"),
        Paragraph(longer),
        Paragraph("Kept", heading=True),
        Paragraph(longer.replace("server", "client")),
        Paragraph("Last", heading=True),
    ]
    document = prose(paragraphs)
    assert document == f"Kept\n\n{longer}\n\n{longer.replace('server', 'client')}"
    assert prose([Paragraph(GOOD)]) == ""  # under 200 characters


def test_short_texts_are_joined_and_wrapped_ones_unwrapped() -> None:
    assert list(group(["a" * 10, "b" * 10, "c"], least=15)) == ["a" * 10 + "\n\n" + "b" * 10, "c"]
    assert unwrap("head\n\n   one\n   two\n\n   three\n") == "head\none two\nthree"
    assert plain_paragraphs("a\nb\n\n  \nc") == [Paragraph("a b"), Paragraph("c")]
