"""Files inside a published archive, read as a stream: nothing is written to disk.

So no member can land outside a folder, no link is followed and no script is run. Only regular files
are read, those asked for, each up to a size no text has.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

from isoloss.errors import InputError

LARGEST = 64 << 20
"""Bytes above which a member is passed over."""

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER = 60


def read_members(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the files wanted in a .tar.gz, .tgz or .deb, in archive order.

    Names have no leading `./`; a member ending in .gz is decompressed and loses that suffix, and
    `wanted` is asked about the name without it.
    Raises InputError if the archive is damaged.
    """
    try:
        with path.open("rb") as stream:
            tar_stream = _data_of_deb(stream, path) if path.suffix == ".deb" else stream
            with tarfile.open(fileobj=tar_stream, mode="r|*") as tar:
                for member in tar:
                    name = member.name.removeprefix("./")
                    plain = name.removesuffix(".gz")
                    if not member.isreg() or member.size > LARGEST or not wanted(plain):
                        continue
                    file = tar.extractfile(member)
                    content = file.read() if file is not None else b""
                    if plain != name:
                        content = _gunzip(content)
                    yield plain, content
    except InputError:
        raise
    except Exception as error:  # each decompressor has errors of its own; all mean damage
        raise InputError(f"{path.name} is damaged ({error}); fetch it again") from None


def _gunzip(content: bytes) -> bytes:
    with gzip.open(io.BytesIO(content)) as stream:
        return stream.read(LARGEST)


def _data_of_deb(stream: IO[bytes], path: Path) -> IO[bytes]:
    """The data.tar of a Debian package, decompressed: an `ar` archive of a few plain members."""
    if stream.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise InputError(f"{path.name} is no Debian package; fetch it again")
    while len(header := stream.read(_AR_HEADER)) == _AR_HEADER:
        name = header[:16].decode("ascii", "replace").strip().rstrip("/")
        size = int(header[48:58])
        if name.startswith("data.tar"):
            # Decompressors stop at the end of their stream, so what follows the member is not read.
            return _decompressed(stream, name, size)
        stream.seek(size + size % 2, io.SEEK_CUR)
    raise InputError(f"{path.name} holds no data.tar; fetch it again")


def _decompressed(stream: IO[bytes], name: str, size: int) -> IO[bytes]:
    part = cast(IO[bytes], io.BufferedReader(_Part(stream, size), 1 << 20))
    if name.endswith(".xz"):
        return cast(IO[bytes], lzma.open(part, "rb"))
    if name.endswith(".gz"):
        return cast(IO[bytes], gzip.open(part, "rb"))
    if name.endswith(".zst"):
        try:
            import zstandard
        except ImportError:
            raise InputError(
                "this package is zstandard-compressed: pip install zstandard"
            ) from None
        return cast(IO[bytes], zstandard.open(cast(BinaryIO, part), "rb"))
    return part


class _Part(io.RawIOBase):
    """The next `size` bytes of a stream, as a stream of their own."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        block = self._stream.read(min(len(view), self._left))
        view[: len(block)] = block
        self._left -= len(block)
        return len(block)
