"""The shards of a corpus written, by one process or by several.

Several only for BPE: bytes are copied as fast as the disk takes them by one. Workers are processes
of their own, spoken to in JSON lines; stopping them is killing them, for a shard that is not
recorded counts for nothing.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.processes.environment import import_environment, usable_cores
from isoloss.lab.processes.parent import Child
from isoloss.lab.tokens.tokenizing.bpe import Encoder, load_bpe
from isoloss.lab.tokens.tokenizing.shards import Shard, ShardFile, read_done, write_shard
from isoloss.lab.tokens.tokenizing.spool import Spool


def write_shards(
    spool: Spool,
    shards: Sequence[Shard],
    tokenizer: Path | None,
    folder: Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, ShardFile]:
    """Write the shards that are not there yet, and return all by their file's name.

    tokenizer: a tokenizer.json, or None for bytes. folder: where the ids go; records lie beside the
    spool's text. workers: processes, by default one for each core.
    Raises InputError if a file cannot be written or a process is killed; what is done stays.
    """
    records = spool.path.parent
    found = {shard.file: read_done(shard, folder, records) for shard in shards}
    done = {file: shard for file, shard in found.items() if shard is not None}
    waiting = [shard for shard in shards if shard.file not in done]
    tell = _Tell(shards, done, progress)
    count = min(workers or usable_cores(), len(waiting))
    if tokenizer is not None and count > 1:
        return done | _write_in_pool(spool, waiting, tokenizer, folder, count, tell)
    encoder = None if tokenizer is None else Encoder(load_bpe(tokenizer))
    try:
        for shard in waiting:
            done[shard.file] = write_shard(spool, shard, encoder, folder, records, tell)
    except OSError as error:
        raise tell.stopped(f"{folder.name} cannot be written ({error.strerror or error})") from None
    return done


class _Tell:
    """Adds up the bytes that are done, for the display."""

    def __init__(
        self, shards: Sequence[Shard], done: dict[str, ShardFile], progress: Progress | None
    ) -> None:
        self.shards, self.left = len(shards), len(shards) - len(done)
        self._total = sum(shard.size for shard in shards)
        self._done = sum(shard.size for shard in shards if shard.file in done)
        self._progress = progress

    def __call__(self, size: int) -> None:
        self._done += size
        if self._progress is not None:
            self._progress("tokenizing", self._done, self._total)

    def stopped(self, why: str) -> InputError:
        """The error for work that could not go on."""
        return InputError(f"{why}; run the same again: it goes on from the shards that are done")


def _write_in_pool(
    spool: Spool, waiting: Sequence[Shard], tokenizer: Path, folder: Path, count: int, tell: _Tell
) -> dict[str, ShardFile]:
    config = {
        "parent": os.getpid(),
        "text": str(spool.path),
        "folder": str(folder),
        "records": str(spool.path.parent),
        "tokenizer": str(tokenizer),
    }
    inbox: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]] = queue.SimpleQueue()
    # The largest first, so that no core waits long for the last.
    todo = sorted(waiting, key=lambda shard: shard.size)
    done: dict[str, ShardFile] = {}
    pool: list[_Worker] = []
    try:
        for _ in range(count):
            pool.append(_Worker(config, inbox))
            pool[-1].give(todo.pop())
        while len(done) < len(waiting):
            worker, event = inbox.get()
            kind = event.pop("event")
            if kind == "done":
                tell(event["bytes"])
            elif kind == "shard":
                shard = ShardFile(**event)
                done[shard.file] = shard
                if todo:
                    worker.give(todo.pop())
            else:
                reason = event.get("reason") or f"a process {worker.how_it_died()}"
                raise tell.stopped(f"tokenizing into {folder.name} stopped ({reason})")
    finally:
        for worker in pool:
            worker.end()
    return done


class _Worker:
    """One process; its events are put into `inbox` as they come."""

    def __init__(
        self, config: dict[str, Any], inbox: queue.SimpleQueue[tuple[_Worker, dict[str, Any]]]
    ) -> None:
        self._process = Child(
            "isoloss.lab.tokens.tokenizing.worker",
            [],
            import_environment() | {"TOKENIZERS_PARALLELISM": "false"},  # one thread each
            lambda event: inbox.put((self, event)),
        )
        self.end, self.how_it_died = self._process.end, self._process.how_it_died
        self._process.send(config)

    def give(self, shard: Shard) -> None:
        """Hand the process a shard to write."""
        self._process.send(asdict(shard))
