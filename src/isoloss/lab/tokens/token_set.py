"""A corpus as token ids: opened, checked against a run, and in parts."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.text_files import SEPARATOR_LINE
from isoloss.lab.tokens.arrays import Array, Ids, SampledIds, ShardedIds
from isoloss.lab.tokens.index import (
    TOKENIZER,
    Index,
    check_files,
    hash_ids,
    read_edges,
    read_index,
)
from isoloss.lab.tokens.remote import fetch_tokens, remote_url
from isoloss.lab.tokens.sources import describe_pair, is_token_source, read_ids
from isoloss.lab.tokens.tokenizing import BYTE_SEPARATOR
from isoloss.lab.tokens.tokenizing.bpe import load_bpe
from isoloss.runs import RunSpec


@dataclass(frozen=True, eq=False)
class TokenSet:
    """Ids of a corpus, memory-mapped and read-only.

    train, val: (tokens,) ids, each document followed by a separator; read as `arrays` says.
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
