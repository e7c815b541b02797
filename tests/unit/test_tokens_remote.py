"""Sets that lie elsewhere are copied once, whole and checked; fsspec's own memory stands for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, load_tokens, prepare, remote
from isoloss.lab.tokens.remote import remote_url

fsspec = pytest.importorskip("fsspec")

ADDRESS = "memory://bucket/ids"


@pytest.fixture
def made(tmp_path: Path) -> TokenSet:
    text = tmp_path / "text.txt"
    text.write_text("\n\n".join(f"Paragraph {i} of a short story." for i in range(900)), "utf-8")
    return prepare(text, tmp_path / "ids", shard_bytes=9_000)


@pytest.fixture
def bucket(made: TokenSet) -> Iterator[Any]:
    """The set in fsspec's memory, which belongs to this process."""
    files = fsspec.filesystem("memory")
    for path in made.folder.iterdir():
        files.pipe_file(f"/bucket/ids/{path.name}", path.read_bytes())
    yield files
    files.rm("/bucket", recursive=True)


@pytest.fixture
def opened(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were opened elsewhere."""
    names: list[str] = []
    first = type(bucket).open

    def counting(self: Any, path: str, *given: Any, **rest: Any) -> Any:
        names.append(path.rsplit("/", 1)[-1])
        return first(self, path, *given, **rest)

    monkeypatch.setattr(type(bucket), "open", counting)
    return names


def test_a_copy_is_the_set_and_is_made_once(
    made: TokenSet, opened: list[str], tmp_path: Path
) -> None:
    told: list[tuple[int, int | None]] = []
    tokens = load_tokens(
        ADDRESS,
        cache=tmp_path / "cache",
        progress=lambda what, done, total: told.append((done, total)),
    )
    assert tokens.hash == made.hash
    assert np.array_equal(np.asarray(tokens.train), np.asarray(made.train))
    assert np.array_equal(tokens.val_documents, made.val_documents)
    assert tokens.folder.parent == tmp_path / "cache"
    assert sorted(opened) == sorted(path.name for path in made.folder.iterdir())
    assert (
        told[-1][0]
        == told[-1][1]
        == sum(path.stat().st_size for path in made.folder.iterdir() if path.name != "meta.json")
    )
    opened.clear()
    again = load_tokens(ADDRESS, cache=tmp_path / "cache")
    assert opened == ["meta.json"]
    assert again.folder == tokens.folder
    # A worker that is given the folder needs nothing from elsewhere.
    assert load_tokens(tokens.folder).hash == made.hash
    assert opened == ["meta.json"]


def test_the_cache_is_where_the_environment_says(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ISOLOSS_TOKENS", str(tmp_path / "there"))
    assert load_tokens(ADDRESS).folder.parent == tmp_path / "there"
    monkeypatch.delenv("ISOLOSS_TOKENS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert load_tokens(ADDRESS).folder.parent == tmp_path / "xdg" / "isoloss" / "tokens"


def test_a_copy_that_was_cut_off_goes_on_with_the_next_file(
    made: TokenSet, opened: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = 0

    def cut_off(*given: Any) -> None:
        nonlocal copied
        copied += 1
        if copied == 4:
            raise KeyboardInterrupt
        copy(*given)

    copy = remote._copy
    monkeypatch.setattr(remote, "_copy", cut_off)
    with pytest.raises(KeyboardInterrupt):
        load_tokens(ADDRESS, cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache").iterdir()
    there = {path.name for path in folder.iterdir()}
    assert len(there) == 3
    assert "meta.json" not in there
    monkeypatch.undo()
    assert load_tokens(ADDRESS, cache=tmp_path / "cache").hash == made.hash


@pytest.mark.parametrize("damage", ["flipped", "shorter", "longer", "gone", "endless"])
def test_a_file_that_is_not_the_one_of_the_index_is_refused(
    made: TokenSet, bucket: Any, tmp_path: Path, damage: str
) -> None:
    path = "/bucket/ids/train-00001.bin"
    raw = bucket.cat_file(path)
    if damage == "gone":
        bucket.rm_file(path)
    else:
        bad = {
            "flipped": bytes([raw[0] ^ 1]) + raw[1:],
            "shorter": raw[:-1],
            "longer": raw + b"x",
            "endless": raw + b"x" * (5 << 20),
        }
        bucket.pipe_file(path, bad[damage])
    says = "there is no" if damage == "gone" else "is not the file that its index names"
    with pytest.raises(InputError, match=says) as caught:
        load_tokens(ADDRESS, cache=tmp_path / "cache")
    assert "memory://bucket/ids/train-00001.bin" in str(caught.value)
    (folder,) = (tmp_path / "cache").iterdir()
    assert not (folder / "train-00001.bin").exists()
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    bucket.pipe_file(path, raw)
    assert load_tokens(ADDRESS, cache=tmp_path / "cache").hash == made.hash


def test_no_path_outside_the_cache_is_written(bucket: Any, tmp_path: Path) -> None:
    meta = json.loads(bucket.cat_file("/bucket/ids/meta.json"))
    meta["shards"]["train"][0]["file"] = "../../train-00000.bin"
    bucket.pipe_file("/bucket/ids/meta.json", json.dumps(meta).encode())
    with pytest.raises(InputError, match="no name of a file of ids"):
        load_tokens(ADDRESS, cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_a_set_without_hashes_is_not_copied(bucket: Any, tmp_path: Path) -> None:
    meta = json.loads(bucket.cat_file("/bucket/ids/meta.json"))
    meta = {key: value for key, value in meta.items() if key not in ("shards", "files")}
    bucket.pipe_file("/bucket/ids/meta.json", json.dumps(meta | {"format": 1}).encode())
    with pytest.raises(InputError, match="no hashes to check a copy by"):
        load_tokens(ADDRESS, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", ["file", "local"])
def test_another_folder_of_this_machine_by_its_address(
    made: TokenSet, tmp_path: Path, kind: str
) -> None:
    for address in (f"{kind}://{made.folder}", Path(f"{kind}://{made.folder}")):
        tokens = load_tokens(address, cache=tmp_path / "cache")
        assert tokens.hash == made.hash
        assert tokens.folder.parent == tmp_path / "cache"


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        (Path("s3://bucket/a/b"), "s3://bucket/a/b"),
        (Path("https://host/a"), "https://host/a"),
        (Path("file:///srv/a"), "file:///srv/a"),
        ("/srv/a", None),
        (Path("a/b"), None),
        ("C:/tokens", None),
        ("tokens:old", None),
        ("hf:name", None),
    ],
)
def test_what_is_an_address(given: str | Path, address: str | None) -> None:
    assert remote_url(given) == address


def test_what_is_not_there_or_not_known_is_said_in_a_line(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for address, says in (
        ("memory://bucket/absent", "there is no memory://bucket/absent"),
        ("nonsense://user:secret@host/ids", "nonsense://host/ids cannot be read"),
    ):
        with pytest.raises(InputError, match=says) as caught:
            load_tokens(address, cache=tmp_path / "cache")
        assert len(str(caught.value).splitlines()) == 1
        assert "secret" not in str(caught.value)
    (tmp_path / "a file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        load_tokens(ADDRESS, cache=tmp_path / "a file" / "cache")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"pip install 'isoloss\[remote\]'"):
        load_tokens(ADDRESS, cache=tmp_path / "cache")
