"""Text to ids: documents laid out in one spool, split, and written as bytes or byte-level BPE.

Every document is followed by a separator. For bytes it is 255 (0xFF), which never occurs in UTF-8,
so that the vocabulary is 256 and no document can contain it. For BPE it is the token
`<|endoftext|>`, number 0; the same characters in a document are tokenized as ordinary text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.clients import Progress
from isoloss.lab.corpus.split import choose_validation, hash_of_unit
from isoloss.lab.corpus.text_files import SEPARATOR_LINE, Document

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTE_SEPARATOR = 0xFF
BYTE_VOCAB = 256
LEAST_BPE, LARGEST_BPE = 257, 1 << 16
"""Vocabulary of a byte-level BPE: the bytes and the separator, up to what 16 bits hold."""

LEAST_TRAIN, LEAST_VAL = 2048, 256
"""Bytes below which a side of the split is refused: no context of any use fits."""

_BPE_SAMPLE = 64 << 20  # bytes of training text that merges are learnt from
_BATCH = 1 << 21  # bytes tokenized at a time
_PROGRESS_EVERY = 1 << 20


@dataclass(frozen=True)
class Spool:
    """Documents laid end to end in a file, with the length, unit and name of each."""

    path: Path
    lengths: NDArray[np.int64]
    units: list[str] = field(repr=False)
    names: list[str] = field(repr=False)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(documents + 1,) byte offsets."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])

    def read(self, numbers: Iterable[int]) -> Iterator[bytes]:
        """The documents of these numbers."""
        with self.path.open("rb") as stream:
            for number in numbers:
                stream.seek(int(self.starts[number]))
                yield stream.read(int(self.lengths[number]))


@dataclass(frozen=True)
class Written:
    """What lies in train.bin and val.bin: sizes, vocabulary, bytes to a held-out token."""

    dtype: str
    vocab: int
    separator: int | None
    train_tokens: int
    val_tokens: int
    train_documents: int
    val_documents: NDArray[np.int64]
    bytes_per_token: float | None

    def to_meta(self) -> dict[str, Any]:
        """The same as plain JSON, for meta.json."""
        return {
            "dtype": self.dtype,
            "vocab": self.vocab,
            "separator": self.separator,
            "train_tokens": self.train_tokens,
            "val_tokens": self.val_tokens,
            "train_documents": self.train_documents,
            "val_documents": len(self.val_documents) - 1,
            "bytes_per_token": self.bytes_per_token,
        }


def parse_tokenizer(name: str) -> int | None:
    """Read `bytes` (None) or `bpe:V` (the vocabulary V); raises InputError for anything else."""
    if name == "bytes":
        return None
    match = re.fullmatch(r"bpe:(\d+)", name)
    if match is None:
        raise InputError(f"unknown tokenizer {name!r}; write bytes, or bpe:1024 for byte-level BPE")
    vocab = int(match[1])
    if not LEAST_BPE <= vocab <= LARGEST_BPE:
        raise InputError(
            f"a byte-level BPE of {vocab:,} tokens is out of range; "
            f"write bpe:V with V from {LEAST_BPE} to {LARGEST_BPE:,}"
        )
    return vocab


def spool_documents(documents: Iterable[Document], path: Path, progress: Progress | None) -> Spool:
    """Lay documents end to end as UTF-8 in a file; empty ones are left out."""
    lengths: list[int] = []
    units: list[str] = []
    names: list[str] = []
    done = said = 0
    with path.open("wb") as out:
        for document in documents:
            raw = document.text.encode("utf-8", "replace")
            if not raw:
                continue
            out.write(raw)
            lengths.append(len(raw))
            units.append(document.unit)
            names.append(document.name)
            done += len(raw)
            if progress is not None and done - said >= _PROGRESS_EVERY:
                progress("reading text", done, None)
                said = done
    return Spool(path, np.array(lengths, np.int64), units, names)


def split_spool(spool: Spool, fraction: float, name: str) -> tuple[NDArray[np.bool_], str]:
    """Mark the documents held out, by unit, or each by itself where units are too few or large.

    Returns the mask and which of the two it was. Raises InputError for a corpus too small to split.
    """
    total = int(spool.lengths.sum())
    if total == 0:
        raise InputError(f"the corpus {name} is empty; name one with text in it")
    for level, keys in (("unit", spool.units), ("document", spool.names)):
        sizes: dict[str, int] = {}
        for key, length in zip(keys, spool.lengths.tolist(), strict=True):
            sizes[key] = sizes.get(key, 0) + length
        chosen = choose_validation(sizes, fraction)
        if chosen is not None:
            held = np.fromiter((key in chosen for key in keys), bool, len(keys))
            val, train = int(spool.lengths[held].sum()), int(spool.lengths[~held].sum())
            if val >= LEAST_VAL and train >= LEAST_TRAIN:
                return held, level
    raise InputError(
        f"the corpus {name} holds {total:,} bytes in {len(spool.names):,} documents, too little to "
        "train on and hold out from; give at least 10 kB of text, better 10 MB"
    )


def write_bytes(
    spool: Spool, held: NDArray[np.bool_], folder: Path, progress: Progress | None
) -> Written:
    """Write both sides as bytes, each document followed by the separator."""
    separator = bytes([BYTE_SEPARATOR])
    for side, mask in (("train", ~held), ("val", held)):
        with (folder / f"{side}.bin").open("wb") as out:
            for text in spool.read(np.flatnonzero(mask).tolist()):
                out.write(text + separator)
        if progress is not None:
            progress(f"writing {side}.bin", 1, 1)
    ends = np.cumsum(spool.lengths[held] + 1)
    return Written(
        dtype="uint8",
        vocab=BYTE_VOCAB,
        separator=BYTE_SEPARATOR,
        train_tokens=int((spool.lengths[~held] + 1).sum()),
        val_tokens=int(ends[-1]),
        train_documents=int((~held).sum()),
        val_documents=np.concatenate([np.zeros(1, np.int64), ends]),
        bytes_per_token=1.0,
    )


def write_bpe(
    spool: Spool, held: NDArray[np.bool_], folder: Path, vocab: int, progress: Progress | None
) -> Written:
    """Train a byte-level BPE on the training side, keep it as tokenizer.json, and write both sides.

    Merges are learnt from up to 64 MB of training documents, in the order of their hash; the
    held-out documents have no part in it.
    """
    tokenizer = _train_bpe(spool, held, vocab, progress)
    tokenizer.save(str(folder / "tokenizer.json"))
    separator = cast(int, tokenizer.token_to_id(SEPARATOR_LINE))
    sides: dict[str, NDArray[np.int64]] = {}
    for side, mask in (("train", ~held), ("val", held)):
        sides[side] = _encode(
            tokenizer, spool, np.flatnonzero(mask), folder / f"{side}.bin", separator, progress
        )
    ends = np.cumsum(sides["val"])
    return Written(
        dtype="uint16",
        vocab=int(tokenizer.get_vocab_size()),
        separator=separator,
        train_tokens=int(sides["train"].sum()),
        val_tokens=int(ends[-1]),
        train_documents=int((~held).sum()),
        val_documents=np.concatenate([np.zeros(1, np.int64), ends]),
        bytes_per_token=float((spool.lengths[held] + 1).sum() / ends[-1]),
    )


def load_bpe(path: Path) -> Tokenizer:
    """Open a tokenizer.json; raises InputError where `tokenizers` is not installed."""
    tokenizer: Tokenizer = _library().Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    return tokenizer


def _train_bpe(
    spool: Spool, held: NDArray[np.bool_], vocab: int, progress: Progress | None
) -> Tokenizer:
    library = _library()
    tokenizer: Tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[SEPARATOR_LINE],
        initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    order = sorted(
        np.flatnonzero(~held).tolist(), key=lambda number: hash_of_unit(spool.names[number])
    )
    total = np.cumsum(spool.lengths[order])
    order = order[: int(np.searchsorted(total, _BPE_SAMPLE)) + 1]
    if progress is not None:
        progress(f"learning a vocabulary of {vocab:,}", 0, None)
    texts = (text.decode("utf-8") for text in spool.read(order))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.encode_special_tokens = True
    return tokenizer


def _encode(
    tokenizer: Tokenizer,
    spool: Spool,
    numbers: NDArray[np.int64],
    path: Path,
    separator: int,
    progress: Progress | None,
) -> NDArray[np.int64]:
    """Write these documents as 16-bit ids; returns the tokens of each, its separator counted."""
    counts: list[int] = []
    total = int(spool.lengths[numbers].sum())
    done = 0
    with path.open("wb") as out:
        for batch in _batches(spool, numbers):
            texts = [text.decode("utf-8") for text in spool.read(batch)]
            for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
                ids = np.array([*encoding.ids, separator], "<u2")
                out.write(ids.tobytes())
                counts.append(len(ids))
            done += int(spool.lengths[batch].sum())
            if progress is not None:
                progress(f"writing {path.name}", done, total)
    return np.array(counts, np.int64)


def _batches(spool: Spool, numbers: NDArray[np.int64]) -> Iterator[list[int]]:
    batch: list[int] = []
    size = 0
    for number in numbers.tolist():
        batch.append(number)
        size += int(spool.lengths[number])
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _library() -> Any:
    try:
        import tokenizers
        import tokenizers.decoders
        import tokenizers.models
        import tokenizers.pre_tokenizers
        import tokenizers.trainers
    except ImportError:
        raise InputError(
            "byte-level BPE needs the `tokenizers` library: pip install tokenizers, "
            "or use the tokenizer `bytes`"
        ) from None
    return tokenizers
