"""A tokenizing process: `python -m isoloss.lab.tokens.tokenizing.worker`, started by `pool`.

The first line of standard input is one JSON object: parent (process id), text, folder, records,
tokenizer (paths). Every further line is a shard to write. Events go out as JSON lines on what was
standard output: done(bytes) · shard(file, tokens, sha256) · failed(reason). It must not outlive its
parent: on Linux the kernel kills it when the parent dies, and everywhere the end of standard input
ends it after the shard in hand.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isoloss.errors import IsolossError
from isoloss.lab.processes.child import Send, die_with, take_over_stdout
from isoloss.lab.tokens.tokenizing.bpe import Encoder, load_bpe
from isoloss.lab.tokens.tokenizing.shards import Shard, write_shard
from isoloss.lab.tokens.tokenizing.spool import Spool


def main() -> None:
    """Write the shards that come in on standard input until it ends."""
    config = json.loads(sys.stdin.readline())
    die_with(config["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    send = take_over_stdout()
    try:
        _work(config, send)
    except OSError as error:
        send(event="failed", reason=error.strerror or str(error))
    except (IsolossError, MemoryError) as error:
        send(event="failed", reason=str(error) or "out of memory")


def _work(config: dict[str, Any], send: Send) -> None:
    spool = Spool.load(Path(config["text"]))
    encoder = Encoder(load_bpe(Path(config["tokenizer"])))

    def report(size: int) -> None:
        send(event="done", bytes=size)

    for line in sys.stdin:
        shard = Shard(**json.loads(line))
        folder, records = Path(config["folder"]), Path(config["records"])
        done = write_shard(spool, shard, encoder, folder, records, report)
        send(event="shard", **asdict(done))


if __name__ == "__main__":
    main()
