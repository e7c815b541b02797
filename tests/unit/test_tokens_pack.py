"""A token set in one file: the same set again, and nothing taken from it that it does not name."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import load_tokens, prepare
from isoloss.lab.tokens.pack import is_packed, pack_tokens


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Paragraph {i} of a short story." for i in range(900)), "utf-8")
    return prepare(text, tmp_path / "ids", shard_bytes=9_000).folder


def repack(packed: Path, changed: dict[str, bytes | None]) -> None:
    """Write the file again with other members: others' bytes, more of them, or fewer."""
    with zipfile.ZipFile(packed) as archive:
        members: dict[str, bytes | None] = {n: archive.read(n) for n in archive.namelist()}
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in (members | changed).items():
            if content is not None:
                archive.writestr(name, content)


def test_a_packed_set_is_the_set(folder: Path, tmp_path: Path) -> None:
    packed = pack_tokens(folder, tmp_path / "tokens.zip")
    assert is_packed(packed)
    before, after = load_tokens(folder), prepare(packed, tmp_path / "again")
    assert len(list(folder.glob("train-*.bin"))) > 1
    assert after.hash == before.hash
    assert after.name == before.name
    assert after.tokenizer == before.tokenizer == "bytes"
    assert after.bytes_per_token == before.bytes_per_token == 1.0
    assert np.array_equal(np.asarray(after.train), np.asarray(before.train))
    assert np.array_equal(np.asarray(after.val), np.asarray(before.val))
    assert np.array_equal(after.val_documents, before.val_documents)
    assert after.meta["source"] == before.meta["source"]
    stamp = (tmp_path / "again" / "meta.json").stat().st_mtime_ns
    assert prepare(packed, tmp_path / "again").hash == before.hash
    assert (tmp_path / "again" / "meta.json").stat().st_mtime_ns == stamp


def test_the_same_set_is_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    first = pack_tokens(folder, tmp_path / "a.zip").read_bytes()
    shutil.copytree(folder, tmp_path / "copy")
    assert pack_tokens(tmp_path / "copy", tmp_path / "b.zip").read_bytes() == first


def test_what_a_packed_set_does_not_name_is_not_taken(folder: Path, tmp_path: Path) -> None:
    packed = pack_tokens(folder, tmp_path / "tokens.zip")
    repack(packed, {"../escaped.bin": b"x", "/absolute.bin": b"x", "train-99999.bin": b"x"})
    made = prepare(packed, tmp_path / "deep" / "again")
    assert made.hash == load_tokens(folder).hash
    assert not list(tmp_path.rglob("escaped.bin"))
    assert not (made.folder / "train-99999.bin").exists()


def test_a_damaged_one_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    packed = pack_tokens(folder, tmp_path / "tokens.zip")
    whole = packed.read_bytes()
    shard = next(folder.glob("train-*.bin")).name
    index = json.loads((folder / "meta.json").read_text("utf-8"))
    outside = json.loads(json.dumps(index))
    outside["shards"]["train"][0]["file"] = "../train-00000.bin"
    changes: list[dict[str, bytes | None]] = [
        {shard: None},
        {shard: (folder / shard).read_bytes()[:-1]},
        {shard: (folder / shard).read_bytes() + b"x"},
        {shard: bytes(len((folder / shard).read_bytes()))},
        {"meta.json": b"{}"},
        {"meta.json": json.dumps(outside).encode()},
        {"meta.json": json.dumps(index | {"format": 1}).encode()},
        {"val_documents.npy": b"no offsets"},
    ]
    for change in changes:
        packed.write_bytes(whole)
        repack(packed, change)
        with pytest.raises(InputError, match="damaged") as caught:
            prepare(packed, tmp_path / "again")
        assert len(str(caught.value).splitlines()) == 1
        assert not (tmp_path / "again").exists()
    broken = bytearray(whole)
    broken[whole.index(b"meta.json") + 2000] ^= 0xFF
    packed.write_bytes(broken)
    with pytest.raises(InputError, match="damaged"):
        prepare(packed, tmp_path / "again")


def test_wrong_calls(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no token set"):
        pack_tokens(tmp_path, tmp_path / "x.zip")
    with pytest.raises(InputError, match=r"give a name that ends in \.zip"):
        pack_tokens(folder, tmp_path / "x.bin")
    with pytest.raises(InputError, match="cannot be written"):
        pack_tokens(folder, tmp_path / "nowhere" / "x.zip")
    (tmp_path / "text.zip").write_bytes(b"PK no zip")
    assert not is_packed(tmp_path / "text.zip")


def test_a_file_of_the_users_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.zip"
    mine.write_text("years of work")
    with pytest.raises(InputError, match=r"mine\.zip: is there and is no result"):
        pack_tokens(folder, mine)
    assert mine.read_text() == "years of work"
    mine.unlink()
    for _ in range(2):  # a set packed before is replaced
        pack_tokens(folder, mine)
