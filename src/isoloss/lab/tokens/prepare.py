"""Make a token set: of text, or of ids that others made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.documents import Source, corpus_name, describe, fingerprint, read_documents
from isoloss.lab.corpus.scratch import resumable_folder
from isoloss.lab.tokens.index import (
    TOKENIZER,
    is_ours,
    read_index,
    write_index,
)
from isoloss.lab.tokens.sources import copy_token_source, is_token_source
from isoloss.lab.tokens.token_set import TokenSet, load_tokens
from isoloss.lab.tokens.tokenizing import parse_tokenizer
from isoloss.lab.tokens.tokenizing.bpe import tokenizers_library
from isoloss.lab.tokens.tokenizing.corpus import can_resume, tokenize_documents
from isoloss.lab.tokens.tokenizing.shards import SHARD_BYTES, hash_file
from isoloss.lab.tokens.watch import check_ids


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
    Raises InputError for a corpus that is empty or too small, and for a folder with other files or
    with a token set of another text or tokenizer.
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
    kept = _whole(folder)
    if kept is not None and kept.meta.get("request") == request:
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
        if kept is not None and load_tokens(building).hash != kept.hash:
            # Somebody may have trained on it.
            raise InputError(
                f"{folder} holds the token set {kept.name!r}, made of another text or in another "
                "way; name another folder, or remove that one"
            )
    return load_tokens(folder)


def _tokenizer_of(tokens: TokenSet) -> tuple[str, Path | None]:
    """The tokenizer of a token set, and the file of its vocabulary, which bytes need not."""
    path = tokens.folder / TOKENIZER
    if tokens.tokenizer != "bytes" and not path.is_file():
        raise InputError(
            f"the ids of {tokens.name!r} came without a tokenizer for other text; "
            "give that text as ids too, in a folder of its own"
        )
    return tokens.tokenizer, None if tokens.tokenizer == "bytes" else path


def _fingerprint_ids(path: Path) -> str:
    files = sorted(path.glob("*.bin")) if path.is_dir() else [path]
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([str(path.resolve()), stamps]).encode()).hexdigest()


def _whole(folder: Path) -> TokenSet | None:
    """The token set already there, if it is a whole one of ours."""
    try:
        if read_index(folder) is None:
            return None
        tokens = load_tokens(folder)
        check_ids(tokens)
    except InputError:
        return None
    return tokens


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
