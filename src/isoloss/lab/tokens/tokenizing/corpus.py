"""A corpus from documents to ids, in steps that a kill does not undo.

Reading and splitting is one step: without it there is nothing to go on from. After it come the
vocabulary, for BPE, and the shards, each kept when it is whole. What is found is believed only if
its hash is the one that was written down.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.text_files import SEPARATOR_LINE, Document
from isoloss.lab.tokens.index import TOKENIZER, Written
from isoloss.lab.tokens.tokenizing import BYTE_SEPARATOR, BYTE_VOCAB
from isoloss.lab.tokens.tokenizing.bpe import load_bpe, train_bpe
from isoloss.lab.tokens.tokenizing.pool import write_shards
from isoloss.lab.tokens.tokenizing.shards import ShardFile, drop_records, hash_file, plan_shards
from isoloss.lab.tokens.tokenizing.spool import Spool, make_spool, split_documents, spool_documents

STATE = "state.json"
_TEXT = "text"


def tokenize_documents(
    read: Callable[[], Iterable[Document]],
    scratch: Path,
    *,
    request: Mapping[str, Any],
    name: str,
    vocab: int | None,
    learnt: Path | None,
    val_fraction: float,
    workers: int | None,
    shard_bytes: int,
    progress: Progress | None,
) -> tuple[str, Written]:
    """Write the ids of a corpus to `scratch/new`, going on from what a kill left in `scratch`.

    read: begins the documents. request: what is asked for, to know it again. vocab: of a BPE, or
    None for bytes. learnt: the vocabulary, where another corpus has it. Others as in `prepare`.
    Returns what was held out (`unit` or `document`) and what was written.
    """
    state, spool = _left(scratch, request)
    if spool is None:
        _clear(scratch)
        documents = spool_documents(read(), scratch / _TEXT, progress)
        held, level = split_documents(documents, val_fraction, name)
        spool = make_spool(scratch / _TEXT, documents, held)
        hashes = {path.name: hash_file(path) for path in spool.files()}
        state = {"request": dict(request), "level": level, "hashes": hashes}
        _save(scratch, state)
    tokenizer = None
    if vocab is not None:
        tokenizer = scratch / "new" / TOKENIZER
        if not tokenizer.is_file() or hash_file(tokenizer) != state.get("tokenizer"):
            if progress is not None and learnt is None:
                progress(f"learning a vocabulary of {vocab:,}", 0, None)
            if learnt is not None:
                shutil.copyfile(learnt, tokenizer)
            else:
                train_bpe(spool.texts(spool.sample.tolist()), vocab).save(str(tokenizer))
            digest = hash_file(tokenizer)
            if digest != state.get("tokenizer"):
                drop_records(scratch)  # of shards that another vocabulary wrote
            _save(scratch, state | {"tokenizer": digest})
    shards = plan_shards(spool, shard_bytes)
    done = write_shards(
        spool, shards, tokenizer, scratch / "new", workers=workers, progress=progress
    )
    sides = {
        side: tuple(done[shard.file] for shard in shards if shard.side == side)
        for side in ("train", "val")
    }
    return str(state["level"]), _written(spool, sides, tokenizer, scratch / "new")


def can_resume(scratch: Path, request: Mapping[str, Any]) -> bool:
    """Whether a folder holds the begun work of the same request."""
    state = _read_state(scratch)
    return state is not None and state.get("request") == request


def _written(
    spool: Spool, sides: Mapping[str, tuple[ShardFile, ...]], tokenizer: Path | None, folder: Path
) -> Written:
    if tokenizer is None:
        dtype, vocab, separator = "uint8", BYTE_VOCAB, BYTE_SEPARATOR
    else:
        bpe = load_bpe(tokenizer)
        dtype, vocab = "uint16", int(bpe.get_vocab_size())
        separator = cast(int, bpe.token_to_id(SEPARATOR_LINE))
    edges = _edges([folder / shard.file for shard in sides["val"]], dtype, separator)
    text = int(np.diff(spool.starts)[np.asarray(spool.held)].sum())
    return Written(
        dtype=dtype,
        vocab=vocab,
        separator=separator,
        train=sides["train"],
        val=sides["val"],
        train_documents=int(np.count_nonzero(~np.asarray(spool.held))),
        val_documents=edges,
        bytes_per_token=float(text / edges[-1]),
    )


def _edges(files: Iterable[Path], dtype: str, separator: int) -> NDArray[np.int64]:
    """(documents + 1,) offsets: nothing but the end of a document is a separator."""
    parts = [np.zeros(1, np.int64)]
    start = 0
    for path in files:
        ids = np.fromfile(path, np.dtype(dtype).newbyteorder("<"))
        parts.append(np.flatnonzero(ids == separator) + start + 1)
        start += len(ids)
    return np.concatenate(parts)


def _left(scratch: Path, request: Mapping[str, Any]) -> tuple[dict[str, Any], Spool | None]:
    """The state and the spool that a kill left, if they are this request's and whole."""
    state = _read_state(scratch)
    if state is None or state.get("request") != request:
        return {}, None
    try:
        for name, digest in state["hashes"].items():
            if hash_file(scratch / Path(name).name) != digest:
                return {}, None
        return state, Spool.load(scratch / _TEXT)
    except (OSError, ValueError, KeyError, AttributeError):
        return {}, None


def _read_state(scratch: Path) -> dict[str, Any] | None:
    try:
        state = json.loads((scratch / STATE).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) else None


def _save(scratch: Path, state: Mapping[str, Any]) -> None:
    temporary = scratch / f"{STATE}.tmp"
    temporary.write_text(json.dumps(state), "utf-8")
    os.replace(temporary, scratch / STATE)


def _clear(scratch: Path) -> None:
    shutil.rmtree(scratch)
    (scratch / "new").mkdir(parents=True)
