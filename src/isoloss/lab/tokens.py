"""Token ids on disk: one array of them to train on and one held out.

A token set is a folder:

    train.bin, val.bin   ids, uint8 for bytes and uint16 for anything larger, little-endian; of a
                         large corpus train-00000.bin and so on, each of about 64 MB of text
    val_documents.npy    int64, where each held-out document starts, and the end of the last
    meta.json            the index: name, hash, vocabulary, tokenizer, sizes, source, and of every
                         file its size and hash (`token_index`)
    tokenizer.json       for byte-level BPE, as the `tokenizers` library writes it

How text becomes ids, and what separates documents, is said in `tokenizing`; ids that others made
are read by `token_files`, ids that lie elsewhere are copied by `token_cache`. The folder is built
under a temporary name and renamed when whole, so a folder of this name is complete; one damaged all
the same (sizes or hash that do not fit) is built again by `prepare` and refused by `load_tokens`.
Building that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.documents import Source, corpus_name, describe, fingerprint, read_documents
from isoloss.lab.corpus.scratch import resumable_folder
from isoloss.lab.corpus.text_files import SEPARATOR_LINE
from isoloss.lab.token_arrays import Array, Ids, SampledIds, ShardedIds
from isoloss.lab.token_cache import fetch_tokens, remote_url
from isoloss.lab.token_files import copy_token_source, describe_pair, is_token_source, read_ids
from isoloss.lab.token_index import (
    TOKENIZER,
    Index,
    check_files,
    hash_ids,
    hash_set,
    is_ours,
    read_edges,
    read_index,
    write_index,
)
from isoloss.lab.tokenizing import BYTE_SEPARATOR, parse_tokenizer
from isoloss.lab.tokenizing.bpe import load_bpe, tokenizers_library
from isoloss.lab.tokenizing.corpus import can_resume, tokenize_documents
from isoloss.lab.tokenizing.shards import SHARD_BYTES, hash_file
from isoloss.runs import RunSpec

_HASH_UP_TO = 1 << 28  # bytes; of a larger set only the sizes are checked before it is used again


@dataclass(frozen=True, eq=False)
class TokenSet:
    """Ids of a corpus, memory-mapped and read-only.

    train, val: (tokens,) ids, each document followed by a separator; read as `token_arrays` says.
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
    train: Ids = field(repr=False)
    val: Array | ShardedIds = field(repr=False)
    val_documents: NDArray[np.int64] = field(repr=False)
    meta: dict[str, Any] = field(repr=False)

    def decode(self, ids: ArrayLike) -> str:
        """The text of some ids, separators shown as `<|endoftext|>`; broken characters replaced.

        Raises InputError for ids that came without their text.
        """
        numbers = np.asarray(ids)
        if self.tokenizer == "bytes":
            parts = numbers.astype(np.uint8).tobytes().split(bytes([BYTE_SEPARATOR]))
            return SEPARATOR_LINE.join(part.decode("utf-8", "replace") for part in parts)
        path = self.folder / TOKENIZER
        if not path.is_file():
            raise InputError(f"the ids of {self.name!r} came without a tokenizer to decode them")
        text: str = load_bpe(path).decode(numbers.tolist(), skip_special_tokens=False)
        return text

    def subset(self, tokens: int, *, n_ctx: int | None = None, seed: int | None = None) -> TokenSet:
        """The same set with less text to train on: a view, with the same text held out.

        tokens: of the training text, its first so many; or, with n_ctx and seed, tokens // n_ctx
        contexts of n_ctx ids, drawn from all the text is cut into. Under one seed a smaller sample
        is part of a larger one.
        The hash is its own, of the set's hash and the choice, and `meta["subset"]` says of what it
        is a part (`of`, `tokens`, and for a sample `n_ctx` and `seed`).
        Raises InputError where the text is not that long, or is a sample itself.
        """
        if (n_ctx is None) != (seed is None):
            raise InputError("a sample of the text needs both n_ctx and seed; give both or neither")
        if isinstance(self.train, SampledIds):
            raise InputError(f"{self.name!r} is a sample; take the part of the whole text instead")
        part: dict[str, Any] = {"of": self.hash, "tokens": tokens}
        if n_ctx is None or seed is None:
            if not 0 < tokens <= len(self.train):
                raise self._too_short(f"{tokens:,} tokens", f"{len(self.train):,}")
            train: Ids = self.train[:tokens]
            name = f"{self.name}, first {tokens:,} tokens"
        else:
            there = (len(self.train) - 1) // n_ctx if n_ctx > 0 else 0
            count = tokens // n_ctx if n_ctx > 0 else 0
            if not 0 < count <= there:
                raise self._too_short(f"{count:,} contexts of {n_ctx:,}", f"{there:,}")
            chosen = np.sort(np.random.default_rng(seed).permutation(there)[:count])
            train = SampledIds(self.train, chosen, n_ctx)
            part |= {"tokens": count * n_ctx, "n_ctx": n_ctx, "seed": seed}
            name = f"{self.name}, {count:,} contexts of {n_ctx:,} by seed {seed}"
        own = hashlib.sha256(f"subset {json.dumps(part, sort_keys=True)}".encode()).hexdigest()
        meta = {**self.meta, "subset": part}
        return replace(self, name=name, hash=own, train=train, meta=meta)

    def _too_short(self, wanted: str, there: str) -> InputError:
        return InputError(
            f"the training text of {self.name!r} has no part of {wanted}; ask for 1 to {there}"
        )


def prepare(
    source: Source,
    folder: str | Path,
    *,
    tokenizer: str | TokenSet = "bytes",
    val_fraction: float = 0.05,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> TokenSet:
    """Tokenize a corpus into `folder`, or return what is there if it is the same corpus.

    source: as in `read_documents`, or ids made before: a token set, a .bin file, or a folder with
    train.bin and val.bin, which keep their own tokenizer.
    tokenizer: `bytes`, or `bpe:V` for a byte-level BPE of V tokens trained on the training side; or
    a token set, for the very tokenizer that it has.
    val_fraction: share of bytes held out, as whole units.
    workers: processes that turn text into BPE ids, each with about 150 MB; by default one for each
    core. shard_bytes: bytes of text to a file. Neither changes the ids or their hash.
    progress: called as `progress(what, done, total)`.
    While it is tokenized the text lies beside `folder`, which takes as much disk as it has bytes.
    Killed, the same call goes on from the shards that were done.
    Raises InputError for a corpus that is empty or too small, and for a folder with other files.
    """
    folder = Path(folder)
    if not 0 < val_fraction <= 0.5:
        raise InputError(f"val_fraction is {val_fraction}; it must be above 0 and at most 0.5")
    if shard_bytes < 1 or (workers is not None and workers < 1):
        raise InputError("workers and shard_bytes must be at least 1")
    ready = is_token_source(Path(source))
    learnt = None
    if not isinstance(tokenizer, str):
        tokenizer, learnt = ("bytes", None) if ready else _tokenizer_of(tokenizer)
    vocab = parse_tokenizer(tokenizer)
    if ready and Path(source).resolve() == folder.resolve():
        return load_tokens(folder)
    request = {
        "format": 1,  # of this request: what was asked for before is still the same
        "source": _fingerprint_ids(Path(source))
        if ready
        else fingerprint(source, progress=progress),
        "tokenizer": "ids" if ready else tokenizer,
        "val_fraction": val_fraction,
        **({"learnt": hash_file(learnt)} if learnt else {}),
    }
    kept = _kept(folder, request)
    if kept is not None:
        return kept
    if vocab is not None and not ready:
        tokenizers_library()  # before the text is read, so that its lack is told at once
    name = Path(source).resolve().stem if ready else corpus_name(source)
    asked = {**request, "shard_bytes": shard_bytes}
    with _building(folder, asked) as scratch:
        building = scratch / "new"
        if ready:
            meta, written = copy_token_source(Path(source), building, val_fraction, name)
        else:
            level, written = tokenize_documents(
                lambda: read_documents(source, progress=progress),
                scratch,
                request=asked,
                name=name,
                vocab=vocab,
                learnt=learnt,
                val_fraction=val_fraction,
                workers=workers,
                shard_bytes=shard_bytes,
                progress=progress,
            )
            meta = {
                "name": name,
                "tokenizer": tokenizer,
                "source": describe(source),
                "split": {"by": level, "val_fraction": val_fraction},
            }
        write_index(building, meta | {"request": request}, written)
    return load_tokens(folder)


def load_tokens(
    folder: str | Path, *, cache: str | Path | None = None, progress: Progress | None = None
) -> TokenSet:
    """Open a folder made by `prepare`, or one that holds nanoGPT's train.bin and val.bin.

    folder: a path, or the address of such a folder elsewhere (`s3://...`, anything fsspec reads),
    which is copied first. cache: where copies are kept; $ISOLOSS_TOKENS or the user's cache without
    it. progress: called while a set is copied, as `progress(what, done, total)`.
    Raises InputError if it is missing or damaged.
    """
    address = remote_url(folder)
    if address is not None:
        folder = fetch_tokens(address, cache, progress)
    folder = Path(folder)
    index = read_index(folder)
    if index is None:
        if is_token_source(folder):
            return _load_pair(folder)
        raise InputError(
            f"{folder} holds no token set; make one with `isoloss corpus prepare`, "
            "or name another folder"
        )
    check_files(folder, index)
    return TokenSet(
        folder=folder,
        name=index.name,
        hash=index.hash,
        vocab=index.vocab,
        tokenizer=index.tokenizer,
        bytes_per_token=index.bytes_per_token,
        train=_open(folder, index, "train"),
        val=_open(folder, index, "val"),
        val_documents=read_edges(folder, index),
        meta=index.meta,
    )


def check_corpus(spec: RunSpec, tokens: TokenSet) -> None:
    """Raise InputError if a run asks for another text, more of it, or fewer ids than there are."""
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
    if spec.unique_tokens and spec.unique_tokens >= len(tokens.train):
        raise InputError(
            f"run {spec.run_id} asks for {spec.unique_tokens:,} unique_tokens, and the training "
            f"text of {tokens.name!r} has {len(tokens.train):,}: ask for fewer, or for 0, all of it"
        )


def training_part(spec: RunSpec, tokens: TokenSet) -> TokenSet:
    """Return what a run trains on: all of the text, or the part that `spec.unique_tokens` asks."""
    if not spec.unique_tokens:
        return tokens
    return tokens.subset(spec.unique_tokens, n_ctx=spec.shape.n_ctx, seed=spec.order_seed)


def _tokenizer_of(tokens: TokenSet) -> tuple[str, Path | None]:
    """The tokenizer of a token set, and the file of its vocabulary, which bytes need not."""
    path = tokens.folder / TOKENIZER
    if tokens.tokenizer != "bytes" and not path.is_file():
        raise InputError(
            f"the ids of {tokens.name!r} came without a tokenizer for other text; "
            "give that text as ids too, in a folder of its own"
        )
    return tokens.tokenizer, None if tokens.tokenizer == "bytes" else path


def _open(folder: Path, index: Index, side: str) -> Array | ShardedIds:
    shards = index.shards[side]
    if len(shards) > 1:
        return ShardedIds([(folder / one.file, one.tokens) for one in shards], index.dtype)
    ids: Array = np.memmap(folder / shards[0].file, dtype=index.dtype, mode="r")
    return ids


def _load_pair(folder: Path) -> TokenSet:
    train, val = read_ids(folder / "train.bin"), read_ids(folder / "val.bin")
    written = describe_pair(train, val)
    headers = {
        side: (len(ids), [(path := folder / f"{side}.bin", path.stat().st_size - ids.nbytes)])
        for side, ids in (("train", train), ("val", val))
    }
    return TokenSet(
        folder=folder,
        name=folder.resolve().name,
        hash=hash_ids(f"ids {written.vocab} {written.dtype}", headers),
        vocab=written.vocab,
        tokenizer="ids",
        bytes_per_token=math.nan,
        train=train,
        val=val,
        val_documents=written.val_documents,
        meta={
            "name": folder.resolve().name,
            "tokenizer": "ids",
            "source": {"kind": "ids"},
            "separator": written.separator,
            "train_documents": written.train_documents,
        },
    )


def _fingerprint_ids(path: Path) -> str:
    files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(path.resolve()), stamps]).encode()).hexdigest()


def _kept(folder: Path, request: dict[str, Any]) -> TokenSet | None:
    """The token set already there, if it answers the same request and is whole."""
    try:
        index = read_index(folder)
        if index is None or index.meta.get("request") != request:
            return None
        tokens = load_tokens(folder)
        if tokens.train.nbytes + tokens.val.nbytes > _HASH_UP_TO:
            return tokens
        return tokens if hash_set(folder, index) == index.hash else None
    except InputError:
        return None


@contextmanager
def _building(folder: Path, request: dict[str, Any]) -> Iterator[Path]:
    """A temporary folder whose `new` takes the place of `folder` when the block ends well."""
    if folder.exists() and not (
        folder.is_dir() and all(is_ours(child.name) for child in folder.iterdir())
    ):
        raise InputError(f"{folder} holds other files; name an empty or new folder for the tokens")

    with resumable_folder(folder, lambda scratch: can_resume(scratch, request)) as scratch:
        (scratch / "new").mkdir(exist_ok=True)
        yield scratch
        if folder.exists():
            os.replace(folder, scratch / "old")
        os.replace(scratch / "new", folder)
