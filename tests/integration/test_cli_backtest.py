"""`isoloss backtest`: what it prints at 80 columns, what it hears of all runs, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss import published
from isoloss.fitting import fit
from isoloss.laws import Chinchilla
from isoloss.runs import read_runs
from isoloss.trust import backtest_fit

QUICK = ("--draws", "100")


def table(path: Path, edit: dict[int, float] | None = None, names: bool = False) -> Path:
    """60 runs of five budgets, as CSV; edit: by what the loss of a row is multiplied."""
    rng = np.random.default_rng(11)
    lines = ["run,params,tokens,flops,loss" if names else "params,tokens,flops,loss"]
    for row in range(60):
        c, place = 10.0 ** (17 + row // 12), row % 12
        n = 0.1 * np.sqrt(c) * np.geomspace(0.2, 6.0, 12)[place]
        loss = float(published.BESIROGLU_2024(n, c / 6 / n)) * np.exp(0.002 * rng.normal())
        loss *= (edit or {}).get(row, 1.0)
        name = f"a_very_long_prefix_of_a_run_{row:03d}_and_a_suffix," if names else ""
        lines.append(f"{name}{n:.6g},{c / 6 / n:.6g},{c * (1 + 1e-4 * place):.7g},{loss:.6f}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_many_runs_with_long_names_are_readable_at_80_columns(
    isoloss: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    runs = table(tmp_path / "runs.csv", {57: 400.0}, names=True)
    done = isoloss("backtest", runs, "--cutoff", "2e18", "--level", "0.875", *QUICK)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(len(line) for line in lines) <= 80
    rows = [line for line in lines if "a_very_.._suffix" in line]
    assert len(rows) == 20  # not one of them broken in two
    assert all(row.split()[-3] == "-" and "%" in row for row in rows)
    assert "87.5% interval" in done.stdout
    assert "20 of 36 runs, evenly by compute" in lines
    few = isoloss("backtest", runs, "--cutoff", "2e20", *QUICK).stdout
    assert "evenly by compute" not in few


def test_a_budget_is_not_split_and_an_error_is_a_share(isoloss: Command, tmp_path: Path) -> None:
    """The dearest run reads ten times its loss: the law is 90 % below it, not 230 %."""
    runs = table(tmp_path / "runs.csv", {59: 10.0})
    done = isoloss("backtest", runs, *QUICK)
    assert "through 48 runs up to 1e+20 FLOPs, 12 runs predicted" in done.stdout
    (last,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["60"]]
    assert -91 < float(last.split()[-1].removesuffix("%")) < -89
    found = json.loads(isoloss("backtest", runs, "--json", *QUICK).stdout)
    assert found["error"][-1] == pytest.approx(-0.9, abs=0.01)


def test_what_all_runs_are_doubted_for_is_printed_and_in_json(
    isoloss: Command, tmp_path: Path
) -> None:
    """An outlier above the cut: the fit below it knows nothing of it."""
    runs = table(tmp_path / "runs.csv", {59: 1.5})
    for words in (("backtest", runs), ("backtest", runs, "--rolling")):
        done = isoloss(*words, *QUICK)
        assert done.returncode == 0, done.stderr
        text = " ".join(done.stdout.split())
        assert "doubt (outlier): a run lies far from the law" in text
        assert "seen (outlier): run 60 lies" in text
        assert "seen (unknown_convention): " in text
        found = json.loads(isoloss(*words, "--json", *QUICK).stdout)
        assert "outlier" in [one["code"] for one in found["status"]]
        assert "outlier" in [one["code"]["code"] for one in found["findings"]]
    words = ("backtest", runs, "--cutoff", "2e17", "--form", "power", "--x", "c")
    assert "below the cut, doubt (" not in isoloss(*words, *QUICK).stdout
    few = table(tmp_path / "few.csv")
    kept = few.read_text(encoding="utf-8").splitlines()
    few.write_text("\n".join([kept[0], *kept[1:49:7], *kept[49:]]) + "\n", encoding="utf-8")
    done = isoloss("backtest", few, "--cutoff", "2e20", *QUICK)
    assert "below the cut, doubt (" in " ".join(done.stdout.split()), done.stdout


def test_what_a_fit_refuses_a_back_test_refuses_with_the_same_line_and_code(
    isoloss: Command, tmp_path: Path
) -> None:
    """A grid whose dear runs all read 7: an exponent of the whole sits at its range's end."""
    law = Chinchilla(1.7, 400.0, 2000.0, 0.34, 0.37)
    lines = ["params,tokens,loss"]
    for n in np.geomspace(1e6, 1e8, 6):
        for d in n * np.geomspace(4, 60, 6):
            loss = 7.0 if 6 * n * d > 1e16 else float(law(n, d))
            lines.append(f"{n:.6g},{d:.6g},{loss:.6f}")
    runs = tmp_path / "runs.csv"
    runs.write_text("\n".join(lines) + "\n", encoding="utf-8")
    fitted = isoloss("fit", runs)
    assert fitted.returncode == 3
    for further in ((), ("--cutoff", "1e16"), ("--rolling",)):
        done = isoloss("backtest", runs, *further, *QUICK)
        assert done.returncode == 3
        assert done.stdout == ""
        assert done.stderr.splitlines()[-1] == fitted.stderr.splitlines()[-1]


def test_the_law_is_fitted_as_fit_fits_it(isoloss: Command, tmp_path: Path) -> None:
    runs = table(tmp_path / "runs.csv")
    how = ("--fix", "E=1.8", "--delta", "0", "--asymmetry", "2", "--residual", "linear")
    found = json.loads(isoloss("backtest", runs, *how, *QUICK, "--json").stdout)
    options = {"fixed": {"E": 1.8}, "delta": None, "asymmetry": 2.0, "residual": "linear"}
    direct = backtest_fit(fit(Chinchilla, read_runs(runs), **options), draws=100)
    assert found["fit"]["law"]["E"] == 1.8
    assert found["predicted"] == pytest.approx(direct.predicted)
    assert found["low"] == pytest.approx(direct.low)
    rolling = json.loads(isoloss("backtest", runs, "--rolling", *how, *QUICK, "--json").stdout)
    plain = json.loads(isoloss("backtest", runs, "--rolling", *QUICK, "--json").stdout)
    assert rolling["score"] != plain["score"]
    refused = isoloss("backtest", runs, "--form", "kaplan-ns", *QUICK)
    assert refused.returncode == 1
    assert "s_min" in refused.stderr


@pytest.mark.parametrize("verb", ["fit", "backtest"])
def test_a_long_resampling_is_announced(
    isoloss: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    runs = table(tmp_path / "runs.csv")
    assert "resampling" not in isoloss(verb, runs, *QUICK).stderr
    monkeypatch.setattr("isoloss.cli.output._LONG", 60 * 100 - 1)
    assert "resampling 60 rows 100 times; fewer" in isoloss(verb, runs, *QUICK).stderr
