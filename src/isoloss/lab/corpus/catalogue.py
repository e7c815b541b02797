"""The corpora anyone can have: an entry for each, with licence, size, version and hash.

`python-stdlib` needs no download. The project ships no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from isoloss.errors import InputError
from isoloss.lab.corpus.python_stdlib import interpreter, read_python_stdlib
from isoloss.lab.corpus.text_files import Document

Progress = Callable[[str, int, int | None], None]
"""Called as progress(what is being done, amount done, amount in all or None where unknown)."""


@dataclass(frozen=True)
class Entry:
    """One corpus of the catalogue: what it is, its licence, its size, and where it is from."""

    name: str
    what: str
    licence: str
    origin: str
    download_mb: float
    text_mb: float


_ENTRIES = (
    Entry(
        "python-stdlib",
        "source of the running Python's standard library",
        "PSF-2.0",
        "the running interpreter",
        0.0,
        9.0,
    ),
    Entry(
        "python-stdlib-tests",
        "its tests, where the system has them",
        "PSF-2.0",
        "the running interpreter",
        0.0,
        20.0,
    ),
)


def entries() -> tuple[Entry, ...]:
    """All entries, in the order they are shown."""
    return _ENTRIES


def is_entry(name: str) -> bool:
    """Whether the catalogue has an entry of this name."""
    return any(entry.name == name for entry in _ENTRIES)


def describe(name: str) -> dict[str, str]:
    """Licence and version of an entry, for the record."""
    return {"licence": "PSF-2.0", "version": interpreter()}


def read(name: str, *, progress: Progress | None = None) -> Iterator[Document]:
    """Stream the documents of an entry."""
    if not is_entry(name):
        raise InputError(f"the catalogue has no entry {name!r}")
    return read_python_stdlib(tests=name == "python-stdlib-tests")
