"""Ids that someone else made: `.bin` files of 16-bit ids, as nanoGPT and llm.c write them.

One file is split into documents at the end-of-text token of GPT-2 (50256) where it is the largest
id, else into blocks (4,096 ids, or a hundredth of a small file), and whole documents are held out
by hash. A folder with train.bin and val.bin is taken as it is. The vocabulary is the largest id
plus one. The text is not there, so bytes per token, and with it bits per byte, are unknown.
A token set of our own, in another folder or packed in one file, is copied as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.tokens.index import (
    TOKENIZER,
    Index,
    Written,
    check_files,
    is_token_set,
    read_edges,
    read_index,
)
from isoloss.lab.tokens.pack import is_packed, unpack_tokens
from isoloss.lab.tokens.tokenizing.shards import ShardFile, hash_file
from isoloss.lab.tokens.tokenizing.spool import LEAST_TRAIN, LEAST_VAL, digests_of, hold_out

GPT2_END = 50_256
BLOCK = 4_096
_MAGIC, _HEADER = 20240520, 1_024  # llm.c: 256 32-bit integers before the ids
_CHUNK = 1 << 22
_SIDES = ("train", "val")


def is_token_source(path: Path) -> bool:
    """Whether a path is a .bin file, a token set (packed or not), or holds train and val.bin."""
    if path.is_dir():
        return is_token_set(path) or all((path / f"{side}.bin").is_file() for side in _SIDES)
    return path.is_file() and (path.suffix == ".bin" or is_packed(path))


def copy_token_source(
    path: Path, folder: Path, fraction: float, name: str
) -> tuple[dict[str, Any], Written]:
    """Copy the ids of a .bin file, or of a folder holding two sides, to `folder`.

    fraction: share of ids held out of a single file. name: of the set, where it has none.
    Returns what the index says of it, and what was written.
    Raises InputError for a file that is not 16-bit ids or is too small.
    """
    if path.is_dir() and is_token_set(path) and (index := read_index(path)) is not None:
        return _copy_set(path, folder, index)
    if path.is_file() and is_packed(path):
        index = unpack_tokens(path, folder)
        return _as_written(folder, index, index.shards)
    meta: dict[str, Any] = {"name": name, "tokenizer": "ids", "source": {"kind": "ids"}}
    if path.is_dir():
        for side in _SIDES:
            source = path / f"{side}.bin"
            _copy(read_ids(source), source, folder / source.name)
    else:
        _split(path, folder, fraction)
        meta["split"] = {"val_fraction": fraction}
    train, val = (read_ids(folder / f"{side}.bin", header=False) for side in _SIDES)
    hashes = [hash_file(folder / f"{side}.bin") for side in _SIDES]
    return meta, describe_pair(train, val, hashes)


def describe_pair(
    train: NDArray[np.uint16], val: NDArray[np.uint16], hashes: Sequence[str] = ("", "")
) -> Written:
    """Vocabulary and documents of the ids in train.bin and val.bin."""
    largest = max(_largest(train), _largest(val))
    train_edges, val_edges = document_edges(train, largest), document_edges(val, largest)
    return Written(
        dtype="uint16",
        vocab=largest + 1,
        separator=GPT2_END if largest == GPT2_END else None,
        train=(ShardFile("train.bin", len(train), hashes[0]),),
        val=(ShardFile("val.bin", len(val), hashes[1]),),
        train_documents=len(train_edges) - 1,
        val_documents=val_edges,
        bytes_per_token=None,
    )


def read_ids(path: Path, *, header: bool = True) -> NDArray[np.uint16]:
    """Map a .bin file of 16-bit ids; raises InputError if it is none.

    header: skip that of llm.c where the file begins with one.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = np.frombuffer(stream.read(4), "<i4") if size >= _HEADER else np.zeros(1)
    offset = _HEADER if header and start[0] == _MAGIC else 0
    if size - offset <= 0 or (size - offset) % 2:
        raise InputError(
            f"{path.name} is not a file of 16-bit ids (it has {size:,} bytes); "
            "write it as nanoGPT does, or give the text"
        )
    return np.memmap(path, dtype="<u2", mode="r", offset=offset)


def document_edges(ids: NDArray[np.uint16], largest: int) -> NDArray[np.int64]:
    """(documents + 1,) offsets: after each end-of-text token, or in blocks without any."""
    if largest == GPT2_END:
        ends = [
            np.flatnonzero(ids[start : start + _CHUNK] == GPT2_END) + start + 1
            for start in range(0, len(ids), _CHUNK)
        ]
        inner = np.concatenate(ends) if ends else np.zeros(0, np.int64)
    else:
        block = max(1, min(BLOCK, len(ids) // 100))
        inner = np.arange(block, len(ids), block)
    return np.unique(np.concatenate([[0], inner, [len(ids)]])).astype(np.int64)


def _split(path: Path, folder: Path, fraction: float) -> None:
    """Write the documents of one file to train.bin and val.bin."""
    ids = read_ids(path)
    edges = document_edges(ids, _largest(ids))
    lengths = np.diff(edges)
    names = digests_of(f"{path.stem}:{number}" for number in range(len(lengths)))
    chosen = hold_out(names, lengths, fraction)
    held = np.zeros(len(lengths), np.bool_) if chosen is None else chosen
    changes = np.flatnonzero(held[1:] != held[:-1]) + 1  # where documents pass to the other side
    runs = np.concatenate([[0], changes, [len(held)]])
    with (folder / "train.bin").open("wb") as train_out, (folder / "val.bin").open("wb") as val_out:
        for first, last in zip(runs[:-1].tolist(), runs[1:].tolist(), strict=True):
            out = val_out if held[first] else train_out
            for start in range(int(edges[first]), int(edges[last]), _CHUNK):
                out.write(ids[start : min(start + _CHUNK, int(edges[last]))].tobytes())
    sizes = {side: (folder / f"{side}.bin").stat().st_size // 2 for side in _SIDES}
    if sizes["train"] < LEAST_TRAIN or sizes["val"] < LEAST_VAL:
        raise InputError(
            f"{path.name} holds {len(ids):,} ids, too few to train on and hold out from"
        )


def _copy_set(path: Path, folder: Path, index: Index) -> tuple[dict[str, Any], Written]:
    check_files(path, index)
    sides: dict[str, tuple[ShardFile, ...]] = {}
    for side in _SIDES:
        for shard in index.shards[side]:
            shutil.copyfile(path / shard.file, folder / shard.file)
        sides[side] = tuple(
            ShardFile(shard.file, shard.tokens, hash_file(folder / shard.file))
            for shard in index.shards[side]
        )
        for shard, copied in zip(index.shards[side], sides[side], strict=True):
            if shard.sha256 not in ("", copied.sha256):
                raise InputError(f"{path / shard.file} is damaged; prepare that token set again")
    if (path / TOKENIZER).is_file():
        shutil.copyfile(path / TOKENIZER, folder / TOKENIZER)
    return _as_written(path, index, sides)


def _as_written(
    folder: Path, index: Index, sides: Mapping[str, tuple[ShardFile, ...]]
) -> tuple[dict[str, Any], Written]:
    """What the index of a set says of it, and what was written; its offsets are in `folder`."""
    known = index.meta
    meta: dict[str, Any] = {
        key: known[key] for key in ("name", "tokenizer", "source", "split") if key in known
    }
    return meta, Written(
        dtype=known["dtype"],
        vocab=index.vocab,
        separator=known.get("separator"),
        train=sides["train"],
        val=sides["val"],
        train_documents=known.get("train_documents", 0),
        val_documents=np.array(read_edges(folder, index)),
        bytes_per_token=known.get("bytes_per_token"),
    )


def _largest(ids: NDArray[np.uint16]) -> int:
    return max(int(ids[start : start + _CHUNK].max()) for start in range(0, len(ids), _CHUNK))


def _copy(ids: NDArray[np.uint16], source: Path, target: Path) -> None:
    if ids.nbytes == source.stat().st_size:
        shutil.copyfile(source, target)
        return
    with target.open("wb") as out:  # a header to leave behind
        for start in range(0, len(ids), _CHUNK):
            out.write(ids[start : start + _CHUNK].tobytes())
