"""A tokenizing process: `python -m isoloss.lab.tokenizing.worker`, started by `pool`.

The first line of standard input is one JSON object: parent (process id), text, folder, records,
tokenizer (paths). Every further line is a shard to write. Events go out as JSON lines on what was
standard output: done(bytes) · shard(file, tokens, sha256) · failed(reason). It must not outlive its
parent: on Linux the kernel kills it when the parent dies, and everywhere the end of standard input
ends it after the shard in hand.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from isoloss.errors import IsolossError
from isoloss.lab.tokenizing.bpe import Encoder, load_bpe
from isoloss.lab.tokenizing.shards import Shard, write_shard
from isoloss.lab.tokenizing.spool import Spool

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Write the shards that come in on standard input until it ends."""
    config = json.loads(sys.stdin.readline())
    _die_with(config["parent"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    out = os.dup(1)
    os.dup2(2, 1)  # anything else that prints goes to standard error

    def send(**event: object) -> None:
        line = json.dumps(event).encode() + b"\n"
        while line:
            line = line[os.write(out, line) :]

    try:
        _work(config, send)
    except OSError as error:
        send(event="failed", reason=error.strerror or str(error))
    except (IsolossError, MemoryError) as error:
        send(event="failed", reason=str(error) or "out of memory")


def _work(config: dict[str, Any], send: Any) -> None:
    spool = Spool.load(Path(config["text"]))
    encoder = Encoder(load_bpe(Path(config["tokenizer"])))

    def report(size: int) -> None:
        send(event="done", bytes=size)

    for line in sys.stdin:
        shard = Shard(**json.loads(line))
        folder, records = Path(config["folder"]), Path(config["records"])
        done = write_shard(spool, shard, encoder, folder, records, report)
        send(event="shard", **asdict(done))


def _die_with(parent: int) -> None:
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)


if __name__ == "__main__":
    main()
