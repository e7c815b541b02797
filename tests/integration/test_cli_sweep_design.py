"""`isoloss sweep design`: from a budget to a sweep file that the sweep itself reads and runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Command

from isoloss.runs import read_sweep

TINY = ("--vocab", 256, "--context", 64, "--style", "gpt2", "--lr", 0.01, "--corpus", "text.txt")
SMALL = ("--flops", 3e12, "--budgets", 2, "--sizes", 3, "--span", 4, "--width", 2, *TINY)


def test_a_table_fits_in_80_columns_and_says_what_it_costs(isoloss: Command) -> None:
    done = isoloss("sweep", "design", "--flops", "1e19", "--hardware", "H100", "--count", 8)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert "\u2026" not in done.stdout
    assert done.stdout.count("isoflop-") == 5
    assert "35 runs, 1e+19 FLOPs" in done.stdout
    assert "hours if no device is idle: 0.877" in done.stdout
    assert "40% of the peak is assumed" in done.stderr


@pytest.mark.parametrize("kind", ["ladder", "grid", "kaplan"])
def test_the_other_designs_fit_too(isoloss: Command, kind: str) -> None:
    done = isoloss("sweep", "design", "--kind", kind, "--booking", "64xH100:240h")
    assert done.returncode == 0, done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\u2026" not in done.stdout
    assert "hours if no device is idle: 2" in done.stdout
    if kind == "kaplan":
        assert "of text" in done.stdout


def test_json_has_the_fields_of_the_design(isoloss: Command) -> None:
    done = isoloss("sweep", "design", *SMALL, "--throughput", "1e10", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    design, time = found["design"], found["time"]
    assert design["kind"] == "isoflop"
    assert design["budget"] == 3e12
    assert design["flops"] == pytest.approx(sum(run["flops"] for run in design["runs"]))
    assert design["flops"] == pytest.approx(3e12, rel=0.02)
    assert time["hours"] == pytest.approx(design["flops"] / 3.6e13)
    run = design["runs"][0]
    assert run["d"] == run["batch"] * run["steps"] == run["spec"]["tokens"]
    assert run["spec"]["shape"]["vocab"] == 256
    assert {"n_asked", "flops_asked", "off", "unique_tokens"} <= run.keys()


def test_the_file_holds_the_runs_shown(isoloss: Command, tmp_path: Path) -> None:
    done = isoloss("sweep", "design", *SMALL, "--out", "sweep.toml", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)["design"]["runs"]
    specs = read_sweep(tmp_path / "sweep.toml")
    assert [spec.to_dict()["shape"] for spec in specs] == [run["spec"]["shape"] for run in shown]
    assert [spec.tokens for spec in specs] == [run["d"] for run in shown]
    assert {spec.corpus for spec in specs} == {"text.txt"}
    again = isoloss("sweep", "design", *SMALL, "--seed", 3, "--out", "sweep.toml")
    assert again.returncode == 0, again.stderr
    assert {spec.seed for spec in read_sweep(tmp_path / "sweep.toml")} == {3}
    (tmp_path / "mine.toml").write_text("[defaults]\n", encoding="utf-8")
    refused = isoloss("sweep", "design", *SMALL, "--out", "mine.toml")
    assert refused.returncode == 1
    assert (tmp_path / "mine.toml").read_text(encoding="utf-8") == "[defaults]\n"


def test_one_run_without_a_text_is_said_to_be_so(isoloss: Command) -> None:
    words = ("--flops", "1e13", "--vocab", 256, "--context", 64, "--sizes", 1, "--budgets", 1)
    done = isoloss("sweep", "design", *words, "--out", "one.toml")
    assert done.returncode == 0, done.stderr
    assert "1 run in one.toml" in done.stderr
    assert "the file names no text: give --corpus" in done.stderr
    assert "1 run, 1e+13 FLOPs" in done.stdout
    text = " ".join(done.stdout.split())
    assert "note: --sizes is 1: a curve shows its lowest point only between others" in text
    assert "note: --budgets is 1: " in text
    refused = isoloss("sweep", "one.toml", "--dry-run")
    assert refused.returncode == 1
    assert "names no corpus" in refused.stderr


def test_runs_on_parts_of_the_text_are_in_the_file(isoloss: Command, tmp_path: Path) -> None:
    done = isoloss("sweep", "design", "--kind", "kaplan", "--flops", "1e18", "--out", "k.toml")
    assert done.returncode == 0, done.stderr
    assert "21 runs in k.toml" in done.stderr
    specs = read_sweep(tmp_path / "k.toml")
    assert len(specs) == 21
    assert sum(spec.unique_tokens > 0 for spec in specs) == 5


def test_the_sweep_reads_what_was_designed(isoloss: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")
    rng = np.random.default_rng(7)
    words = np.array(["the", "law", "of", "small", "runs", "says", "how", "large"])
    paragraphs = (" ".join(rng.choice(words, 60)) for _ in range(400))
    (tmp_path / "text.txt").write_text("\n\n".join(paragraphs), encoding="utf-8")
    made = isoloss("sweep", "design", *SMALL, "--out", "sweep.toml")
    assert made.returncode == 0, made.stderr
    done = isoloss("sweep", "sweep.toml", "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert len(runs) == 6
    assert sum(run["flops"]["exact"] for run in runs) == pytest.approx(3e12, rel=0.02)
    assert all(run["tokens_seen"] == run["spec"]["tokens"] for run in runs)


def test_a_fit_centres_a_design(isoloss: Command, runs_csv: Path) -> None:
    assert isoloss("fit", runs_csv, "--draws", 100, "--out", "fit.json").returncode == 0
    words = ("sweep", "design", "--flops", "1e24", "--json")
    mine = isoloss(*words, "--law", "fit.json")
    assert mine.returncode == 0, mine.stderr
    theirs = isoloss(*words, "--law", "hoffmann")
    middles = [json.loads(done.stdout)["design"]["runs"][31]["n_asked"] for done in (mine, theirs)]
    # The runs are simulated from Besiroglu's law, whose best sizes are not Hoffmann's.
    both = json.loads(isoloss(*words).stdout)["design"]["runs"][31]["n_asked"]
    assert middles[0] == pytest.approx(both, rel=0.2)
    assert middles[1] != pytest.approx(both, rel=0.2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--flops", "1e19", "--tokens-per-param", "1e7,2e7"), "widen --tokens-per-param"),
        (("--flops", "1e19", "--law", "nobody"), "--law takes"),
        (("--flops", "1e19", "--law", "none.json"), "none.json"),
        (("--flops", "1e19", "--hardware", "H999"), "H999"),
        (("--flops", "1e19", "--out", "no/such/folder.toml"), "no folder"),
    ],
)
def test_wrong_input_gets_one_line(isoloss: Command, words: tuple[str, ...], said: str) -> None:
    refused(isoloss, words, said, code=1)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--flops"),
        (("--flops", "1e3"), "--flops comes to 1e+03 FLOPs"),
        (("--flops", "1e19", "--kind", "ladder", "--width", "3"), "--width says nothing of ladder"),
        (("--flops", "1e19", "--multiples", "1,2"), "--multiples says nothing of isoflop designs"),
        (("--flops", "1e19", "--kind", "ladder", "--multiples", "1,x"), "0.5,1,2"),
        (("--flops", "1e19", "--tokens-per-param", "5"), "1,1000"),
        (("--flops", "1e19", "--throughput", "0"), "--throughput"),
        (("--flops", "1e19", "--context", "0"), "--context"),
        (("--flops", "1e19", "--sizes", "0"), "--sizes"),
    ],
)
def test_wrong_usage_gets_one_line(isoloss: Command, words: tuple[str, ...], said: str) -> None:
    refused(isoloss, words, said, code=2)


def refused(isoloss: Command, words: tuple[str, ...], said: str, code: int) -> None:
    done = isoloss("sweep", "design", *words)
    assert done.returncode == code
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert said in line


def test_the_sweep_itself_is_as_it_was(isoloss: Command) -> None:
    missing = isoloss("sweep", "nothing.toml", "--dry-run")
    assert missing.returncode == 1
    assert "no such file" in missing.stderr
    assert isoloss("sweep").returncode == 2
    assert isoloss("sweep", "design", "--kind", "other", "--flops", "1e19").returncode == 2
