"""An index may come from anyone: what is wrong with it is said in one line, and nothing is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import load_tokens, prepare
from isoloss.lab.tokens.index import is_token_set, read_index

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Paragraph {i} of a short story." for i in range(900)), "utf-8")
    return prepare(text, tmp_path / "ids", shard_bytes=9_000).folder


def _change(folder: Path, change: Change) -> None:
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta), "utf-8")


def _refused(folder: Path, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        load_tokens(folder)
    assert len(str(caught.value).splitlines()) == 1
    assert "prepare it again" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../train-00000.bin",
        "/etc/passwd",
        "sub/train-00000.bin",
        "..",
        "",
        "train-00000.bin\n",
        "train-00000.bin/",
        "..\\train.bin",
        "val-00000.bin",
        "meta.json",
        "train-x.bin",
        "train-00000.bin\x00",
        "C:train.bin",
    ],
)
def test_a_name_that_leads_out_of_the_folder_is_refused(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "train-00000.bin").write_bytes((folder / "train-00000.bin").read_bytes())
    _change(folder, lambda meta: meta["shards"]["train"][0].update(file=name))
    opened: list[object] = []
    monkeypatch.setattr(np, "memmap", lambda *given, **rest: opened.append(given))
    _refused(folder, "no name of a file of ids in this folder")
    assert opened == []


@pytest.mark.parametrize("name", ["../tokenizer.json", "/etc/passwd", "notes.txt"])
def test_so_is_any_other_file(folder: Path, name: str) -> None:
    _change(folder, lambda meta: meta["files"].update({name: {"bytes": 3, "sha256": "0" * 64}}))
    _refused(folder, "no name of a file in this folder")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(dtype="object"), "dtype is not one of uint8, uint16"),
        (lambda m: m.update(dtype="<U99"), "dtype is not one of"),
        (lambda m: m.update(dtype=["uint8"]), "dtype is not one of"),
        (lambda m: m.pop("dtype"), "dtype is not one of"),
        (lambda m: m.update(vocab="256"), "vocab is not a positive whole number"),
        (lambda m: m.update(vocab=True), "vocab is not a positive whole number"),
        (lambda m: m.update(vocab=0), "vocab is not a positive whole number"),
        (lambda m: m.update(vocab=1e400), "vocab is not a positive whole number"),
        (lambda m: m.update(hash="abc"), "hash is not a SHA-256"),
        (lambda m: m.pop("hash"), "hash is not a SHA-256"),
        (lambda m: m.update(name=None), "name is not a text"),
        (lambda m: m.update(bytes_per_token="1"), "bytes_per_token is not a number"),
        (lambda m: m.update(bytes_per_token=-1.0), "bytes_per_token is not a number"),
        (lambda m: m.update(bytes_per_token=float("nan")), "bytes_per_token is not a number"),
        (lambda m: m.update(shards=[]), "no shards of train"),
        (lambda m: m["shards"].update(val=[]), "no shards of val"),
        (lambda m: m["shards"].update(val=["x"]), "a shard of val is not an object"),
        (lambda m: m["shards"]["train"].pop(), "do not hold train_tokens"),
        (lambda m: m["shards"]["train"][0].update(tokens=-5), "tokens is not a positive"),
        (lambda m: m["shards"]["train"][0].update(tokens=1 << 60), "tokens is not a positive"),
        (lambda m: m["shards"]["train"][0].update(sha256="z" * 64), "sha256 is not a SHA-256"),
        (
            lambda m: (
                m["shards"]["train"].append(m["shards"]["train"][0]),
                m.update(train_tokens=m["train_tokens"] + m["shards"]["train"][0]["tokens"]),
            ),
            "one file is named twice",
        ),
        (lambda m: m["files"].pop("val_documents.npy"), "val_documents.npy is not among"),
        (lambda m: m.update(format=3), "format 3, of a later isoloss"),
        (lambda m: m.update(format="2"), "no known format"),
        (lambda m: m.update(format=0), "no known format"),
        (lambda m: m.update(val_documents=7_000), r"val_documents\.npy"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, change: Change, says: str) -> None:
    _change(folder, change)
    _refused(folder, says)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 10**5])
def test_a_torn_or_foreign_index_is_refused(folder: Path, content: bytes) -> None:
    (folder / "meta.json").write_bytes(content)
    assert not is_token_set(folder)
    _refused(folder, "its index")


def test_the_files_must_have_the_sizes_of_the_index(folder: Path) -> None:
    path = folder / "train-00001.bin"
    raw = path.read_bytes()
    path.write_bytes(raw + b"x")
    _refused(folder, rf"train-00001\.bin has {len(raw) + 1:,} bytes, not {len(raw):,}")
    path.unlink()
    _refused(folder, r"train-00001\.bin is missing")
    path.mkdir()
    _refused(folder, r"train-00001\.bin is missing")


@pytest.mark.parametrize("edges", ["pickled", "torn", "unsorted", "short", "beyond"])
def test_offsets_that_do_not_fit_are_refused(folder: Path, edges: str, tmp_path: Path) -> None:
    path = folder / "val_documents.npy"
    good = np.load(path)
    if edges == "pickled":
        bad = np.array([tmp_path], dtype=object)
        np.save(path, bad, allow_pickle=True)
    elif edges == "torn":
        path.write_bytes(path.read_bytes()[:-3])
    else:
        changed = {
            "unsorted": good[::-1],
            "short": good[:-1],
            "beyond": np.concatenate([good[:-1], good[-1:] + 1]),
        }
        np.save(path, changed[edges])
    size = path.stat().st_size
    _change(folder, lambda meta: meta["files"]["val_documents.npy"].update(bytes=size))
    _refused(folder, r"val_documents\.npy")


def test_a_damaged_set_is_made_again_from_its_text(folder: Path) -> None:
    good = load_tokens(folder).hash
    _change(folder, lambda meta: meta["shards"]["train"][0].update(file="../x"))
    assert prepare(folder.parent / "text.txt", folder).hash == good


def test_an_index_says_all_that_a_reader_needs(folder: Path) -> None:
    index = read_index(folder)
    assert index is not None
    assert index.tokens("train") == sum(p.stat().st_size for p in folder.glob("train*.bin"))
    assert index.meta["shards"].keys() == {"train", "val"}
    assert index.meta["split"] == {"by": "document", "val_fraction": 0.05}
    assert index.others.keys() == {"val_documents.npy"}
    assert index.dtype == np.uint8
