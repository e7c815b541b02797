"""One writer per record, made certain by the kernel.

The lock is an advisory lock on the file `RUN.lock` beside the record; the kernel drops it when its
holder dies, however it dies, so there is never a stale one. A leftover *file* means nothing.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def run_lock(folder: Path, run_id: str, *, wait: float = 10.0) -> Iterator[bool]:
    """Hold the lock of one run; yields False, holding nothing, if another process keeps it.

    wait: seconds to try. A worker whose sweep was killed may need a moment to follow it.
    """
    path = folder / f"{run_id}.lock"
    until = time.monotonic() + wait
    while (handle := _try_lock(path)) is None and time.monotonic() < until:
        time.sleep(0.05)
    if handle is None:
        yield False
        return
    try:
        yield True
    finally:
        # Removed while still held: whoever opened it meanwhile sees a file without a name, and
        # tries again (see _try_lock).
        path.unlink(missing_ok=True)
        os.close(handle)


def _try_lock(path: Path) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.stat(path)
        held = os.fstat(handle)
        if (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(handle)
    return None
