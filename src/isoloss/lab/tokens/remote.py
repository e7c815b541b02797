"""Token sets that lie elsewhere, copied once to this machine through `fsspec` (extra `remote`).

A set is known by the hash of its index, and copied to a folder of that name. A file is copied under
a temporary name, held against the size and the hash that the index gives, and renamed; the index is
written last. So what lies in the cache is whole, two processes may copy at once, and a copy that
was cut off goes on with the next file. The folder is a token set like any other; what is no longer
wanted can be deleted.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from isoloss.errors import InputError
from isoloss.lab.corpus.catalogue import cache_folder
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.tokens.index import INDEX, LARGEST_INDEX, DamagedIndex, Index, parse_index

_BLOCK = 1 << 20
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def remote_url(folder: str | Path) -> str | None:
    """The address that names a folder elsewhere, or None for a path on this machine.

    A `Path` of an address has lost a stroke, which is put back.
    """
    match = _ADDRESS.fullmatch(folder.as_posix() if isinstance(folder, Path) else folder)
    if match is None:
        return None
    strokes = ":///" if match[1] in ("file", "local") else "://"
    return f"{match[1]}{strokes}{match[2]}"


def fetch_tokens(
    url: str, cache: str | Path | None = None, progress: Progress | None = None
) -> Path:
    """Copy the token set at an address into the cache, or find it there; returns its folder.

    cache: the folder of all copies; $ISOLOSS_TOKENS or the user's cache without it.
    Raises InputError where there is none, where it cannot be reached or written, and for a file
    that is not the one of the index.
    """
    shown = re.sub(r"//[^/@]*@", "//", url)  # without a password
    files, root = _file_system(url, shown)
    with _reading(shown), files.open(f"{root}/{INDEX}", "rb") as stream:
        content: bytes = stream.read(LARGEST_INDEX + 1)
    try:
        index = parse_index(content)
    except DamagedIndex as error:
        raise InputError(f"the token set at {shown} is damaged (its index: {error})") from None
    if not index.others:
        raise InputError(
            f"the token set at {shown} has no hashes to check a copy by; prepare it again there, "
            "or copy it here yourself"
        )
    base = cache_folder("tokens") if cache is None else Path(cache)
    folder = base / hashlib.sha256(content).hexdigest()[:32]
    _make(folder)
    wanted = _files(index)
    done, total = 0, sum(size for size, _ in wanted.values())
    for name, (size, digest) in wanted.items():
        if not _is_there(folder / name, size):
            with _reading(f"{shown}/{name}"), files.open(f"{root}/{name}", "rb") as stream:
                _copy(stream, folder / name, size, digest, f"{shown}/{name}")
        done += size
        if progress is not None:
            progress("copying tokens", done, total)
    if not _is_there(folder / INDEX, len(content)):
        with _written(folder / INDEX) as out:
            _write(out, content)
    return folder


def _files(index: Index) -> dict[str, tuple[int, str]]:
    """Size and hash of every file but the index itself."""
    shards = {
        shard.file: (shard.tokens * index.dtype.itemsize, shard.sha256)
        for side in index.shards.values()
        for shard in side
    }
    return {**index.others, **shards}


def _file_system(url: str, shown: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError:
        raise InputError(
            f"reading {shown} needs the `fsspec` library: pip install 'isoloss[remote]', "
            "or copy the folder here yourself"
        ) from None
    try:
        files, root = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:  # an unknown kind, or one whose library is missing
        raise InputError(f"{shown} cannot be read ({_first_line(error)})") from None
    return files, str(root).rstrip("/")


def _copy(stream: IO[bytes], path: Path, size: int, digest: str, shown: str) -> None:
    """Copy a stream to a file that must come out with this size and hash."""
    found = hashlib.sha256()
    done = 0
    with _written(path) as out:
        while done <= size and (block := stream.read(_BLOCK)):
            done += len(block)
            found.update(block)
            _write(out, block)
        if done != size or found.hexdigest() != digest:
            raise InputError(f"{shown} is not the file that its index names; copy the set anew")


@contextmanager
def _reading(shown: str) -> Iterator[None]:
    """Errors of a file system, of which each kind has its own, in one line."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"there is no {shown}; check the address of the token set") from None
    except Exception as error:
        raise InputError(
            f"{shown} cannot be read ({type(error).__name__}: {_first_line(error)})"
        ) from None


@contextmanager
def _written(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears under its name when the block ends well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as out:
            yield out
        os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write(out: IO[bytes], content: bytes) -> None:
    try:
        out.write(content)
    except OSError as error:
        raise InputError(
            f"{Path(out.name).parent} cannot be written ({error.strerror}); make room, or set "
            "ISOLOSS_TOKENS to another folder"
        ) from None


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be made ({error.strerror}); set ISOLOSS_TOKENS to another folder"
        ) from None


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0][:200]
