"""A fixed part of the text, seen again and again: overfitting, stopping early, the right half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.tokens import TokenSet, check_corpus, training_part
from isoloss.runs import Run, RunSpec, content, read_record, read_runs

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.evaluate import halves, held_out, token_losses  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.batches import Batches  # noqa: E402
from isoloss.lab.training.best_state import BestState  # noqa: E402
from isoloss.lab.training.points import evaluation_steps  # noqa: E402


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.fixture
def repeating() -> RunSpec:
    """A run that sees 1,024 tokens of text about eighty times, and overfits."""
    return REPEATING


SHAPE = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=32)
REPEATING = RunSpec(
    *(SHAPE, 80_000, 256, 0.02),
    unique_tokens=1024,
    patience=4,
    eval_points=40,
    eval_block=2048,
    eval_final=8192,
)


@pytest.fixture(scope="module")
def whole(tokens: TokenSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """That run, left alone."""
    folder = tmp_path_factory.mktemp("whole")
    train(REPEATING, tokens, folder)
    assert not list(folder.glob("*.npz"))
    return read_record(folder / f"{REPEATING.run_id}.jsonl")


def test_too_little_text_overfits_and_the_run_is_stopped(
    whole: Run, tokens: TokenSet, tmp_path: Path
) -> None:
    end, low = whole.end, min(whole.points, key=lambda point: point.loss)
    assert end is not None
    assert end.status == "finished"
    assert "4 points" in end.reason
    assert (end.step, end.tokens, end.train_loss) == (low.step, low.tokens, low.train_loss)
    assert whole.points[-5] == low
    assert end.last == whole.points[-1].step < REPEATING.steps
    assert whole.tokens_paid == end.last * REPEATING.batch > end.tokens
    # The other half of the held-out text says the same: the last state is worse than the best.
    longer = replace(REPEATING, patience=0, tokens=end.last * REPEATING.batch)
    assert train(longer, tokens, tmp_path).loss > end.loss + 0.02


def test_the_loss_reported_is_that_of_the_best_state_on_the_other_half(
    repeating: RunSpec, tokens: TokenSet, tmp_path: Path, monkeypatch: Any
) -> None:
    seen: list[tuple[dict[str, Any], Any]] = []

    def spy(model: Any, data: Any) -> Any:
        weights = {name: value.detach().clone() for name, value in model.named_parameters()}
        seen.append((weights, data))
        return token_losses(model, data)

    monkeypatch.setattr("isoloss.lab.evaluate.token_losses", spy)
    end = train(repeating, tokens, tmp_path)
    run = read_record(tmp_path / f"{repeating.run_id}.jsonl")
    best = [point.step for point in run.points].index(end.step)
    assert all(torch.equal(seen[best][0][name], value) for name, value in seen[-1][0].items())
    points, final = set(seen[0][1].documents.tolist()), set(seen[-1][1].documents.tolist())
    assert not points & final
    first, second = halves(tokens.val_documents)
    assert points <= set(first.tolist())
    assert final == set(second.tolist())


@pytest.mark.parametrize("killed_at", [20, None])
def test_a_killed_run_with_patience_goes_on_bit_for_bit(
    whole: Run, tokens: TokenSet, tmp_path: Path, killed_at: int | None, monkeypatch: Any
) -> None:
    assert whole.end is not None
    after = (whole.end.step + whole.end.last) // 2
    assert 20 < whole.end.step < after < whole.end.last  # before the best state, and after it
    _train_until(killed_at or after, tokens, tmp_path, monkeypatch)
    assert len(list(tmp_path.glob("*.best*.npz"))) <= 1
    train(REPEATING, tokens, tmp_path)
    torn = read_record(tmp_path / f"{REPEATING.run_id}.jsonl")
    assert content(torn) == content(whole)
    assert not list(tmp_path.glob("*.npz"))


def test_a_best_state_that_is_gone_is_told_and_the_next_call_trains_anew(
    whole: Run, tokens: TokenSet, tmp_path: Path, monkeypatch: Any
) -> None:
    assert whole.end is not None
    _train_until(whole.end.last, tokens, tmp_path, monkeypatch)
    (best,) = tmp_path.glob("*.best*.npz")
    best.unlink()
    with pytest.raises(InputError, match="gone or damaged"):
        train(REPEATING, tokens, tmp_path)
    assert train(REPEATING, tokens, tmp_path).loss == whole.end.loss


def _train_until(step: int, tokens: TokenSet, folder: Path, monkeypatch: Any) -> None:
    """Train and kill the run at a step, a checkpoint saved after every one before it."""
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    with pytest.raises(Killed):
        train(REPEATING, tokens, folder, on_progress=kill, checkpoint_seconds=0.0)


def test_a_run_that_keeps_getting_better_goes_to_its_end(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    patient = replace(spec, patience=3)
    end = train(patient, tokens, tmp_path)
    assert (end.step, end.last, end.reason) == (patient.steps, 0, "")
    plain = train(spec, tokens, tmp_path)
    assert end.train_loss > 0
    assert end.loss == pytest.approx(plain.loss, abs=0.2)  # of other text, by the same weights
    notes = " ".join(read_runs(tmp_path).notes)
    assert "1 of 2 runs have patience" in notes


def test_points_of_a_run_with_patience_are_evenly_spaced_within_a_fifth(spec: RunSpec) -> None:
    for asked in (360_000, 2_000_000, 9_000_000):
        run = replace(spec, tokens=asked, eval_points=24, patience=2)
        steps = evaluation_steps(run, 16_384, 204_800)
        assert steps[-1] == run.steps
        assert np.ptp(np.diff([0, *steps])) <= 1
        evaluated = 0.4 * (len(steps) * 16_384 + 204_800)
        assert evaluated <= 0.2 * (run.tokens_seen + evaluated)


def test_halves_share_no_document_and_are_even_and_alike() -> None:
    rng = np.random.default_rng(5)
    for count in (2, 3, 10, 400):
        lengths = rng.integers(1, 3000, count)
        edges = np.concatenate([[0], np.cumsum(lengths)])
        first, second = halves(edges)
        assert sorted([*first, *second]) == list(range(count))
        sums = lengths[first].sum(), lengths[second].sum()
        # Nothing that is moved from the larger to the smaller would make them more even.
        larger = lengths[first if sums[0] > sums[1] else second]
        gap = abs(int(sums[0]) - int(sums[1]))
        assert (np.abs(gap - 2 * larger) >= gap).all()
        assert gap <= 3000
    assert gap <= 10  # of 600,000: with many documents, one of the right length is there to move
    middle = np.mean(second) / count
    assert middle == pytest.approx(0.5, abs=0.02)  # both from all over the text


def test_half_of_the_held_out_text_is_read_as_the_documents_lie_end_to_end(
    tokens: TokenSet,
) -> None:
    # Every id is its own place in the text.
    edges = np.array([0, 7, 5000, 5001, 9000, 20_000, 31_000])
    places = replace(tokens, val=np.arange(31_000, dtype=np.uint16), val_documents=edges)
    for half, documents in enumerate(halves(edges)):
        data = held_out(places, 32, 1 << 20, half=half)
        text = np.concatenate([np.arange(edges[d], edges[d + 1]) for d in documents])
        assert np.array_equal(data.ids.flatten(), text[: data.tokens])
        assert np.array_equal(data.targets.flatten(), text[1 : data.tokens + 1])
        expected = np.searchsorted(edges, data.targets.flatten().numpy(), side="right") - 1
        assert np.array_equal(data.documents, expected)


def test_held_out_text_of_one_document_has_no_two_halves(
    repeating: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    one = replace(tokens, val_documents=np.array([0, len(tokens.val)]))
    with pytest.raises(InputError, match="half 2 of 2, by document"):
        train(repeating, one, tmp_path)


def test_a_run_sees_its_part_of_the_text_and_nothing_else(
    repeating: RunSpec, tokens: TokenSet
) -> None:
    batches = Batches(tokens, repeating)
    assert batches.per_epoch == 4
    epochs = [
        {row.tobytes() for k in range(4) for row in batches(4 * epoch + k)[0].numpy()}
        for epoch in range(3)
    ]
    assert epochs[0] == epochs[1] == epochs[2]
    assert len(epochs[0]) == 1024 // 32
    whole = replace(repeating, unique_tokens=0)
    contexts = {
        row.tobytes()
        for k in range(Batches(tokens, whole).per_epoch)
        for row in Batches(tokens, whole)(k)[0].numpy()
    }
    assert epochs[0] <= contexts


def test_runs_of_one_data_seed_share_the_part_and_a_larger_one_holds_it(
    repeating: RunSpec, tokens: TokenSet
) -> None:
    def part(run: RunSpec) -> TokenSet:
        return training_part(run, tokens)

    wide = replace(repeating.shape, d_model=32)
    assert part(replace(repeating, shape=wide)).hash == part(repeating).hash
    other = replace(repeating, seed=1)
    assert part(other).hash != part(repeating).hash
    assert part(replace(other, data_seed=0)).hash == part(repeating).hash
    rows = [
        {row.tobytes() for row in np.asarray(part(run).train)[:-1].reshape(-1, 32)}
        for run in (repeating, replace(repeating, unique_tokens=4096))
    ]
    assert rows[0] < rows[1]


def test_the_record_and_the_table_say_which_part(
    repeating: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    short = replace(repeating, tokens=4096, unique_tokens=1040)
    train(short, tokens, tmp_path)
    train(replace(short, unique_tokens=0), tokens, tmp_path)
    run = read_record(tmp_path / f"{short.run_id}.jsonl")
    assert run.corpus["hash"] == tokens.hash
    assert run.corpus["tokens"] == len(tokens.train)
    subset = run.corpus["subset"]
    assert (subset["of"], subset["tokens"], subset["n_ctx"]) == (tokens.hash, 1024, 32)
    assert subset["hash"] == training_part(short, tokens).hash
    runs = read_runs(tmp_path)
    assert runs.unique_tokens is not None
    assert sorted(runs.unique_tokens) == [1024, 4096]
    assert not any("corpora" in note for note in runs.notes)


def test_more_text_than_there_is_is_refused(repeating: RunSpec, tokens: TokenSet) -> None:
    check_corpus(replace(repeating, unique_tokens=len(tokens.train) - 1), tokens)
    with pytest.raises(InputError, match="unique_tokens"):
        check_corpus(replace(repeating, unique_tokens=len(tokens.train)), tokens)
    with pytest.raises(InputError, match="at least batch"):
        replace(repeating, unique_tokens=100)
    with pytest.raises(InputError, match="leave one out"):
        replace(repeating, schedule=replace(repeating.schedule, kind="wsd"), trunk=80_000)


def test_states_of_other_runs_are_left_alone(repeating: RunSpec, tmp_path: Path) -> None:
    mine = tmp_path / f"{repeating.run_id}.best7.npz"
    other = tmp_path / f"{replace(repeating, seed=1).run_id}.best7.npz"
    for path in (mine, other):
        path.touch()
    BestState(repeating, tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == [other.name]
