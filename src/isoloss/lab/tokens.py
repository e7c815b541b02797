"""Token ids on disk: from documents to one memory-mapped file for training and one held out.

A token set is a folder:

    train.bin, val.bin       ids, uint8 for bytes and uint16 for anything larger, little-endian
    val_documents.npy        int64, where each held-out document starts, and the end of the last
    meta.json                name, hash, vocabulary, tokenizer, bytes per token, sizes
    tokenizer.json           for byte-level BPE, as the `tokenizers` library writes it

Every document is followed by a separator. For the tokenizer `bytes` it is 255 (0xFF), a byte that
never occurs in UTF-8 text, so that the vocabulary is 256 and no document can contain it; for BPE it
is the token `<|endoftext|>`, the last of the vocabulary.

The folder is built under a temporary name and renamed when whole, so a folder with this name is
complete; one that is damaged all the same (sizes or hash that do not fit) is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.documents import Source, corpus_name, describe, fingerprint, read_documents
from isoloss.lab.corpus.split import choose_validation
from isoloss.lab.corpus.text_files import Document

FORMAT = 1
BYTE_SEPARATOR = 0xFF
BYTE_VOCAB = 256
LEAST_TRAIN, LEAST_VAL = 2048, 256
"""Tokens below which a corpus is refused: no context of any use fits."""

Ids = NDArray[np.uint8] | NDArray[np.uint16]
_FILES = frozenset(["train.bin", "val.bin", "val_documents.npy", "meta.json", "tokenizer.json"])
_COPY = 1 << 22


@dataclass(frozen=True, eq=False)
class TokenSet:
    """Ids of a corpus, memory-mapped and read-only.

    train, val: (tokens,) ids, each document followed by a separator.
    val_documents: (documents + 1,) offsets into `val`.
    hash: SHA-256 of both id files and the tokenizer: the same hash is the same data.
    bytes_per_token: UTF-8 bytes of the held-out text per token, a separator counted as one byte;
    so bits per byte = loss / ln 2 / bytes_per_token.
    """

    folder: Path
    name: str
    hash: str
    vocab: int
    tokenizer: str
    bytes_per_token: float
    train: Ids
    val: Ids
    val_documents: NDArray[np.int64]
    meta: dict[str, Any] = field(repr=False)


def prepare(
    source: Source,
    folder: str | Path,
    *,
    tokenizer: str = "bytes",
    val_fraction: float = 0.05,
    progress: Progress | None = None,
) -> TokenSet:
    """Tokenize a corpus into `folder`, or return what is there if it is the same corpus.

    source: as in `read_documents`. tokenizer: `bytes`, or `bpe:V` for a byte-level BPE of V tokens
    trained on the training documents. val_fraction: share of bytes held out, as whole units.
    progress: called as `progress(what, done, total)`.
    Raises InputError for a corpus that is empty or too small, and for a folder with other files.
    """
    folder = Path(folder)
    if not 0 < val_fraction <= 0.5:
        raise InputError(f"val_fraction is {val_fraction}; it must be above 0 and at most 0.5")
    if tokenizer != "bytes":
        raise InputError(f"unknown tokenizer {tokenizer!r}; use bytes or bpe:1024")
    request = {
        "format": FORMAT,
        "source": fingerprint(source, progress=progress),
        "tokenizer": tokenizer,
        "val_fraction": val_fraction,
    }
    kept = _kept(folder, request)
    if kept is not None:
        return kept
    with _building(folder) as building:
        documents = read_documents(source, progress=progress)
        spool = _spool(documents, building / "spool.tmp", progress)
        held, level = _split(spool, val_fraction, corpus_name(source))
        sizes = _write_bytes(spool, held, building)
        spool.path.unlink()
        meta = {
            "format": FORMAT,
            "name": corpus_name(source),
            "tokenizer": tokenizer,
            "vocab": BYTE_VOCAB,
            "dtype": "uint8",
            "separator": BYTE_SEPARATOR,
            "request": request,
            "source": describe(source),
            "split": {"by": level, "val_fraction": val_fraction},
            **sizes,
        }
        _finish(building, meta)
    return load_tokens(folder)


def load_tokens(folder: str | Path) -> TokenSet:
    """Open a folder made by `prepare`.

    Raises InputError if it is missing or damaged.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    if meta is None:
        raise InputError(
            f"{folder} holds no token set; make one with `prepare` or name another folder"
        )
    dtype = np.dtype(meta["dtype"]).newbyteorder("<")
    for side in ("train", "val"):
        path = folder / f"{side}.bin"
        expected = meta[f"{side}_tokens"] * dtype.itemsize
        if not path.is_file() or path.stat().st_size != expected:
            raise InputError(f"the token set in {folder} is damaged ({side}.bin); prepare it again")
    try:
        documents = np.load(folder / "val_documents.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise InputError(f"the token set in {folder} is damaged; prepare it again") from None
    return TokenSet(
        folder=folder,
        name=meta["name"],
        hash=meta["hash"],
        vocab=meta["vocab"],
        tokenizer=meta["tokenizer"],
        bytes_per_token=meta["bytes_per_token"],
        train=np.memmap(folder / "train.bin", dtype=dtype, mode="r"),
        val=np.memmap(folder / "val.bin", dtype=dtype, mode="r"),
        val_documents=documents,
        meta=meta,
    )


@dataclass(frozen=True)
class _Spool:
    """Documents laid end to end in a file, with their units and names."""

    path: Path
    lengths: NDArray[np.int64]
    units: list[str]
    names: list[str]

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])


def _spool(documents: Iterable[Document], path: Path, progress: Progress | None) -> _Spool:
    lengths: list[int] = []
    units: list[str] = []
    names: list[str] = []
    done = 0
    with path.open("wb") as out:
        for document in documents:
            raw = document.text.encode("utf-8", "replace")
            if not raw:
                continue
            out.write(raw)
            lengths.append(len(raw))
            units.append(document.unit)
            names.append(document.name)
            done += len(raw)
            if progress is not None:
                progress("reading text", done, None)
    return _Spool(path, np.array(lengths, np.int64), units, names)


def _split(spool: _Spool, fraction: float, name: str) -> tuple[NDArray[np.bool_], str]:
    """Mark the documents held out: by unit, or each by itself where units are too few or large."""
    total = int(spool.lengths.sum())
    if total == 0:
        raise InputError(f"the corpus {name} is empty; name one with text in it")
    for level, keys in (("unit", spool.units), ("document", spool.names)):
        sizes: dict[str, int] = {}
        for key, length in zip(keys, spool.lengths, strict=True):
            sizes[key] = sizes.get(key, 0) + int(length)
        chosen = choose_validation(sizes, fraction)
        if chosen is not None:
            held = np.fromiter((key in chosen for key in keys), bool, len(keys))
            small = (
                spool.lengths[held].sum() < LEAST_VAL or spool.lengths[~held].sum() < LEAST_TRAIN
            )
            if not small:
                return held, level
    raise InputError(
        f"the corpus {name} holds {total:,} bytes in {len(spool.names):,} documents, too little to "
        "train on and hold out from; give at least 10 kB of text, better 10 MB"
    )


def _write_bytes(spool: _Spool, held: NDArray[np.bool_], building: Path) -> dict[str, Any]:
    separator = bytes([BYTE_SEPARATOR])
    with (
        spool.path.open("rb") as text,
        (building / "train.bin").open("wb") as train,
        (building / "val.bin").open("wb") as val,
    ):
        for length, is_held in zip(spool.lengths, held, strict=True):
            out = val if is_held else train
            remaining = int(length)
            while remaining:
                block = text.read(min(remaining, _COPY))
                out.write(block)
                remaining -= len(block)
            out.write(separator)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(spool.lengths[held] + 1)])
    np.save(building / "val_documents.npy", offsets)
    text_bytes = {
        True: int((spool.lengths[held] + 1).sum()),
        False: int((spool.lengths[~held] + 1).sum()),
    }
    return {
        "train_tokens": text_bytes[False],
        "val_tokens": text_bytes[True],
        "train_bytes": text_bytes[False],
        "val_bytes": text_bytes[True],
        "train_documents": int((~held).sum()),
        "val_documents": int(held.sum()),
        "bytes_per_token": 1.0,
    }


def _finish(building: Path, meta: dict[str, Any]) -> None:
    meta["hash"] = _hash_files(building, meta)
    with (building / "meta.json").open("w", encoding="utf-8") as out:
        json.dump(meta, out, indent=1)


def _hash_files(folder: Path, meta: dict[str, Any]) -> str:
    digest = hashlib.sha256(f"{meta['tokenizer']} {meta['vocab']} {meta['dtype']}\n".encode())
    for side in ("train", "val"):
        digest.update(f"{side} {meta[f'{side}_tokens']}\n".encode())
        with (folder / f"{side}.bin").open("rb") as stream:
            while block := stream.read(_COPY):
                digest.update(block)
    return digest.hexdigest()


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return meta if isinstance(meta, dict) and meta.get("format") == FORMAT else None


def _kept(folder: Path, request: dict[str, Any]) -> TokenSet | None:
    """The token set already there, if it answers the same request and is whole."""
    meta = _read_meta(folder)
    if meta is None or meta.get("request") != request:
        return None
    try:
        tokens = load_tokens(folder)
    except InputError:
        return None
    return tokens if _hash_files(folder, meta) == tokens.hash else None


@contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well."""
    if folder.exists() and (
        not folder.is_dir() or any(child.name not in _FILES for child in folder.iterdir())
    ):
        raise InputError(f"{folder} holds other files; name an empty or new folder for the tokens")
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.{os.getpid()}.building")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir()
    try:
        yield building
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            os.replace(folder, old)
            os.replace(building, folder)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(building, folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
