"""`isoloss plan --figure`: what other sizes cost, drawn for every law that there is a plan of."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Command

pytest.importorskip("matplotlib")


def test_a_plan_by_the_papers_is_drawn(isoloss: Command, tmp_path: Path) -> None:
    done = isoloss("plan", "--flops", "1e21", "--figure", "sizes.svg")
    assert done.returncode == 0, done.stderr
    assert "drawn to sizes.svg" in done.stderr
    assert done.stdout == isoloss("plan", "--flops", "1e21").stdout
    drawn = (tmp_path / "sizes.svg").read_text(encoding="utf-8")
    for words in ("Kaplan 2020: 4.68B", "Hoffmann 2022: 2.22B", "Besiroglu 2024: 2.78B", "10²¹"):
        assert words in drawn


def test_runs_fits_and_laws_are_drawn_under_their_names(
    isoloss: Command, runs_csv: Path, tmp_path: Path
) -> None:
    words = ("plan", "--runs", runs_csv, "--flops", "1e22", "--draws", "100")
    assert isoloss(*words, "--figure", "mine.svg").returncode == 0
    assert "runs.csv: " in (tmp_path / "mine.svg").read_text(encoding="utf-8")
    assert isoloss("fit", runs_csv, "--out", "fit.json", "--draws", "100").returncode == 0
    (tmp_path / "old").mkdir()
    (tmp_path / "fit.json").replace(tmp_path / "old" / "fit.json")
    assert isoloss("fit", runs_csv, "--out", "fit.json", "--draws", "100").returncode == 0
    laws = ("--law", "fit.json", "--law", "old/fit.json", "--law", "hoffmann")
    # A loss takes another budget by each law, so the axis names none.
    done = isoloss("plan", "--loss", "2.2", *laws, "--figure", "both.svg", "--cost", "exact")
    assert done.returncode == 0, done.stderr
    drawn = (tmp_path / "both.svg").read_text(encoding="utf-8")
    for words in ("fit.json: ", "fit.json (2): ", "Hoffmann 2022: ", "its budget"):
        assert words in drawn


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--runs", "runs.csv", "--figure", "runs.csv"], "holds the runs themselves"),
        (["--figure", "notes.txt"], "no result of this command"),
        (["--figure", "mine.pdf"], "no result of this command"),
        (["--figure", "sizes.gif"], ".svg, .png, .pdf"),
        (["--figure", "nowhere/sizes.svg"], "no folder nowhere"),
        (["--explain", "--figure", "sizes.svg"], "goes with --flops alone"),
    ],
)
def test_a_figure_that_cannot_be_written_is_refused(
    isoloss: Command, runs_csv: Path, words: list[str], says: str
) -> None:
    (runs_csv.parent / "notes.txt").write_text("mine\n", encoding="utf-8")
    (runs_csv.parent / "mine.pdf").write_bytes(b"%PDF-1.4 a page of mine")
    before = runs_csv.read_bytes()
    done = isoloss("plan", "--flops", "1e21", *words)
    assert done.returncode == (2 if "--explain" in words else 1)
    assert says in done.stderr
    assert done.stdout == ""
    assert runs_csv.read_bytes() == before
    assert (runs_csv.parent / "notes.txt").read_text(encoding="utf-8") == "mine\n"
