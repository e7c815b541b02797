"""Other corpora beside the run's own, and final losses along the context and by document."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.lab.eval_sets import check_eval_sets, parse_folders, prepare_eval_sets
from isoloss.lab.sweep import run_sweep
from isoloss.lab.sweep.pace import work_of
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.tokens.pack import pack_tokens
from isoloss.runs import HeldOutLosses, RunSpec, content, read_record, read_runs, write_runs

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.evaluate import evaluate, evaluate_apart, held_out, held_out_text  # noqa: E402
from isoloss.lab.models import Transformer  # noqa: E402
from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.points import evaluation_steps  # noqa: E402


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of another kind, in 40 documents, a folder."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("numbers")
    for index in range(40):
        (folder / f"{index:02d}.txt").write_text(" ".join(map(str, rng.integers(0, 999, 900))))
    return folder


@pytest.fixture(scope="module")
def others(numbers: Path, tmp_path_factory: pytest.TempPathFactory) -> TokenSet:
    return prepare(numbers, tmp_path_factory.mktemp("numbers") / "set", val_fraction=0.2)


@pytest.fixture
def apart(spec: RunSpec, tokens: TokenSet) -> HeldOutLosses:
    torch.manual_seed(2)
    model = Transformer(spec.shape)
    return evaluate_apart(model, held_out(tokens, 32, 8192), tokens, "own", 7)


def test_losses_by_position_and_by_document_are_the_mean_taken_apart(
    spec: RunSpec, tokens: TokenSet, apart: HeldOutLosses
) -> None:
    torch.manual_seed(2)
    model = Transformer(spec.shape)
    data = held_out(tokens, 32, 8192)
    whole = evaluate(model, data)
    assert (apart.loss, apart.se, apart.tokens) == (whole.loss, whole.se, whole.tokens)
    assert np.mean(apart.by_position) == pytest.approx(whole.loss, abs=1e-5)
    assert len(apart.by_position) == 32
    with torch.inference_mode():
        each = model.loss(data.ids, data.targets, reduction="none").double().reshape(-1, 32)
    assert apart.by_position == pytest.approx(each.mean(0).tolist(), abs=1e-5)
    counts, means = np.array(apart.document_tokens), np.array(apart.document_losses)
    assert counts.sum() == whole.tokens
    mean = (counts * means).sum() / counts.sum()
    assert mean == pytest.approx(whole.loss, abs=1e-5)
    groups = len(counts)
    spread = (counts**2 * (means - mean) ** 2).sum() * groups / (groups - 1)
    assert math.sqrt(spread) / counts.sum() == pytest.approx(whole.se, rel=1e-3)
    assert list(apart.documents) == sorted(set(data.documents.tolist()))


def test_a_trained_model_gains_by_context_and_the_record_shows_it(
    spec: RunSpec, tokens: TokenSet, tmp_path: Path
) -> None:
    end = train(replace(spec, tokens=150_000), tokens, tmp_path)
    (path,) = tmp_path.glob("*.jsonl")
    (own,) = read_record(path).held_out
    assert (own.corpus, own.hash, own.step) == (tokens.name, tokens.hash, end.step)
    assert (own.loss, own.se, own.bits_per_byte) == (end.loss, end.se, end.bits_per_byte)
    assert (own.tokens, len(own.documents)) == (end.eval_tokens, end.eval_documents)
    # After one letter of these words next to nothing is known, after some of them a lot.
    assert own.by_position[0] > np.mean(own.by_position[4:]) + 0.1


def test_the_own_corpus_under_another_name_has_the_own_loss(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path
) -> None:
    run = replace(spec, eval_corpora=("again", "numbers"))
    end = train(run, tokens, tmp_path, eval_sets={"numbers": others, "again": tokens})
    record = read_record(tmp_path / f"{run.run_id}.jsonl")
    for point in record.points:
        again, numbers = point.others
        assert (again.corpus, numbers.corpus) == ("again", "numbers")
        assert (again.loss, again.se) == (point.loss, point.se)
        assert numbers.loss != point.loss
    own, again_too, far = record.held_out
    assert replace(again_too, corpus=own.corpus) == own
    assert own.loss == end.loss
    assert far.hash == others.hash
    assert far.bits_per_byte == pytest.approx(far.loss / math.log(2) / others.bytes_per_token)
    # Words of letters teach nothing about numbers.
    assert far.loss > own.loss + 1
    assert record.corpus["eval_corpora"] == {"again": tokens.hash, "numbers": others.hash}
    # What is measured beside does not change what is trained.
    assert train(spec, tokens, tmp_path).loss == end.loss


def test_a_killed_run_with_other_corpora_goes_on_bit_for_bit(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path, monkeypatch: Any
) -> None:
    run = replace(spec, eval_corpora=("numbers",), patience=2)
    sets = {"numbers": others}
    train(run, tokens, tmp_path / "whole", eval_sets=sets)
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)

    def kill(progress: Progress) -> None:
        if progress.step == 47:
            raise Killed

    torn = tmp_path / "torn"
    with pytest.raises(Killed):
        train(run, tokens, torn, on_progress=kill, checkpoint_seconds=0.0, eval_sets=sets)
    with pytest.raises(InputError, match="evaluated on another text as 'numbers'"):
        train(run, tokens, torn, eval_sets={"numbers": tokens})
    train(run, tokens, torn, eval_sets=sets)
    name = f"{run.run_id}.jsonl"
    assert content(read_record(torn / name)) == content(read_record(tmp_path / "whole" / name))


def test_with_patience_every_corpus_is_halved(
    spec: RunSpec, tokens: TokenSet, others: TokenSet
) -> None:
    text = held_out_text(replace(spec, patience=2), tokens, {"numbers": others})
    for block, final in zip(text.blocks, text.finals, strict=True):
        assert not set(block.documents.tolist()) & set(final.documents.tolist())


def test_other_corpora_count_in_the_share_of_evaluation(spec: RunSpec) -> None:
    run = replace(spec, tokens=2_000_000, eval_points=24, eval_corpora=("a", "b"))
    steps = evaluation_steps(run, 3 * 16_384, 3 * 204_800)
    evaluated = 0.4 * 3 * (len(steps) * 16_384 + 204_800)
    assert evaluated <= 0.2 * (run.tokens_seen + evaluated)
    small = replace(run, eval_points=1, eval_final=2048)
    assert work_of(small).flops > work_of(replace(small, eval_corpora=())).flops


def test_a_corpus_is_tokenized_as_the_training_text_was(
    spec: RunSpec,
    tokens: TokenSet,
    numbers: Path,
    others: TokenSet,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    monkeypatch.chdir(numbers.parent)
    runs = [replace(spec, eval_corpora=(numbers.name,)), replace(spec, seed=1)]
    found = prepare_eval_sets(runs, tokens, tmp_path)
    assert found[numbers.name].tokenizer == "bytes"
    again = prepare_eval_sets(runs, tokens, tmp_path)
    assert again[numbers.name].hash == found[numbers.name].hash
    given = prepare_eval_sets(runs, tokens, tmp_path, given={numbers.name: others.folder})
    assert given[numbers.name].hash == others.hash
    with pytest.raises(InputError, match="no run has 'else' among its eval_corpora"):
        prepare_eval_sets(runs, tokens, tmp_path, given={"else": others.folder})
    assert prepare_eval_sets(runs[1:], tokens, tmp_path) == {}


def test_a_folder_of_ids_is_named_by_its_path(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(others.folder.parent)
    found = prepare_eval_sets([replace(spec, eval_corpora=("./set",))], tokens, tmp_path)
    assert found["./set"].folder == Path("set")
    assert not list(tmp_path.iterdir())


def test_a_vocabulary_is_shared_and_another_one_is_refused(
    spec: RunSpec, tokens: TokenSet, numbers: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tokenizers")
    text = numbers.parent / "words.txt"
    text.write_text("some words to learn a vocabulary from, again and again\n\n" * 400)
    own = prepare(numbers, tmp_path / "own", tokenizer="bpe:300", val_fraction=0.2)
    other = prepare(text, tmp_path / "other", tokenizer=own, val_fraction=0.2)
    assert other.tokenizer == own.tokenizer == "bpe:300"
    assert (other.folder / "tokenizer.json").read_bytes() == (
        own.folder / "tokenizer.json"
    ).read_bytes()
    assert "vocabulary from" in other.decode(other.val[:60])
    apart = prepare(text, tmp_path / "apart", tokenizer="bpe:300", val_fraction=0.2)
    assert apart.hash != other.hash
    run = replace(spec, shape=replace(spec.shape, vocab=300), eval_corpora=("words",))
    assert check_eval_sets(run, own, {"words": other}) == {"words": other}
    for wrong in (apart, tokens):
        with pytest.raises(InputError, match="losses do not compare"):
            check_eval_sets(run, own, {"words": wrong})
    with pytest.raises(InputError, match="no token set of that name"):
        check_eval_sets(run, own, {})
    # Asked for again, it is what is there.
    stamp = (tmp_path / "other" / "meta.json").stat().st_mtime_ns
    assert prepare(text, tmp_path / "other", tokenizer=own, val_fraction=0.2).hash == other.hash
    assert (tmp_path / "other" / "meta.json").stat().st_mtime_ns == stamp
    (tmp_path / "own" / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="without a tokenizer"):
        prepare(text, tmp_path / "more", tokenizer=own)


def test_folders_on_the_command_line_are_pairs() -> None:
    assert parse_folders(["a=b/c", "d=e=f"]) == {"a": "b/c", "d": "e=f"}
    for wrong in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(InputError, match="NAME=FOLDER"):
            parse_folders(wrong)


def test_a_sweep_hands_other_corpora_on(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path
) -> None:
    short = replace(spec, tokens=4096)
    runs = [replace(short, eval_corpora=("numbers",)), short]
    with pytest.raises(InputError, match="no token set of that name"):
        run_sweep(runs, tokens.folder, tmp_path, workers=1, progress=lambda _: None)
    result = run_sweep(
        runs,
        tokens.folder,
        tmp_path,
        workers=1,
        progress=lambda _: None,
        eval_sets={"numbers": others.folder},
    )
    assert result.complete
    found = [len(read_record(path).held_out) for path in result.records]
    assert found == [2, 1]
    assert load_tokens(others.folder).hash == read_record(result.records[0]).held_out[1].hash


def test_a_packed_set_is_given_as_a_file(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path
) -> None:
    packed = pack_tokens(others.folder, tmp_path / "numbers.zip")
    run = replace(spec, eval_corpora=("numbers",))
    found = prepare_eval_sets([run], tokens, tmp_path / "runs", given={"numbers": packed})
    assert found["numbers"].hash == others.hash
    with pytest.raises(InputError, match="holds no token set"):
        prepare_eval_sets([run], tokens, tmp_path / "runs", given={"numbers": tmp_path})


def test_a_table_of_losses_on_another_corpus(
    spec: RunSpec, tokens: TokenSet, others: TokenSet, tmp_path: Path
) -> None:
    sets = {"again": tokens, "numbers": others}
    for seed in (0, 1):
        run = replace(spec, tokens=8192, seed=seed, eval_corpora=("again", "numbers"))
        train(run, tokens, tmp_path, eval_sets=sets)
    own = read_runs(tmp_path)
    again = read_runs(tmp_path, on="again")
    numbers = read_runs(tmp_path, on="numbers")
    assert own.curves is not None
    assert again.curves is not None
    assert again.loss.tolist() == own.loss.tolist()
    assert again.curves.loss.tolist() == own.curves.loss.tolist()
    assert (numbers.loss > own.loss + 0.1).all()
    assert any("'numbers'" in note for note in numbers.notes)
    with pytest.raises(InputError, match="not evaluated on 'books', but on 'again', 'numbers'"):
        read_runs(tmp_path, on="books")
    table = tmp_path / "runs.csv"
    write_runs(own, table)
    with pytest.raises(InputError, match="on= is for a folder of run records"):
        read_runs(table, on="again")
