"""The demo: its design keeps its promises; the whole loop runs, resumes and says what it found."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from isoloss.counting import flops_per_token
from isoloss.errors import InputError

pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from isoloss.experiments.demo import Design, run_demo, summary
from isoloss.experiments.demo.regime import (
    FORECAST_FACTOR,
    FORECAST_SHAPES,
    SWEEP_SHAPES,
    batch_tokens,
    learning_rate,
)
from isoloss.experiments.demo.speed import fit_to_machine
from isoloss.experiments.demo.story import forecast_runs, seed_spread
from isoloss.lab.sweep.pace import Pace
from isoloss.lab.tokens import TokenSet, prepare
from isoloss.laws import Chinchilla
from isoloss.runs import Runs

ROOT = Path(__file__).resolve().parents[2]
DESIGN = Design(corpus="python-stdlib", seed=0, most_tokens=7_550_000)


@pytest.fixture(scope="module")
def pilot() -> list[dict[str, str]]:
    with (ROOT / "benchmarks/results/demo_regime.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_run_of_the_sweep_lies_in_the_measured_regime() -> None:
    specs = DESIGN.sweep()
    assert len({spec.run_id for spec in specs}) == len(specs)
    for spec in specs:
        assert spec.shape.n_layer >= 2
        assert 512 <= spec.batch <= 4096
        assert spec.steps >= 300
        assert spec.schedule.warmup <= 0.05
        assert 0.99 * DESIGN.least_tokens <= spec.tokens_seen <= DESIGN.most_tokens
    for budget, curve in zip(DESIGN.budgets, DESIGN.curves(), strict=True):
        assert len(curve) == 6
        for spec in curve:
            assert spec.flops("exact") == pytest.approx(budget, rel=0.01)


def test_two_configurations_have_three_seeds() -> None:
    configurations = defaultdict(set)
    for spec in DESIGN.sweep():
        configurations[replace(spec, seed=0, group="")].add(spec.seed)
    assert sorted(len(seeds) for seeds in configurations.values())[-3:] == [1, 3, 3]


def test_a_shape_can_spend_ten_times_the_compute_on_unseen_text() -> None:
    able = DESIGN.spenders(FORECAST_FACTOR * DESIGN.top_compute)
    assert able
    for shape in able:
        tokens = FORECAST_FACTOR * DESIGN.top_compute / flops_per_token(shape, "exact")
        assert tokens <= DESIGN.most_tokens


def test_the_learning_rate_rule_is_within_one_percent_of_the_best_scanned(
    pilot: list[dict[str, str]],
) -> None:
    scanned: dict[tuple[str, str, str], dict[float, float]] = defaultdict(dict)
    for row in pilot:
        if row["group"] in ("rule", "scan"):
            key = (row["n_layer"], row["d_model"], row["tokens"])
            scanned[key][float(row["lr"])] = float(row["loss"])
    assert len(scanned) == 4
    for (_, width, _), losses in scanned.items():
        rates = sorted(rate for rate in losses if rate != learning_rate(int(width)))
        assert np.allclose(np.diff(np.log2(rates)), 1.0)
        best = min(losses, key=lambda rate: losses[rate])
        assert losses[learning_rate(int(width))] <= 1.01 * losses[best]
        assert best not in (rates[0], rates[-1])


def test_slopes_in_tokens_do_not_steepen_in_the_range_kept(pilot: list[dict[str, str]]) -> None:
    curves: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in pilot:
        if row["group"] == "slope":
            curves[row["d_model"]][float(row["tokens"])].append(np.log(float(row["loss"])))
    assert len(curves) == 2
    for points in curves.values():
        assert len(points) == 4
        log_l = [np.mean(points[tokens]) for tokens in sorted(points)]
        slope = -np.diff(log_l) / np.diff(np.log(sorted(points)))
        assert np.all(slope[1:] <= 1.2 * slope[:-1])


def test_the_effect_of_size_is_eight_deviations_of_the_seeds(pilot: list[dict[str, str]]) -> None:
    logs: dict[str, list[float]] = defaultdict(list)
    for row in pilot:
        if row["group"] == "seeds":
            logs[row["d_model"]].append(float(np.log(float(row["loss"]))))
    small, large = (np.array(logs[width]) for width in sorted(logs, key=int))
    deviation = np.sqrt((small.var(ddof=1) + large.var(ddof=1)) / 2)
    assert small.mean() - large.mean() >= 8 * deviation


def test_a_width_the_rule_was_not_measured_for_is_refused() -> None:
    with pytest.raises(InputError, match="for widths 8 to 96"):
        learning_rate(512)


def test_batches_grow_with_tokens_between_their_bounds() -> None:
    assert batch_tokens(1e5) == 512
    assert batch_tokens(1e9) == 4096
    assert batch_tokens(1.2e6) / batch_tokens(3e5) == pytest.approx(4**0.57, rel=0.05)


def test_a_slow_machine_gets_a_smaller_top_budget_and_a_fast_one_keeps_it() -> None:
    fast, slow = Pace(1e-4, 1e-10, 1 / 200e9), Pace(1e-3, 1e-9, 1 / 20e9)
    assert fit_to_machine(DESIGN, fast, 2) == DESIGN
    shrunk = fit_to_machine(DESIGN, slow, 2)
    assert shrunk.budgets[:2] == DESIGN.budgets[:2]
    assert shrunk.budgets[1] < shrunk.budgets[2] < DESIGN.budgets[2]


def test_a_corpus_too_small_for_the_curves_is_refused() -> None:
    with pytest.raises(InputError, match="larger corpus"):
        replace(DESIGN, most_tokens=400_000).curves()


def test_a_corpus_too_small_for_the_forecast_is_refused_before_anything_is_trained(
    tokens: TokenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    design = Design("short", 0, 1_500_000, least_tokens=550_000, budgets=(2.0e11, 3.8e11, 7.0e11))
    assert all(len(curve) >= 3 for curve in design.curves())
    monkeypatch.setattr("isoloss.experiments.demo.story.prepare", lambda *given: tokens)
    monkeypatch.setattr(
        "isoloss.experiments.demo.speed.measure_pace", lambda specs: Pace(1e-4, 1e-10, 1 / 200e9)
    )
    with pytest.raises(InputError, match="larger corpus"):
        run_demo(tmp_path / "demo", design=design, workers=2, say=lambda line: None)
    assert list((tmp_path / "demo").iterdir()) == []
    with pytest.raises(InputError, match="workers is 0"):
        run_demo(tmp_path / "demo", design=design, workers=0)


def test_the_forecast_runs_differ_even_where_the_largest_shape_is_best() -> None:
    class LargestIsBest:
        fit = SimpleNamespace(law=Chinchilla(E=1.0, A=5e4, B=1.0, alpha=0.9, beta=0.5))

    specs = forecast_runs(DESIGN, LargestIsBest(), lambda line: None)  # type: ignore[arg-type]
    assert {spec.shape for spec in specs} == {FORECAST_SHAPES[-1]}
    assert [spec.group for spec in specs] == ["forecast", "held-out"]


def test_seed_spread_is_the_pooled_deviation_within_configurations() -> None:
    rng = np.random.default_rng(7)
    n = np.repeat([1e4, 3e4, 7e4], 4000)
    loss = np.repeat([2.1, 1.9, 1.6], 4000) * np.exp(0.013 * rng.standard_normal(12000))
    runs = Runs(n=n, d=1e2 * n, loss=loss, run=np.arange(12000).astype(str))
    assert seed_spread(runs) == pytest.approx(0.013, rel=0.03)


@pytest.fixture(scope="module")
def tiny_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up words, some common and many rare: quickly learnt in part, never wholly."""
    rng = np.random.default_rng(29)
    words = ["".join(rng.choice(list("abcdefgh"), size=k)) for k in rng.integers(2, 8, 300)]
    folder = tmp_path_factory.mktemp("tiny")
    for index in range(80):
        chosen = rng.zipf(1.4, 1500) % len(words)
        (folder / f"{index:02d}.txt").write_text(" ".join(words[i] for i in chosen))
    return folder


@pytest.mark.full
def test_the_whole_loop_runs_and_a_second_call_repeats_nothing(
    tiny_text: Path, tmp_path: Path
) -> None:
    design = Design(
        corpus="tiny", seed=3, most_tokens=400_000, least_tokens=12_000,
        budgets=(2.0e9, 4.5e9, 9.0e9),
    )  # fmt: skip
    said: list[str] = []
    call: dict[str, Any] = {"corpus": str(tiny_text), "design": design, "workers": 2}
    result = run_demo(tmp_path / "demo", say=said.append, **call)
    top = result.runs.c.max()
    assert [round(o.forecast.far) for o in result.outcomes] == [10, 5, 5]
    assert all(o.forecast.c >= 5 * top for o in result.outcomes)
    assert result.outcomes[0].forecast.c >= 10 * top
    forecast = tmp_path / "demo" / "forecast.json"
    for record in (tmp_path / "demo" / "check").glob("*.jsonl"):
        assert record.stat().st_ctime_ns > forecast.stat().st_ctime_ns
    page = result.report.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    text = "\n".join(summary(result))
    assert "report" in text
    assert "hit" in text or "MISS" in text
    json.loads(forecast.read_text(encoding="utf-8"))

    before = {p: p.read_bytes() for p in (tmp_path / "demo").rglob("*.jsonl")}
    again = run_demo(tmp_path / "demo", say=said.append, **call)
    assert {p: p.read_bytes() for p in (tmp_path / "demo").rglob("*.jsonl")} == before
    assert again.forecast_hash == result.forecast_hash
    assert [o.loss for o in again.outcomes] == [o.loss for o in result.outcomes]


def test_a_damaged_or_another_design_in_the_folder_is_refused(
    tiny_text: Path, tmp_path: Path
) -> None:
    design = Design(
        corpus="tiny", seed=3, most_tokens=400_000, least_tokens=12_000,
        budgets=(2.0e9, 4.5e9, 9.0e9),
    )  # fmt: skip
    call: dict[str, Any] = {"corpus": str(tiny_text), "say": lambda line: None}
    whole = {**asdict(design), "budgets": [2.0e9, 4.5e9]}
    for damaged in (
        '{"design": {"corp',
        "[]",
        "[" * 100_000,
        json.dumps({"design": whole}),
        json.dumps({"design": {**whole, "budgets": [2e9, "x"]}, "corpus_hash": ""}),
        json.dumps({"design": {**whole, "budgets": [2e9, -1]}, "corpus_hash": ""}),
        json.dumps({"design": {**whole, "budgets": []}, "corpus_hash": ""}),
        json.dumps({"design": {**whole, "budgets": 3}, "corpus_hash": ""}),
        json.dumps({"design": {**whole, "more": 3}, "corpus_hash": ""}),
    ):
        (tmp_path / "design.json").write_text(damaged)
        with pytest.raises(InputError, match=r"design\.json is damaged: delete it"):
            run_demo(tmp_path, design=design, **call)
    tokens = prepare(str(tiny_text), tmp_path / "tokens")
    content = {"design": asdict(replace(design, least_tokens=9_000)), "corpus_hash": tokens.hash}
    (tmp_path / "design.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="of another design: give another folder"):
        run_demo(tmp_path, design=design, **call)


def test_sizes_rise() -> None:
    costs = [flops_per_token(shape, "exact") for shape in SWEEP_SHAPES]
    assert costs == sorted(costs)
