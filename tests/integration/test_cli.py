"""The verbs as a user runs them: results on stdout, talk on stderr, strict JSON, exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from isoloss import published
from isoloss.cli.app import VERBS, run
from isoloss.cli.laws import all_laws, law_key
from isoloss.cli.output import to_json, write_json
from isoloss.counting import Shape
from isoloss.errors import InputError, Status

GPT2 = {
    "model_type": "gpt2",
    "n_layer": 12,
    "n_embd": 768,
    "n_head": 12,
    "n_positions": 1024,
    "vocab_size": 50257,
}
ROOT = Path(__file__).resolve().parents[2]


def strict(text: str) -> Any:
    """Parse JSON, refusing the NaN and Infinity that Python would let pass."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_plan_without_data_sets_three_papers_side_by_side(isoloss_process: Command) -> None:
    done = isoloss_process("plan", "--flops", "1e21")
    assert done.returncode == 0, done.stderr
    for word in ("Kaplan 2020", "Hoffmann 2022", "Besiroglu 2024", "non_embedding", "total"):
        assert word in done.stdout
    assert "4.68B" in done.stdout
    assert done.stderr == ""


def test_plan_json_holds_the_fields_of_plan(isoloss: Command) -> None:
    plans = strict(isoloss("plan", "--flops", "1e21", "--json").stdout)["plans"]
    assert [p["source"] for p in plans] == ["Kaplan 2020", "Hoffmann 2022", "Besiroglu 2024"]
    assert plans[0]["n"]["mid"] == pytest.approx(4.68e9, rel=2e-3)
    assert plans[0]["n"]["low"] is None
    assert plans[1]["near_optimal"][0] < plans[1]["n"]["mid"] < plans[1]["near_optimal"][1]


def test_plan_by_one_published_law(isoloss: Command) -> None:
    (one,) = strict(isoloss("plan", "--flops", "5.76e23", "--law", "kaplan", "--json").stdout)[
        "plans"
    ]
    assert one["source"] == "Kaplan 2020"
    assert one["flops"] == 5.76e23


def test_count_reads_a_hugging_face_config(isoloss: Command, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT2), encoding="utf-8")
    found = strict(isoloss("count", "config.json", "--tokens", "10B", "--json").stdout)
    assert found["params"]["total"] == 124_439_808
    assert sum(found["params_by_group"].values()) == 124_439_808
    assert found["flops"]["6nd"] == pytest.approx(
        6 * found["params"]["non_embedding_plus_head"] * 1e10
    )
    table = isoloss("count", "config.json").stdout
    assert "124,439,808" in table
    assert max(map(len, table.splitlines())) <= 80


def test_count_says_what_an_lstm_carries_in_place_of_a_cache(
    isoloss: Command, tmp_path: Path
) -> None:
    shape = Shape.lstm(2, 64, 256, 128)
    (tmp_path / "lstm.json").write_text(json.dumps(shape.to_dict()), encoding="utf-8")
    found = strict(isoloss("count", "lstm.json", "--json").stdout)
    assert found["shape"] == shape.to_dict()
    assert found["params_by_group"]["recurrent"] == 2 * 8 * 64**2
    assert found["kv_cache"]["bytes"] == 2 * 2 * 64 * 2
    assert "State, at any length: 512 bytes" in isoloss("count", "lstm.json").stdout


def test_laws_prints_every_published_law_with_its_conventions(isoloss: Command) -> None:
    done = isoloss("laws")
    assert done.returncode == 0
    for key, law in all_laws().items():
        assert key in done.stdout
        assert law.n_convention in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    as_json = strict(isoloss("laws", "--json").stdout)
    assert as_json["HOFFMANN_2022"]["law"]["alpha"] == published.HOFFMANN_2022.law.alpha
    assert set(as_json) == set(all_laws())


def test_every_law_printed_as_one_to_plan_with_plans(isoloss: Command) -> None:
    done = isoloss("laws")
    named = re.findall(r"isoloss plan --flops 1e21 --law (\S+)", done.stdout)
    assert len(named) == 4
    (line,) = done.stderr.splitlines()
    offered = re.split(", | or ", line.partition("NAME being ")[2])
    assert set(named) < set(offered)
    told = strict(isoloss("laws", "--json").stdout)
    assert {key for key, law in told.items() if law["plans"]} == set(named)
    for name in offered:
        assert isoloss("plan", "--flops", "1e21", "--law", name).returncode == 0
    for name in set(told) - set(named):
        done = isoloss("plan", "--flops", "1e21", "--law", name)
        assert done.returncode == 1
        assert f"{name} is for {told[name]['for']}" in done.stderr
        assert all(one in done.stderr for one in offered)


def test_a_law_is_found_by_how_people_name_it() -> None:
    keys = tuple(all_laws())
    assert law_key("hoffmann", keys) == "HOFFMANN_2022"
    assert law_key("besiroglu-2024", keys) == "BESIROGLU_2024"
    assert law_key("Kaplan 2020 loss_nd", keys) == "KAPLAN_2020.loss_nd"
    with pytest.raises(InputError, match="did you mean BESIROGLU_2024"):
        law_key("besiroglou", keys)


def test_fit_recovers_the_law_the_runs_were_made_from(isoloss: Command, runs_csv: Path) -> None:
    done = isoloss("fit", runs_csv, "--draws", "100", "--out", "fit.json", "--json")
    assert done.returncode == 0, done.stderr
    found = strict(done.stdout)
    assert found == strict((runs_csv.parent / "fit.json").read_text(encoding="utf-8"))
    truth = published.BESIROGLU_2024.law
    assert found["form"] == "Chinchilla"
    assert found["law"]["alpha"] == pytest.approx(truth.alpha, abs=0.03)
    assert found["intervals"]["alpha"]["low"] < truth.alpha < found["intervals"]["alpha"]["high"]
    assert found["runs"]["rows"] == 32
    assert len(found["residuals"]) == 32


def test_fit_prints_a_table_of_intervals(isoloss: Command, runs_csv: Path) -> None:
    done = isoloss("fit", runs_csv, "--draws", "100")
    assert done.returncode == 0, done.stderr
    for word in ("Chinchilla through 32 runs", "alpha", "90% interval", "residuals"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_narrow_table_keeps_its_title_in_one_line(isoloss: Command, runs_csv: Path) -> None:
    done = isoloss("fit", runs_csv, "--draws", "0")
    assert done.stdout.splitlines()[0].strip() == "Chinchilla through 32 runs"


def test_an_end_that_the_runs_do_not_set_is_not_bounded(isoloss: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(10)
    d = 20 * np.geomspace(1e7, 1e10, 15)
    n = d / 20 * np.exp(0.05 * rng.standard_normal(15))  # hardly apart from the tokens
    loss = published.BESIROGLU_2024(n, d) * np.exp(0.003 * rng.standard_normal(15))
    rows = ["params,tokens,loss"]
    rows += [",".join(map(repr, row)) for row in np.column_stack([n, d, loss]).tolist()]
    (tmp_path / "tied.csv").write_text("\n".join(rows), encoding="utf-8")
    words = ("fit", "tied.csv", "--draws", "200")
    assert "not bounded" in isoloss(*words).stdout
    intervals = strict(isoloss(*words, "--json").stdout)["intervals"]
    assert intervals["alpha"]["high"] is None
    assert intervals["A"]["high"] is None


def test_fit_of_one_variable_and_named_columns(isoloss: Command, runs_csv: Path) -> None:
    text = runs_csv.read_text(encoding="utf-8").replace("val_loss", "my number")
    runs_csv.write_text(text, encoding="utf-8")
    words = ("fit", runs_csv, "--form", "power", "--x", "c", "--draws", "0", "--json")
    assert isoloss(*words).returncode == 1
    done = isoloss(*words, "--columns", "loss=my number")
    assert done.returncode == 0, done.stderr
    assert set(strict(done.stdout)["law"]) == {"xc", "alpha"}


def test_plan_from_runs_gives_intervals(isoloss: Command, runs_csv: Path) -> None:
    done = isoloss("plan", "--flops", "1e22", "--runs", runs_csv, "--draws", "100", "--json")
    assert done.returncode == 0, done.stderr
    assert strict(done.stdout)["backtest"].startswith("back-test: ")
    (plan,) = strict(done.stdout)["plans"]
    assert "by the forecast model" in plan["notes"][0]
    assert plan["n"]["low"] < plan["n"]["mid"] < plan["n"]["high"]
    assert plan["loss"]["low"] < plan["loss"]["mid"] < plan["loss"]["high"]


def test_backtest_predicts_the_expensive_runs(isoloss: Command, runs_csv: Path) -> None:
    words = ("backtest", runs_csv, "--cutoff", "2e20", "--draws", "100")
    done = isoloss(*words, "--json")
    assert done.returncode == 0, done.stderr
    found = strict(done.stdout)
    assert found["train"]["rows"] == 24
    assert found["test"]["rows"] == 8
    assert found["median_error"] < 0.02
    assert "inside their intervals" in isoloss(*words).stdout


def test_report_writes_one_offline_file(isoloss: Command, runs_csv: Path) -> None:
    pytest.importorskip("matplotlib")
    done = isoloss("report", runs_csv, "report.html", "--target-flops", "1e22")
    assert done.returncode == 0, done.stderr
    page = (runs_csv.parent / "report.html").read_text(encoding="utf-8")
    assert "isoloss report" in page
    assert not re.search(r"(src|href)=[\"']https?://[^\"']+\.(js|css|png|svg)", page)


def test_corpus_list_names_the_default_of_the_demo(isoloss: Command) -> None:
    names = [entry["name"] for entry in strict(isoloss("corpus", "list", "--json").stdout)]
    assert "python-stdlib" in names
    assert "python-stdlib" in isoloss("corpus", "list").stdout


@pytest.mark.parametrize("words", [["plan"], ["fit"], ["nonsense"], ["plan", "--flops", "many"]])
def test_wrong_usage_exits_2_with_one_line(isoloss_process: Command, words: list[str]) -> None:
    done = isoloss_process(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_a_reader_who_leaves_early_is_no_error() -> None:
    piped = f"{sys.executable} -m isoloss laws | head -n 1"
    done = subprocess.run(["bash", "-c", piped], capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.startswith("KAPLAN_2020")


def test_interrupt_is_one_line_and_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**amounts: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("isoloss.planning.published_plans", interrupted)
    assert run(["plan", "--flops", "1e21"]) == 130
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(**amounts: object) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib.pyplot'", name="matplotlib.pyplot")

    monkeypatch.setattr("isoloss.planning.published_plans", absent)
    assert run(["plan", "--flops", "1e21"]) == 1
    assert "pip install 'isoloss[figures]'" in capsys.readouterr().err


def test_planning_imports_no_other_verb() -> None:
    code = (
        "import sys\nfrom isoloss.cli.app import run\nrun(['plan', '--flops', '1e21'])\n"
        "heavy = ('torch', 'scipy', 'polars', 'pandas', 'matplotlib')\n"
        "verbs = ('fit', 'report', 'demo', 'sweep', 'train', 'corpus')\n"
        "names = [*heavy, *(f'isoloss.cli.{verb}' for verb in verbs), 'isoloss.fitting']\n"
        "print([name for name in names if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == "[]"


def test_json_is_strict_and_by_field_name(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "far": np.float64("inf"),
        "many": np.array([1.0, np.nan]),
        "status": (Status.FEW_RUNS,),
        "form": int,
        "path": Path("a") / "b",
    }
    read = strict(to_json(content))
    assert read["nan"] is None
    assert read["far"] is None
    assert read["many"] == [1.0, None]
    assert read["status"][0]["code"] == "few_runs"
    assert read["form"] == "int"
    write_json(tmp_path / "out.json", content)
    assert strict((tmp_path / "out.json").read_text(encoding="utf-8")) == read
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_is_documented(verb: str, isoloss: Command) -> None:
    pages = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    options = set(re.findall(r"--[a-z][a-z-]+", isoloss(verb, "--help").stdout))
    first_half, _, section = pages.partition(f"## `isoloss {verb}`")
    section = section.partition("\n## ")[0]
    shared = first_half.partition("\n## ")[0]
    positional = set(re.findall(r"[A-Z][A-Z-]+ (--[a-z-]+)", isoloss(verb, "--help").stdout))
    missing = {o for o in options - positional - {"--help"} if o not in section and o not in shared}
    assert not missing


def test_a_plan_takes_a_budget_in_any_form_and_a_loss(isoloss: Command) -> None:
    booked = isoloss("plan", "--booking", "64xH100:72h", "--utilisation", "0.4", "--json")
    for plan in strict(booked.stdout)["plans"]:
        assert plan["flops"] == pytest.approx(64 * 72 * 3600 * 989.5e12 * 0.4)
        assert plan["budget"]["machine"]["hardware"]["name"] == "H100"
        hours = plan["gpu_hours"]["mid"], plan["hours"]["mid"]
        assert hours == pytest.approx((64 * 72, 72))
        assert plan["dollars"] is None
    asked = isoloss(
        "plan", "--loss", "2.2", "--hardware", "H100", "--count", "64", "--price", "2.5"
    )
    assert asked.returncode == 0
    assert "dollars" in asked.stdout
    assert "40% of the peak is assumed" in " ".join(asked.stdout.split())
    assert all(len(line) <= 80 for line in asked.stdout.splitlines())
    capped = isoloss("plan", "--flops", "1e22", "--law", "besiroglu", "--max-params", "1.5B")
    assert "max_params holds n at 1.50B" in " ".join(capped.stdout.split())


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--gpu-hours", "5"], 2, "--gpu-hours needs --hardware"),
        (["--flops", "1e21", "--pf-days", "3"], 2, "give one of them"),
        (["--booking", "64xH100"], 1, "64xH100:72h"),
        (["--booking", "H100:3h", "--utilisation", "40"], 1, "for 40 % write 0.4"),
        (["--loss", "1.2", "--law", "besiroglu"], 1, "no compute reaches a loss of 1.2"),
        (["--loss", "900"], 2, "not perplexity"),
    ],
)
def test_a_budget_that_is_none_is_refused(
    isoloss: Command, words: list[str], code: int, says: str
) -> None:
    done = isoloss("plan", *words)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_plans_by_several_laws_and_fit_files_stand_side_by_side(
    isoloss: Command, runs_csv: Path
) -> None:
    assert isoloss("fit", runs_csv, "--out", "mine.json", "--draws", "100").returncode == 0
    runs_csv.unlink()  # the file of a fit is read without its data
    done = isoloss("plan", "--flops", "1e21", "--law", "mine.json", "--law", "kaplan", "--json")
    answer = strict(done.stdout)
    mine, kaplan = answer["plans"]
    assert (mine["source"], kaplan["source"]) == ("mine.json", "Kaplan 2020")
    assert mine["n"]["low"] < mine["n"]["mid"] < mine["n"]["high"]
    ratio = max(kaplan["n"]["mid"] / mine["n"]["mid"], mine["n"]["mid"] / kaplan["n"]["mid"])
    assert ("disagreement" in answer) is (ratio > 2)
    far = isoloss("plan", "--flops", "1e23", "--law", "besiroglu", "--law", "kaplan")
    assert "the best sizes differ 4.6 times" in " ".join(far.stdout.split())
    assert "no such file" in isoloss("plan", "--flops", "1e21", "--law", "no.json").stderr


def test_more_than_three_plans_stand_in_more_than_one_table(
    isoloss: Command, runs_csv: Path
) -> None:
    assert isoloss("fit", runs_csv, "--out", "mine.json", "--draws", "100").returncode == 0
    names = ("kaplan", "hoffmann", "besiroglu", "hoffmann_2022_rounded", "mine.json")
    laws = [word for name in names for word in ("--law", name)]
    told = isoloss("plan", "--flops", "1e21", *laws).stdout
    assert max(map(len, told.splitlines())) <= 80
    rows = [line.split() for line in told.splitlines() if line.startswith("  parameters n")]
    # Three and two: 4.68B | 2.22B | 2.78B and 1.82B | mid (low - high).
    assert [row[2:5] for row in rows[:1]] == [["4.68B", "2.22B", "2.78B"]]
    assert rows[1][2] == "1.82B"
    assert len(rows) == 2
    counted = next(line for line in told.splitlines() if "counted as" in line)
    assert counted.split()[2:] == ["non_embedding", "total", "total"]
    assert told.count("90% intervals") == 1
    one = isoloss("plan", "--flops", "1e21", "--law", "kaplan").stdout
    assert one.count("  parameters n") == 1


def test_plan_explains_why_the_papers_disagree(isoloss: Command) -> None:
    done = isoloss("plan", "--explain")
    assert done.returncode == 0
    for words in ("batch of 2^19 tokens", "0.835", "0.785", "0.513", "1.26e24", "does not follow"):
        assert words in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    answer = strict(isoloss("plan", "--explain", "--flops", "1e21", "--json").stdout)
    assert answer["flops"] == 1e21
    assert len(answer["walks"]) >= 5
    refused = isoloss("plan", "--explain", "--law", "kaplan")
    assert refused.returncode == 2
    assert "goes with --flops alone" in refused.stderr


def test_next_proposes_runs_within_what_there_is_to_spend(isoloss: Command, runs_csv: Path) -> None:
    words = ("next", runs_csv, "--target", "1e22", "--spend", "1e21", "--draws", "100")
    done = isoloss(*words, "--count", "5")
    assert done.returncode == 0
    assert "5 runs for" in done.stdout
    assert "should become" in " ".join(done.stdout.split())
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    answer = strict(isoloss(*words, "--largest", "1e20", "--json").stdout)
    assert sum(run["flops"] for run in answer["runs"]) <= 1e21
    assert max(run["flops"] for run in answer["runs"]) <= 1e20
    assert answer["expected_width"] < answer["width"]
    refused = isoloss("next", runs_csv, "--target", "1e22", "--spend", "5")
    assert refused.returncode == 1
    assert "spend is 5; give FLOPs" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--form", "kaplan-nd"],
        ["--draws", "500"],
        ["--columns", "n=N"],
        ["--law", "hoffmann", "--loss-unit", "bits"],
    ],
)
def test_options_about_runs_need_runs(isoloss: Command, words: list[str]) -> None:
    done = isoloss("plan", "--flops", "1e21", *words)
    assert done.returncode == 2
    assert "there are no --runs that it could be about" in done.stderr
