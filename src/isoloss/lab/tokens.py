"""Token ids on disk: one memory-mapped file to train on and one held out.

A token set is a folder:

    train.bin, val.bin       ids, uint8 for bytes and uint16 for anything larger, little-endian
    val_documents.npy        int64, where each held-out document starts, and the end of the last
    meta.json                name, hash, vocabulary, tokenizer, bytes per token, sizes, source
    tokenizer.json           for byte-level BPE, as the `tokenizers` library writes it

How text becomes ids, and what separates documents, is said in `tokenizing`; ids that others made
are read by `token_files`. The folder is built under a temporary name and renamed when whole, so a
folder of this name is complete; one damaged all the same (sizes or hash that do not fit) is built
again by `prepare` and refused by `load_tokens`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.documents import Source, corpus_name, describe, fingerprint, read_documents
from isoloss.lab.corpus.scratch import scratch_folder
from isoloss.lab.corpus.text_files import SEPARATOR_LINE
from isoloss.lab.token_files import copy_token_source, describe_pair, is_token_source, read_ids
from isoloss.lab.tokenizing import (
    BYTE_SEPARATOR,
    Written,
    load_bpe,
    parse_tokenizer,
    split_spool,
    spool_documents,
    write_bpe,
    write_bytes,
)
from isoloss.runs import RunSpec

FORMAT = 1
Ids = NDArray[np.uint8] | NDArray[np.uint16]

_FILES = frozenset(["train.bin", "val.bin", "val_documents.npy", "meta.json", "tokenizer.json"])
_BLOCK = 1 << 22
_HASH_UP_TO = 1 << 28  # bytes; of a larger set only the sizes are checked before it is used again


@dataclass(frozen=True, eq=False)
class TokenSet:
    """Ids of a corpus, memory-mapped and read-only.

    train, val: (tokens,) ids, each document followed by a separator.
    val_documents: (documents + 1,) offsets into `val`.
    hash: SHA-256 of both sides' ids, the tokenizer's name and vocabulary: the same hash is the same
    data.
    bytes_per_token: UTF-8 bytes of the held-out text per token, a separator counted as one byte; so
    bits per byte = loss / ln 2 / bytes_per_token. Not a number where the text is unknown (.bin).
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

    def decode(self, ids: ArrayLike) -> str:
        """The text of some ids, separators shown as `<|endoftext|>`; broken characters replaced.

        Raises InputError for ids that came without their text.
        """
        numbers = np.asarray(ids)
        if self.tokenizer == "bytes":
            parts = numbers.astype(np.uint8).tobytes().split(bytes([BYTE_SEPARATOR]))
            return SEPARATOR_LINE.join(part.decode("utf-8", "replace") for part in parts)
        path = self.folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"the ids of {self.name!r} came without a tokenizer to decode them")
        text: str = load_bpe(path).decode(numbers.tolist(), skip_special_tokens=False)
        return text


def prepare(
    source: Source,
    folder: str | Path,
    *,
    tokenizer: str = "bytes",
    val_fraction: float = 0.05,
    progress: Progress | None = None,
) -> TokenSet:
    """Tokenize a corpus into `folder`, or return what is there if it is the same corpus.

    source: as in `read_documents`, or ids made before: a .bin file, or a folder with train.bin and
    val.bin, which keep their own tokenizer.
    tokenizer: `bytes`, or `bpe:V` for a byte-level BPE of V tokens trained on the training side.
    val_fraction: share of bytes held out, as whole units.
    progress: called as `progress(what, done, total)`.
    Raises InputError for a corpus that is empty or too small, and for a folder with other files.
    """
    folder = Path(folder)
    if not 0 < val_fraction <= 0.5:
        raise InputError(f"val_fraction is {val_fraction}; it must be above 0 and at most 0.5")
    vocab = parse_tokenizer(tokenizer)
    ready = is_token_source(Path(source))
    if ready and Path(source).resolve() == folder.resolve():
        return load_tokens(folder)
    request = {
        "format": FORMAT,
        "source": _fingerprint_ids(Path(source))
        if ready
        else fingerprint(source, progress=progress),
        "tokenizer": "ids" if ready else tokenizer,
        "val_fraction": val_fraction,
    }
    kept = _kept(folder, request)
    if kept is not None:
        return kept
    name = Path(source).resolve().stem if ready else corpus_name(source)
    meta: dict[str, Any] = {"format": FORMAT, "name": name, "tokenizer": request["tokenizer"]}
    with _building(folder) as building:
        if ready:
            written = copy_token_source(Path(source), building, val_fraction)
            meta |= {"source": {"kind": "ids"}, "split": {"val_fraction": val_fraction}}
        else:
            documents = read_documents(source, progress=progress)
            spool = spool_documents(documents, building / "spool.tmp", progress)
            held, level = split_spool(spool, val_fraction, name)
            if vocab is None:
                written = write_bytes(spool, held, building, progress)
            else:
                written = write_bpe(spool, held, building, vocab, progress)
            spool.path.unlink()
            meta |= {
                "source": describe(source),
                "split": {"by": level, "val_fraction": val_fraction},
            }
        _finish(building, meta | {"request": request}, written)
    return load_tokens(folder)


def load_tokens(folder: str | Path) -> TokenSet:
    """Open a folder made by `prepare`, or one that holds nanoGPT's train.bin and val.bin.

    Raises InputError if it is missing or damaged.
    """
    folder = Path(folder)
    meta = _read_meta(folder)
    if meta is None:
        if is_token_source(folder) and not (folder / "meta.json").exists():
            return _load_pair(folder)
        raise InputError(
            f"{folder} holds no token set; make one with `isoloss corpus prepare`, "
            "or name another folder"
        )
    try:
        dtype = np.dtype(meta["dtype"]).newbyteorder("<")
        for side in ("train", "val"):
            path = folder / f"{side}.bin"
            if path.stat().st_size != meta[f"{side}_tokens"] * dtype.itemsize:
                raise ValueError(side)
        known = meta["bytes_per_token"]
        return TokenSet(
            folder=folder,
            name=meta["name"],
            hash=meta["hash"],
            vocab=meta["vocab"],
            tokenizer=meta["tokenizer"],
            bytes_per_token=math.nan if known is None else known,
            train=np.memmap(folder / "train.bin", dtype=dtype, mode="r"),
            val=np.memmap(folder / "val.bin", dtype=dtype, mode="r"),
            val_documents=np.load(folder / "val_documents.npy", mmap_mode="r", allow_pickle=False),
            meta=meta,
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"the token set in {folder} is damaged; prepare it again") from None


def check_corpus(spec: RunSpec, tokens: TokenSet) -> None:
    """Raise InputError if a run asks for another text, or its vocabulary is too small for this."""
    if spec.corpus_hash and spec.corpus_hash != tokens.hash:
        raise InputError(
            f"run {spec.run_id} asks for the corpus {spec.corpus_hash[:12]}, but "
            f"{tokens.name!r} is {tokens.hash[:12]}: prepare the same text, or clear corpus_hash"
        )
    if tokens.vocab > spec.shape.vocab:
        raise InputError(
            f"run {spec.run_id} has vocab {spec.shape.vocab}, but {tokens.name!r} needs "
            f"{tokens.vocab}: set shape.vocab = {tokens.vocab}"
        )


def _load_pair(folder: Path) -> TokenSet:
    train, val = read_ids(folder / "train.bin"), read_ids(folder / "val.bin")
    written = describe_pair(train, val)
    meta = {"format": FORMAT, "name": folder.resolve().name, "tokenizer": "ids"}
    meta |= {"source": {"kind": "ids"}, **written.to_meta()}
    return TokenSet(
        folder=folder,
        name=folder.resolve().name,
        hash=_hash_ids(meta, {"train": train, "val": val}),
        vocab=written.vocab,
        tokenizer="ids",
        bytes_per_token=math.nan,
        train=train,
        val=val,
        val_documents=written.val_documents,
        meta=meta,
    )


def _finish(building: Path, meta: dict[str, Any], written: Written) -> None:
    """Write the offsets and, last, the meta file."""
    np.save(building / "val_documents.npy", written.val_documents)
    meta = {**meta, **written.to_meta()}
    sides = {
        side: np.memmap(building / f"{side}.bin", dtype=written.dtype, mode="r")
        for side in ("train", "val")
    }
    meta["hash"] = _hash_ids(meta, sides)
    with (building / "meta.json").open("w", encoding="utf-8") as out:
        json.dump(meta, out, indent=1)


def _hash_ids(meta: dict[str, Any], sides: Mapping[str, NDArray[np.generic]]) -> str:
    digest = hashlib.sha256(f"{meta['tokenizer']} {meta['vocab']} {meta['dtype']}\n".encode())
    for side in ("train", "val"):
        ids = sides[side]
        digest.update(f"{side} {len(ids)}\n".encode())
        for start in range(0, len(ids), _BLOCK):
            digest.update(ids[start : start + _BLOCK].tobytes())
    return digest.hexdigest()


def _fingerprint_ids(path: Path) -> str:
    files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(path.resolve()), stamps]).encode()).hexdigest()


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = json.loads((folder / "meta.json").read_text("utf-8"))
    except (OSError, ValueError):
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
    if tokens.train.nbytes + tokens.val.nbytes > _HASH_UP_TO:
        return tokens
    sides = {"train": tokens.train, "val": tokens.val}
    return tokens if _hash_ids(meta, sides) == tokens.hash else None


@contextmanager
def _building(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends well."""
    if folder.exists() and (
        not folder.is_dir() or any(child.name not in _FILES for child in folder.iterdir())
    ):
        raise InputError(f"{folder} holds other files; name an empty or new folder for the tokens")
    with scratch_folder(folder) as scratch:
        building = scratch / "new"
        building.mkdir()
        yield building
        if folder.exists():
            os.replace(folder, scratch / "old")
        os.replace(building, folder)
