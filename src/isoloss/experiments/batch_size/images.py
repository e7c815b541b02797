"""Images to learn: scikit-learn's digits, always there, and Fashion-MNIST where it can be had.

Digits are 1,797 of 8 x 8 pixels in 17 grey levels; Fashion-MNIST is 70,000 of 28 x 28 in 256, ten
kinds of each. Fashion-MNIST comes from Debian's package `dataset-fashion-mnist` (MIT): as it is
installed, or fetched once by apt's client, which installs nothing, into the user's cache. Whatever
its origin, its content must have the published hash.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isoloss.errors import InputError
from isoloss.files import write_whole
from isoloss.lab.batch_size.task import hash_of
from isoloss.lab.corpus.archives import read_members
from isoloss.lab.corpus.catalogue import cache_folder
from isoloss.lab.corpus.clients import Progress, apt_download
from isoloss.lab.corpus.scratch import scratch_folder

ImagesName: TypeAlias = Literal["digits", "fashion"]

PACKAGE = "dataset-fashion-mnist"
INSTALLED = Path("/usr/share/datasets/fashion-mnist")

# SHA-256 of the content, decompressed, as in version 0.0~git20200523.55506a9-1.
FASHION_FILES = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_DOWNLOAD_BYTES = 30_900_652

_HELD_OUT_DIGITS = 397
_HELD_OUT_FASHION = 2000  # of the 10,000 published for testing: more would only cost time
_ORDER_SEED = 0


@dataclass(frozen=True)
class Images:
    """Grey images and what they show: x is (images, pixels) from 0 to 1, kind is (images,), 0 to 9.

    x, kind: to train on. held_out_x, held_out_kind: to measure on.
    """

    name: str
    x: Tensor
    kind: Tensor
    held_out_x: Tensor
    held_out_kind: Tensor

    @property
    def hash(self) -> str:
        """Of all that is in them, as `Task.data` has it."""
        return hash_of(self.x, self.kind, self.held_out_x, self.held_out_kind)


def load_images(name: ImagesName, *, progress: Progress | None = None) -> Images:
    """The images of this name, fetched first where need be.

    Raises InputError if they cannot be had or are damaged, with what to do.
    """
    if name == "digits":
        return digits()
    if name == "fashion":
        return fashion(progress=progress)
    raise InputError(f"there are no images {name!r}; use digits or fashion")


def digits() -> Images:
    """Scikit-learn's handwritten digits, 1,400 to train on and 397 held out, drawn by a fixed seed.

    Raises InputError without scikit-learn.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "the digits come with scikit-learn: pip install 'isoloss[experiments]'"
        ) from None
    data = load_digits()
    order = np.random.default_rng(_ORDER_SEED).permutation(len(data.target))
    x = torch.from_numpy((data.data / 16.0).astype(np.float32)[order])
    kind = torch.from_numpy(data.target.astype(np.int64)[order])
    held = _HELD_OUT_DIGITS
    return Images("digits", x[held:], kind[held:], x[:held], kind[:held])


def fashion(folder: Path | None = None, *, progress: Progress | None = None) -> Images:
    """Fashion-MNIST: 60,000 to train on, and the first 2,000 of the test images held out.

    folder: where its four files lie, as published; None looks into the user's cache
    ($ISOLOSS_IMAGES), then for the installed package, and then fetches it into the cache.
    Raises InputError if it cannot be fetched, or the files are not those published.
    """
    if folder is None:
        folder = _fashion_folder(progress)
    x, kind, held_x, held_kind = (_idx(folder, name) for name in FASHION_FILES)
    held = slice(_HELD_OUT_FASHION)
    return Images("fashion", _grey(x), _kinds(kind), _grey(held_x[held]), _kinds(held_kind[held]))


def _grey(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels.reshape(len(pixels), -1)).float() / 255.0


def _kinds(labels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(labels.astype(np.int64))


# ---- Fashion-MNIST's files -------------------------------------------------------------------


def _fashion_folder(progress: Progress | None) -> Path:
    kept = cache_folder("images") / "fashion-mnist"
    for folder in (kept, INSTALLED):
        if all(_stored(folder, name) is not None for name in FASHION_FILES):
            return folder
    with scratch_folder(kept) as work:
        apt_download(
            (PACKAGE,), work, size=_DOWNLOAD_BYTES, progress=progress,
            instead=f"put the dataset's four files into {kept}, or use the digits",
        )  # fmt: skip
        found = dict(_members(work))
        missing = [name for name in FASHION_FILES if name not in found]
        if missing:
            raise InputError(f"Debian's {PACKAGE} lacks {', '.join(missing)}; use the digits")
        kept.mkdir(parents=True, exist_ok=True)
        for name, content in found.items():
            _check(name, content, f"Debian's {PACKAGE}")
            write_whole(kept / name, content)
    return kept


def _members(folder: Path) -> Iterator[tuple[str, bytes]]:
    for package in sorted(folder.glob("*.deb")):
        members = read_members(package, lambda name: Path(name).name in FASHION_FILES)
        yield from ((Path(name).name, content) for name, content in members)


def _stored(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    return None


def _idx(folder: Path, name: str) -> NDArray[np.uint8]:
    """One file's bytes: after a header of its type and lengths, big-endian, they are the array."""
    path = _stored(folder, name)
    if path is None:
        raise InputError(f"{folder} has no {name}, nor {name}.gz; fetch the dataset again")
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}); remove it to fetch it again") from None
    _check(name, content, str(path))
    dimensions = content[3]
    shape = np.frombuffer(content, ">u4", dimensions, offset=4)
    # A copy, since torch wants arrays that may be written to.
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape).copy()


def _check(name: str, content: bytes, where: str) -> None:
    if hashlib.sha256(content).hexdigest() != FASHION_FILES[name]:
        raise InputError(
            f"{where}: {name} is not Fashion-MNIST as published, or is damaged; "
            "remove it to fetch it again, or use the digits"
        )
