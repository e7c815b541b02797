"""Where ids lie changes no number of a run that is trained on them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.evaluate import held_out  # noqa: E402
from isoloss.lab.tokens import TokenSet, load_tokens  # noqa: E402
from isoloss.lab.tokens.arrays import ShardedIds, take_windows  # noqa: E402
from isoloss.lab.train import train  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402
from isoloss.runs import RunSpec  # noqa: E402


@pytest.fixture
def sharded(tokens: TokenSet, tmp_path: Path) -> TokenSet:
    """The same ids in several files, cut anywhere."""
    sides: dict[str, ShardedIds] = {}
    for side in ("train", "val"):
        ids = np.asarray(getattr(tokens, side))
        cuts = np.linspace(0, len(ids), 8).astype(int)
        files = []
        for number, (start, end) in enumerate(pairwise(cuts)):
            path = tmp_path / f"{side}-{number}.bin"
            ids[start:end].tofile(path)
            files.append((path, int(end - start)))
        sides[side] = ShardedIds(files, ids.dtype)
    return replace(tokens, train=sides["train"], val=sides["val"])


def test_batches_and_held_out_text_are_the_same(
    spec: RunSpec, tokens: TokenSet, sharded: TokenSet
) -> None:
    one, several = Batches(tokens, spec), Batches(sharded, spec)
    for step in range(0, one.per_epoch, 7):
        for a, b in zip(one(step), several(step), strict=True):
            assert torch.equal(a, b)
    a, b = held_out(tokens, 32, 8192), held_out(sharded, 32, 8192)
    assert torch.equal(a.ids, b.ids)
    assert torch.equal(a.targets, b.targets)
    assert np.array_equal(a.documents, b.documents)


def test_a_run_ends_with_the_same_loss(
    spec: RunSpec, tokens: TokenSet, sharded: TokenSet, tmp_path: Path
) -> None:
    short = replace(spec, tokens=4_096)
    one = train(short, tokens, tmp_path / "one")
    several = train(short, sharded, tmp_path / "several")
    assert (one.loss, one.se, one.train_loss) == (several.loss, several.se, several.train_loss)


def test_windows_are_what_batches_gather(spec: RunSpec, tokens: TokenSet) -> None:
    batches = Batches(tokens, spec)
    ids, _ = batches(0)
    rows = batches.order[: batches.rows] * 32
    assert np.array_equal(take_windows(tokens.train, rows, 33)[:, :-1], ids.numpy())


def test_a_set_prepared_earlier_is_trained_on_under_its_old_hash(
    tokens: TokenSet, spec: RunSpec, tmp_path: Path
) -> None:
    again = load_tokens(tokens.folder)
    assert again.hash == tokens.hash
    asked = replace(spec, tokens=1_024, corpus_hash=tokens.hash)
    assert train(asked, again, tmp_path / "runs").status == "finished"
