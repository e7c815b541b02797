"""Text out of the formats packages keep it in: dictionaries, Bible modules, R data.

Each reader takes the bytes of the files and yields text; none of them runs anything it reads.
"""

from __future__ import annotations

import gzip
import html
import io
import re
import struct
import zlib
from collections.abc import Iterator

from isoloss.errors import InputError

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_DIGIT = {letter: value for value, letter in enumerate(_ALPHABET)}


def dictionary_entries(index: bytes, dictionary: bytes) -> Iterator[str]:
    """Entries of a DICT dictionary in the order of the text, each once, its own headers left out.

    index: the .index file: headword, offset, length, tab-separated, numbers in base 64.
    dictionary: the .dict.dz file, which is gzip with an extra field.
    Source: the dictd file format (dictfmt(1), dictzip(1)); dictzip's random access is not needed.
    """
    with gzip.open(io.BytesIO(dictionary)) as stream:
        text = stream.read()
    places: set[tuple[int, int]] = set()
    for line in index.decode("utf-8", "replace").splitlines():
        fields = line.split("\t")
        if len(fields) >= 3:
            places.add((_base64(fields[1]), _base64(fields[2])))
    for offset, length in sorted(places):
        entry = text[offset : offset + length].decode("utf-8", "replace").strip("\n")
        if not entry.startswith(("00-database", "00database")):
            yield entry


def sword_chapters(blocks: bytes, verses: bytes, data: bytes) -> Iterator[tuple[str, str]]:
    """Chapters of a SWORD zText module as (reference such as Gen.1, text with a verse a line).

    blocks, verses, data: the .bzs, .bzv and .bzz files. A block record is offset, size, size
    uncompressed (three 32-bit little-endian); a verse record is block (32), offset (32), size (16).
    Markup (OSIS: Strong's numbers, notes, milestones) is dropped; verse order is the module's own.
    Source: the SWORD library's zVerse driver.
    """
    cached, content = -1, b""
    chapter, lines = "", list[str]()
    for block, offset, size in struct.iter_unpack("<IIH", verses):
        if size == 0:
            continue
        if block != cached:
            start, packed, _ = struct.unpack_from("<III", blocks, 12 * block)
            content, cached = zlib.decompress(data[start : start + packed]), block
        markup = content[offset : offset + size].decode("utf-8", "replace")
        opening = _CHAPTER.search(markup)
        if opening is not None:
            # The end of the chapter before may share the slot with the opening of the next.
            if chapter and lines:
                yield chapter, "\n".join(lines)
            chapter, lines = opening[1], []
            markup = markup[opening.end() :]
        elif "<title" in markup and 'type="book"' in markup:
            continue
        text = _osis_text(markup)
        if text and chapter:
            lines.append(text)
    if chapter and lines:
        yield chapter, "\n".join(lines)


def r_strings(data: bytes) -> Iterator[list[str]]:
    """The character vectors of an R lazy-load database (.rdb), one list each, in file order.

    A chunk is its uncompressed length (32-bit big-endian), then zlib data holding an object in R's
    binary serialization, version 2 or 3. Objects other than character vectors are passed over.
    Source: the R Internals manual, section 1.8 (serialization formats).
    """
    at = 0
    while at + 4 < len(data):
        inflate = zlib.decompressobj()
        try:
            content = inflate.decompress(data[at + 4 :]) + inflate.flush()
        except zlib.error as error:
            raise InputError(f"R data compressed otherwise than by zlib ({error})") from None
        at = len(data) - len(inflate.unused_data)
        strings = _r_character_vector(content)
        if strings is not None:
            yield strings


def _base64(number: str) -> int:
    value = 0
    for letter in number:
        value = value * 64 + _DIGIT[letter]
    return value


def _osis_text(markup: str) -> str:
    markup = _NOTE.sub("", markup)
    return " ".join(html.unescape(_TAG.sub("", markup)).split())


def _r_character_vector(content: bytes) -> list[str] | None:
    if content[:2] != b"X\n":
        return None
    version = struct.unpack_from(">i", content, 2)[0]
    at = 14
    if version == 3:  # the native encoding's name follows
        at += 4 + struct.unpack_from(">i", content, at)[0]
    kind, length = struct.unpack_from(">Ii", content, at)
    at += 8
    if kind & 0xFF != 16:  # STRSXP
        return None
    strings = []
    for _ in range(length):
        flags, size = struct.unpack_from(">Ii", content, at)
        at += 8
        if size < 0:  # NA
            continue
        raw = content[at : at + size]
        at += size
        strings.append(raw.decode("latin-1" if flags >> 12 & 4 else "utf-8", "replace"))
    return strings


_CHAPTER = re.compile(r'<chapter\b[^>]*\bosisID="([^"]+)"[^>]*>')
_NOTE = re.compile(r"<note\b.*?</note>|<title\b.*?</title>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
