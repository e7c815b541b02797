"""Shards: whole documents of one side, tokenized into one file, each by itself.

Which documents a shard holds follows from the split and the size of a shard alone, so any process
may write any shard. A shard is written under a temporary name and renamed; then its record, with
the hash of its ids, is written too. So after a kill a shard is either recorded, and can be checked,
or written again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

from isoloss.lab.tokens.tokenizing.bpe import Encoder, safe_end
from isoloss.lab.tokens.tokenizing.spool import BLOCK, Spool

SHARD_BYTES = 64 << 20
"""Bytes of text in a shard, unless that were more than `MOST_SHARDS` of them."""

MOST_SHARDS = 256
"""Each is a file kept open by whoever reads the ids, and a thousand is often all one may open."""


@dataclass(frozen=True)
class ShardFile:
    """One file of ids: its name in the folder, how many ids it holds, the SHA-256 of its bytes."""

    file: str
    tokens: int
    sha256: str


@dataclass(frozen=True)
class Shard:
    """A shard to write: the documents of one side from number `first` to before `last`.

    size: bytes of their text, separators counted.
    """

    side: str
    file: str
    first: int
    last: int
    size: int


def plan_shards(spool: Spool, shard_bytes: int | None = None) -> list[Shard]:
    """Cut both sides into shards of about `shard_bytes` of text, at document ends.

    A side of one shard is train.bin or val.bin; of more, train-00000.bin and so on.
    """
    size = max(shard_bytes or SHARD_BYTES, -(-int(spool.starts[-1]) // MOST_SHARDS))
    shards = []
    for side, mask in (("train", ~np.asarray(spool.held)), ("val", np.asarray(spool.held))):
        numbers = np.flatnonzero(mask)
        ends = np.cumsum(np.diff(spool.starts)[numbers])
        begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        cuts = [*np.unique(begins // size, return_index=True)[1].tolist(), len(numbers)]
        for number, (a, b) in enumerate(pairwise(cuts)):
            file = f"{side}.bin" if len(cuts) == 2 else f"{side}-{number:05d}.bin"
            last = int(numbers[b - 1]) + 1
            text = int(ends[b - 1] - begins[a])
            shards.append(Shard(side, file, int(numbers[a]), last, text))
    return shards


def write_shard(
    spool: Spool,
    shard: Shard,
    encoder: Encoder | None,
    folder: Path,
    records: Path,
    report: Callable[[int], None],
) -> ShardFile:
    """Tokenize the documents of a shard into `folder`, and leave its record in `records`.

    encoder: None for bytes. report: called with the bytes of text done since it was last called.
    """
    digest = hashlib.sha256()
    size = 0
    temporary = folder / f"{shard.file}.tmp"
    with spool.path.open("rb") as text, temporary.open("wb") as out:
        for start, end in spool.runs(shard.first, shard.last, held=shard.side == "val"):
            text.seek(start)
            for block in _blocks(text, end - start, whole=encoder is not None):
                ids = block if encoder is None else encoder.encode(block)
                digest.update(ids)
                out.write(ids)
                size += len(ids)
                report(len(block))
    os.replace(temporary, folder / shard.file)
    done = ShardFile(shard.file, size if encoder is None else size // 2, digest.hexdigest())
    record = records / f"{shard.file}.json"
    temporary = record.with_suffix(".tmp")
    temporary.write_text(json.dumps(asdict(done)), "utf-8")
    os.replace(temporary, record)
    return done


def read_done(shard: Shard, folder: Path, records: Path) -> ShardFile | None:
    """A shard that was written before, if it is there and its bytes are those of its record."""
    try:
        done = ShardFile(**json.loads((records / f"{shard.file}.json").read_text("utf-8")))
        kept = done.file == shard.file and hash_file(folder / shard.file) == done.sha256
    except (OSError, ValueError, TypeError):
        return None
    return done if kept else None


def drop_records(records: Path) -> None:
    """Forget the shards that were written, so that all are written again."""
    for path in records.glob("*.bin.json"):
        path.unlink()


def hash_file(path: Path) -> str:
    """SHA-256 of a file, read in blocks rather than mapped, which would count as memory used."""
    digest = hashlib.sha256()
    for block in read_blocks(path):
        digest.update(block)
    return digest.hexdigest()


def read_blocks(path: Path, offset: int = 0) -> Iterator[memoryview]:
    """The bytes of a file from `offset` on; each block is overwritten by the next."""
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as stream:
        stream.seek(offset)
        while size := stream.readinto(buffer):
            yield buffer[:size]


def _blocks(stream: BinaryIO, size: int, *, whole: bool) -> Iterator[bytes]:
    """The next `size` bytes in blocks, if `whole` each ending where text may be cut."""
    held = b""
    while size:
        raw = stream.read(min(BLOCK, size))
        if not raw:
            raise OSError("the text laid out for tokenizing has become shorter")
        size -= len(raw)
        held += raw
        end = len(held) if not size or not whole else safe_end(held)
        if end:
            yield held[:end]
            held = held[end:]
