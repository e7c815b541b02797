"""Threads of a run: one in company, more alone where that is faster, the record's when resumed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoloss.counting import Shape
from isoloss.lab.sweep import run_sweep, threads
from isoloss.lab.sweep.local import _Sweep
from isoloss.lab.sweep.queue import Job, make_jobs
from isoloss.lab.sweep.state import ELSEWHERE, FINISHED
from isoloss.lab.sweep.threads import settle_threads
from isoloss.lab.tokens import TokenSet
from isoloss.lab.train import train
from isoloss.runs import RunSpec, Schedule, content, read_record, share_trunk, trunk_of

WIDE = RunSpec(
    Shape(n_layer=1, d_model=128, n_heads=2, vocab=256, n_ctx=32),
    tokens=2560,
    batch=64,
    lr=0.01,
    eval_points=3,
    eval_block=512,
    eval_final=512,
)
NARROW = replace(WIDE, shape=replace(WIDE.shape, d_model=64, d_attn=64, d_ff=256))


@pytest.fixture(autouse=True)
def measurements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No measurements but a test's own, in a folder that workers see too."""
    monkeypatch.setenv("ISOLOSS_SPEEDS", str(tmp_path / "speeds"))
    monkeypatch.setattr(threads, "LEAST_FLOPS", 0.0)
    monkeypatch.setattr("os.cpu_count", lambda: 8)


def answer(monkeypatch: pytest.MonkeyPatch, one: float, two: float) -> None:
    """Let the measurement of WIDE find these seconds, and keep them."""
    with monkeypatch.context() as patch:
        patch.setattr(threads, "best_seconds", lambda *_, **__: {"1": one, "2": two})
        assert threads.measured(WIDE, 2) == {"1": one, "2": two}


def sweep(
    specs: Sequence[RunSpec], tokens: TokenSet, folder: Path, trainer: str, workers: int = 2
) -> list[str]:
    news: list[str] = []
    result = run_sweep(
        specs,
        tokens.folder,
        folder,
        workers=workers,
        progress=lambda picture: news.extend(picture.news),
        trainer=f"threaded_trainers:{trainer}",
        checkpoint_seconds=0.0,
    )
    assert result.complete, result.summary()
    return news


def used(folder: Path) -> list[int]:
    return [read_record(path).machine["threads"] for path in sorted(folder.glob("*.jsonl"))]


def test_a_run_takes_the_threads_that_are_measured_to_be_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settle_threads(WIDE, tmp_path, 1) == 1
    assert not (tmp_path / "speeds").exists()
    answer(monkeypatch, 1.0, 0.9)
    assert settle_threads(WIDE, tmp_path, 2) == 1
    (kept,) = (tmp_path / "speeds").iterdir()
    kept.unlink()
    answer(monkeypatch, 1.0, 0.6)
    assert settle_threads(WIDE, tmp_path, 2) == 2 == torch.get_num_threads()
    assert settle_threads(NARROW, tmp_path, 2) == 1 == torch.get_num_threads()
    monkeypatch.setattr(threads, "LEAST_FLOPS", 1e12)
    assert settle_threads(WIDE, tmp_path, 2) == 1


def test_the_measurement_is_of_both_and_is_made_once(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    first = threads.measured(WIDE, 2)
    assert set(first) == {"1", "2"}
    assert min(first.values()) > 0
    assert threads.measured(WIDE, 2) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == 1


def test_a_run_that_was_begun_keeps_its_threads_and_a_branch_those_of_its_trunk(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, 1.0, 0.5)
    spec = replace(NARROW, schedule=Schedule("wsd_sqrt", decay=0.3, warmup_steps=2, final=0.0))
    branch, longer = share_trunk([spec, replace(spec, tokens=3840)])
    torch.set_num_threads(3)
    train(trunk_of(branch), tokens, tmp_path)
    for run in (trunk_of(branch), branch, longer):
        assert settle_threads(run, tmp_path, 1) == 3
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert settle_threads(branch, tmp_path, 8) == 2
    torch.set_num_threads(1)


@pytest.mark.full
def test_a_run_alone_has_as_many_threads_as_there_are_workers(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, 1.0, 0.5)
    sweep([WIDE], tokens, tmp_path / "alone", "plain")
    assert used(tmp_path / "alone") == [2]
    sweep([WIDE], tokens, tmp_path / "one", "plain", workers=1)
    assert used(tmp_path / "one") == [1]


class Idle:
    """A worker that takes a run and does nothing."""

    ready = True

    def __init__(self) -> None:
        self.job: Job | None = None
        self.threads = 0

    def give(self, job: Job, threads: int) -> None:
        self.job, self.threads = job, threads


def handed_out(runs: Sequence[RunSpec], folder: Path, state: dict[int, str]) -> list[int]:
    """The threads offered by a sweep of two workers; state: of runs that are not waiting."""
    sweep = _Sweep(make_jobs(runs, folder), "hash", 2, 0, lambda picture: None)
    for number, known in state.items():
        run = sweep.tracked[runs[number].run_id]
        run.state = known
        sweep.waiting.remove(run.job)
    idle = [Idle(), Idle()]
    sweep.pool = list(idle)  # type: ignore[arg-type]
    sweep.hand_out({})
    return [worker.threads for worker in idle if worker.job]


def test_more_threads_are_offered_while_nothing_else_runs_or_waits(tmp_path: Path) -> None:
    runs = [replace(WIDE, seed=seed) for seed in range(3)]
    assert handed_out(runs[:1], tmp_path, {}) == [2]
    assert handed_out(runs[:2], tmp_path, {}) == [1, 1]
    assert handed_out(runs, tmp_path, {}) == [1, 1]
    assert handed_out(runs, tmp_path, {0: FINISHED, 2: FINISHED}) == [2]
    assert handed_out(runs, tmp_path, {0: FINISHED, 2: ELSEWHERE}) == [1]


@pytest.mark.full
def test_a_killed_run_of_two_threads_gives_the_numbers_of_one_left_alone(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, 1.0, 0.5)
    sweep([WIDE], tokens, tmp_path / "alone", "plain")
    (tmp_path / "faults.json").write_text(json.dumps([(0, "in checkpoint", 20)]))
    news = sweep([WIDE], tokens, tmp_path / "killed", "struck")
    assert any("killed by SIGKILL" in line for line in news)
    # Killed alone, taken up by a sweep of one worker: still with the threads it began with.
    (tmp_path / "faults.json").write_text(json.dumps([(0, "in checkpoint", 20)]))
    with pytest.raises(AssertionError, match="its worker died"):
        _sweep_once(tokens, tmp_path / "later")
    sweep([WIDE], tokens, tmp_path / "later", "plain", workers=1)
    expected = _contents(tmp_path / "alone")
    for name in ("killed", "later"):
        assert used(tmp_path / name) == [2]
        assert _contents(tmp_path / name) == expected


def _sweep_once(tokens: TokenSet, folder: Path) -> None:
    result = run_sweep(
        [WIDE],
        tokens.folder,
        folder,
        workers=2,
        progress=lambda picture: None,
        trainer="threaded_trainers:struck",
        checkpoint_seconds=0.0,
        retries=0,
    )
    assert result.complete, result.summary()


def _contents(folder: Path) -> list[dict[str, Any]]:
    return [content(read_record(path)) for path in sorted(folder.glob("*.jsonl"))]
