"""The real trainer in a world that breaks, named to the sweep's workers as `failing_trainers:NAME`.

What breaks is written in `faults.json` beside the records' folder, a list of (run's seed, deed,
when): each strikes once, the first in the list first. `when` is a step, or how many files of that
kind are written before.
"""

from __future__ import annotations

import errno
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

import isoloss.lab.train as training
from isoloss.lab.tokens import TokenSet
from isoloss.lab.training import checkpoint
from isoloss.runs import RunSpec, journal, record

REAL_FSYNC, REAL_SAVEZ, REAL_REPLACE = os.fsync, np.savez, os.replace
REAL_APPEND, REAL_RENAME, REAL_SEED = journal.append, Path.replace, training.seed_dropout


def struck(spec: RunSpec, tokens: TokenSet, folder: Path, **options: Any) -> None:
    """Train, and be struck by the first fault that is meant for this run."""
    faults = folder.parent / "faults.json"
    listed = json.loads(faults.read_text()) if faults.exists() else []
    mine = next((fault for fault in listed if fault[0] == spec.seed), None)
    if mine is not None:

        def strike() -> None:
            left = [fault for fault in json.loads(faults.read_text()) if fault != mine]
            faults.write_text(json.dumps(left))

        _, deed, when = mine
        (_in_the_text if deed in TEXT else _while_writing)(deed, when, strike, tokens.folder)
    try:
        training.train(spec, tokens, folder, **options)
    finally:
        record.append, training.seed_dropout = REAL_APPEND, REAL_SEED  # type: ignore[attr-defined]


def full(spec: RunSpec, tokens: TokenSet, folder: Path, **options: Any) -> None:
    """Train on a disk that takes nothing while a file `full` lies beside the records' folder."""

    def fsync(handle: int) -> None:
        if (folder.parent / "full").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        REAL_FSYNC(handle)

    os.fsync = fsync
    training.train(spec, tokens, folder, **options)


def small_disk(spec: RunSpec, tokens: TokenSet, folder: Path, **options: Any) -> None:
    """Train on a disk that takes records, and half of any checkpoint."""
    np.savez = _half_written(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    training.train(spec, tokens, folder, **options)


def _half_written(error: Any) -> Any:
    def savez(file: Any, **arrays: Any) -> None:
        REAL_SAVEZ(file, **arrays)
        file.truncate(file.tell() // 2)
        file.flush()
        raise error()

    return savez


def _die() -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


TEXT = ("cut", "overwrite", "remove", "replace")


def _in_the_text(deed: str, when: int, strike: Any, folder: Path) -> None:
    """Cut, overwrite or remove train.bin before update `when`, or put another text in its place."""
    path = folder / "train.bin"

    def seed_dropout(spec: RunSpec, step: int, *more: Any) -> None:
        if step == when:
            strike()
            if deed == "cut":
                os.truncate(path, 0)
            elif deed == "overwrite":
                with path.open("r+b") as file:
                    file.write(b"another text" * 100)
            elif deed == "remove":
                path.unlink()
            else:
                folder.rename(folder.with_name("before"))
                folder.with_name("other").rename(folder)
        REAL_SEED(spec, step, *more)

    training.seed_dropout = seed_dropout


def _while_writing(deed: str, when: int, strike: Any, folder: Path) -> None:
    """Be killed in the midst of a line, of a resume or of a checkpoint, before or after its name.

    when: how many of these are left whole before.
    """
    left = [when]

    def now() -> bool:
        left[0] -= 1
        if left[0] == -1:
            strike()
        return left[0] == -1

    def append(file: Any, data: bytes) -> None:
        if now():
            file.write(data[: len(data) // 2])
            _die()
        REAL_APPEND(file, data)

    def savez(file: Any, **arrays: Any) -> None:
        _half_written(_die)(file, **arrays) if now() else REAL_SAVEZ(file, **arrays)

    def replace(path: Path, target: Path) -> Path:
        if now():
            if deed == "after rename":
                REAL_RENAME(path, target)
            _die()
        return REAL_RENAME(path, target)

    def resume(source: Path, target: Path) -> None:
        if now():
            _die()
        REAL_REPLACE(source, target)

    if deed == "in line":
        record.append = append  # type: ignore[attr-defined]
    elif deed == "in resume":
        os.replace = resume  # type: ignore[assignment]
    elif deed == "in checkpoint":
        checkpoint.np.savez = savez  # type: ignore[attr-defined]
    else:
        Path.replace = replace  # type: ignore[assignment,method-assign]
