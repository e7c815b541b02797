"""Files written whole or not at all: under another name beside them, then renamed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from isoloss.errors import InputError

_WHEN = (1980, 1, 1, 0, 0, 0)  # one time for all members of a zip


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


def make_folder(folder: Path) -> None:
    """Make a folder for records; raises InputError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot hold records ({error.strerror}); give another folder"
        ) from None


def check_replaced(path: Path, ours: Callable[[Path], bool]) -> None:
    """Raise InputError if a file is there that is neither empty nor a result of the kind to write.

    ours: whether a file is of that kind.
    """
    if path.is_file() and path.stat().st_size and not ours(path):
        raise InputError(
            f"{path}: is there and is no result of this command; name another file, or remove it "
            "first"
        )


def write_zip(out: IO[bytes], members: Iterable[tuple[str, Iterable[bytes]]]) -> None:
    """Write a zip of members, each a name and its bytes in parts; the same are the same bytes.

    out: a file open for writing.
    """
    import zipfile  # most calls of the library write none

    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, parts in members:
            member = zipfile.ZipInfo(name, _WHEN)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            with archive.open(member, "w", force_zip64=True) as stream:
                for part in parts:
                    stream.write(part)
