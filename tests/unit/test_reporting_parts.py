"""The parts of a report: numbers, the cost runs paid, evidence, exponents, the two writers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated import COST, COUNT, SHAPES, demo_runs, plain_runs

from isoloss.counting import count_params, flops_per_token
from isoloss.errors import FitError
from isoloss.fitting import IsoFlop, fit, inspect_runs
from isoloss.fitting.cost import paid_cost
from isoloss.laws import Chinchilla, Cost, KaplanND, published
from isoloss.planning import Estimate, Plan
from isoloss.reporting import wording
from isoloss.reporting.document import (
    Card,
    Cards,
    Code,
    Document,
    Figure,
    Paragraph,
    Points,
    Refusal,
    Section,
    Table,
)
from isoloss.reporting.evidence import Evidence, Missing, attempt, gather, lowest
from isoloss.reporting.exponents import pure_exponents, reducible_exponents
from isoloss.reporting.html import to_html
from isoloss.reporting.markdown import to_markdown
from isoloss.reporting.summary import summary
from isoloss.runs import Runs
from isoloss.trust import approaches

pytest.importorskip("matplotlib")
DASH = "\N{EN DASH}"


def evidence_of(runs: Runs, form: type = Chinchilla, cost: Cost | None = None) -> Evidence:
    return gather(
        runs,
        form,
        target_flops=None,
        cost=cost,
        outcomes=(),
        forecasts=(),
        draws=100,
        seed=0,
    )


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    return evidence_of(demo_runs())


def test_numbers_are_written_for_people() -> None:
    assert wording.coefficient(1.8172) == "1.817"
    assert wording.coefficient(24.6) == "24.6"
    assert wording.coefficient(2085.43) == "2,085"
    assert wording.coefficient(0.0046) == "0.0046"
    assert wording.span(1.8, 1.9) == f"1.800{DASH}1.900"
    assert wording.span(72_000, 72_000, wording.count) == "72K"
    assert wording.with_interval(Estimate(None, 0.5, None)) == "0.500"
    assert wording.with_interval(Estimate(0.4, 0.5, 0.6)) == f"0.500 (0.400{DASH}0.600)"
    assert wording.percent(0.0123, 1) == "1.2 %"
    assert wording.refusal("plan", "all n are equal") == "No plan: all n are equal."
    assert wording.refusal("back-test", "no back-test is possible") == "No back-test is possible."


def test_the_cost_paid_follows_the_family_and_tends_to_6n() -> None:
    cost = paid_cost(demo_runs())
    assert cost is not None
    for shape in SHAPES:
        n = count_params(shape, COUNT)
        assert float(cost(n)) == pytest.approx(flops_per_token(shape, COST), rel=0.05)
    assert float(cost(1e12)) == pytest.approx(6e12, rel=0.01)
    grid = np.geomspace(1e2, 1e9, 200)
    assert np.all(np.diff(np.asarray(cost(grid))) > 0)


def test_the_cost_paid_is_6n_where_that_was_paid() -> None:
    runs = plain_runs()
    assert paid_cost(runs) is None
    dear = runs.replace(c=7.5 * runs.n * runs.d, c_convention="reported")
    cost = paid_cost(dear)
    assert cost is not None
    assert float(cost(1e9)) == pytest.approx(7.5e9)
    wobble = np.where(np.arange(len(runs)) % 2 == 0, 1.2, 1 / 1.2)
    mixed = paid_cost(runs.replace(c=6 * wobble * runs.n * runs.d, c_convention="reported"))
    assert mixed is not None
    assert float(mixed(1e9)) == pytest.approx(6e9, rel=1e-6)
    alone = demo_runs()[:1]
    cost = paid_cost(alone)
    assert cost is not None
    assert float(cost(alone.n[0])) == pytest.approx(alone.c[0] / alone.d[0])


def test_lowest_keeps_the_runs_no_cheaper_run_beats() -> None:
    runs = Runs(n=[1, 1, 1, 1, 1], d=[5, 1, 3, 2, 4], loss=[1.5, 3.0, 2.0, 3.5, 2.5])
    assert lowest(runs).loss.tolist() == [1.5, 3.0, 2.0]
    tied = Runs(n=[1, 1, 1], d=[2, 2, 2], loss=[3.0, 2.0, 2.5])
    assert lowest(tied).loss.tolist() == [2.0]


def test_a_refusal_is_kept_and_any_other_error_is_not() -> None:
    def refuse() -> None:
        raise FitError("the runs do not say")

    assert attempt(refuse) == Missing("the runs do not say")
    with pytest.raises(ZeroDivisionError):
        attempt(lambda: 1 // 0)


def test_both_counts_and_both_costs_are_read(evidence: Evidence) -> None:
    main = evidence.main.runs
    assert (main.n_convention, main.c_convention) == (COUNT, COST)
    others = [(other.runs.n_convention, other.runs.c_convention) for other in evidence.others]
    assert others == [("non_embedding", "exact"), ("non_embedding", "6nd")]
    exact, kaplan = evidence.others
    assert exact.runs.c == pytest.approx(main.c)
    assert kaplan.runs.c == pytest.approx(6 * exact.runs.n * exact.runs.d)
    assert kaplan.cost is None
    assert not any(isinstance(other.plan, Missing) for other in evidence.others)
    assert evidence_of(plain_runs()).others == ()


def test_a_given_cost_goes_before_the_one_paid(evidence: Evidence) -> None:
    dear = evidence_of(demo_runs(), cost=lambda n: 600.0 * np.asarray(n, dtype=float))
    plans = dear.main.plan, evidence.main.plan
    assert isinstance(plans[0], Plan)
    assert isinstance(plans[1], Plan)
    assert plans[0].d.mid * plans[0].n.mid * 600 == pytest.approx(dear.target)
    assert plans[0].n.mid < 0.5 * plans[1].n.mid


def test_each_exponent_stands_beside_the_paper_that_measured_its_kind(evidence: Evidence) -> None:
    pure = {row.name: row for row in pure_exponents(evidence)}
    assert [row.papers for row in pure.values()] == [
        ("0.076 (Table 2)",),
        ("0.103 (Table 2)",),
        ("0.057 (fixed batch), 0.050 (C_min)",),
    ]
    rows = reducible_exponents(evidence)
    hoffmann = [row.papers[0] for row in rows]
    assert hoffmann == ["0.339", "0.285", "0.457", "0.543", "0.50", "0.50", "0.49", "0.51"]
    besiroglu = [row.papers[1] for row in rows[:4]]
    assert besiroglu == ["0.348 (se 0.02)", "0.366 (se 0.02)", "0.513", "0.487"]
    kaplan = {f"{float(published.KAPLAN_2020.loss_nd.alpha_n):.3f}", "0.73", "0.27"}
    assert not kaplan & {text for row in rows for text in row.papers}


def test_measured_exponents_recover_the_law_that_was_simulated(evidence: Evidence) -> None:
    rows = reducible_exponents(evidence)
    truth = (0.36, 0.49, 0.49 / 0.85, 0.36 / 0.85)
    for row, value in zip(rows, truth, strict=False):
        assert isinstance(row.measured, Estimate)
        assert row.measured.low is not None
        assert row.measured.high is not None
        assert row.measured.low - 0.02 < value < row.measured.high + 0.02


def test_approach_2_is_that_of_approaches(evidence: Evidence) -> None:
    """What `isoloss fit --all` prints of the same runs: interval, budgets, refusal."""
    runs = demo_runs()
    direct = approaches(runs, draws=100)
    rows = [row for row in reducible_exponents(evidence) if row.how == "approach 2, IsoFLOP"]
    for row, found in zip(rows, (direct.named("2").a, direct.named("2").b), strict=True):
        assert isinstance(row.measured, Estimate)
        assert (row.measured.low, row.measured.mid, row.measured.high) == tuple(map(float, found))
    assert isinstance(evidence.isoflop, IsoFlop)
    assert len(evidence.isoflop.budgets) == len(direct.minima.budgets)
    assert evidence.isoflop.n_trend == direct.minima.n_trend

    last = max(evidence.isoflop.usable, key=lambda budget: budget.c)
    fewer = runs[np.setdiff1d(np.arange(len(runs)), last.rows)]
    refused = approaches(fewer, draws=100)
    two = replace(evidence, approaches=refused)
    (refusal,) = {
        row.measured.reason
        for row in reducible_exponents(two)
        if row.how == "approach 2, IsoFLOP" and isinstance(row.measured, Missing)
    }
    assert refusal == refused.named("2").refusal
    assert "a trend needs three" in refusal


def test_the_summary_says_what_was_seen_in_the_runs(evidence: Evidence) -> None:
    runs = demo_runs()
    odd = runs.replace(loss=np.where(np.arange(len(runs)) == 5, 1.5, 1.0) * runs.loss)
    one_size = odd.replace(n=np.full(len(runs), 1e12))
    for table, refused in ((odd, False), (one_size, True)):
        fitted = attempt(lambda table=table: fit(Chinchilla, table))
        assert isinstance(fitted, Missing) is refused
        seen = inspect_runs(table) if refused else fitted.findings
        assert seen
        found = replace(evidence, main=replace(evidence.main, runs=table, fit=fitted))
        (points,) = [block for block in summary(found) if isinstance(block, Points)]
        assert points.lines == tuple(f"Seen in the runs: {one.detail}." for one in seen)


def test_a_law_without_a_floor_has_no_reducible_exponents() -> None:
    rows = reducible_exponents(evidence_of(demo_runs(), KaplanND))
    assert all(isinstance(row.measured, Missing) for row in rows[:4])


def test_two_runs_leave_every_part_missing_with_a_reason() -> None:
    found = evidence_of(demo_runs()[:2])
    for part in (found.main.fit, found.main.plan, found.backtest, found.isoflop, found.kaplan):
        assert isinstance(part, Missing)
        assert len(part.reason) > 20
    assert found.main.model is None


EVIL = '<script>alert(1)</script> & "quoted" | `tick` *star* [link](x) 5 % (1.2\N{EN DASH}1.3)'
DOCUMENT = Document(
    title=EVIL,
    subtitle=EVIL,
    date="Written on 2026-01-01.",
    sections=(
        Section(EVIL, (Cards((Card(EVIL, EVIL, (EVIL,)),)),)),
        Section(
            "Second",
            (
                Paragraph(EVIL, quiet=True),
                Refusal(EVIL),
                Points((EVIL,)),
                Code(EVIL + "\n```\nmore"),
                Figure("name", EVIL, EVIL, "<svg></svg>"),
                Table(EVIL, ("a", EVIL), ((EVIL, EVIL),), EVIL, words=(1,)),
                Table("no head", ("", ""), (("a", "b"),)),
            ),
        ),
    ),
)


def test_html_escapes_everything_but_the_figures() -> None:
    page = to_html(DOCUMENT)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 14
    assert "<svg></svg>" in page
    assert "5\N{NO-BREAK SPACE}%" in page
    assert '<span class="whole">(1.2' in page
    assert page.count("<thead>") == 1
    assert page.splitlines().count('<p class="date">Written on 2026-01-01.</p>') == 1


def test_markdown_escapes_everything_and_keeps_tables_whole() -> None:
    text = to_markdown(DOCUMENT)
    body = text.replace("````\n" + EVIL + "\n```\nmore\n````", "")
    assert body != text  # the fence is longer than any inside
    assert "\\<script\\>" in body
    assert not [line for line in body.splitlines() if "<script>" in line.replace("\\<", "")]
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert all(row.replace("\\|", "").count("|") == 3 for row in rows)
