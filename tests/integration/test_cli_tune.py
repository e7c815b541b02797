"""`isoloss tune` as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command
from simulated_sweeps import sweep

from isoloss.runs import read_runs, write_runs


@pytest.fixture
def sweep_csv(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.csv"
    runs, _ = sweep(np.random.default_rng(21), sizes=3, tokens=2, arms=4)
    write_runs(runs, path)
    return path


def test_tune_shows_optima_laws_and_rules(isoloss: Command, sweep_csv: Path) -> None:
    done = isoloss("tune", sweep_csv.name, "--draws", 300)
    assert done.returncode == 0, done.stderr
    for words in ("best lr", "loss there", "lr = ", "n^-0.", "Step Law, rate", "Porian, batch"):
        assert words in done.stdout
    assert "! outside the range measured" in done.stdout
    assert "n here is unknown; the rule's is non_embedding" in " ".join(done.stdout.split())
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 80


def test_tune_writes_a_table_that_fit_reads_and_a_figure(
    isoloss: Command, sweep_csv: Path, tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    words = ("--out", "best.csv", "--figure", "rates.svg", "--draws", 300, "--json")
    done = isoloss("tune", sweep_csv.name, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["configurations"]) == 6
    assert found["factors"] == ["lr"]
    assert found["lr_law"]["exponents"]["n"] < 0
    assert found["rules"][0]["rule"]["citation"].startswith("Li et al.")
    best = read_runs(tmp_path / "best.csv")
    assert len(best) == 6
    assert best.sd is not None
    assert (tmp_path / "rates.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_tune_at_one_rate_exits_3_with_the_rates_to_run(isoloss: Command, tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text(
        "params,tokens,loss,lr\n1e8,2e9,3.3,0.002\n3e8,5e9,3.0,0.002\n", encoding="utf-8"
    )
    done = isoloss("tune", "one.csv")
    assert done.returncode == 3
    assert done.stdout == ""
    assert "run lr = 0.001 and 0.004" in done.stderr


def test_tune_refuses_what_it_cannot_use(isoloss: Command, sweep_csv: Path) -> None:
    (sweep_csv.parent / "plain.csv").write_text("params,tokens,loss\n1e8,2e9,3.3\n", "utf-8")
    assert "no learning rate" in isoloss("tune", "plain.csv").stderr
    done = isoloss("tune", sweep_csv.name, "--out", "best.parquet")
    assert done.returncode == 1
    assert "ends in .csv" in done.stderr
    done = isoloss("tune", sweep_csv.name, "--out", sweep_csv.name)
    assert done.returncode == 1
    assert "holds the runs themselves" in done.stderr


def test_tune_prints_what_is_wrong_with_the_runs(isoloss: Command, sweep_csv: Path) -> None:
    runs = read_runs(sweep_csv)
    loss = np.exp(runs.loss)
    loss[1] *= 4
    write_runs(runs.replace(loss=loss, lr=1e4 * runs.lr), sweep_csv)
    done = isoloss("tune", sweep_csv.name, "--draws", 100)
    assert done.returncode == 0, done.stderr
    for code in ("not_nats", "odd_rates", "outlier"):
        assert f"doubt ({code}): " in done.stdout
        assert f"seen ({code}): " in done.stdout
    found = json.loads(isoloss("tune", sweep_csv.name, "--draws", 100, "--json").stdout)
    told = {one["code"]["code"] for one in found["findings"]}
    assert {"not_nats", "odd_rates", "outlier"} <= told
    write_runs(runs.replace(loss=np.full(len(runs), 3.0)), sweep_csv)
    done = isoloss("tune", sweep_csv.name)
    assert done.returncode == 3
    assert "check the loss column" in done.stderr
