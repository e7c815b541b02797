"""The catalogue: its entries, what fetching leaves, what a change says."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus import catalogue
from isoloss.lab.corpus.catalogue import entries, entry_named, fetch
from isoloss.lab.corpus.clients import Download
from isoloss.lab.corpus.debian_docs import PACKAGES
from isoloss.lab.corpus.documents import describe, read_documents
from isoloss.lab.corpus.recorded import RECORDED
from isoloss.lab.corpus.text_files import Document

NAMES = (
    *("python-stdlib", "python-stdlib-tests", "shakespeare", "sotu", "moby-dick", "austen", "kjv"),
    *("foldoc", "kernel-docs", "manpages", "gcide", "debian-docs", "fineweb-edu", "openwebtext"),
    *("wikitext-103", "tinystories"),
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ISOLOSS_CORPORA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kjv(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The entry `kjv`, with a package and text made here; the dict sets its version and hash."""
    version, sha256 = RECORDED["sword-text-kjv"]
    package = {"version": version, "sha256": sha256, "fetched": ""}

    def download(
        packages: Sequence[str], folder: Path, **_: object
    ) -> tuple[tuple[Download, ...], tuple[str, ...]]:
        package["fetched"] += "x"
        one = Download(packages[0], package["version"], package["sha256"], folder / "a.deb")
        return (one,), ()

    def recipe(downloads: object, progress: object) -> list[Document]:
        return [Document(f"Chapter {i} of many. " * 40, f"Gen.{i}", f"Gen.{i}") for i in range(30)]

    changed = [
        entry if entry.name != "kjv" else _with_recipe(entry, recipe)  # type: ignore[arg-type]
        for entry in entries()
    ]
    monkeypatch.setattr(catalogue, "_ENTRIES", tuple(changed))
    monkeypatch.setattr(catalogue, "apt_download", download)
    return package


def _with_recipe(entry: catalogue.Entry, recipe: catalogue.Recipe) -> catalogue.Entry:
    from dataclasses import replace

    return replace(entry, recipe=recipe)


def test_the_entries_and_their_packages() -> None:
    assert tuple(entry.name for entry in entries()) == NAMES
    assert len(PACKAGES) == len(set(PACKAGES)) == 40
    for entry in entries():
        assert entry.client in ("none", "pip", "npm", "apt", "hub")
        assert bool(entry.packages) == (entry.client in ("pip", "npm", "apt"))
        assert set(entry.packages) <= set(RECORDED)
        assert (entry.hub is None) == (entry.client != "hub")
        assert entry.hub is None or len(entry.hub.revision or "") == 40


def test_an_unknown_name_is_told_the_names() -> None:
    with pytest.raises(InputError, match="no entry 'enwik8'; it has python-stdlib"):
        entry_named("enwik8")


def test_a_fetch_leaves_documents_and_a_record(tmp_path: Path, kjv: dict[str, str]) -> None:
    said: list[str] = []
    fetched = fetch("kjv", tmp_path / "out", lambda what, done, total: said.append(what))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "kjv.json",
        "kjv.jsonl.gz",
    ]
    assert (fetched.documents, fetched.warnings) == (30, ())
    assert fetched.sha256 == RECORDED["sword-text-kjv"][1]
    with gzip.open(fetched.path, "rt", encoding="utf-8") as lines:
        first = json.loads(next(lines))
    assert first["unit"] == first["name"] == "Gen.0"
    record = json.loads((tmp_path / "out/kjv.json").read_text("utf-8"))
    assert record["licence"] == "public domain"
    assert record["packages"] == {"sword-text-kjv": list(RECORDED["sword-text-kjv"])}
    assert str(tmp_path) not in json.dumps(record)
    assert said


def test_a_second_fetch_fetches_nothing(tmp_path: Path, kjv: dict[str, str]) -> None:
    first = fetch("kjv", tmp_path)
    content = first.path.read_bytes()
    assert fetch("kjv", tmp_path) == first
    assert kjv["fetched"] == "x"
    first.path.unlink()
    assert fetch("kjv", tmp_path) == first
    assert first.path.read_bytes() == content
    assert kjv["fetched"] == "xx"


def test_a_change_warns_and_goes_on(tmp_path: Path, kjv: dict[str, str]) -> None:
    kjv["version"] = "15.0-1"
    (warning,) = fetch("kjv", tmp_path / "a").warnings
    assert "sword-text-kjv is 15.0-1 here, it was 14.3-1" in warning
    kjv["version"], kjv["sha256"] = "14.3-1", "0" * 64
    (warning,) = fetch("kjv", tmp_path / "b").warnings
    assert "another hash" in warning
    assert fetch("kjv", tmp_path / "b").warnings == (warning,)


def test_an_entry_is_a_source_of_documents(own_cache: Path, kjv: dict[str, str]) -> None:
    documents = list(read_documents("kjv"))
    assert len(documents) == 30
    assert documents[3].unit == "Gen.3"
    assert (own_cache / "kjv.jsonl.gz").is_file()
    described = describe("kjv")
    assert described["version"] == "sword-text-kjv 14.3-1"
    assert described["licence"] == "public domain"
    kjv["version"] = "15.0-1"
    (own_cache / "kjv.json").unlink()
    with pytest.warns(UserWarning, match=r"15\.0-1 here"):
        list(read_documents("kjv"))


def test_a_failure_leaves_nothing_behind(
    tmp_path: Path, kjv: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InputError("offline")

    monkeypatch.setattr(catalogue, "apt_download", fail)
    with pytest.raises(InputError, match="offline"):
        fetch("kjv", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_standard_library_can_be_written_out(tmp_path: Path) -> None:
    fetched = fetch("python-stdlib", tmp_path)
    assert fetched.bytes > 5e6
    assert fetched.version.startswith(("CPython", "PyPy"))
    assert fetch("python-stdlib", tmp_path) == fetched
    names = [document.name for document in read_documents(fetched.path)]
    assert names == [document.name for document in read_documents("python-stdlib")]
