"""Trunks and branches: the same numbers as runs from the start, for the cool-downs alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoloss.errors import InputError
from isoloss.lab.sweep import SweepProgress, dry_run, run_sweep
from isoloss.lab.sweep.local import _Sweep
from isoloss.lab.sweep.pace import TYPICAL, work_of
from isoloss.lab.sweep.queue import longest_first, make_jobs
from isoloss.lab.sweep.state import DIVERGED, RUNNING
from isoloss.lab.tokens import TokenSet
from isoloss.runs import (
    RunSpec,
    content,
    cooldown_runs,
    kept_path,
    read_record,
    read_runs,
    trunk_of,
    with_trunks,
)

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.lab.train import Progress, train  # noqa: E402
from isoloss.lab.training.points import evaluation_steps  # noqa: E402


class Killed(Exception):
    """Stands for a kill: nothing after it runs."""


def quiet(picture: SweepProgress) -> None:
    """A progress callback that shows nothing."""


@pytest.fixture
def branches(spec: RunSpec) -> tuple[RunSpec, ...]:
    small = replace(spec, eval_block=512, eval_final=1024, dropout=0.1)
    return cooldown_runs(small, [6_400, 9_728, 14_592], cooldown=0.25)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_branch_ends_where_the_run_from_the_start_does(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path, optimizer: Any
) -> None:
    runs = [replace(run, optimizer=optimizer) for run in branches[:2]]
    trunk = trunk_of(runs[0])
    steps = [run.branch_step for run in runs]
    train(trunk, tokens, tmp_path / "a", keep=steps)
    assert sorted(path.name for path in (tmp_path / "a").glob("*.npz")) == sorted(
        kept_path(tmp_path, trunk.run_id, step).name for step in steps
    )
    for run in runs:
        mine = train(run, tokens, tmp_path / "a")
        whole = train(replace(run, trunk=0), tokens, tmp_path / "b")
        assert (mine.loss, mine.tokens, mine.step) == (whole.loss, whole.tokens, whole.step)
        assert (mine.start, whole.start) == (run.branch_step, 0)
        record = read_record(tmp_path / "a" / f"{run.run_id}.jsonl")
        assert record.tokens_paid == run.tokens_paid < run.tokens_seen
        assert min(point.step for point in record.points) > run.branch_step
        last = read_record(tmp_path / "b" / f"{run.run_id}.jsonl").points[-1]
        assert record.points[-1].loss == last.loss
    assert len(list((tmp_path / "a").glob("*.npz"))) == 2  # they serve further branches


def test_a_branch_without_what_it_leaves_does_the_rest_itself(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path
) -> None:
    run = branches[1]
    train(trunk_of(run), tokens, tmp_path / "a", keep=[5, run.branch_step + 1])
    part, whole = (train(run, tokens, tmp_path / name) for name in "ab")
    assert (part.start, whole.start) == (5, 0)
    assert part.loss == whole.loss
    other = replace(run, tokens=run.tokens + run.batch)
    record = tmp_path / "a" / f"{trunk_of(run).run_id}.jsonl"
    text = record.read_text(encoding="utf-8")
    record.write_text(text.replace(tokens.hash, "0" * 64), encoding="utf-8")
    with pytest.raises(InputError, match=r"its branch is on \w+: train into another"):
        train(other, tokens, tmp_path / "a")
    record.unlink()
    assert train(other, tokens, tmp_path / "a").start == 0


def test_a_killed_branch_goes_on_bit_for_bit(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path, monkeypatch: Any
) -> None:
    run = branches[2]
    for name in ("whole", "torn"):
        train(trunk_of(run), tokens, tmp_path / name, keep=[run.branch_step])
    train(run, tokens, tmp_path / "whole")
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)
    for step, seconds in ((run.branch_step + 2, 1e9), (run.branch_step + 6, 0.0)):

        def kill(progress: Progress, step: int = step) -> None:
            if progress.step == step:
                raise Killed

        with pytest.raises(Killed):
            train(run, tokens, tmp_path / "torn", on_progress=kill, checkpoint_seconds=seconds)
    seen: list[int] = []
    train(run, tokens, tmp_path / "torn", on_progress=lambda now: seen.append(now.step))
    assert seen[0] == run.branch_step + 6
    whole, torn = (
        read_record(tmp_path / name / f"{run.run_id}.jsonl") for name in ("whole", "torn")
    )
    assert content(torn) == content(whole)


@pytest.mark.full
def test_a_sweep_trains_the_trunk_before_what_leaves_it(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path
) -> None:
    pictures: list[SweepProgress] = []
    result = run_sweep(branches, tokens.folder, tmp_path, workers=2, progress=pictures.append)
    trunk = trunk_of(branches[0])
    assert [path.stem for path in result.records] == [
        *(run.run_id for run in branches),
        trunk.run_id,
    ]
    assert result.counts["finished"] == 4
    for run in branches:
        record = read_record(tmp_path / f"{run.run_id}.jsonl")
        assert record.end is not None
        assert record.end.start == run.branch_step
    paid = sum(run.tokens_paid for run in with_trunks(branches))
    assert paid < 0.75 * sum(run.tokens_seen for run in branches)
    last = pictures[-1]
    assert last.flops_done == pytest.approx(last.flops_total)
    assert len(read_runs(tmp_path)) == 3
    # A branch added later leaves the last state kept before it, and the trunk is not trained again.
    before = (tmp_path / f"{trunk.run_id}.jsonl").read_bytes()
    later = replace(branches[1], tokens=12_800)
    again = run_sweep([*branches, later], tokens.folder, tmp_path, workers=1, progress=quiet)
    assert again.already == 4
    assert (tmp_path / f"{trunk.run_id}.jsonl").read_bytes() == before
    end = read_record(tmp_path / f"{later.run_id}.jsonl").end
    assert end is not None
    assert end.start == branches[1].branch_step < later.branch_step


def test_branches_wait_for_their_start_and_no_longer(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path
) -> None:
    result = run_sweep(
        branches,
        tokens.folder,
        tmp_path,
        workers=2,
        progress=quiet,
        trainer="sweep_trainers:steady",
    )
    assert result.complete
    trunk = trunk_of(branches[0]).run_id
    assert (tmp_path / "calls.txt").read_text().split()[0] == trunk
    jobs = make_jobs(branches, tmp_path / "other")
    jobs[0].record.parent.mkdir()
    sweep = _Sweep(jobs, tokens.hash, 2, 0, quiet)
    sweep.tracked[trunk].state = RUNNING
    assert not any(sweep.ready(job) for job in jobs[:3])
    kept_path(tmp_path / "other", trunk, branches[1].branch_step).touch()
    assert [sweep.ready(job) for job in jobs[:3]] == [False, True, False]
    sweep.tracked[trunk].state = DIVERGED
    assert all(sweep.ready(job) for job in jobs)


def test_branches_of_a_trunk_that_failed_fail_with_it_and_come_back(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path
) -> None:
    other = replace(branches[0], trunk=0, data_seed=9)
    runs = [replace(run, seed=1) for run in branches] + [other]
    trainer = "sweep_trainers:failing"
    result = run_sweep(runs, tokens.folder, tmp_path, workers=2, progress=quiet, trainer=trainer)
    assert (result.counts["failed"], result.counts["finished"]) == (4, 1)
    reasons = dict(result.failures)
    assert reasons[runs[0].run_id] == f"its trunk {trunk_of(runs[0]).run_id} failed"
    assert "ZeroDivisionError" in reasons[trunk_of(runs[0]).run_id]
    (tmp_path / "mended").touch()
    again = run_sweep(runs, tokens.folder, tmp_path, workers=2, progress=quiet, trainer=trainer)
    assert again.complete


def test_a_trunk_goes_first_and_a_branch_is_counted_by_what_it_pays(
    branches: tuple[RunSpec, ...], tokens: TokenSet, tmp_path: Path
) -> None:
    jobs = make_jobs([*branches, replace(branches[2], trunk=0, seed=5)], tmp_path)
    trunk = jobs[-1]
    assert trunk.keep == tuple(run.branch_step for run in branches)
    assert [job.trunk for job in jobs] == [trunk.run_id] * 3 + ["", ""]
    # The trunk alone is shorter than the run from the start, but others wait for it.
    assert [job.run_id for job in longest_first(jobs, TYPICAL)][:2] == [
        trunk.run_id,
        jobs[3].run_id,
    ]
    branch, whole = branches[2], replace(branches[2], trunk=0)
    assert work_of(branch).layer_steps == pytest.approx(work_of(whole).layer_steps / 4, rel=0.03)
    assert work_of(branch).flops < work_of(whole).flops / 3
    assert jobs[2].share(branch.branch_step) == 0
    assert jobs[2].share(branch.steps) == 1
    lines = dry_run(branches, tokens.folder, tmp_path)
    assert len(lines) == 1 + 4 + 2
    cost = sum(r.flops() * r.tokens_paid / r.tokens_seen for r in with_trunks(branches))
    assert f"4 of 4 runs to train on {tokens.name}, {cost:.2e} FLOPs" in lines[-2]


def test_evaluation_of_a_branch_is_held_against_its_own_steps(spec: RunSpec) -> None:
    (run,) = cooldown_runs(spec, [9_000_000])
    steps = evaluation_steps(run, 16_384, 204_800)
    assert steps[-1] == run.steps
    assert steps[0] > run.branch_step
    assert len(steps) == spec.eval_points == 6
    assert 0.4 * (len(steps) * 16_384 + 204_800) <= 0.25 * run.tokens_paid
