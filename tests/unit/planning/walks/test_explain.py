"""The walk from Kaplan's exponent to Hoffmann's: golden numbers, and what is quoted or computed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from isoloss.errors import InputError
from isoloss.laws import allocate, published
from isoloss.laws.porian import PORIAN_REFINEDWEB, PORIAN_VARIANTS
from isoloss.planning.walks.explain import explain
from isoloss.planning.walks.walk import Step, Walk

FOUND = explain()
WALKS = {walk.name: walk for walk in FOUND.walks}


def exponents(walk: Walk) -> list[float]:
    return [step.exponent.mid for step in walk.steps]


def test_the_walk_begins_at_kaplan_and_ends_at_hoffmann() -> None:
    kaplan, hoffmann = FOUND.walks[0], FOUND.walks[-1]
    assert exponents(kaplan)[::2] == [0.88, 0.73]
    assert exponents(hoffmann)[:6:2] == [0.50, 0.49, 0.46]
    assert [step.how for step in kaplan.steps] == ["quoted", "computed"] * 2
    # His own fits imply less than he reads off, at the batch and corrected for it.
    assert exponents(kaplan)[1] == pytest.approx(0.82, abs=5e-3)
    assert exponents(kaplan)[3] == pytest.approx(0.681, abs=5e-4)
    assert exponents(hoffmann)[1::2][:3] == pytest.approx([0.498, 0.490, 0.4565], abs=5e-4)
    assert exponents(hoffmann)[-1] == pytest.approx(0.5126, abs=5e-5)


def test_porian_s_steps_carry_their_intervals_and_sizes() -> None:
    web, text = WALKS["Porian 2024, RefinedWeb"], WALKS["Porian 2024, OpenWebText2"]
    assert exponents(web) == pytest.approx([0.8353, 0.7065, 0.6020, 0.5715, 0.4969], abs=5e-5)
    assert exponents(text) == [0.8635, 0.6985, 0.6032, 0.5743, 0.5185]
    sizes = [step.n for step in web.steps]
    assert sizes == pytest.approx([3.028e12, 7.874e11, 2.922e11, 1.830e11, 7.694e10], rel=1e-3)
    assert [step.n for step in text.steps] == [None] * 5
    for step in (*web.steps, *text.steps):
        assert step.how == "quoted"
        assert step.changed
        low, mid, high = step.exponent
        assert low is not None
        assert high is not None
        assert low < mid < high
    assert sum(web.moves) == pytest.approx(0.4969 - 0.8353, abs=1e-4)
    assert min(web.moves) == web.moves[0] == pytest.approx(-0.129, abs=5e-4)


def test_pearce_and_song_are_computed_and_stand_beside_what_they_print() -> None:
    hoffmann, refit = FOUND.uncounted
    assert (refit.formula, refit.frontier) == pytest.approx((0.785, 0.775), abs=5e-4)
    assert (hoffmann.formula, hoffmann.frontier) == pytest.approx((0.748, 0.741), abs=5e-4)
    assert (refit.printed, hoffmann.printed) == (0.78, 0.74)
    for one in FOUND.uncounted:
        assert abs(one.frontier - one.printed) < 0.006
        # The exponent starts near its lower limit, overshoots it, and falls to the other.
        assert one.local[0] == pytest.approx(one.small, abs=5e-3)
        assert one.steepest[0] > one.formula > one.local[1] > one.large
        assert one.steepest == pytest.approx((0.985, 1.95e6), rel=2e-2)
        assert one.kaplan_loss == -0.057
        assert abs(one.counted_frontier - one.counted) < 0.004
    walk = WALKS["Pearce & Song 2024, Besiroglu 2024"]
    assert [step.how for step in walk.steps].count("quoted") == 1
    assert walk.steps[-1].n == pytest.approx(allocate(published.BESIROGLU_2024, FOUND.flops).n)
    # The same law, read off over Kaplan's sizes and drawn on, asks for more than ten times as much.
    assert walk.steps[1].n is not None
    assert walk.steps[-1].n is not None
    assert walk.steps[1].n > 10 * walk.steps[-1].n
    assert exponents(WALKS["Pearce & Song 2024, own runs"]) == [0.74, 0.49]


def test_sizes_are_given_at_the_budget_asked_for() -> None:
    small = explain(1e21)
    assert small.flops == 1e21
    kaplan, last = small.walks[0].steps, small.walks[-1].steps[-1]
    assert kaplan[2].n == pytest.approx(float(published.KAPLAN_2020.allocation.n(1e21 / 8.64e19)))
    assert last.n == pytest.approx(allocate(published.BESIROGLU_2024, 1e21).n)
    assert [exponents(a) for a in small.walks] == [exponents(a) for a in FOUND.walks]
    for flops in (0.0, -1e21, float("inf"), float("nan")):
        with pytest.raises(InputError, match="give a positive, finite number of FLOPs"):
            explain(flops)


def test_rows_fit_a_narrow_table_and_hold_every_step() -> None:
    rows = FOUND.rows()
    assert len(rows) == sum(1 + len(walk.steps) for walk in FOUND.walks)
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    assert sum(widths) + 8 <= 80
    assert ("  head counted", "0.706 (0.692 - 0.717)", "787B", "quoted") in rows
    assert sum(row[1:] == ("", "", "") for row in rows) == len(FOUND.walks)
    assert any("10.3M" in note for note in FOUND.notes)
    assert any("0.454 to 0.455" in note for note in FOUND.notes)
    assert all(isinstance(step, Step) and step.source for w in FOUND.walks for step in w.steps)


def test_what_does_not_follow_is_listed_by_paper() -> None:
    (_, kaplan), (_, hoffmann) = FOUND.inconsistent
    assert (len(kaplan), len(hoffmann)) == (12, 7)
    assert not any(one.agrees for one in (*kaplan, *hoffmann))
    rows = FOUND.printed_rows()
    assert ("  exponent of steps", "Table 6, fitted", "0.03", "0.0684", "2.28") in rows
    assert (
        "  budget of 175B parameters",
        "Table A3, approach 3",
        "1.26e24",
        "1.26e+25",
        "10.00",
    ) in (rows)
    assert sum(max(len(row[i]) for row in rows) for i in range(5)) + 10 <= 80


def test_the_quoted_fits_are_those_that_porian_released(shared_data: Path) -> None:
    labels = (
        "base_long_kaplan_kaplan_train",
        "base_long_kaplan_standard_val",
        "base_short_kaplan_standard_val",
        "base_short_chinchilla_standard_val",
        "tuned_short_const_standard_val",
        "base_long_kaplan_attention_train",
        "base_short_kaplan_attention_train",
        "base_short_chinchilla_attention_train",
        "tuned_short_const_attention_train",
        "tuned_long_const_kaplan_train",
    )
    text = (shared_data / "porian_published_exponents.csv").read_text()
    released = {row["experiment"]: row for row in csv.DictReader(text.splitlines())}
    for label, fit in zip(labels, (*PORIAN_REFINEDWEB, *PORIAN_VARIANTS), strict=True):
        row = {key: float(value) for key, value in released[f"rw_{label}"].items() if key in FITS}
        assert fit.exponent == pytest.approx(row["a"], abs=6e-6)
        assert (fit.low, fit.high) == pytest.approx((row["a_ci_lo"], row["a_ci_hi"]), abs=6e-5)
        assert fit.coefficient == pytest.approx(row["a_coef"], rel=2e-5)


FITS = ("a", "a_coef", "a_ci_lo", "a_ci_hi")
