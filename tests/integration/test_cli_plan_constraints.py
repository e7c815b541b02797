"""What else binds a plan at the command line: by whose law, how sure, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Command

from isoloss import published
from isoloss.laws import DataConstrained

EVERY = (
    "--served", "10T", "--size-ratio", "0.5", "--tokens-per-param", "300", "--unique-tokens", "25B",
    "--bits", "best", "--experts",
)  # fmt: skip


def constraints(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["constraints"]
    return found


def test_every_constraint_stands_below_the_plans_of_the_papers(isoloss: Command) -> None:
    done = isoloss("plan", "--flops", "1e22", *EVERY)
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    text = " ".join(done.stdout.split())
    for words in (
        "cheapest to train and to serve 10.0T tokens",
        "0.5 times the size, trained to the same loss",
        "The budget spent at 300 tokens per parameter",
        "25.0B tokens of text, read again where that is best",
        "Trained in the best number of bits",
        "A mixture of fine-grained experts",
        "Muennighoff 2023", "Kumar 2024, training", "Krajewski 2024, experts",
        "nothing is said of --served, --size-ratio, --tokens-per-param.",
        "the answer is that of the form, not of the data",
        "n is all parameters but the embedding",
    ):  # fmt: skip
        assert words in text, words
    plans, _, _ = done.stdout.partition("As good as the plan")
    assert plans.strip() == isoloss("plan", "--flops", "1e22").stdout.strip()


def test_the_same_in_json_and_nothing_where_nothing_was_asked(isoloss: Command) -> None:
    answer = json.loads(isoloss("plan", "--flops", "1e22", *EVERY, "--json").stdout)
    found = answer["constraints"]
    assert [(one["constraint"], one["source"]) for one in found[:2]] == [
        ("served", "Hoffmann 2022"), ("served", "Besiroglu 2024"),
    ]  # fmt: skip
    assert found[0]["n"]["mid"] == pytest.approx(1.848e9, rel=1e-3)
    assert found[0]["more"]["saving"]["mid"] == pytest.approx(0.571, abs=1e-3)
    assert found[0]["free"]["n"] == answer["plans"][1]["n"]["mid"]
    assert len(found) == 10
    assert "Kaplan 2020" in answer["unanswered"][0]
    assert set(json.loads(isoloss("plan", "--flops", "1e22", "--json").stdout)) & {
        "constraints", "unanswered",
    } == set()  # fmt: skip


def test_runs_of_one_s_own_answer_with_intervals(isoloss: Command, runs_csv: Path) -> None:
    words = ("plan", "--flops", "1e22", "--runs", runs_csv, "--draws", "100", "--json")
    served, ratio = constraints(
        isoloss(*words, "--served", "1T", "--tokens-per-param", "100").stdout
    )
    assert served["law"] == "Chinchilla"
    assert served["bounds"] == "90% intervals"
    assert served["n"]["low"] < served["n"]["mid"] < served["n"]["high"]
    assert served["d"]["low"] < served["d"]["mid"] < served["d"]["high"]
    assert ratio["more"]["excess_compute"]["low"] < ratio["more"]["excess_compute"]["high"]
    truth = published.BESIROGLU_2024
    by_truth = ("plan", "--flops", "1e22", "--law", "besiroglu", "--served", "1T", "--json")
    (expected,) = constraints(isoloss(*by_truth).stdout)
    assert expected["source"] == truth.name
    assert served["n"]["mid"] == pytest.approx(expected["n"]["mid"], rel=0.3)


def test_a_fit_file_and_exact_flops_answer_by_their_own(isoloss: Command, runs_csv: Path) -> None:
    assert isoloss("fit", runs_csv, "--out", "mine.json", "--draws", "100").returncode == 0
    words = ("plan", "--flops", "1e22", "--law", "mine.json", "--size-ratio", "0.5", "--json")
    (six,) = constraints(isoloss(*words).stdout)
    assert six["source"] == "mine.json"
    assert six["more"]["excess_compute"]["low"] > 0
    (exact,) = constraints(isoloss(*words, "--cost", "exact").stdout)
    paid = exact["more"]["training_flops"]["mid"] / (6 * exact["n"]["mid"] * exact["d"]["mid"])
    assert paid > 1.01
    assert six["more"]["training_flops"]["mid"] == pytest.approx(
        6 * six["n"]["mid"] * six["d"]["mid"], rel=1e-6
    )


def test_a_fit_of_repeated_text_stands_for_muennighoff_s(isoloss: Command, tmp_path: Path) -> None:
    law = published.MUENNIGHOFF_2023.law
    assert isinstance(law, DataConstrained)
    rng = np.random.default_rng(8)
    rows = ["params,tokens,unique_tokens,loss"]
    for n in (1e8, 4e8, 1.6e9):
        for unique in (1e9, 4e9):
            for epochs in (1, 2, 4, 10, 30):
                loss = float(law(n, unique * epochs, unique)) * np.exp(0.002 * rng.normal())
                rows.append(f"{n},{unique * epochs},{unique},{loss}")
    (tmp_path / "repeats.csv").write_text("\n".join(rows), encoding="utf-8")
    base = ",".join(f"{k}={float(law.coefficients()[k])!r}" for k in law.base)
    fitted = isoloss(
        "fit", "repeats.csv", "--form", "data-constrained", "--fix", base, "--draws", "100",
        "--out", "repeats.json",
    )  # fmt: skip
    assert fitted.returncode == 0, fitted.stderr
    words = ("plan", "--flops", "1e21", "--law", "hoffmann", "--unique-tokens", "5B", "--json")
    (theirs,) = constraints(isoloss(*words).stdout)
    (own,) = constraints(isoloss(*words, "--unique-law", "repeats.json").stdout)
    assert own["source"] == "fit of 30 runs"
    assert own["bounds"] == "90% intervals"
    assert own["n"]["low"] <= own["n"]["mid"] <= own["n"]["high"]
    assert own["n"]["mid"] == pytest.approx(theirs["n"]["mid"], rel=0.25)
    assert "look at its interval" in own["notes"][0]


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--law", "kaplan", "--served", "1T"], 1, "nothing is said of --served; plan with --law"),
        (["--explain", "--served", "1T"], 2, "goes with --flops alone"),
        (["--bits", "eight"], 2, "'eight' is not a number"),
        (["--law", "hoffmann", "--size-ratio", "1e-12"], 1, "less than one parameter"),
        (["--unique-law", "none.json", "--unique-tokens", "1B"], 1, "none.json: no such file"),
    ],
)
def test_what_cannot_be_answered_is_one_line(
    isoloss: Command, words: list[str], code: int, says: str
) -> None:
    done = isoloss("plan", "--flops", "1e22", *words)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert says in line


def test_a_fit_of_another_form_says_nothing_of_repeats(isoloss: Command, runs_csv: Path) -> None:
    assert isoloss("fit", runs_csv, "--out", "mine.json", "--draws", "0").returncode == 0
    words = ("plan", "--flops", "1e21", "--unique-tokens", "1B", "--unique-law", "mine.json")
    refused = isoloss(*words)
    assert refused.returncode == 1
    assert "mine.json: a fit of Chinchilla, which knows no repeats" in refused.stderr


def test_a_law_of_repeats_needs_the_text_there_is(isoloss: Command, tmp_path: Path) -> None:
    law = published.MUENNIGHOFF_2023.law
    content = {
        "form": "DataConstrained",
        "law": {name: float(value) for name, value in law.coefficients().items()},
        "residuals": [0.001, -0.001, 0.002],
        "runs": {"n_convention": "total"},
    }
    (tmp_path / "repeats.json").write_text(json.dumps(content), encoding="utf-8")
    words = ("plan", "--flops", "1e21", "--law", "hoffmann", "--unique-law", "repeats.json")
    assert "unique_law needs unique_tokens" in isoloss(*words).stderr
    (found,) = constraints(isoloss(*words, "--unique-tokens", "1B", "--json").stdout)
    assert (found["source"], found["n"]["low"], found["bounds"]) == ("fit of 3 runs", None, "")
