"""Part of a set to train on: a view, named and hashed as one, with the same held-out text."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.lab.tokens.arrays import SampledIds, take_windows


@pytest.fixture(scope="module", params=[1 << 20, 3_000], ids=["one file", "several"])
def tokens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    folder = tmp_path_factory.mktemp("subset")
    rng = np.random.default_rng(2)
    for number in range(40):
        text = " ".join(str(word) for word in rng.integers(0, 10**6, 60))
        (folder / f"{number}.txt").write_text(text, "utf-8")
    return prepare(folder, folder.with_suffix(".ids"), shard_bytes=request.param)


def test_the_first_tokens_are_a_view(tokens: TokenSet) -> None:
    part = tokens.subset(5_000)
    assert len(part.train) == 5_000
    assert np.array_equal(np.asarray(part.train), np.asarray(tokens.train)[:5_000])
    assert part.val is tokens.val
    assert part.val_documents is tokens.val_documents
    assert part.meta["subset"] == {"of": tokens.hash, "tokens": 5_000}
    assert part.name == f"{tokens.name}, first 5,000 tokens"
    assert "subset" not in tokens.meta
    assert part.decode(part.train[:50]) == tokens.decode(tokens.train[:50])
    if isinstance(tokens.train, np.ndarray):
        assert np.shares_memory(part.train, tokens.train)


def test_the_hash_is_the_choices(tokens: TokenSet) -> None:
    hashes = [
        tokens.hash,
        tokens.subset(5_000).hash,
        tokens.subset(5_001).hash,
        tokens.subset(5_000).subset(4_000).hash,
        tokens.subset(4_000).hash,
        tokens.subset(4_096, n_ctx=64, seed=0).hash,
        tokens.subset(4_096, n_ctx=64, seed=1).hash,
        tokens.subset(4_096, n_ctx=32, seed=0).hash,
    ]
    assert len(set(hashes)) == len(hashes)
    assert tokens.subset(5_000).hash == hashes[1]
    # What does not fill a context is no part of the choice.
    assert tokens.subset(4_100, n_ctx=64, seed=0).hash == hashes[5]
    assert all(len(one) == 64 for one in hashes)


def test_a_sample_holds_contexts_of_the_text_and_their_targets(tokens: TokenSet) -> None:
    whole = np.asarray(tokens.train)
    part = tokens.subset(20 * 64, n_ctx=64, seed=3)
    assert isinstance(part.train, SampledIds)
    assert len(part.train) == 20 * 64 + 1
    assert part.meta["subset"] == {"of": tokens.hash, "tokens": 1280, "n_ctx": 64, "seed": 3}
    windows = {tuple(whole[at : at + 65]) for at in range(0, len(whole) - 64, 64)}
    drawn = [tuple(row) for row in take_windows(part.train, np.arange(20) * 64, 65)]
    assert len(set(drawn)) == 20
    assert set(drawn) <= windows
    # Spread over the whole text, not its beginning.
    first = {tuple(whole[at : at + 65]) for at in range(0, len(whole) // 2, 64)}
    assert 3 <= len(set(drawn) & first) <= 17


def test_a_smaller_sample_is_part_of_a_larger_one(tokens: TokenSet) -> None:
    def drawn(count: int, seed: int) -> set[tuple[int, ...]]:
        part = tokens.subset(count * 32, n_ctx=32, seed=seed)
        return {tuple(row) for row in take_windows(part.train, np.arange(count) * 32, 33)}

    assert drawn(10, 0) < drawn(40, 0)
    assert not drawn(10, 0) <= drawn(40, 1)


def test_all_contexts_are_the_whole_text(tokens: TokenSet) -> None:
    there = (len(tokens.train) - 1) // 64
    part = tokens.subset(there * 64, n_ctx=64, seed=9)
    assert np.array_equal(np.asarray(part.train), np.asarray(tokens.train)[: there * 64 + 1])


@pytest.mark.parametrize("wanted", [0, -1, 10**9])
def test_more_than_there_is_is_refused(tokens: TokenSet, wanted: int) -> None:
    with pytest.raises(InputError, match="ask for 1 to"):
        tokens.subset(wanted)
    with pytest.raises(InputError, match="ask for 1 to"):
        tokens.subset(wanted, n_ctx=64, seed=0)
    with pytest.raises(InputError, match="contexts"):
        tokens.subset(100, n_ctx=0, seed=0)


def test_half_a_choice_and_samples_of_samples_are_refused(tokens: TokenSet) -> None:
    with pytest.raises(InputError, match="both n_ctx and seed"):
        tokens.subset(640, n_ctx=64)
    with pytest.raises(InputError, match="both n_ctx and seed"):
        tokens.subset(640, seed=1)
    sample = tokens.subset(640, n_ctx=64, seed=0)
    for choice in ({"n_ctx": 64, "seed": 0}, {}):
        with pytest.raises(InputError, match="is a sample"):
            sample.subset(128, **choice)
    assert tokens.subset(6_400).subset(640, n_ctx=64, seed=0).meta["subset"]["tokens"] == 640
