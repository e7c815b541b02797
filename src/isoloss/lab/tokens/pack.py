"""A token set in one file, to be carried to another machine: a zip of the folder.

Nothing in such a file is trusted: it may hold what its index names and no more, with the sizes and
hashes of the index, and is unpacked into a folder of our own under the names of our own.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from isoloss.errors import InputError
from isoloss.files import check_replaced, write_zip
from isoloss.lab.tokens.index import (
    INDEX,
    LARGEST_INDEX,
    DamagedIndex,
    Index,
    check_files,
    parse_index,
    read_index,
)

_BLOCK = 1 << 20


def is_packed(path: Path) -> bool:
    """Whether a file is a packed token set, sound or not: a zip with an index in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return INDEX in archive.namelist()
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        return False


def pack_tokens(folder: str | Path, path: str | Path) -> Path:
    """Pack a token set that `prepare` made into one file, and return its path.

    The file appears whole or not at all. `prepare`, and every `--tokens`, reads it as the folder.
    Raises InputError if there is no such set, or the file cannot be written or holds anything else.
    """
    folder, path = Path(folder), Path(path)
    index = read_index(folder)
    if index is None:
        raise InputError(f"{folder} holds no token set; make one with `isoloss corpus prepare`")
    if index.meta["format"] == 1:
        raise InputError(f"{folder} is a token set of an older form; prepare it again")
    if path.suffix.lower() != ".zip":
        raise InputError(f"{path}: a token set is packed as a zip; give a name that ends in .zip")
    check_files(folder, index)
    check_replaced(path, is_packed)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            write_zip(out, ((name, _blocks(folder / name)) for name in (INDEX, *_files(index))))
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    finally:
        temporary.unlink(missing_ok=True)
    return path


def unpack_tokens(path: Path, folder: Path) -> Index:
    """Unpack the files of a packed token set, without its index, into a folder that is there.

    Returns the index. Raises InputError where anything in the file is not as its index says.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open(INDEX) as stream:
                index = parse_index(stream.read(LARGEST_INDEX + 1)[:LARGEST_INDEX])
            if index.meta["format"] == 1:
                raise DamagedIndex("of an older form, without hashes")
            for name, (size, sha256) in _files(index).items():
                _unpack(archive, name, folder / name, size, sha256)
    except DamagedIndex as error:
        raise InputError(
            f"{path}: the packed token set is damaged ({error}); pack it again"
        ) from None
    except (EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        what = " ".join(str(error).split())
        raise InputError(
            f"{path}: the packed token set is damaged ({what}); pack it again"
        ) from None
    return index


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as source:
        while block := source.read(_BLOCK):
            yield block


def _files(index: Index) -> dict[str, tuple[int, str]]:
    """Size in bytes and SHA-256 of every file of a set but the index, by name."""
    shards = [shard for side in index.shards.values() for shard in side]
    itemsize = index.dtype.itemsize
    return {
        **index.others,
        **{shard.file: (shard.tokens * itemsize, shard.sha256) for shard in shards},
    }


def _unpack(archive: zipfile.ZipFile, name: str, target: Path, size: int, sha256: str) -> None:
    if archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DamagedIndex(f"{name} is packed in a way that is not ours")
    digest, left = hashlib.sha256(), size
    with archive.open(name) as source, target.open("wb") as out:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                break
            digest.update(block)
            out.write(block)
    if left or digest.hexdigest() != sha256:
        raise DamagedIndex(f"{name} is not what it says")
