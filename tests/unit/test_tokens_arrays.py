"""Ids in several files, and contexts chosen from them, behave as the one array they stand for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isoloss.errors import InputError
from isoloss.lab.tokens.arrays import SampledIds, ShardedIds, take_windows

SIZES = (7, 1, 30, 2, 11)
WHOLE = np.random.default_rng(3).integers(0, 60_000, sum(SIZES)).astype("<u2")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> ShardedIds:
    folder = tmp_path_factory.mktemp("shards")
    files, start = [], 0
    for number, size in enumerate(SIZES):
        path = folder / f"{number}.bin"
        WHOLE[start : start + size].tofile(path)
        files.append((path, size))
        start += size
    return ShardedIds(files, np.dtype("<u2"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_shards_are_indexed_as_one_array(sharded: ShardedIds, data: st.DataObject) -> None:
    size = len(WHOLE)
    start, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    view, true = sharded[start:stop], WHOLE[start:stop]
    assert (len(view), view.shape, view.nbytes) == (len(true), true.shape, true.nbytes)
    assert np.array_equal(np.asarray(view), true)
    assert [int(one) for one in view] == true.tolist()
    assert np.asarray(view).dtype == np.uint16
    inner = data.draw(st.integers(-size, size))
    assert np.array_equal(np.asarray(view[inner:]), true[inner:])
    if not len(true):
        return
    at = data.draw(st.lists(st.integers(-len(true), len(true) - 1), max_size=12))
    assert np.array_equal(view[np.array(at, np.int64)], true[np.array(at, np.int64)])
    grid = np.array(at + at, np.int64).reshape(2, -1)
    assert np.array_equal(view[grid], true[grid])
    assert all(view[place] == true[place] for place in at)


@pytest.mark.parametrize("length", [1, 2, 5, 12, 33])
def test_windows_are_the_runs_of_the_text(sharded: ShardedIds, length: int) -> None:
    starts = np.random.default_rng(length).permutation(len(WHOLE) - length + 1)
    wanted = WHOLE[starts[:, None] + np.arange(length)]
    assert np.array_equal(take_windows(WHOLE, starts, length), wanted)
    assert np.array_equal(take_windows(sharded, starts, length), wanted)
    inner = starts[(starts >= 5) & (starts + length <= 45)]
    wanted = WHOLE[inner[:, None] + np.arange(length)]
    assert np.array_equal(take_windows(sharded[5:45], inner - 5, length), wanted)
    assert np.array_equal(take_windows(WHOLE[5:45], inner - 5, length), wanted)


@pytest.mark.parametrize("start", [-1, 47, 51, 10**9])
def test_runs_that_leave_the_text_are_refused(sharded: ShardedIds, start: int) -> None:
    for ids in (WHOLE, sharded):
        with pytest.raises(IndexError):
            take_windows(ids, np.array([0, start]), 5)
    with pytest.raises(IndexError):
        sharded[np.array([len(WHOLE)])]
    with pytest.raises(IndexError):
        sharded[-len(WHOLE) - 1]
    with pytest.raises(IndexError):
        sharded[np.array([True, False])]
    with pytest.raises(IndexError):
        sharded[::2]


def test_only_the_files_that_are_read_are_opened(sharded: ShardedIds, tmp_path: Path) -> None:
    here = tmp_path / "here.bin"
    WHOLE[:10].tofile(here)
    ids = ShardedIds([(here, 10), (tmp_path / "absent.bin", 10)], np.dtype("<u2"))
    assert np.array_equal(take_windows(ids[:10], np.array([4]), 6)[0], WHOLE[4:10])
    with pytest.raises(FileNotFoundError):
        take_windows(ids, np.array([6]), 5)


def test_ids_cannot_be_written(sharded: ShardedIds) -> None:
    with pytest.raises(TypeError):
        sharded[0] = 1  # type: ignore[index]
    assert not sharded._map(0).flags.writeable
    with pytest.raises(ValueError, match="copied"):
        np.array(sharded, copy=False)


@pytest.mark.parametrize("of", ["one file", "several"])
def test_a_sample_keeps_each_context_and_the_id_after_it(sharded: ShardedIds, of: str) -> None:
    text = WHOLE if of == "one file" else sharded
    contexts = np.array([1, 4, 5, 11])
    sample = SampledIds(text, contexts, 4)
    assert len(sample) == 17
    starts = np.array([12, 0, 4, 8])
    wanted = WHOLE[4 * contexts[[3, 0, 1, 2], None] + np.arange(5)]
    assert np.array_equal(take_windows(sample, starts, 5), wanted)
    assert np.array_equal(take_windows(sample, starts, 3), wanted[:, :3])
    row = np.concatenate([WHOLE[4 * c : 4 * c + 4] for c in contexts])
    assert np.array_equal(np.asarray(sample)[:-1], row)
    assert sample[16] == WHOLE[48]
    assert sample[-1] == WHOLE[48]
    assert np.array_equal(sample[2:6], row[2:6])


def test_a_sample_gives_no_run_that_the_text_does_not_hold() -> None:
    sample = SampledIds(WHOLE, np.array([0, 3]), 4)
    for starts, length in (([2], 4), ([0], 6)):
        with pytest.raises(InputError, match="contexts of 4"):
            take_windows(sample, np.array(starts), length)
    with pytest.raises(IndexError):
        take_windows(sample, np.array([8]), 4)
    with pytest.raises(InputError, match="take_windows"):
        sample[np.array([[0, 1], [4, 5]])]
