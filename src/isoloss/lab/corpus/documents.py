"""From what a user names to documents: a file, a folder, a glob, a catalogue entry, a hub dataset.

`read_documents` streams; `describe` says what the documents come from, without a path in it;
`fingerprint` tells cheaply whether they may have changed since they were last read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.corpus import catalogue, hub
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.python_stdlib import interpreter, source_files, stdlib_folder
from isoloss.lab.corpus.text_files import Document, is_text_name, read_text_files

Source = str | Path


def read_documents(source: Source, *, progress: Progress | None = None) -> Iterator[Document]:
    """Stream the documents of a corpus, in the same order each time.

    source: a text file, a .jsonl file (also .gz, .zst, .xz), a folder or a glob of such files, the
    name of a catalogue entry (fetched first where it is not here yet), or `hf:NAME` for a dataset
    of the Hugging Face hub. A catalogue name wins over a file of that name: write `./NAME` for it.
    progress: called while an entry is fetched, as `progress(what, done, total)`.
    Raises InputError for a missing file, an empty folder, and text that is not UTF-8 (naming the
    file and the byte offset).
    """
    name = str(source)
    if hub.is_hub_name(name):
        return hub.read_hub(hub.parse_hub_name(name))
    if catalogue.is_entry(name):
        return catalogue.read(name, progress=progress)
    paths, root = _files(source)
    return read_text_files(paths, root)


def corpus_name(source: Source) -> str:
    """A short name for records: the entry's, or the last part of the path without its suffixes."""
    name = str(source)
    if hub.is_hub_name(name):
        return hub.describe_hub(hub.parse_hub_name(name))["name"]
    if catalogue.is_entry(name):
        return name
    if has_magic(name):
        return name.replace("\\", "/").rsplit("/", 1)[-1]
    return Path(name).resolve().name.split(".")[0] or "corpus"


def describe(source: Source, *, progress: Progress | None = None) -> dict[str, str]:
    """What the text is, for the record: kind, and for an entry its licence, version and hash."""
    name = str(source)
    if hub.is_hub_name(name):
        return {"kind": "hub", **hub.describe_hub(hub.parse_hub_name(name))}
    if catalogue.is_entry(name):
        return {"kind": "catalogue", "name": name, **catalogue.describe(name, progress=progress)}
    return {"kind": "files", "name": corpus_name(source), "files": str(len(_files(source)[0]))}


def fingerprint(source: Source, *, progress: Progress | None = None) -> str:
    """A hash of names, sizes and modification times (for an entry, its own hash); reads no text."""
    name = str(source)
    if name in ("python-stdlib", "python-stdlib-tests"):
        folder = stdlib_folder()
        files = source_files(folder, tests=name.endswith("tests"))
        stamp: object = [interpreter(), _stamps(files, folder)]
    elif hub.is_hub_name(name) or catalogue.is_entry(name):
        stamp = describe(source, progress=progress)
    else:
        stamp = _stamps(*_files(source))
    return hashlib.sha256(json.dumps([name, stamp]).encode()).hexdigest()


def _files(source: Source) -> tuple[list[Path], Path]:
    """The files named, sorted, and the folder their names are relative to."""
    name = str(source)
    path = Path(source)
    if path.is_file():
        return [path], path.parent
    if path.is_dir():
        found = sorted(
            (child for child in path.rglob("*") if child.is_file() and _visible(child, path)),
            key=lambda child: child.relative_to(path).as_posix(),
        )
        if not found:
            raise InputError(f"the folder {name} holds no text files; name one that does")
        return found, path
    if has_magic(name):
        found = sorted(
            child for match in glob(name, recursive=True) if (child := Path(match)).is_file()
        )
        if not found:
            raise InputError(f"no file matches {name!r}; quote the pattern and check the folder")
        root = Path(os.path.commonpath([child.parent for child in found]))
        return found, root
    raise InputError(
        f"there is no file, folder or catalogue entry {name!r}; "
        "`isoloss corpus list` shows the entries"
    )


def _visible(child: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in child.relative_to(root).parts)
    return not hidden and is_text_name(child)


def _stamps(files: list[Path], root: Path) -> list[tuple[str, int, int]]:
    stamps = []
    for path in files:
        status = path.stat()
        stamps.append((path.relative_to(root).as_posix(), status.st_size, status.st_mtime_ns))
    return stamps
