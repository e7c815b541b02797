"""Datasets of the hub: how a source is written, and real loading of a small local dataset."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus.documents import describe, read_documents
from isoloss.lab.corpus.hub import HubSource, parse_hub_name, read_hub


def test_how_a_source_is_written() -> None:
    assert parse_hub_name("hf:a/b") == HubSource("a/b")
    assert parse_hub_name("hf:a/b:sub-set@0a1b#500M") == HubSource(
        "a/b", "sub-set", "0a1b", 500_000_000
    )
    assert parse_hub_name("hf:a/b@v1.0") == HubSource("a/b", None, "v1.0")
    for wrong in ("hf:", "hf:a/b#", "hf:@x"):
        with pytest.raises(InputError, match="is not written"):
            parse_hub_name(wrong)
    with pytest.raises(InputError, match="is not a number"):
        parse_hub_name("hf:a/b#much")


def test_the_record_names_the_revision_and_no_path() -> None:
    assert describe("hf:a/b:s@0a#2K") == {
        "kind": "hub",
        "name": "a/b",
        "config": "s",
        "revision": "0a",
        "size": "2000",
    }
    assert describe("hf:/somewhere/mine")["name"] == "mine"


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'isoloss\[hub\]'"):
        list(read_hub(HubSource("a/b")))


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    folder = tmp_path / "small"
    folder.mkdir()
    rows = [{"text": f"Story {i}. " + "Words follow words. " * 20} for i in range(50)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.mark.full
@pytest.mark.filterwarnings("default")  # the library's own warnings are not ours to answer for
def test_a_local_dataset_is_streamed(dataset: Path) -> None:
    documents = list(read_documents(f"hf:{dataset}"))
    assert len(documents) == 50
    assert documents[7].text.startswith("Story 7.")
    assert len({document.unit for document in documents}) == 50
    assert len(list(read_documents(f"hf:{dataset}#1000"))) == 3


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_lines_of_wikitext_are_joined_to_articles(dataset: Path) -> None:
    lines = [" = One = \n", "", " Text of one . \n", " = = Part = = \n", " More . \n"]
    lines += ["", " = Two = \n", " Text of two . \n"]
    rows = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    (dataset / "train.jsonl").write_text(rows, "utf-8")
    texts = [document.text for document in read_hub(HubSource(str(dataset), articles=True))]
    assert [text.split("\n")[0] for text in texts] == [" = One = ", " = Two = "]
    assert "More" in texts[0]


@pytest.mark.full
@pytest.mark.filterwarnings("default")
def test_what_the_library_cannot_read_is_one_line(dataset: Path) -> None:
    (dataset / "train.jsonl").write_text(json.dumps({"words": "no text"}) + "\n", "utf-8")
    with pytest.raises(InputError, match="no column `text`"):
        list(read_documents(f"hf:{dataset}"))
    with pytest.raises(InputError, match=r"cannot read .* from the hub") as caught:
        list(read_documents(f"hf:{dataset}/absent"))
    assert "\n" not in str(caught.value)
