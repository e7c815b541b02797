"""Datasets of the Hugging Face hub, streamed through the `datasets` library (extra `hub`).

A source is written `hf:NAME[:CONFIG][@REVISION][#SIZE]`: `hf:owner/name:subset@0a1b2c#500M` is the
first 500 MB of text of the training split of that subset at that revision. Pin the revision (a
commit hash): without one the text may change under you. NAME may also be a folder of data files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.corpus.text_files import Document
from isoloss.units import parse_number


@dataclass(frozen=True)
class HubSource:
    """A dataset of the hub, its subset, its revision, and the bytes of text to read (None: all)."""

    name: str
    config: str | None = None
    revision: str | None = None
    size: int | None = None
    articles: bool = False
    """Rows are lines, and a line ` = Title = ` begins a document (WikiText)."""


def is_hub_name(name: str) -> bool:
    """Whether a source is written as a dataset of the hub, `hf:NAME`."""
    return name.startswith("hf:")


def parse_hub_name(name: str) -> HubSource:
    """Read `hf:NAME[:CONFIG][@REVISION][#SIZE]`; raises InputError if it is not written so."""
    match = _HUB_NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name!r} is not written hf:NAME[:CONFIG][@REVISION][#SIZE]")
    size = int(parse_number(match["size"])) if match["size"] else None
    return HubSource(match["name"], match["config"], match["revision"], size)


def read_hub(source: HubSource) -> Iterator[Document]:
    """Stream the training split, one document a row, in the dataset's order, up to the size asked.

    Raises InputError if `datasets` is missing, the dataset cannot be reached, or it has no column
    `text`.
    """
    try:
        import datasets
    except ImportError:
        raise InputError(
            f"reading {source.name} from the hub needs the `datasets` library: "
            "pip install 'isoloss[hub]', or use python-stdlib"
        ) from None
    done = 0
    try:
        rows = datasets.load_dataset(
            source.name, source.config, split="train", revision=source.revision, streaming=True
        )
        for number, text in enumerate(_texts(rows, source)):
            yield Document(text, f"{number}", f"{number}")
            done += len(text.encode("utf-8", "replace"))
            if source.size is not None and done >= source.size:
                return
    except (InputError, GeneratorExit):
        raise
    except Exception as error:  # the library's own errors are many and unrelated by class
        reason = str(error).strip().split("\n")[0][:200]
        raise InputError(
            f"cannot read {source.name} from the hub ({type(error).__name__}: {reason}); check the "
            "name, subset and network, or use python-stdlib, which needs none"
        ) from None


def describe_hub(source: HubSource) -> dict[str, str]:
    """Name, subset, revision and size, for the record; a folder gives its last part only."""
    name = Path(source.name).name if Path(source.name).is_absolute() else source.name
    parts = {"name": name, "config": source.config, "revision": source.revision}
    described = {key: value for key, value in parts.items() if value is not None}
    return described | ({} if source.size is None else {"size": str(source.size)})


def _texts(rows: Iterable[Mapping[str, object]], source: HubSource) -> Iterator[str]:
    lines = (_text(row, source) for row in rows)
    return _articles(lines) if source.articles else (line for line in lines if line.strip())


def _text(row: Mapping[str, object], source: HubSource) -> str:
    text = row.get("text")
    if not isinstance(text, str):
        raise InputError(
            f"{source.name} has no column `text` of strings (it has {', '.join(row)}); "
            "write it out as .jsonl with one"
        )
    return text


def _articles(lines: Iterable[str]) -> Iterator[str]:
    """WikiText's lines, joined to articles at their titles."""
    held: list[str] = []
    for line in lines:
        if _TITLE.fullmatch(line.strip("\n")) and held:
            yield "".join(held)
            held = []
        if line.strip() or held:
            held.append(line if line.endswith("\n") else line + "\n")
    if held:
        yield "".join(held)


_HUB_NAME = re.compile(
    r"hf:(?P<name>[^:@#]+)(?::(?P<config>[^@#]+))?(?:@(?P<revision>[^#]+))?(?:#(?P<size>.+))?"
)
_TITLE = re.compile(r" = [^=].*[^=] = ")
