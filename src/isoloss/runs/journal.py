"""The file under a record: locked, appended to whole lines at a time, synced, strict JSON.

What a kill can leave behind, and nothing else, is tolerated: a torn last line.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from isoloss.errors import InputError, IsolossError

if sys.platform != "win32":
    import fcntl

SCHEMA = 1
"""The version of the record's form; a reader refuses any other."""

KINDS = ("spec", "point", "noise", "held_out", "end")


class RecordInUseError(InputError):
    """Another process is writing this record; wait for it or end it."""


def unwritten(path: str | Path, error: OSError) -> IsolossError:
    """The error, in one line for a person, of a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "no space left on its disk; free some and run the same command again"
        return IsolossError(f"{Path(path).name}: {what}")
    return InputError(f"{path}: cannot be written ({error.strerror})")


def open_locked(path: Path) -> Any:
    """Open for reading and appending, unbuffered, holding the lock; raise if another holds it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b", buffering=0)  # noqa: SIM115  # the writer owns it
    except OSError as error:
        raise unwritten(path, error) from None
    if sys.platform != "win32":
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A resume in another process may have put a new file in the place of the one opened.
            held = os.fstat(file.fileno()).st_ino == os.stat(path).st_ino
        except OSError:
            held = False
        if not held:
            file.close()
            raise RecordInUseError(f"{path}: another process is writing this record")
    file.seek(0)
    return file


def append(file: Any, data: bytes) -> None:
    """Write all of data and sync it; on failure leave the file as it was.

    Raises IsolossError if the disk does not take it.
    """
    start = os.fstat(file.fileno()).st_size
    try:
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        os.fsync(file.fileno())
    except BaseException as error:
        # Half a line in the middle would spoil the record; an interrupt counts as a failure too.
        with contextlib.suppress(OSError):
            file.truncate(start)
        if isinstance(error, OSError):
            raise unwritten(file.name, error) from None
        raise


def sync_folder(folder: Path) -> None:
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def encode(line: Mapping[str, Any]) -> bytes:
    return (json.dumps(strict(line), allow_nan=False) + "\n").encode()


def strict(value: Any) -> Any:
    """Return the value in strict JSON terms: NaN and infinities as None, numpy numbers as plain."""
    if isinstance(value, Mapping):
        return {str(key): strict(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [strict(one) for one in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def scan(content: bytes, path: Path) -> list[dict[str, Any]]:
    """Parse the lines of a record, leaving out a torn last one."""
    raw = content.split(b"\n")
    if raw and not raw[-1]:
        raw.pop()
    lines: list[dict[str, Any]] = []
    for number, text in enumerate(raw, start=1):
        try:
            line = json.loads(text, parse_constant=_no_constant)
            if not isinstance(line, dict):
                raise ValueError("not a JSON object")
        except ValueError as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
            if number == len(raw):
                break
            raise InputError(f"{path}, line {number}: not a line of a record ({error})") from None
        kind = line.get("kind")
        if (kind == "spec") != (number == 1) or kind not in KINDS:
            raise InputError(
                f"{path}, line {number}: kind is {kind!r}; a record is one spec line, "
                "then point, noise and held_out lines, then one end line"
            )
        if kind == "spec" and line.get("schema") != SCHEMA:
            raise InputError(
                f"{path}: record schema {line.get('schema')!r}, but this isoloss reads {SCHEMA}; "
                "upgrade isoloss to read it"
            )
        if kind != "spec" and not isinstance(line.get("step"), int):
            raise InputError(f"{path}, line {number}: the {kind} line has no step")
        lines.append(line)
    return lines


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not strict JSON")
