"""Training: deterministic, resumable bit for bit, honest about divergence and evaluation cost."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RunSpec, Schedule, content, read_record

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.evaluate import evaluate, held_out  # noqa: E402
from isoloss.lab.models import Transformer  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402
from isoloss.lab.training.optim import learning_rate  # noqa: E402
from isoloss.lab.training.points import evaluation_steps  # noqa: E402


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def test_a_run_learns_and_its_record_says_how(
    spec: RunSpec, tokens: TokenSet, folder: Path
) -> None:
    end = train(spec, tokens, folder)
    run = read_record(folder / f"{spec.run_id}.jsonl")
    assert end.status == "finished"
    assert run.finished
    assert run.points[0].loss > end.loss + 0.3
    assert 0 < end.loss < math.log(256)
    assert end.bits_per_byte == pytest.approx(end.loss / math.log(2) / tokens.bytes_per_token)
    assert end.eval_tokens == 8192
    assert end.se > 0
    assert run.points[-1].step == spec.steps
    assert not list(folder.glob("*.npz"))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    first = train(spec, tokens, tmp_path / "a")
    again = train(spec, tokens, tmp_path / "b")
    other = train(replace(spec, seed=1), tokens, tmp_path / "c")
    assert first.loss == again.loss
    assert first.loss != other.loss


@pytest.mark.parametrize("killed_at", [1, 31, 47, 93])
def test_a_killed_run_goes_on_bit_for_bit(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, killed_at: int, monkeypatch: Any
) -> None:
    train(spec, tokens, tmp_path / "whole")
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == killed_at:
            raise Killed

    torn = tmp_path / "torn"
    with pytest.raises(Killed):
        train(spec, tokens, torn, on_progress=kill, checkpoint_seconds=0.0)
    path = torn / f"{spec.run_id}.jsonl"
    with path.open("a") as file:
        file.write('{"kind": "poi')
    steps: list[int] = []
    train(spec, tokens, torn, on_progress=lambda progress: steps.append(progress.step))
    assert steps[0] == killed_at  # the checkpoint of the step before was taken up
    whole = read_record(tmp_path / "whole" / path.name)
    assert content(read_record(path)) == content(whole)


@pytest.mark.parametrize("left", [None, '{"kind": "sp'])
def test_a_checkpoint_without_its_record_is_not_used(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path, monkeypatch: Any, left: str | None
) -> None:
    train(spec, tokens, tmp_path / "whole")
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 60:
            raise Killed

    with pytest.raises(Killed):
        train(spec, tokens, tmp_path / "torn", on_progress=kill, checkpoint_seconds=0.0)
    name = f"{spec.run_id}.jsonl"
    (tmp_path / "torn" / name).unlink()
    if left is not None:
        (tmp_path / "torn" / name).write_text(left)
    train(spec, tokens, tmp_path / "torn")
    whole = read_record(tmp_path / "whole" / name)
    assert content(read_record(tmp_path / "torn" / name)) == content(whole)


def test_a_record_of_another_text_is_refused(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    train(spec, tokens, tmp_path)
    path = tmp_path / f"{spec.run_id}.jsonl"
    path.write_text(path.read_text().replace(tokens.hash, "0" * 64))
    with pytest.raises(InputError, match="another folder"):
        train(spec, tokens, tmp_path)


def test_a_finished_run_is_not_run_again(spec: RunSpec, tokens: TokenSet, folder: Path) -> None:
    train(spec, tokens, folder)
    path = folder / f"{spec.run_id}.jsonl"
    before = path.read_bytes()
    train(spec, tokens, folder, on_progress=lambda _: pytest.fail("it trained"))
    assert path.read_bytes() == before


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(
    spec: RunSpec, tokens: TokenSet, folder: Path
) -> None:
    end = train(replace(spec, lr=1e18, clip=0.0), tokens, folder)
    run = read_record(folder / f"{replace(spec, lr=1e18, clip=0.0).run_id}.jsonl")
    assert end.status == "diverged"
    assert "not finite" in end.reason
    assert run.diverged
    assert end.step < spec.steps


def test_every_epoch_visits_every_context_once_in_another_order(
    spec: RunSpec, tokens: TokenSet
) -> None:
    batches = Batches(tokens, spec)
    seen = [
        np.concatenate(
            [batches(epoch * batches.per_epoch + i)[0] for i in range(batches.per_epoch)]
        )
        for epoch in range(2)
    ]
    rows = [{row.tobytes() for row in epoch} for epoch in seen]
    assert len(seen[0]) == batches.per_epoch * batches.rows
    assert len(rows[0]) > 0.99 * len(seen[0])
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(Batches(tokens, spec)(batches.per_epoch + 1)[0], seen[1][8:16])


def test_targets_are_the_next_tokens(spec: RunSpec, tokens: TokenSet) -> None:
    inputs, targets = Batches(tokens, spec)(0)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])


@pytest.mark.parametrize("n_ctx", [16, 32, 128])
def test_held_out_tokens_are_the_same_at_every_context_length(tokens: TokenSet, n_ctx: int) -> None:
    reference, other = held_out(tokens, 64, 8192), held_out(tokens, n_ctx, 8192)
    assert np.array_equal(reference.targets.flatten(), other.targets.flatten())
    assert np.array_equal(reference.documents, other.documents)


def test_held_out_documents_are_where_the_targets_are(tokens: TokenSet) -> None:
    # Every id is its own place in the text, so that a target says which document it is from.
    edges = [0, 7, 5000, 5001, 9000, 20_000]
    val = np.arange(20_000, dtype=np.uint16)
    data = held_out(replace(tokens, val=val, val_documents=np.array(edges)), 32, 8192)
    places = data.targets.flatten().tolist()
    expected = [sum(edge <= place for edge in edges) - 1 for place in places]
    assert data.documents.tolist() == expected
    assert set(expected) == {0, 1, 3, 4}


def test_standard_error_is_the_spread_over_documents(spec: RunSpec, tokens: TokenSet) -> None:
    torch.manual_seed(2)
    model = Transformer(spec.shape)
    data = held_out(tokens, 32, 8192)
    outcome = evaluate(model, data)
    with torch.inference_mode():
        each = model.loss(data.ids, data.targets, reduction="none").double().numpy()
    rng = np.random.default_rng(4)
    which = np.unique(data.documents, return_inverse=True)[1]
    sums, counts = np.bincount(which, each), np.bincount(which)
    picks = rng.integers(len(sums), size=(4000, len(sums)))
    resampled = sums[picks].sum(1) / counts[picks].sum(1)
    assert outcome.loss == pytest.approx(each.mean())
    assert outcome.se == pytest.approx(resampled.std(), rel=0.15)


def test_evaluation_takes_at_most_a_fifth_of_the_run(spec: RunSpec) -> None:
    for tokens_asked in (360_000, 500_000, 2_000_000, 9_000_000):
        run = replace(spec, tokens=tokens_asked, eval_points=24)
        steps = evaluation_steps(run, 16_384, 204_800)
        evaluated = 0.4 * (len(steps) * 16_384 + 204_800)
        assert evaluated <= 0.2 * (run.tokens_seen + evaluated)
        assert steps[-1] == run.steps
        gaps = np.diff(np.log(steps))
        assert len(steps) < 4 or gaps.max() < 3 * gaps[1:].min() + 0.7


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd", "wsd_sqrt"])
def test_schedules_warm_up_to_the_peak_and_end_where_they_say(spec: RunSpec, kind: Any) -> None:
    run = replace(spec, tokens=256_000, schedule=Schedule(kind, warmup=0.05, final=0.1))
    rates = [learning_rate(run, step) for step in range(run.steps)]
    assert run.steps == 1000
    assert rates[0] == pytest.approx(run.lr / 50)
    assert rates[49] == pytest.approx(run.lr)
    assert max(rates) <= run.lr * (1 + 1e-12)
    assert rates[-1] == pytest.approx(run.lr if kind == "constant" else 0.1 * run.lr)
    middle = {"cosine": 0.55, "linear": 0.55, "constant": 1.0}.get(kind, 1.0)
    assert rates[524] == pytest.approx(middle * run.lr, rel=1e-2)
    if kind.startswith("wsd"):
        half = {"wsd": 0.5, "wsd_sqrt": 0.5**0.5}[kind]
        assert rates[799] == run.lr
        assert rates[899] == pytest.approx((1 - 0.9 * half) * run.lr)


def test_a_corpus_that_is_not_the_specs_is_refused(
    spec: RunSpec, tokens: TokenSet, folder: Path
) -> None:
    with pytest.raises(InputError, match="corpus"):
        train(replace(spec, corpus_hash="0" * 64), tokens, folder)
    with pytest.raises(InputError, match=r"shape\.vocab = 256"):
        train(replace(spec, shape=replace(spec.shape, vocab=100)), tokens, folder)
    with pytest.raises(InputError, match="smaller batch"):
        train(replace(spec, batch=32 * 10_000, tokens=640_000), tokens, folder)
