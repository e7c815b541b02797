"""The documents of a corpus in one file, so that they can be split before any is tokenized.

A document is followed by the byte 0xFF, which UTF-8 never holds. Of each document only its length
and the hashes that decide the split are kept in memory, 40 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.split import choose_in_order, hash_of_unit
from isoloss.lab.corpus.text_files import Document
from isoloss.lab.tokens.tokenizing import BYTE_SEPARATOR

LEAST_TRAIN, LEAST_VAL = 2048, 256
"""Bytes below which a side of the split is refused: no context of any use fits."""

SAMPLE = 64 << 20
"""Bytes of training text that the merges of a BPE are learnt from."""

BLOCK = 1 << 20
_SEPARATOR = bytes([BYTE_SEPARATOR])
_DIGEST = 16  # bytes kept of a hash: its order, and no two alike
_ARRAYS = ("starts", "held", "sample")


@dataclass(frozen=True)
class Documents:
    """What is known of each document of a spool, in the order they were read.

    lengths: (documents,) bytes of text. units, names: (documents, 2) the first 128 bits of the hash
    of the split unit's name and of its own, the greater half first.
    """

    lengths: NDArray[np.int64]
    units: NDArray[np.uint64]
    names: NDArray[np.uint64]


@dataclass(frozen=True)
class Spool:
    """A corpus laid out and split.

    path: the text, each document followed by 0xFF. starts: (documents + 1,) where each begins.
    held: (documents,) whether it is held out. sample: (k,) numbers of the training documents that a
    BPE is learnt from, in the order of their hash.
    """

    path: Path
    starts: NDArray[np.int64]
    held: NDArray[np.bool_]
    sample: NDArray[np.int64]

    def save(self) -> None:
        """Write the arrays beside the text."""
        for name in _ARRAYS:
            np.save(self.path.with_name(f"{name}.npy"), getattr(self, name))

    @classmethod
    def load(cls, path: Path) -> Spool:
        """Open what `save` wrote, memory-mapped."""
        starts, held, sample = (
            np.load(path.with_name(f"{name}.npy"), mmap_mode="r", allow_pickle=False)
            for name in _ARRAYS
        )
        return cls(path, starts, held, sample)

    def files(self) -> list[Path]:
        """The text and the arrays."""
        return [self.path, *(self.path.with_name(f"{name}.npy") for name in _ARRAYS)]

    def texts(self, numbers: Iterable[int]) -> Iterator[str]:
        """The documents of these numbers."""
        with self.path.open("rb") as stream:
            for number in numbers:
                stream.seek(int(self.starts[number]))
                length = int(self.starts[number + 1] - self.starts[number]) - 1
                yield stream.read(length).decode("utf-8")

    def runs(self, first: int, last: int, *, held: bool) -> list[tuple[int, int]]:
        """Where the documents of one side from `first` to before `last` lie: (start, end) each."""
        ours = np.concatenate([[False], np.asarray(self.held[first:last]) == held, [False]])
        edges = np.flatnonzero(ours[1:] != ours[:-1]).reshape(-1, 2) + first
        return [(int(self.starts[a]), int(self.starts[b])) for a, b in edges.tolist()]


def spool_documents(
    documents: Iterable[Document], path: Path, progress: Progress | None
) -> Documents:
    """Lay documents end to end as UTF-8 in a file; empty ones are left out."""
    lengths, units, names = array("q"), bytearray(), bytearray()
    done = said = 0
    with path.open("wb", buffering=BLOCK) as out:
        for document in documents:
            raw = document.text.encode("utf-8", "replace")
            if not raw:
                continue
            out.write(raw)
            out.write(_SEPARATOR)
            lengths.append(len(raw))
            unit = hash_of_unit(document.unit)[:_DIGEST]
            units += unit
            same = document.name == document.unit
            names += unit if same else hash_of_unit(document.name)[:_DIGEST]
            done += len(raw)
            if progress is not None and done - said >= BLOCK:
                progress("reading text", done, None)
                said = done
    return Documents(np.array(lengths, np.int64), _digests(units), _digests(names))


def split_documents(
    documents: Documents, fraction: float, name: str
) -> tuple[NDArray[np.bool_], str]:
    """Mark the documents held out, by unit, or each by itself where units are too few or large.

    Returns the mask and which of the two it was. Raises InputError for a corpus too small to split.
    """
    lengths = documents.lengths
    total = int(lengths.sum())
    if total == 0:
        raise InputError(f"the corpus {name} is empty; name one with text in it")
    for level, digests in (("unit", documents.units), ("document", documents.names)):
        held = hold_out(digests, lengths, fraction)
        if held is not None:
            val, train = int(lengths[held].sum()), int(lengths[~held].sum())
            if val >= LEAST_VAL and train >= LEAST_TRAIN:
                return held, level
    raise InputError(
        f"the corpus {name} holds {total:,} bytes in {len(lengths):,} documents, too little to "
        "train on and hold out from; give at least 10 kB of text, better 10 MB"
    )


def hold_out(
    digests: NDArray[np.uint64], sizes: NDArray[np.int64], fraction: float
) -> NDArray[np.bool_] | None:
    """Mark what `choose_validation` would choose, or None where it would choose nothing.

    digests: (n, 2) the hash of each one's unit. sizes: (n,) its size.
    """
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    ordered = digests[order]
    begins = np.concatenate([[True], np.any(ordered[1:] != ordered[:-1], axis=1)])
    of_units = np.add.reduceat(sizes[order], np.flatnonzero(begins))
    chosen = choose_in_order(of_units.tolist(), fraction)
    if chosen is None:
        return None
    is_chosen = np.zeros(len(of_units), np.bool_)
    is_chosen[chosen] = True
    held = np.empty(len(sizes), np.bool_)
    held[order] = is_chosen[np.cumsum(begins) - 1]
    return held


def make_spool(path: Path, documents: Documents, held: NDArray[np.bool_]) -> Spool:
    """The spool of documents that were laid in `path` and split, its arrays written beside it."""
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(documents.lengths + 1)])
    numbers = np.flatnonzero(~held)
    names = documents.names[numbers]
    order = numbers[np.lexsort((names[:, 1], names[:, 0]))]
    total = np.cumsum(documents.lengths[order])
    sample = order[: int(np.searchsorted(total, SAMPLE)) + 1]
    spool = Spool(path, starts, held, sample.astype(np.int64))
    spool.save()
    return spool


def digests_of(names: Iterable[str]) -> NDArray[np.uint64]:
    """(n, 2) the hashes that decide the split, of these names."""
    return _digests(bytearray().join(hash_of_unit(name)[:_DIGEST] for name in names))


def _digests(raw: bytearray) -> NDArray[np.uint64]:
    return np.frombuffer(raw, ">u8").reshape(-1, 2).astype(np.uint64)
