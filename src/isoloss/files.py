"""Files written whole or not at all: under another name beside them, then renamed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from isoloss.errors import InputError


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Write a file so that at every moment it is the old one or the new one, whole.

    path: of the file, in a folder that is there; a link stays one, and its target is replaced.
    content: its bytes, or text that is written as UTF-8 with its line ends as they are.
    Raises InputError, and leaves the file as it was, if it cannot be written.
    """
    target = Path(path).resolve()
    temporary = beside(target)
    try:
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def beside(path: Path) -> Path:
    """Return the hidden name beside a file under which this process writes it first."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
