"""Where the records of a sweep lie: in a folder, or packed in one file to be carried elsewhere.

A packed file is a zip of records and nothing else. It is read in memory, member by member and never
beyond the size a record can have: nothing is extracted, so the names in it lead nowhere.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from isoloss.errors import InputError
from isoloss.files import check_replaced, write_whole, write_zip
from isoloss.runs.record import Run, parse_record

RESULTS = ".results.zip"
"""What the name of a packed file ends in where no other is asked for."""

_LARGEST = 64 << 20  # bytes of one record; those of the longest runs have some hundred kB
_MOST = 100_000


def stored_records(path: Path) -> tuple[list[Run], list[str]]:
    """Read all records in a folder or in a packed file; the notes name what is none.

    Raises InputError if there is no record, if one is damaged before its last line, and for a file
    that is no zip.
    """
    records: list[Run] = []
    notes: list[str] = []
    for name, content in _in_folder(path) if path.is_dir() else _in_zip(path):
        if _is_ours(content):
            records.append(parse_record(content, name))
        else:
            notes.append(f"{name.name} is no run record and is left out")
    if not records:
        raise InputError(
            f"{path}: holds no run records (*.jsonl); run a sweep into it, or give a table"
        )
    return records, notes


def pack_records(folder: str | Path, path: str | Path) -> Path:
    """Pack the records of a folder, finished or not, into one zip that `read_runs` reads.

    folder: of records (`RUN.jsonl`); nothing else in it is taken. path: of the file, which appears
    whole or not at all, and takes the place of an earlier one alone; the same records are the same
    bytes. Returns path.
    Raises InputError if there are no records, or the file cannot be written or holds anything else.
    """
    folder, path = Path(folder), Path(path)
    check_results(path)
    records = [
        (file.relative_to(folder).as_posix(), [content])
        for file, content in _in_folder(folder)
        if _is_ours(content)
    ]
    if not records:
        raise InputError(f"{folder}: holds no run records (*.jsonl) to pack")
    packed = io.BytesIO()
    write_zip(packed, records)
    write_whole(path, packed.getvalue())
    return path


def check_results(path: Path) -> None:
    """Raise InputError if a file is there that is no packed results, which none may replace."""
    check_replaced(path, _is_packed)


def _is_packed(path: Path) -> bool:
    """Whether a file is a zip of records."""
    try:
        found = [_is_ours(content) for _, content in _in_zip(path)]
    except InputError:
        return False
    return bool(found) and all(found)


def is_record(content: bytes) -> bool:
    """Whether the first line is that of a run record."""
    try:
        first = json.loads(content.split(b"\n", 1)[0])
    except (ValueError, RecursionError):
        return False
    return isinstance(first, dict) and first.get("kind") == "spec"


def _is_ours(content: bytes) -> bool:
    # Without one whole line it is a run killed as it began, not someone else's file.
    return is_record(content) or b"\n" not in content


def _in_folder(folder: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(folder.glob("*.jsonl")) or sorted(folder.glob("*/*.jsonl")):
        if path.is_dir():
            continue
        try:
            yield path, path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def _in_zip(path: Path) -> Iterator[tuple[Path, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) > _MOST:
                raise InputError(f"{path}: holds {len(members):,} files, more than any sweep")
            for member in sorted(members, key=lambda one: one.filename):
                name = path / PurePosixPath(member.filename).name
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise InputError(f"{name}: is packed in a way that is not ours; pack it again")
                with archive.open(member) as stream:
                    content = stream.read(_LARGEST + 1)  # whatever size the zip claims
                if len(content) > _LARGEST:
                    raise InputError(f"{name}: is too large for a run record")
                yield name, content
    except InputError:
        raise
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # RuntimeError: encrypted; its subclass NotImplementedError: packed in a way not known.
        raise InputError(
            f"{path}: not a readable zip of run records ({error}); pack the folder again, or give "
            "it instead"
        ) from None
