"""`isoloss fit --all` and `--conventions`: the best size by other methods and other counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss import published
from isoloss.cli.fit import _outside
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import read_runs
from isoloss.trust import Interval, approaches, conventions


def test_all_prints_three_approaches_and_their_disagreement(
    isoloss: Command, runs_csv: Path
) -> None:
    words = ("fit", runs_csv, "--all", "--flops", "1e22", "--draws", "100")
    done = isoloss(*words)
    assert done.returncode == 0, done.stderr
    for word in ("1e+22 FLOPs", "2 corrected", "best sizes differ", "the parabolas of approach 2"):
        assert word in " ".join(done.stdout.split())
    assert "refused: approach 1" in done.stdout  # every size of the table has a single end
    assert max(len(line) for line in done.stdout.splitlines()) <= 80

    found = json.loads(isoloss(*words, "--json").stdout)
    direct = approaches(read_runs(runs_csv), 1e22, draws=100)
    assert [one["name"] for one in found["approaches"]] == ["1", "2", "2 corrected", "3"]
    assert found["disagreement"] == pytest.approx(direct.disagreement)
    three = found["approaches"][3]["n"]
    assert three["low"] < allocate(published.BESIROGLU_2024, 1e22).n < three["high"]


def test_conventions_prints_a_row_for_every_count(isoloss: Command, tmp_path: Path) -> None:
    path = tmp_path / "counted.csv"
    lines = ["params_total,params_non_embedding,tokens,loss"]
    for n in (1e8, 2e8, 4e8, 8e8, 1.6e9):
        for m in (8, 24, 80):
            d = n * m
            lines.append(f"{n + 2e3 * n**0.5},{n},{d},{float(published.BESIROGLU_2024(n, d))}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("fit", path, "--conventions", "--draws", "100", "--out", tmp_path / "out.json")
    done = isoloss(*words)
    assert done.returncode == 0, done.stderr
    assert "non_embedding" in done.stdout
    assert "total" in done.stdout
    assert "counted alike, the best size moves by a factor of" in " ".join(done.stdout.split())
    found = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    direct = conventions(published.BESIROGLU_2024.law.__class__, read_runs(path), draws=100)
    assert found["movement"] == pytest.approx(direct.movement)
    assert len(found["rows"]) == len(direct.rows) >= 2


@pytest.mark.parametrize("view", ["--all", "--conventions"])
def test_a_view_prints_doubts_and_fits_80_columns(
    isoloss: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = ["params_total,params_non_embedding,params_active,tokens,flops,loss"]
    for c in (1e18, 1e19, 1e20):
        for n in 0.1 * c**0.5 * np.geomspace(0.2, 6.0, 8):
            d = c / (6 * n)
            loss = float(published.BESIROGLU_2024(n, d)) * (1.5 if len(lines) == 9 else 1.0)
            lines.append(f"{n + 2e3 * n**0.5},{n},{0.9 * n},{d},{1.05 * c},{loss}")
    path = tmp_path / "counted.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ("fit", path, view, "--draws", "100")
    done = isoloss(*words)
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "doubt (outlier): a run lies far from the law" in text
    assert "seen (outlier): run 9 lies" in text
    printed = done.stdout.splitlines()
    assert max(len(line) for line in printed) <= 80
    # An interval stands on the line below its value, whole: none is broken at its dash.
    cells = [cell for line in printed for cell in line.split("  ") if " - " in cell]
    assert len(cells) >= 12
    assert all(len(cell.split(" - ")) == 2 and all(cell.split(" - ")) for cell in cells)
    assert not [line for line in printed if re.search(r"[^ ] -$", line.rstrip())]
    found = json.loads(isoloss(*words, "--json").stdout)
    assert "outlier" in [one["code"] for one in found["status"]]
    assert "outlier" in [one["code"]["code"] for one in found["findings"]]


def test_one_view_at_a_time_and_code_three_where_nothing_answers(
    isoloss: Command, runs_csv: Path, tmp_path: Path
) -> None:
    both = isoloss("fit", runs_csv, "--all", "--conventions")
    assert both.returncode == 2
    assert "one at a time" in both.stderr
    flat = tmp_path / "flat.csv"
    flat.write_text("params,tokens,loss\n1e8,1e9,3.0\n1e8,2e9,2.9\n1e8,4e9,2.8\n", encoding="utf-8")
    for view in ("--all", "--conventions"):
        done = isoloss("fit", flat, view)
        assert done.returncode == 3
        assert "refused:" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--all", "--fix", "E=1"), "leave out --fix"),
        (("--conventions", "--asymmetry", "10"), "leave out --asymmetry"),
        (("--all", "--residual", "linear"), "leave out --residual"),
        (("--all", "--draws", "0"), "leave out --draws 0"),
        (("--flops", "1e22"), "--flops belongs to --all and --conventions"),
    ],
)
def test_a_view_refuses_what_it_would_leave_aside(
    isoloss: Command, runs_csv: Path, words: tuple[str, ...], says: str
) -> None:
    done = isoloss("fit", runs_csv, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr


def test_a_value_outside_its_interval_is_named(runs_csv: Path) -> None:
    found = fit(Chinchilla, read_runs(runs_csv))
    at = {name: np.asarray(value) for name, value in found.coefficients.items()}
    around = {name: Interval(0.9 * v, v, 1.1 * v) for name, v in at.items()}
    assert _outside(found, around) == []
    assert _outside(found, {}) == []
    away = {**around, "beta": Interval(0.5 * at["beta"], 0.6 * at["beta"], 0.7 * at["beta"])}
    (line,) = _outside(found, away)
    assert line.startswith("beta: outside the interval")
