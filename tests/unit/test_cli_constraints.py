"""The answers to what else binds, side by side: what a person reads and what a program gets."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from isoloss.cli.constraints import Constraints, Made, answers, of_papers, sections
from isoloss.cli.output import to_json
from isoloss.errors import InputError
from isoloss.laws import Chinchilla, published
from isoloss.planning import plan, published_plans

LAWS = (published.KAPLAN_2020, published.HOFFMANN_2022, published.BESIROGLU_2024)
ALL = Constraints(
    served=1e12,
    size_ratio=0.5,
    tokens_per_param=100.0,
    unique_tokens=1e10,
    bits="best",
    experts=True,
)


def made(**amounts: float) -> tuple[Made, ...]:
    return tuple(Made(plan(law, **amounts), law) for law in LAWS)  # type: ignore[arg-type]


def printed(parts: list[object]) -> str:
    console = Console(file=io.StringIO(), width=80, highlight=False, markup=False)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_each_constraint_is_a_table_with_a_column_for_each_law() -> None:
    found, notes = answers(ALL, made(flops=1e22))
    parts = sections(found)
    tables = [part for part in parts if not isinstance(part, str)]
    assert [len(one.columns) - 1 for one in tables] == [2, 2, 2, 1, 2, 1]
    text = printed(list(parts))
    assert max(map(len, text.splitlines())) <= 80
    for words in (
        "Hoffmann 2022", "Besiroglu 2024", "Muennighoff 2023", "Kumar 2024", "Krajewski 2024",
        "to serve 1.00T tokens", "0.5 times the size", "at 100 tokens per parameter",
        "the best number of bits", "fine-grained experts", "DataConstrained", "FineGrainedMoE",
    ):  # fmt: skip
        assert words in " ".join(text.split()), words
    (note,) = notes
    assert "Kaplan 2020: Table 6 is no law of (n, d)" in note
    assert "--served, --size-ratio, --tokens-per-param" in note


def test_the_numbers_of_the_table_are_those_of_the_answers() -> None:
    found, _ = answers(Constraints(size_ratio=0.5), made(flops=1e22))
    (table, *_) = sections(found)
    lines = (re.split(r"\s{2,}", line.strip()) for line in printed([table]).splitlines())
    rows = {name: cells for name, *cells in lines}
    assert rows["compute for its loss"] == ["+21%", "+26%"]
    assert rows["tokens d"] == ["636B", "464B"]
    assert rows["law"] == ["Chinchilla", "Chinchilla"]
    assert "budget in FLOPs" not in rows


def test_a_note_that_all_share_stands_once_and_the_others_with_their_source() -> None:
    found, _ = answers(Constraints(served=1e12), made(flops=1e22))
    _, *notes = sections(found)
    assert sum("forward pass" in str(note) for note in notes) == 1
    assert any(str(note).startswith("Besiroglu 2024: ") for note in notes)


def test_papers_answer_once_for_plans_of_one_budget_and_for_each_of_several() -> None:
    asked = Constraints(unique_tokens=1e10)
    assert len(answers(asked, made(flops=1e22))[0]) == 1
    several, notes = answers(asked, made(loss=2.2))
    assert len(several) == 3
    assert notes == ()
    text = printed(list(sections(several)))
    assert "budget in FLOPs" in text
    assert text.count("read again where that is best") == 1


def test_more_than_three_laws_stand_in_more_than_one_table() -> None:
    budgets = (1e20, 1e21, 1e22, 1e23)
    plans = [made for flops in budgets for made in of_papers(published_plans(flops))[1:]]
    found, _ = answers(Constraints(size_ratio=0.5), plans)
    parts = sections(found)
    tables = [part for part in parts if not isinstance(part, str)]
    assert [len(one.columns) - 1 for one in tables] == [3, 3, 2]
    text = printed(list(parts))
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("0.5 times the size") == 1
    assert text.count("budget in FLOPs") == 3


def test_what_never_gets_there_reads_never_and_is_null_in_json() -> None:
    found, _ = answers(Constraints(size_ratio=0.05), made(flops=1e22))
    assert "never" in printed(list(sections(found)))
    first = json.loads(to_json(found))[0]
    assert first["d"]["mid"] is None
    assert first["more"]["excess_compute"]["mid"] is None
    assert first["n"]["mid"] > 0


def test_json_has_the_fields_of_constrained() -> None:
    found, _ = answers(ALL, made(flops=1e22))
    read = json.loads(to_json(found))
    assert [one["constraint"] for one in read] == [
        "served", "served", "size_ratio", "size_ratio", "tokens_per_param", "tokens_per_param",
        "unique_tokens", "bits", "bits", "experts",
    ]  # fmt: skip
    assert read[0]["free"]["n"] == found[0].free.n
    assert read[0]["more"]["saving"]["mid"] == found[0].more["saving"].mid


def test_kaplan_alone_has_no_answer_and_says_what_would() -> None:
    kaplan = made(flops=1e22)[:1]
    with pytest.raises(InputError, match=r"--served; plan with --law hoffmann"):
        answers(Constraints(served=1e12), kaplan)
    found, notes = answers(Constraints(served=1e12, experts=True), kaplan)
    assert len(found) == len(notes) == 1


def test_the_laws_behind_the_plans_of_the_papers() -> None:
    assert of_papers(published_plans(1e22)) == made(flops=1e22)
    capped = of_papers(published_plans(1e22, max_params=2e9))
    assert [one.law for one in capped] == list(LAWS[1:])


def test_the_cost_of_a_plan_is_that_of_its_answers() -> None:
    law = published.HOFFMANN_2022
    dear = Made(plan(law, flops=1e22, cost=lambda n: 9 * n), law, lambda n: 9 * n)
    (one,), _ = answers(Constraints(size_ratio=0.5), [dear])
    assert one.more["training_flops"].mid == pytest.approx(9 * one.n.mid * one.d.mid)
    assert one.more["excess_compute"].mid == pytest.approx(0.2102, abs=1e-4)


def test_nothing_asked_is_nothing_given_and_zero_is_something() -> None:
    assert Constraints().given == {}
    assert Constraints().binding() == {}
    assert Constraints(served=0.0).given == {"served": 0.0}
    assert Constraints(experts=True, bits="best").given == {"bits": "best", "experts": True}


def test_one_column_is_as_wide_as_its_title() -> None:
    law = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    found, _ = answers(Constraints(served=1e13), [Made(plan(law, flops=1e21), law)])
    first = printed(list(sections(found))).splitlines()[0].strip()
    assert first == "As good as the plan, cheapest to train and to serve 10.0T tokens"
