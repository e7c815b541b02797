"""The figure of what leaving the best size costs draws what the library computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from simulated import plain_runs

from isoloss.errors import InputError
from isoloss.figures import panels, size_costs
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate, near_optimal, published
from isoloss.planning import best_bet, least_size_ratio, overhead, plan
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap
from isoloss.trust.quantiles import interval

pytest.importorskip("matplotlib")
FLOPS = 1e21
PAPERS = {
    "Kaplan 2020": published.KAPLAN_2020,
    "Hoffmann 2022": published.HOFFMANN_2022,
    "Besiroglu 2024": published.BESIROGLU_2024,
}


@pytest.fixture(scope="module")
def draws() -> Draws:
    return bootstrap(fit(Chinchilla, plain_runs()), draws=200, seed=0)


@pytest.fixture(scope="module")
def unsure() -> Draws:
    """Draws whose optima lie so far apart that no size is cheap in most of them."""
    runs, random = plain_runs(14), np.random.default_rng(5)
    noisy = runs.loss * np.exp(0.03 * random.standard_normal(14))
    return bootstrap(fit(Chinchilla, Runs(n=runs.n, d=runs.d, loss=noisy)), draws=200, seed=0)


def curves(ax: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """The drawn excess of each source, in order: sizes and per cent."""
    lines = [line for line in ax.lines if len(line.get_xdata()) > 100]
    return [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in lines]


def bars(ax: Any) -> list[tuple[float, float]]:
    return [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 5]


def marks(ax: Any) -> list[tuple[float, float]]:
    """The marked points, on the curve and in the row of each source."""
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    return [(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in points]


def words(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_papers_side_by_side() -> None:
    ax = panels()[0]
    assert size_costs(PAPERS, FLOPS, ax=ax) is ax
    ax.figure.draw_without_rendering()
    assert {"Kaplan 2020: 4.68B", "Hoffmann 2022: 2.22B", "Besiroglu 2024: 2.78B"} <= set(words(ax))
    assert "as each source counts them" in ax.get_xlabel()
    assert "10²¹" in ax.get_ylabel()
    assert ax.get_ylim()[1] == 60
    assert [y for _, y in marks(ax)[::2]] == [0, 0, 0]
    rows = [y for _, y in marks(ax)[1::2]]
    assert 0 > rows[0] > rows[1] > rows[2] > ax.get_ylim()[0]
    assert not ax.patches  # laws alone have no band
    low, high = ax.get_xlim()
    sizes = [n for n, _ in marks(ax)]
    assert min(sizes) / 8.5 < low < min(sizes) < max(sizes) < high < max(sizes) * 8.5


def test_kaplans_curve_is_his_equation() -> None:
    ax = size_costs({"Kaplan": published.KAPLAN_2020}, FLOPS)
    ((n, drawn),) = curves(ax)
    best = 1.3e9 * (FLOPS / 2 / 8.64e19) ** 0.73
    assert marks(ax)[0][0] == pytest.approx(best)
    r = n / best
    bracket = 1 + 0.76 / 0.077 * (1 - r**-0.077)
    ratio = np.where(bracket > 0, r * np.maximum(bracket, 1e-9) ** (-1 / 0.76), np.inf)
    np.testing.assert_allclose(drawn, 100 * np.minimum(ratio - 1, 10), atol=1e-9)
    assert bars(ax)[0] == pytest.approx([best * x for x in published.KAPLAN_2020.near_optimal()])


@pytest.mark.parametrize(
    "law", [published.HOFFMANN_2022, Chinchilla(1.6, 5000.0, 4000.0, 0.5, 0.4)]
)
def test_the_drawn_compute_reaches_the_loss_of_the_best_size(law: Any) -> None:
    ax = size_costs({"law": law}, FLOPS)
    best = allocate(law, FLOPS)
    ((n, drawn),) = curves(ax)
    assert n[0] == pytest.approx(best.n / 8)
    assert n[-1] == pytest.approx(best.n * 8)
    seen = drawn < 1000
    reached = law(n[seen], (1 + drawn[seen] / 100) * FLOPS / (6 * n[seen]))
    np.testing.assert_allclose(reached, best.loss, rtol=1e-12)
    # A size that cannot reach the loss is drawn far above the top, so that its line leaves there.
    never = n < least_size_ratio(law) * best.n
    assert never.any() == isinstance(law, Chinchilla)
    assert np.all(drawn[never] == 1000)
    assert bars(ax)[0] == pytest.approx(near_optimal(law, FLOPS))
    assert ax.get_xlabel() == "parameters"


def test_draws_have_the_expected_excess_and_a_band(draws: Draws) -> None:
    ax = size_costs([("mine", draws)], FLOPS, level=0.8)
    ((n, drawn),) = curves(ax)
    coefficients = draws.law.coefficients()
    each = []
    for k in range(len(draws)):
        law = Chinchilla(**{name: float(np.asarray(v)[k]) for name, v in coefficients.items()})
        ratios = n / allocate(law, FLOPS).n
        each.append(100 * np.clip(overhead(law, FLOPS, ratios).excess, 0, 10))
    np.testing.assert_allclose(drawn, np.mean(each, axis=0), atol=1e-6)
    low, _, high = interval(np.array(each), 0.8, draws.spare)
    (band,) = ax.patches
    outline = band.get_xy()
    np.testing.assert_allclose(outline[: len(n), 1], low, atol=1e-6)
    np.testing.assert_allclose(outline[len(n) : 2 * len(n), 1], high[::-1], atol=1e-6)
    bet = best_bet(draws, FLOPS)
    assert marks(ax)[0] == pytest.approx((bet.n, 100 * bet.excess))
    assert 0 < bet.excess < drawn[[0, -1]].min() / 100
    (bar,) = bars(ax)
    assert bar[0] < bet.n < bar[1]
    assert bar == pytest.approx(plan(draws, flops=FLOPS).near_optimal)


def test_more_draws_than_the_bet_is_on_still_meet_it() -> None:
    many = bootstrap(fit(Chinchilla, plain_runs(30)), draws=1200, seed=0)
    ((n, drawn),) = curves(size_costs({"many": many}, FLOPS))
    bet = best_bet(many, FLOPS)
    inside = drawn < 60
    expected = [100 * bet.at(size) for size in n[inside]]
    np.testing.assert_allclose(drawn[inside], expected, rtol=1e-2, atol=0.05)


def test_where_draws_agree_on_no_size_the_figure_says_so(draws: Draws, unsure: Draws) -> None:
    far = 1e26
    bet = best_bet(unsure, far)
    assert bet.excess > 0.3
    alone = size_costs({"unsure": unsure}, far)
    assert not bars(alone)
    assert alone.get_ylim()[1] == pytest.approx(200 * bet.excess)
    assert any(f"expected +{100 * bet.excess:.0f} %" in word for word in words(alone))
    beside = size_costs({"unsure": unsure, "law": published.BESIROGLU_2024}, far)
    assert beside.get_ylim()[1] == 60
    low, high = beside.get_xlim()
    assert all(low < n < high for n, _ in marks(beside))


def test_budgets_and_costs_may_be_given_by_name() -> None:
    def dear(n: Any) -> Any:
        return 6 * n + 1e10

    law = published.BESIROGLU_2024
    ax = size_costs(
        {"small": law, "dear": law},
        {"small": 1e19, "dear": FLOPS},
        cost={"small": None, "dear": dear},
    )
    assert [n for n, _ in marks(ax)[::2]] == pytest.approx(
        [allocate(law, 1e19).n, allocate(law, FLOPS, cost=dear).n]
    )
    assert bars(ax)[1] == pytest.approx(near_optimal(law, FLOPS, cost=dear))
    n, drawn = curves(ax)[1]
    seen = drawn < 1000
    reached = law(n[seen], (1 + drawn[seen] / 100) * FLOPS / dear(n[seen]))
    np.testing.assert_allclose(reached, allocate(law, FLOPS, cost=dear).loss, rtol=1e-9)
    assert "its budget" in ax.get_ylabel()
    with pytest.raises(InputError, match="'dear' is missing"):
        size_costs({"small": law, "dear": law}, {"small": 1e19})


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ({}, "nothing to draw"),
        (published.HOFFMANN_2022, "by name"),
        ([published.HOFFMANN_2022], "by name"),
        ({"x": 3.0}, "is not a law"),
        ({"x": published.KAPLAN_2020.loss_nd}, "Table 6"),
        ({"x": Chinchilla([1.7, 1.8], 400.0, 400.0, 0.34, 0.28)}, "many draws"),
    ],
)
def test_what_is_no_law_by_name_is_refused(sources: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        size_costs(sources, FLOPS)


def test_kaplan_knows_no_other_cost() -> None:
    with pytest.raises(InputError, match="leave out cost"):
        size_costs(PAPERS, FLOPS, cost=lambda n: 7 * n)
