"""Clean prose out of documentation: what is kept of a page, and what has been read before.

The rules, in order: script, style, code, navigation and pictures are dropped with their contents;
block elements end a paragraph; a paragraph is kept if it has at least 8 words and 35 characters, is
97 % ASCII and 82 % letters and spaces, and 18 % of its words are common function words; a heading
is kept only before a kept paragraph; a paragraph seen before (letters only, case folded) is
dropped, and one more than half of whose 8-word shingles were seen; a document under 200 characters
is dropped. Manuals repeat themselves so much that without the last three a model learns templates.
"""

from __future__ import annotations

import hashlib
import html
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEAST_WORDS, LEAST_CHARACTERS = 8, 35
ASCII_SHARE, LETTER_SHARE, FUNCTION_SHARE, SEEN_SHARE = 0.97, 0.82, 0.18, 0.5
SHORTEST_DOCUMENT = 200
_FILTER_BITS = 30  # one bit per shingle hash: 128 MB; at 2e7 shingles 2 % answer "seen" by chance


class Paragraph(NamedTuple):
    """One paragraph on one line; `heading` tells a title from running text."""

    text: str
    heading: bool = False


def html_paragraphs(markup: str) -> list[Paragraph]:
    """Headings and paragraphs of a web page, without code, navigation, pictures or scripts.

    markup: the page. Four passes of regular expressions rather than a parser: documentation is
    written by generators that close their tags, there are gigabytes of it, and Python's own parser
    reads it several times slower (the tests compare the two).
    """
    markup = _CONTROLS.sub("", markup)
    markup = _DROPPED.sub("\x00", _COMMENTS.sub("", markup))
    markup = _HEADING.sub("\x00\x01", markup)
    markup = _OTHER_TAG.sub("", _BLOCK.sub("\x00", markup))
    paragraphs = []
    for part in html.unescape(markup).split("\x00"):
        text = " ".join(part.removeprefix("\x01").split()).rstrip("\u00b6 ")
        if text:
            paragraphs.append(Paragraph(text, part.startswith("\x01")))
    return paragraphs


def plain_paragraphs(text: str) -> list[Paragraph]:
    """Paragraphs of plain text: runs of lines between blank ones, each joined to one line."""
    return [Paragraph(" ".join(block.split())) for block in _BLANK.split(text) if block.strip()]


def is_prose(text: str) -> bool:
    """Whether a paragraph reads as English prose, by the shares above."""
    if len(text) < LEAST_CHARACTERS:
        return False
    words = text.split()
    if len(words) < LEAST_WORDS:
        return False
    if len(text.encode("ascii", "ignore")) < ASCII_SHARE * len(text):
        return False
    letters = len(_NOT_LETTER_OR_SPACE.sub("", text))
    if letters < LETTER_SHARE * len(text):
        return False
    common = sum(map(FUNCTION_WORDS.__contains__, _WORD.findall(text.lower())))
    return common >= FUNCTION_SHARE * len(words)


class Seen:
    """What has been read: exact paragraphs, and shingles of eight words in a bit per hash."""

    def __init__(self, bits: int = _FILTER_BITS) -> None:
        self._paragraphs: set[bytes] = set()
        self._filter = np.zeros(1 << (bits - 3), np.uint8)
        self._shift = np.uint64(64 - bits)
        self._words: dict[str, int] = {}

    def is_new(self, text: str) -> bool:
        """Whether a paragraph is new enough to keep; what is kept counts as seen from then on."""
        folded = _NOT_LETTERS.sub(" ", text.lower()).strip()
        digest = hashlib.blake2b(folded.encode(), digest_size=12).digest()
        if digest in self._paragraphs:
            return False
        self._paragraphs.add(digest)
        places = self._shingles(folded.split())
        if places.size:
            cells, bits = places >> np.uint64(3), _BITS[places & np.uint64(7)]
            if np.count_nonzero(self._filter[cells] & bits) > SEEN_SHARE * places.size:
                return False
            self._filter[cells] |= (
                bits  # of two in one cell one is lost, which is rare and harmless
            )
        return True

    def _shingles(self, words: list[str]) -> NDArray[np.uint64]:
        """Hashes of all runs of eight words, as places in the filter."""
        known = self._words
        if len(known) > 2_000_000:
            known.clear()
        codes = [
            known[word] if word in known else known.setdefault(word, zlib.crc32(word.encode()))
            for word in words
        ]
        hashes = np.array(codes, np.uint64)
        for width in (1, 2, 4):
            if hashes.size <= width:
                return np.zeros(0, np.uint64)
            hashes = hashes[:-width] * _MULTIPLIER + hashes[width:]
            hashes ^= hashes >> np.uint64(31)
        return (hashes * _MULTIPLIER) >> self._shift


def prose(paragraphs: Iterable[Paragraph], seen: Seen | None = None) -> str:
    """The document that the rules keep of these paragraphs; empty if it is too short.

    seen: what other documents held; None keeps repetitions.
    """
    kept: list[str] = []
    heading = written = ""
    for text, is_heading in paragraphs:
        if is_heading:
            heading = text
        elif is_prose(text) and (seen is None or seen.is_new(text)):
            if heading not in ("", written):  # "Types", "Example": once is enough
                kept.append(heading)
                written = heading
            heading = ""
            kept.append(text)
    document = "\n\n".join(kept)
    return document if len(document) >= SHORTEST_DOCUMENT else ""


def group(texts: Iterable[str], least: int = 3_000) -> Iterator[str]:
    """Join short texts in order into documents of at least `least` characters."""
    held: list[str] = []
    size = 0
    for text in texts:
        held.append(text)
        size += len(text)
        if size >= least:
            yield "\n\n".join(held)
            held, size = [], 0
    if held:
        yield "\n\n".join(held)


def unwrap(text: str) -> str:
    """Join the lines of each paragraph and take the indent away; a blank line ends a paragraph."""
    return "\n".join(" ".join(block.split()) for block in _BLANK.split(text) if block.strip())


# fmt: off
FUNCTION_WORDS = frozenset([
    "the", "of", "and", "to", "a", "in", "is", "it", "you", "that", "he", "was", "for", "on", "are",
    "with", "as", "i", "his", "they", "be", "at", "one", "have", "this", "from", "or", "had", "by",
    "not", "but", "what", "some", "we", "can", "out", "other", "were", "all", "there", "when", "up",
    "use", "your", "how", "an", "each", "she", "which", "do", "their", "if", "will", "way", "about",
    "many", "then", "them", "would", "so", "these", "her", "him", "has", "more", "two", "no",
    "could", "my", "than", "been", "who", "its", "now", "any", "only", "may", "must", "into",
    "such", "also", "because", "should", "very", "our", "over", "under", "between", "after",
    "before", "most", "same", "both", "where", "while", "does", "did", "us", "me", "those",
    "through",
])
# fmt: on
_COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)
_CONTROLS = re.compile(r"[\x00\x01]")
_DROPPED = re.compile(
    r"<(script|style|pre|nav|header|footer|svg|math|head|template|noscript|button|select|textarea)"
    r"\b[^>]*(?<!/)>.*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_HEADING = re.compile(r"<h[1-6]\b[^>]*>", re.IGNORECASE)
_BLOCK = re.compile(
    r"</?(?:p|div|h[1-6]|section|article|main|aside|ul|ol|li|dl|dt|dd|table|tr|td|th|caption|body"
    r"|blockquote|form|fieldset|hr|br|figure|figcaption|details|summary|address|center)\b[^>]*>",
    re.IGNORECASE,
)
_OTHER_TAG = re.compile(r"</?[A-Za-z][^>]*>|<[!?][^>]*>")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_BLANK = re.compile(r"\n[ \t]*\n")
_NOT_LETTER_OR_SPACE = re.compile(r"[^A-Za-z ]")
_NOT_LETTERS = re.compile(r"[^a-z]+")
_WORD = re.compile(r"[a-z]+")
_BITS = np.left_shift(1, np.arange(8)).astype(np.uint8)
