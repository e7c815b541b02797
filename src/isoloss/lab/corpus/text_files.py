"""Text on disk as documents: plain text, folders and globs of it, and JSON lines.

A document is a text with two names: its own, and that of the unit it may not be parted from when
the corpus is split (a file cut into pieces, a package of source files). Nothing is read whole that
can be read in part: a corpus larger than memory passes through piece by piece.
"""

from __future__ import annotations

import codecs
import gzip
import json
import lzma
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from isoloss.errors import InputError

SEPARATOR_LINE = "<|endoftext|>"
"""A line holding only this ends a document in a text file."""

LONGEST = 40_000
"""Characters after which a document is cut, at the next paragraph break."""

PIECES_AT_LEAST = 50
"""A small corpus is cut finer, into about this many pieces, so that it can be split."""

SHORTEST_CUT = 1_000
_READ = 1 << 20
_TEXT_SUFFIXES = (".gz", ".zst", ".xz")


@dataclass(frozen=True, slots=True)
class Document:
    """A text, the split unit it belongs to, and its own name (never an absolute path)."""

    text: str
    unit: str
    name: str


def read_text_files(paths: list[Path], root: Path) -> Iterator[Document]:
    """Read plain text files in the order given, each cut at separator lines and paragraph breaks.

    A line `<|endoftext|>` ends a document, and then each document is its own split unit. A file
    without one is a unit, cut at paragraph breaks into pieces of at most about 40,000 characters,
    or a fiftieth of the corpus where that is less.
    root: folder that document names are relative to.
    Raises InputError naming the file, and the byte offset where it is not UTF-8.
    """
    size = sum(path.stat().st_size for path in paths)
    longest = min(LONGEST, max(SHORTEST_CUT, size // PIECES_AT_LEAST))
    for path in paths:
        name = path.relative_to(root).as_posix()
        if path.name.endswith((".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.xz")):
            yield from read_json_lines(path, name)
        else:
            yield from _cut_text(_characters(path), name, longest)


def read_json_lines(path: Path, name: str, *, text: str = "text") -> Iterator[Document]:
    """Read a .jsonl file (plain, .gz, .zst or .xz): one JSON object a line, its text under `text`.

    `unit` and `name` in the object name the split unit and the document; without them the line
    number does. Raises InputError naming the file and the line.
    """
    with open_binary(path) as stream:
        lines = enumerate(_lines(stream, path), start=1)
        for number, raw in lines:
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise InputError(
                    f"{path.name}, line {number} is not JSON ({error}); mend or remove it"
                ) from None
            if not isinstance(row, dict) or not isinstance(row.get(text), str):
                raise InputError(
                    f"{path.name}, line {number} has no string under {text!r}; "
                    'each line must be an object such as {"text": "..."}'
                )
            own = str(row.get("name", f"{name}:{number}"))
            yield Document(row[text], str(row.get("unit", own)), own)


def open_binary(path: Path) -> IO[bytes]:
    """Open a file for reading bytes, through its compression where its suffix names one.

    Raises InputError for a missing file, and for .zst where `zstandard` is not installed.
    """
    try:
        if path.suffix == ".gz":
            return cast(IO[bytes], gzip.open(path, "rb"))
        if path.suffix == ".xz":
            return cast(IO[bytes], lzma.open(path, "rb"))
        if path.suffix == ".zst":
            return _open_zst(path)
        return path.open("rb")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}") from None


def is_text_name(path: Path) -> bool:
    """Whether a file in a folder is taken for text: not hidden, not of a known binary kind."""
    plain = path.with_suffix("") if path.suffix in _TEXT_SUFFIXES else path
    return not path.name.startswith(".") and plain.suffix.lower() not in _BINARY_SUFFIXES


def _open_zst(path: Path) -> IO[bytes]:
    try:
        import zstandard
    except ImportError:
        raise InputError(
            f"{path.name} is zstandard-compressed: pip install zstandard, or decompress it"
        ) from None
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return cast(IO[bytes], reader)


def _read(stream: IO[bytes], path: Path) -> bytes:
    try:
        return stream.read(_READ)
    except Exception as error:  # each decompressor has errors of its own; all mean damage
        raise InputError(
            f"{path.name} cannot be decompressed ({error}); fetch or make it again"
        ) from None


def _lines(stream: IO[bytes], path: Path) -> Iterator[bytes]:
    begun: list[bytes] = []  # of a line longer than a read, joined once when it ends
    while raw := _read(stream, path):
        first, *rest = raw.split(b"\n")
        begun.append(first)
        if rest:
            yield b"".join(begun)
            yield from rest[:-1]
            begun = [rest[-1]]
    if line := b"".join(begun):
        yield line


def _characters(path: Path) -> Iterator[str]:
    """The file's text in blocks, strictly UTF-8, a byte-order mark and carriage returns dropped."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    offset, first, held = 0, True, ""
    with open_binary(path) as stream:
        while True:
            raw = _read(stream, path)
            pending = len(decoder.getstate()[0])
            try:
                block = held + decoder.decode(raw, final=not raw)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path.name} is not UTF-8 text: byte {offset - pending + error.start} cannot "
                    "be decoded; convert it (iconv -t UTF-8) or leave it out"
                ) from None
            offset += len(raw)
            held = "\r" if raw and block.endswith("\r") else ""
            block = block[: len(block) - len(held)].replace("\r\n", "\n").replace("\r", "\n")
            if block:
                yield block.removeprefix("\ufeff") if first else block
                first = False
            if not raw:
                return


def _cut_text(blocks: Iterator[str], name: str, longest: int) -> Iterator[Document]:
    """Documents of one text file: units end at separator lines, pieces where they grow too long."""
    mark = f"\n{SEPARATOR_LINE}\n"
    held = "\n"  # so that a separator on the first line is found like any other
    number = part = 0

    def document(text: str) -> Document:
        return Document(text, f"{name}#{number}", f"{name}#{number}.{part}")

    for block in blocks:
        held += block
        start = 0  # not a shorter `held` each time: a block may hold a thousand documents
        while (at := held.find(mark, start)) >= 0:
            for text in cut(held[start:at], longest):
                yield document(text)
                part += 1
            start, number, part = at + len(mark) - 1, number + 1, 0
        held = held[start:]
        while len(held) > 2 * longest + len(mark):
            at = _break_before(held, longest)
            if held[:at].strip():
                yield document(held[:at].strip("\n"))
                part += 1
            held = "\n" + held[at:].lstrip("\n")
    for text in cut(held.removesuffix(f"\n{SEPARATOR_LINE}"), longest):
        yield document(text)
        part += 1


def cut(text: str, longest: int = LONGEST) -> Iterator[str]:
    """Cut a text into pieces of at most `longest` characters, at paragraph breaks where it can.

    Falls back on line breaks, then spaces, then any character. Blank pieces are left out.
    """
    text = text.strip("\n")
    while len(text) > longest:
        at = _break_before(text, longest)
        yield text[:at].strip("\n")
        text = text[at:].lstrip("\n")
    if text.strip():
        yield text


def _break_before(text: str, longest: int) -> int:
    for separator in ("\n\n", "\n", " "):
        at = text.rfind(separator, longest // 2, longest)
        if at > 0:
            return at + len(separator)
    return longest


_BINARY_SUFFIXES = frozenset(
    (
        *(".bin", ".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".gguf", ".parquet"),
        *(
            ".arrow",
            ".db",
            ".sqlite",
            ".zip",
            ".tar",
            ".tgz",
            ".bz2",
            ".7z",
            ".whl",
            ".deb",
            ".jar",
        ),
        *(
            ".png",
            ".jpg",
            ".jpeg",
            ".gif",
            ".svgz",
            ".ico",
            ".webp",
            ".pdf",
            ".mp3",
            ".mp4",
            ".wav",
        ),
        *(".ogg", ".so", ".o", ".a", ".pyc", ".class", ".exe", ".dll", ".woff", ".woff2", ".ttf"),
    )
)
