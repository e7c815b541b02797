"""Trunks and the runs that leave them: the same run, described from the start and paid in part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.planning.designs.cooldowns import sweep_cost
from isoloss.runs import (
    RecordWriter,
    RunSpec,
    Schedule,
    cooldown_runs,
    read_record,
    read_runs,
    scheduled_rates,
    share_trunk,
    trunk_of,
    with_trunks,
)

SHAPE = Shape(n_layer=2, d_model=16, n_heads=2, vocab=256, n_ctx=64)
SPEC = RunSpec(SHAPE, tokens=1, batch=512, lr=0.01, seed=3, schedule=Schedule(warmup=0.05))
COUNTS = [int(100_000 * 1.5**k) for k in range(6)]
RUNS = cooldown_runs(SPEC, COUNTS)


def test_branches_share_one_trunk_and_each_leaves_it_before_its_cool_down() -> None:
    trunks = {trunk_of(run).run_id for run in RUNS}
    assert len(trunks) == 1
    trunk = trunk_of(RUNS[0])
    assert [run.tokens for run in RUNS] == COUNTS
    assert trunk.steps == RUNS[-1].branch_step == round(0.8 * RUNS[-1].steps)
    assert (trunk.trunk, trunk.branch_step, trunk.group) == (0, 0, "trunk")
    assert trunk.schedule.warmup_steps == round(0.05 * RUNS[-1].steps)
    assert with_trunks(RUNS) == (*RUNS, trunk)
    assert with_trunks((trunk, *RUNS)) == (trunk, *RUNS)
    for run in RUNS:
        # Up to the branch the rates are the trunk's to the last bit; after it they fall to zero.
        mine = scheduled_rates(run.schedule, run.steps, run.lr)
        theirs = scheduled_rates(trunk.schedule, trunk.steps, trunk.lr)
        np.testing.assert_array_equal(mine[: run.branch_step], theirs[: run.branch_step])
        assert (np.diff(mine[run.branch_step :]) < 0).all()
        assert mine[-1] == pytest.approx(0, abs=1e-12)


def test_a_branch_is_the_run_from_the_start_by_another_way() -> None:
    for run in RUNS:
        assert run.run_id == replace(run, trunk=0).run_id
        assert replace(run, trunk=0).tokens_paid == run.tokens_seen
        assert RunSpec.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_what_is_paid_is_what_the_cost_of_such_a_sweep_says() -> None:
    cost = sweep_cost(1e4, COUNTS, cooldown=0.2)
    paid = trunk_of(RUNS[0]).tokens_seen + sum(run.tokens_paid for run in RUNS)
    seen = sum(run.tokens_seen for run in RUNS)
    assert paid / seen == pytest.approx(cost.ratio, rel=5e-3)
    assert cost.ratio < 0.55


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": Schedule("cosine"), "trunk": 51_200}, "a run can leave a trunk only to cool"),
        ({"trunk": 40_960}, "trunk is 40960 tokens, and the run leaves it after 80896"),
        ({"schedule": replace(RUNS[0].schedule, warmup_steps=159)}, "it must be at most 158"),
        ({"schedule": Schedule("cosine", warmup_steps=198)}, "must be at most 197, the steps of"),
        ({"trunk": -5}, "trunk is -5; it must be zero or more"),
    ],
)
def test_a_branch_that_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    run = RunSpec(SHAPE, 101_000, 512, 0.01, schedule=RUNS[0].schedule)
    assert (run.steps, run.cooling_step) == (197, 158)
    with pytest.raises(InputError) as caught:
        replace(run, **change)
    assert words in str(caught.value)


def test_runs_that_differ_in_more_share_no_trunk() -> None:
    with pytest.raises(InputError, match="differ in tokens alone, and these do in seed"):
        share_trunk([RUNS[0], replace(RUNS[1], seed=4)])
    with pytest.raises(InputError, match="tokens is empty"):
        cooldown_runs(SPEC, [])
    with pytest.raises(InputError, match="leaves no trunk"):
        trunk_of(SPEC)


def test_a_table_of_branches_leaves_the_trunk_out_and_says_what_was_paid(tmp_path: Path) -> None:
    for run in with_trunks(RUNS[:2]):
        with RecordWriter(tmp_path / f"{run.run_id}.jsonl") as writer:
            writer.header(run, {"name": "made up", "hash": "0"}, {}, {})
            writer.end(
                "finished", step=run.steps, tokens=run.tokens_seen, loss=3.0, start=run.branch_step
            )
    table = read_runs(tmp_path)
    assert sorted(table.d) == [run.tokens_seen for run in RUNS[:2]]
    notes = " | ".join(table.notes)
    assert "1 of 3 runs are trunks that others leave to cool down, and are left out" in notes
    seen, paid = (
        sum(getattr(run, name) for run in RUNS[:2]) * run_cost(RUNS[0])
        for name in ("tokens_seen", "tokens_paid")
    )
    assert f"counted from the start, {seen:.3g} FLOPs, of which they did {paid:.3g}" in notes
    found = read_record(tmp_path / f"{RUNS[0].run_id}.jsonl")
    assert found.tokens_paid == RUNS[0].tokens_paid
    assert found.end is not None
    assert found.end.tokens == RUNS[0].tokens_seen


def run_cost(spec: RunSpec) -> float:
    return spec.flops("exact") / spec.tokens_seen
