"""Ids as one array, wherever they lie: in one file, in several, or in contexts chosen from either.

One file is a plain memory-mapped numpy array. Several are a `ShardedIds`, each mapped when it is
first touched; contexts drawn by a seed are a `SampledIds`. All three have a length, a `dtype` and
`nbytes`, are indexed by numbers, slices and arrays of numbers, and turn into plain arrays by
`numpy.asarray`. Training text is read with `take_windows`, which copies runs of consecutive ids
instead of looking up every id, and so is the fastest for each of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isoloss.errors import InputError

Array = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]


def take_windows(ids: Ids, starts: NDArray[np.int64], length: int) -> Array:
    """Copy runs of consecutive ids: (len(starts), length), row i being ids[starts[i]:][:length].

    starts: (rows,) places of the first id of each, not negative.
    Raises IndexError where a run leaves the text, and InputError for runs that a sample of contexts
    does not hold.
    """
    if not isinstance(ids, np.ndarray):
        return ids.windows(starts, length)
    places = len(ids) - length + 1
    if len(starts) and (int(starts.min()) < 0 or int(starts.max()) >= places):
        raise IndexError(f"a run of {length:,} ids leaves a text of {len(ids):,}")
    # Every run there is, as rows that overlap in memory: a row is then copied whole.
    step = ids.strides[0]
    rows: Array = np.ndarray((max(0, places), length), ids.dtype, ids, 0, (step, step))
    return rows[starts]


class _OneDimension(ABC):
    """What numpy would say of an array of ids."""

    ndim = 1
    dtype: np.dtype[Any]

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int]:
        """(ids,), as numpy writes it."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """Bytes of the ids, on disk."""
        return len(self) * self.dtype.itemsize


class ShardedIds(_OneDimension):
    """Ids that lie in several files, as one read-only array of one dimension.

    files: the files in order, with the ids in each. dtype: of an id, as it lies in the file.
    A slice is a view, not a copy; only its own files are ever opened.
    """

    def __init__(self, files: Sequence[tuple[Path, int]], dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._files = tuple(files)
        self._edges = np.cumsum([0, *(size for _, size in files)], dtype=np.int64)
        self._maps: list[Array | None] = [None] * len(files)  # shared by all views
        self._start, self._stop = 0, int(self._edges[-1])

    def __len__(self) -> int:
        return self._stop - self._start

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> np.unsignedinteger[Any]: ...
    @overload
    def __getitem__(self, key: slice) -> ShardedIds: ...
    @overload
    def __getitem__(self, key: NDArray[np.integer[Any]]) -> Array: ...
    def __getitem__(
        self, key: int | np.integer[Any] | slice | NDArray[np.integer[Any]]
    ) -> np.unsignedinteger[Any] | ShardedIds | Array:
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            if step != 1:
                raise IndexError("ids in several files are sliced in steps of one")
            return self._view(self._start + start, self._start + max(start, stop))
        at = _places(key, len(self)) + self._start
        shards = np.searchsorted(self._edges, at, side="right") - 1
        found: Array = np.empty(at.shape, self.dtype)
        for shard in np.unique(shards):
            here = shards == shard
            found[here] = self._map(int(shard))[at[here] - self._edges[shard]]
        return found if isinstance(key, np.ndarray) else found[()]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("ids in several files can only be copied into one array")
        return self._run(self._start, self._stop).astype(dtype or self.dtype, copy=False)

    def __iter__(self) -> Iterator[np.unsignedinteger[Any]]:
        for shard in range(len(self._files)):
            first, last = (int(self._edges[shard + k]) for k in (0, 1))
            if first < self._stop and last > self._start:
                inside = slice(max(0, self._start - first), self._stop - first)
                yield from self._map(shard)[inside]

    def windows(self, starts: NDArray[np.int64], length: int) -> Array:
        """Runs of consecutive ids, as `take_windows`."""
        if len(starts) and (int(starts.min()) < 0 or int(starts.max()) + length > len(self)):
            raise IndexError(f"a run of {length:,} ids leaves a text of {len(self):,}")
        found: Array = np.empty((len(starts), length), self.dtype)
        first = np.asarray(starts) + self._start
        shards = np.searchsorted(self._edges, first, side="right") - 1
        inside = first + length <= self._edges[shards + 1]
        for shard in np.unique(shards[inside]):
            rows = np.flatnonzero(inside & (shards == shard))
            found[rows] = take_windows(
                self._map(int(shard)), first[rows] - self._edges[shard], length
            )
        for row in np.flatnonzero(~inside):
            found[row] = self._run(int(first[row]), int(first[row]) + length)
        return found

    def _view(self, start: int, stop: int) -> ShardedIds:
        view = object.__new__(ShardedIds)
        view.__dict__.update(self.__dict__, _start=start, _stop=stop)
        return view

    def _map(self, shard: int) -> Array:
        known = self._maps[shard]
        if known is None:
            # As a plain array: numpy's class for maps costs microseconds at every look.
            known = np.memmap(self._files[shard][0], self.dtype, mode="r").view(np.ndarray)
            self._maps[shard] = known
        return known

    def _run(self, start: int, stop: int) -> Array:
        """The ids from `start` to `stop`, counted from the first file, as a plain array."""
        parts = [np.empty(0, self.dtype)]
        shard = int(np.searchsorted(self._edges, start, side="right")) - 1
        while start < stop:
            first, last = int(self._edges[shard]), int(self._edges[shard + 1])
            parts.append(self._map(shard)[start - first : stop - first])
            start, shard = max(start, min(last, stop)), shard + 1
        return np.concatenate(parts)


class SampledIds(_OneDimension):
    """Contexts chosen from a longer text, in the order of the text, as one array of ids.

    ids: the text. contexts: (k,) numbers of the contexts kept, context i being the n_ctx ids from
    i * n_ctx on. The length is k * n_ctx + 1, for the last context has a last target too. Runs are
    read by `take_windows`, from the start of a context and at most n_ctx + 1 ids long, so that the
    target of a context's last id is the id that follows it in the text.
    """

    def __init__(self, ids: Array | ShardedIds, contexts: NDArray[np.int64], n_ctx: int) -> None:
        self._ids, self._contexts, self._n_ctx = ids, contexts, n_ctx
        self.dtype: np.dtype[Any] = ids.dtype

    def __len__(self) -> int:
        return len(self._contexts) * self._n_ctx + 1

    @overload
    def __getitem__(self, key: int | np.integer[Any]) -> np.unsignedinteger[Any]: ...
    @overload
    def __getitem__(self, key: slice | NDArray[np.integer[Any]]) -> Array: ...
    def __getitem__(
        self, key: int | np.integer[Any] | slice | NDArray[np.integer[Any]]
    ) -> np.unsignedinteger[Any] | Array:
        if isinstance(key, slice):
            key = np.arange(*key.indices(len(self)))
        if isinstance(key, np.ndarray) and key.ndim > 1:
            raise InputError("runs of a sample of contexts are read by `take_windows`")
        at = _places(key, len(self))
        context = np.minimum(at // self._n_ctx, len(self._contexts) - 1)
        place = self._contexts[context] * self._n_ctx + at - context * self._n_ctx
        found: Array = self._ids[place]
        return found

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a sample of contexts can only be copied into one array")
        return self[:].astype(dtype or self.dtype, copy=False)

    def windows(self, starts: NDArray[np.int64], length: int) -> Array:
        """Runs of consecutive ids, as `take_windows`, each beginning where a context does."""
        if np.any(np.asarray(starts) % self._n_ctx) or length > self._n_ctx + 1:
            raise InputError(
                f"this sample was chosen in contexts of {self._n_ctx:,} ids; "
                "read whole contexts of that length, or choose it in others"
            )
        number = np.asarray(starts) // self._n_ctx
        if len(number) and (number.min() < 0 or number.max() >= len(self._contexts)):
            raise IndexError(f"the sample has {len(self._contexts):,} contexts")
        return take_windows(self._ids, self._contexts[number] * self._n_ctx, length)


Ids = Array | ShardedIds | SampledIds


def _places(key: int | np.integer[Any] | NDArray[np.integer[Any]], size: int) -> NDArray[np.int64]:
    """Places in an array of `size` ids, negative ones counted from its end as numpy does."""
    at = np.asarray(key)
    if at.dtype.kind not in "iu":
        raise IndexError("ids are looked up by whole numbers, slices and arrays of numbers")
    at = at.astype(np.int64)
    if at.size and (int(at.min()) < -size or int(at.max()) >= size):
        raise IndexError(f"a place outside a text of {size:,} ids")
    return np.where(at < 0, at + size, at)
