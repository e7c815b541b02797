"""The index of a token set, `meta.json`: which files hold its ids, and what they are.

Two formats. In 2 each side lies in one file or in several, named with the number of their ids and
the hash of their bytes, and so do the other files of the folder. In 1 it lies in train.bin and
val.bin, without hashes of their own. The hash of the set is the same in both: that of all ids of
both sides in order, so that it does not depend on how they were cut.
An index may come from anyone: whatever it names must lie in its folder, under the names that are
written here, with the sizes it gives.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.tokens.tokenizing.shards import ShardFile, hash_file, read_blocks

FORMAT = 2
INDEX = "meta.json"
DOCUMENTS, TOKENIZER = "val_documents.npy", "tokenizer.json"
LARGEST_INDEX = 64 << 20
"""Bytes above which a file is no index of anything."""

_SHARD = re.compile(r"(train|val)(-\d{1,9})?\.bin")
_DTYPES = ("uint8", "uint16", "uint32")
_HEX = re.compile(r"[0-9a-f]{64}")


class DamagedIndex(ValueError):
    """What is wrong with an index, in a few words."""


@dataclass(frozen=True)
class Written:
    """What was written of a corpus: sizes, vocabulary, bytes to a held-out token.

    train, val: the files of each side in order. val_documents: (documents + 1,) offsets of the
    held-out documents.
    """

    dtype: str
    vocab: int
    separator: int | None
    train: tuple[ShardFile, ...]
    val: tuple[ShardFile, ...]
    train_documents: int
    val_documents: NDArray[np.int64]
    bytes_per_token: float | None


@dataclass(frozen=True)
class Index:
    """An index that was read and found sound.

    shards: the files of each side, in order; without hashes (`""`) in format 1. others: size in
    bytes and SHA-256 of the other files, by name; empty in format 1. meta: all that was read.
    """

    name: str
    hash: str
    vocab: int
    tokenizer: str
    dtype: np.dtype[Any]
    bytes_per_token: float
    shards: Mapping[str, tuple[ShardFile, ...]]
    val_documents: int
    others: Mapping[str, tuple[int, str]]
    meta: dict[str, Any]

    def tokens(self, side: str) -> int:
        """How many ids a side has."""
        return sum(shard.tokens for shard in self.shards[side])


def write_index(folder: Path, meta: Mapping[str, Any], written: Written) -> None:
    """Write the offsets of documents and, last, the index of what lies in `folder`.

    meta: name, tokenizer, source, split and request.
    """
    np.save(folder / DOCUMENTS, written.val_documents)
    sides = {"train": written.train, "val": written.val}
    others = [folder / name for name in (DOCUMENTS, TOKENIZER) if (folder / name).is_file()]
    index = {
        "format": FORMAT,
        **meta,
        "dtype": written.dtype,
        "vocab": written.vocab,
        "separator": written.separator,
        "train_tokens": sum(shard.tokens for shard in written.train),
        "val_tokens": sum(shard.tokens for shard in written.val),
        "train_documents": written.train_documents,
        "val_documents": len(written.val_documents) - 1,
        "bytes_per_token": written.bytes_per_token,
        "shards": {side: [asdict(shard) for shard in shards] for side, shards in sides.items()},
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for path in others
        },
        "hash": hash_ids(
            f"{meta['tokenizer']} {written.vocab} {written.dtype}",
            {
                side: (
                    sum(shard.tokens for shard in shards),
                    [(folder / shard.file, 0) for shard in shards],
                )
                for side, shards in sides.items()
            },
        ),
    }
    with (folder / INDEX).open("w", encoding="utf-8") as out:
        json.dump(index, out, indent=1)


def read_index(folder: Path) -> Index | None:
    """Read and check the index of a folder; None where there is none.

    Raises InputError, saying what is wrong with it, if it is damaged, names a file that it may not,
    or was written by a later version.
    """
    path = folder / INDEX
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > LARGEST_INDEX:
            raise DamagedIndex("it is too large for one")
        return parse_index(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except DamagedIndex as error:
        raise InputError(
            f"the token set in {folder} is damaged (its index: {error}); prepare it again"
        ) from None


def is_ours(name: str) -> bool:
    """Whether a file of this name may lie in a token set."""
    return name in (INDEX, DOCUMENTS, TOKENIZER) or _SHARD.fullmatch(name) is not None


def is_token_set(folder: Path) -> bool:
    """Whether a folder holds an index of ids, sound or not, rather than a meta.json of its own."""
    path = folder / INDEX
    try:
        meta = json.loads(path.read_bytes()) if path.stat().st_size <= LARGEST_INDEX else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(meta, dict) and {"format", "dtype", "tokenizer"} <= meta.keys()


def parse_index(content: bytes) -> Index:
    """Check an index; raises DamagedIndex of a few words that say what is wrong with it."""
    try:
        meta = json.loads(content)
    except (ValueError, RecursionError):
        raise DamagedIndex("not whole JSON") from None
    if not isinstance(meta, dict) or meta.get("format") not in range(1, FORMAT + 1):
        written = meta.get("format") if isinstance(meta, dict) else None
        later = isinstance(written, int) and written > FORMAT
        raise DamagedIndex(f"format {written}, of a later isoloss" if later else "no known format")
    if meta["format"] == 1:
        shards: dict[str, tuple[ShardFile, ...]] = {
            side: (ShardFile(f"{side}.bin", _count(meta, f"{side}_tokens"), ""),)
            for side in ("train", "val")
        }
        others: dict[str, tuple[int, str]] = {}
    else:
        shards, others = _shards(meta), _others(meta)
    if meta.get("dtype") not in _DTYPES:
        raise DamagedIndex(f"dtype is not one of {', '.join(_DTYPES)}")
    known = meta.get("bytes_per_token")
    if known is not None and not (isinstance(known, int | float) and 0 < known < 1e9):
        raise DamagedIndex("bytes_per_token is not a number of bytes")
    return Index(
        name=_text(meta, "name"),
        hash=_hash(meta, "hash"),
        vocab=_count(meta, "vocab"),
        tokenizer=_text(meta, "tokenizer"),
        dtype=np.dtype(meta["dtype"]).newbyteorder("<"),
        bytes_per_token=math.nan if known is None else float(known),
        shards=shards,
        val_documents=_count(meta, "val_documents"),
        others=others,
        meta=meta,
    )


def check_files(folder: Path, index: Index) -> None:
    """Check that the files of an index are there, with the sizes it gives.

    Raises InputError naming the first that is not.
    """
    sizes = {
        shard.file: shard.tokens * index.dtype.itemsize
        for shards in index.shards.values()
        for shard in shards
    }
    for name, size in {**sizes, **{name: size for name, (size, _) in index.others.items()}}.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            what = "is missing" if found is None else f"has {found:,} bytes, not {size:,}"
            raise InputError(
                f"the token set in {folder} is damaged ({name} {what}); prepare it again"
            )


def read_edges(folder: Path, index: Index) -> NDArray[np.int64]:
    """The offsets of the held-out documents; raises InputError if they do not fit the ids."""
    try:
        edges: NDArray[np.int64] = np.load(folder / DOCUMENTS, mmap_mode="r", allow_pickle=False)
        sound = (
            edges.dtype == np.int64
            and edges.shape == (index.val_documents + 1,)
            and edges[0] == 0
            and edges[-1] == index.tokens("val")
            and bool(np.all(edges[1:] > edges[:-1]))
        )
    except (OSError, ValueError, EOFError):
        sound = False
    if not sound:
        raise InputError(f"the token set in {folder} is damaged ({DOCUMENTS}); prepare it again")
    return edges


def hash_ids(what: str, sides: Mapping[str, tuple[int, Iterable[tuple[Path, int]]]]) -> str:
    """The hash of a token set: SHA-256 of what its ids are, and of all of them in order.

    what: name of the tokenizer, vocabulary and dtype. sides: by name, how many ids, and the files
    they lie in with the bytes to pass over in each.
    """
    digest = hashlib.sha256(f"{what}\n".encode())
    for side, (tokens, files) in sides.items():
        digest.update(f"{side} {tokens}\n".encode())
        for path, offset in files:
            for block in read_blocks(path, offset):
                digest.update(block)
    return digest.hexdigest()


def hash_set(folder: Path, index: Index) -> str:
    """The hash of the ids that lie in a folder, to hold against the one of its index."""
    return hash_ids(
        f"{index.tokenizer} {index.vocab} {index.meta['dtype']}",
        {
            side: (index.tokens(side), [(folder / shard.file, 0) for shard in shards])
            for side, shards in index.shards.items()
        },
    )


def _shards(meta: Mapping[str, Any]) -> dict[str, tuple[ShardFile, ...]]:
    sides = meta.get("shards")
    found: dict[str, tuple[ShardFile, ...]] = {}
    for side in ("train", "val"):
        rows = sides.get(side) if isinstance(sides, dict) else None
        if not isinstance(rows, list) or not rows:
            raise DamagedIndex(f"no shards of {side}")
        found[side] = tuple(_shard(row, side) for row in rows)
        if sum(shard.tokens for shard in found[side]) != _count(meta, f"{side}_tokens"):
            raise DamagedIndex(f"the shards of {side} do not hold {side}_tokens")
    names = [shard.file for shards in found.values() for shard in shards]
    if len(set(names)) < len(names):
        raise DamagedIndex("one file is named twice")
    return found


def _shard(row: object, side: str) -> ShardFile:
    if not isinstance(row, dict):
        raise DamagedIndex(f"a shard of {side} is not an object")
    file = _text(row, "file")
    match = _SHARD.fullmatch(file)
    if match is None or match[1] != side:
        raise DamagedIndex(f"{file[:80]!r} is no name of a file of ids in this folder")
    return ShardFile(file, _count(row, "tokens"), _hash(row, "sha256"))


def _others(meta: Mapping[str, Any]) -> dict[str, tuple[int, str]]:
    rows = meta.get("files")
    if not isinstance(rows, dict) or DOCUMENTS not in rows:
        raise DamagedIndex(f"{DOCUMENTS} is not among its files")
    for name, row in rows.items():
        if name not in (DOCUMENTS, TOKENIZER) or not isinstance(row, dict):
            raise DamagedIndex(f"{name[:80]!r} is no name of a file in this folder")
    return {name: (_count(row, "bytes"), _hash(row, "sha256")) for name, row in rows.items()}


def _count(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 50:
        raise DamagedIndex(f"{key} is not a positive whole number")
    return value


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise DamagedIndex(f"{key} is not a text")
    return value


def _hash(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise DamagedIndex(f"{key} is not a SHA-256")
    return value
