"""Ids that someone else made: `.bin` files of 16-bit ids, as nanoGPT and llm.c write them.

One file is split into documents at the end-of-text token of GPT-2 (50256) where it is the largest
id, else into blocks (4,096 ids, or a hundredth of a small file), and whole documents are held out
by hash. A folder with train.bin and val.bin is taken as it is. The vocabulary is the largest id
plus one. The text is not there, so bytes per token, and with it bits per byte, are unknown.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.corpus.split import choose_validation
from isoloss.lab.tokenizing import LEAST_TRAIN, LEAST_VAL, Written

GPT2_END = 50_256
BLOCK = 4_096
_MAGIC, _HEADER = 20240520, 1_024  # llm.c: 256 32-bit integers before the ids
_CHUNK = 1 << 24


def is_token_source(path: Path) -> bool:
    """Whether a path is a .bin file, or a folder holding train.bin and val.bin."""
    if path.is_dir():
        return (path / "train.bin").is_file() and (path / "val.bin").is_file()
    return path.suffix == ".bin" and path.is_file()


def copy_token_source(path: Path, folder: Path, fraction: float) -> Written:
    """Write train.bin and val.bin in `folder` from a .bin file or a folder holding a pair.

    fraction: share of ids held out of a single file.
    Raises InputError for a file that is not 16-bit ids or is too small.
    """
    if path.is_dir():
        train, val = read_ids(path / "train.bin"), read_ids(path / "val.bin")
        for side, ids in (("train", train), ("val", val)):
            _copy(ids, path / f"{side}.bin", folder / f"{side}.bin")
        return describe_pair(train, val)
    ids = read_ids(path)
    edges = document_edges(ids, _largest(ids))
    names = [f"{path.stem}:{number}" for number in range(len(edges) - 1)]
    lengths = np.diff(edges).tolist()
    chosen = choose_validation(dict(zip(names, lengths, strict=True)), fraction)
    held = np.fromiter((name in (chosen or ()) for name in names), bool, len(names))
    with (folder / "train.bin").open("wb") as train_out, (folder / "val.bin").open("wb") as val_out:
        for is_held, start, end in zip(held.tolist(), edges[:-1], edges[1:], strict=True):
            (val_out if is_held else train_out).write(ids[start:end].tobytes())
    sizes = {side: (folder / f"{side}.bin").stat().st_size // 2 for side in ("train", "val")}
    if sizes["train"] < LEAST_TRAIN or sizes["val"] < LEAST_VAL:
        raise InputError(
            f"{path.name} holds {len(ids):,} ids, too few to train on and hold out from"
        )
    return describe_pair(read_ids(folder / "train.bin"), read_ids(folder / "val.bin"))


def describe_pair(train: NDArray[np.uint16], val: NDArray[np.uint16]) -> Written:
    """Vocabulary and documents of two arrays of ids."""
    largest = max(_largest(train), _largest(val))
    train_edges, val_edges = document_edges(train, largest), document_edges(val, largest)
    return Written(
        dtype="uint16",
        vocab=largest + 1,
        separator=GPT2_END if largest == GPT2_END else None,
        train_tokens=len(train),
        val_tokens=len(val),
        train_documents=len(train_edges) - 1,
        val_documents=val_edges,
        bytes_per_token=None,
    )


def read_ids(path: Path) -> NDArray[np.uint16]:
    """Map a .bin file of 16-bit ids, llm.c's header skipped; raises InputError if it is none."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = np.frombuffer(stream.read(4), "<i4") if size >= _HEADER else np.zeros(1)
    offset = _HEADER if start[0] == _MAGIC else 0
    if size - offset <= 0 or (size - offset) % 2:
        raise InputError(
            f"{path.name} is not a file of 16-bit ids (it has {size:,} bytes); "
            "write it as nanoGPT does, or give the text"
        )
    return np.memmap(path, dtype="<u2", mode="r", offset=offset)


def document_edges(ids: NDArray[np.uint16], largest: int) -> NDArray[np.int64]:
    """(documents + 1,) offsets: after each end-of-text token, or in blocks without any."""
    if largest == GPT2_END:
        ends = [
            np.flatnonzero(ids[start : start + _CHUNK] == GPT2_END) + start + 1
            for start in range(0, len(ids), _CHUNK)
        ]
        inner = np.concatenate(ends) if ends else np.zeros(0, np.int64)
    else:
        block = max(1, min(BLOCK, len(ids) // 100))
        inner = np.arange(block, len(ids), block)
    return np.unique(np.concatenate([[0], inner, [len(ids)]])).astype(np.int64)


def _largest(ids: NDArray[np.uint16]) -> int:
    return max(int(ids[start : start + _CHUNK].max()) for start in range(0, len(ids), _CHUNK))


def _copy(ids: NDArray[np.uint16], source: Path, target: Path) -> None:
    if ids.nbytes == source.stat().st_size:
        shutil.copyfile(source, target)
        return
    with target.open("wb") as out:  # a header to leave behind
        for start in range(0, len(ids), _CHUNK):
            out.write(ids[start : start + _CHUNK].tobytes())
