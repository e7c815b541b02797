"""Whether the ids that a run reads are still those it began with.

Ids are read by memory map. A file that is removed, or replaced by another of its name, stays mapped
as it was, and a run that has it open is right to go on; one that is written to in place changes
under the run, and one that is cut short kills it (SIGBUS). Sets in several files open each when it
is first read, so with them any change counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from isoloss.errors import InputError
from isoloss.lab.tokens.index import hash_set, is_ours, read_index
from isoloss.lab.tokens.token_set import TokenSet

Stamp = tuple[int, int, int]
"""Inode, size in bytes and time of the last write in nanoseconds."""

_HASH_UP_TO = 1 << 30  # bytes, read in a second or two


@dataclass(frozen=True)
class Watch:
    """The files of ids in a folder as they were when a run began."""

    folder: Path
    stamps: Mapping[str, Stamp]

    def check(self) -> None:
        """Raise InputError naming a file whose ids this run may have read from two texts."""
        now = stamps(self.folder)
        alone = len(self.stamps) <= 2
        for name, before in self.stamps.items():
            after = now.get(name, (0, 0, 0))
            if after != before and not (alone and after[0] != before[0]):
                raise InputError(
                    f"{self.folder / name} changed while it was read; put back what it held and "
                    "run the same command again"
                )


def watch(tokens: TokenSet) -> Watch:
    """Take down the state of the files that a token set maps."""
    return Watch(tokens.folder, stamps(tokens.folder))


def stamps(folder: Path) -> dict[str, Stamp]:
    """The stamps of the files of ids in a folder, by name."""
    found: dict[str, Stamp] = {}
    for path in sorted(folder.glob("*.bin")):
        if is_ours(path.name):
            try:
                stat = path.stat()
            except FileNotFoundError:  # removed this moment
                continue
            found[path.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def check_ids(tokens: TokenSet) -> None:
    """Hold the ids of a set against the hash of its index; of more than 1 GB nothing is read.

    Ids without an index (nanoGPT's) were hashed when they were opened.
    Raises InputError if they are not the ids that were prepared.
    """
    index = read_index(tokens.folder)
    if index is None or tokens.train.nbytes + tokens.val.nbytes > _HASH_UP_TO:
        return
    if hash_set(tokens.folder, index) != index.hash:
        raise InputError(
            f"the token set in {tokens.folder} is damaged (its ids are not those of its index); "
            "prepare it again"
        )
