"""Plans: from published laws, from a law, from a fit, from draws."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import numpy as np
import pytest

from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import Fit, fit
from isoloss.laws import Chinchilla, Cost, KaplanND, PowerLaw, allocate, near_optimal, published
from isoloss.planning import Estimate, Plan, best_bet, plan, plan_kaplan, published_plans
from isoloss.planning.doubt.decision import agreed_sizes
from isoloss.planning.doubt.misfit import widening
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap

TRUE = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def make_runs(noise: float = 0.003, **changes: object) -> Runs:
    rng = np.random.default_rng(11)
    budgets, around = np.geomspace(1e17, 1e19, 5), np.geomspace(0.3, 3.5, 7)
    c, ratio = (grid.ravel() for grid in np.meshgrid(budgets, around))
    n = np.asarray(allocate(TRUE, c).n) * ratio
    d = c / (6 * n)
    loss = TRUE(n, d) * np.exp(noise * rng.standard_normal(n.size))
    return Runs(n=n, d=d, loss=loss, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(Chinchilla, make_runs(n_convention="non_embedding"))


@pytest.fixture(scope="module")
def draws(fitted: Fit) -> Draws:
    return bootstrap(fitted, draws=200, seed=5)


def test_kaplan_at_1e21_is_the_size_hoffmann_quotes() -> None:
    """Hoffmann et al. 2022, D.4: at 1e21 FLOPs Kaplan predicts 4.68 B parameters."""
    found = plan_kaplan(1e21)
    assert found.n.mid == pytest.approx(4.68e9, rel=1e-3)
    assert found.d.mid == pytest.approx(1e21 / 6 / found.n.mid)
    assert found.loss.mid == pytest.approx((3.1e8 / (0.5e21 / 8.64e19)) ** 0.05)
    assert found.near_optimal == pytest.approx((0.7326 * found.n.mid, 1.4523 * found.n.mid), 1e-4)
    eq_1_5 = allocate(published.KAPLAN_2020.loss_nd, 1e21)
    assert found.n.mid != pytest.approx(eq_1_5.n, rel=0.1)


def test_published_plans_stand_side_by_side() -> None:
    kaplan, hoffmann, besiroglu = published_plans(1e21)
    assert [p.n_convention for p in (kaplan, hoffmann, besiroglu)] == [
        "non_embedding",
        "total",
        "total",
    ]
    assert (hoffmann.n.mid, besiroglu.n.mid) == pytest.approx((2.2170e9, 2.7785e9), rel=1e-4)
    assert [p.law for p in (kaplan, hoffmann, besiroglu)] == ["Table 6", "Chinchilla", "Chinchilla"]
    for each in (kaplan, hoffmann, besiroglu):
        assert isinstance(each, Plan)
        assert "arXiv" in each.citation
        assert 6 * each.n.mid * each.d.mid == pytest.approx(1e21)
        assert each.tokens_per_param.mid == pytest.approx(each.d.mid / each.n.mid)
        assert each.near_optimal is not None
        assert each.near_optimal[0] < each.n.mid < each.near_optimal[1]
        for estimate in (each.n, each.d, each.loss, each.tokens_per_param):
            assert estimate.low is None
            assert estimate.high is None
        assert each.level is None


def test_a_published_plan_is_the_law_s_own_optimum() -> None:
    found, law = plan(published.HOFFMANN_2022, flops=5.76e23), published.HOFFMANN_2022
    best = allocate(law, 5.76e23)
    assert (found.n.mid, found.d.mid, found.loss.mid) == (best.n, best.d, best.loss)
    assert found.near_optimal == near_optimal(law, 5.76e23)
    assert plan(published.KAPLAN_2020, flops=1e21) == plan_kaplan(1e21)


def test_an_extrapolation_says_how_far() -> None:
    def notes(each: Plan) -> str:
        return " / ".join(each.notes)

    assert "4.68B parameters is 3.12 times the most measured, 1.50B" in notes(plan_kaplan(1e21))
    assert "extrapolation" not in notes(plan(published.HOFFMANN_2022, flops=1e21))
    low = notes(plan(published.BESIROGLU_2024, flops=1e16))
    assert "1.00e+16 FLOPs is 1/140 of the least measured" in low
    assert "check the unit" in notes(plan(published.HOFFMANN_2022, loss=1.72))


@pytest.mark.parametrize("flops", [0, -1e21, math.nan, math.inf, "1e21", None, True, [1e21]])
def test_a_bad_budget_is_refused(flops: object) -> None:
    for call in (plan_kaplan, published_plans, lambda f: plan(TRUE, flops=f)):
        with pytest.raises(InputError, match=r"FLOPs|budget"):
            call(flops)  # type: ignore[operator]


@pytest.mark.parametrize("flops", [1e3, 7.0, 9.9e8])
def test_an_implausible_budget_is_refused_with_the_unit(flops: float) -> None:
    with pytest.raises(InputError, match=r"trains nothing.*PF-days times 8.64e"):
        published_plans(flops)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="level"):
        plan(TRUE, flops=1e21, level=90)
    with pytest.raises(InputError, match="Table 6"):
        plan(published.KAPLAN_2020.loss_nd, flops=1e21)
    with pytest.raises(InputError, match="cost"):
        plan(published.KAPLAN_2020, flops=1e21, cost=lambda n: 6 * n)
    with pytest.raises(InputError, match="law of"):
        plan(PowerLaw(xc=1e13, alpha=0.1), flops=1e21)
    with pytest.raises(InputError, match="not a law"):
        plan("hoffmann", flops=1e21)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the class Chinchilla is not a law"):
        plan(Chinchilla, flops=1e21)  # type: ignore[arg-type]
    many = dataclasses.replace(TRUE, E=np.array([1.7, 1.8]))
    with pytest.raises(InputError, match="Draws"):
        plan(many, flops=1e21)


def test_a_bare_law_gives_a_plan_without_doubt() -> None:
    found = plan(TRUE, flops=2e20)
    assert found.n == Estimate(None, float(allocate(TRUE, 2e20).n), None)
    assert (found.law, found.n_convention, found.c_convention) == ("Chinchilla", "unknown", "6nd")
    dear = plan(TRUE, flops=2e20, cost=lambda n: 6 * n + 5e4 * np.sqrt(n))
    assert dear.c_convention == "cost"
    assert dear.n.mid * dear.d.mid < found.n.mid * found.d.mid
    assert plan(lambda n, d: TRUE(n, d), flops=2e20).n.mid == pytest.approx(found.n.mid)


def test_the_minimum_of_eq_1_5_is_marked() -> None:
    law = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)
    assert any("overfitting" in note for note in plan(law, flops=1e21).notes)


def test_a_fit_gives_the_point_and_its_convention(fitted: Fit) -> None:
    found = plan(fitted, flops=1e20)
    assert found.n == Estimate(None, float(allocate(fitted.law, 1e20).n), None)
    assert found.n_convention == "non_embedding"
    assert found.source == "fit of 35 runs"
    assert any("bootstrap" in note for note in found.notes)
    assert any("times the most measured, 1.00e+19" in note for note in found.notes)


@pytest.mark.parametrize("cost", [None, lambda n: 6 * n + 4e4 * np.sqrt(n)])
def test_draws_give_the_best_bet_and_its_intervals(draws: Draws, cost: Cost | None) -> None:
    found = plan(draws, flops=1e20, cost=cost)
    each = np.asarray(allocate(draws.law, 1e20, cost=cost).n)
    assert found.level == 0.9
    assert found.source == "200 draws of a fit of 35 runs"
    assert found.n.mid == best_bet(draws, 1e20, cost=cost).n
    assert found.n.mid == pytest.approx(float(np.median(each)), rel=0.02)  # for draws as narrow
    low, mid, high = (float(x) for x in draws.interval(lambda _: each, level=0.9))
    by = widening(draws, 1e20, cost=cost)
    assert 1 < by < 2
    spread = (mid * (low / mid) ** by, found.n.mid, mid * (high / mid) ** by)
    assert tuple(found.n) == pytest.approx(spread)
    price = cost or (lambda n: 6 * n)
    assert found.d == pytest.approx([1e20 / price(n) for n in spread][::-1])
    per_token = 6 * found.n.mid if cost is None else float(cost(np.asarray(found.n.mid)))
    assert per_token * found.d.mid == pytest.approx(1e20, rel=1e-12)
    assert found.tokens_per_param.mid == pytest.approx(found.d.mid / found.n.mid)
    for estimate in (found.n, found.d, found.tokens_per_param, found.loss):
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.mid < estimate.high
    assert found.n.low < allocate(TRUE, 1e20, cost=cost).n < found.n.high


def test_the_loss_is_that_of_a_new_run_at_the_planned_point(draws: Draws) -> None:
    found = plan(draws, flops=1e20)
    expected = draws.predict(found.n.mid, found.d.mid, level=0.9, kind="run")
    assert tuple(found.loss) == pytest.approx(tuple(float(x) for x in expected), rel=1e-9)
    assert found.loss.low is not None
    assert found.loss.low < float(allocate(TRUE, 1e20).loss) < found.loss.high


def test_a_wider_level_gives_wider_intervals(draws: Draws) -> None:
    wide, narrow = plan(draws, flops=1e20, level=0.95), plan(draws, flops=1e20, level=0.5)
    assert wide.n.low < narrow.n.low < narrow.n.high < wide.n.high


def test_near_optimal_sizes_are_agreed_by_the_draws(draws: Draws) -> None:
    found = plan(draws, flops=1e20)
    assert found.near_optimal is not None
    lows, highs = (np.asarray(end) for end in near_optimal(draws.law, 1e20))
    for n, agreed in (
        (found.near_optimal[0], True),
        (found.near_optimal[1], True),
        (found.near_optimal[0] * 0.99, False),
        (found.near_optimal[1] * 1.01, False),
    ):
        assert (np.mean((lows <= n) & (n <= highs)) >= 0.8) is np.bool_(agreed)


def test_a_fit_that_identifies_nothing_gives_no_plan() -> None:
    runs = make_runs()
    with pytest.raises(UnidentifiedError):
        plan(fit(Chinchilla, dataclasses.replace(runs, n=np.full(len(runs), 1e7))), flops=1e20)


def test_runs_counted_otherwise_are_named() -> None:
    runs = make_runs()
    exact = Runs(n=runs.n, d=runs.d, loss=runs.loss, c=1.4 * runs.c, c_convention="exact")
    found = fit(Chinchilla, exact)
    assert any("as exact, this plan as 6 n d" in n for n in plan(found, flops=1e20).notes)
    alike = plan(found, flops=1e20, cost=lambda n: 8.4 * n)
    assert not any("this plan as 6 n d" in note for note in alike.notes)


def test_draws_without_an_optimum_are_counted(draws: Draws) -> None:
    coefficients = {k: np.array(v, dtype=float) for k, v in draws.law.coefficients().items()}
    coefficients["A"][:3] = 0.0
    broken = dataclasses.replace(draws, law=Chinchilla(**coefficients))
    found = plan(broken, flops=1e20)
    assert any(note.startswith("3 of 200 draws have no optimum") for note in found.notes)


def test_agreed_range_by_hand() -> None:
    low = [1.0, 2.0, 3.0, 4.0, 10.0]
    assert agreed_sizes(low, [6.0, 7.0, 8.0, 9.0, 20.0]) == ((4.0, 6.0), [])
    # Four of five agree left and right of a gap in which only three do: the range must not span it.
    found, _ = agreed_sizes([1.0, 1.0, 1.0, 1.0, 5.0], [4.0, 9.0, 9.0, 9.0, 9.0])
    assert found in ((1.0, 4.0), (5.0, 9.0))
    nothing, notes = agreed_sizes([1.0, 3.0, 5.0], [2.0, 4.0, 6.0])
    assert nothing is None
    assert "no size is within 5% of the best in 80% of the draws" in notes[0]
    assert agreed_sizes([2.0], [3.0]) == ((2.0, 3.0), [])


def test_published_plans_load_no_fitter() -> None:
    code = (
        "import sys; from isoloss.planning import published_plans; published_plans(1e21); "
        "print([m for m in sys.modules if m.startswith(('isoloss.fitting', 'isoloss.trust', "
        "'isoloss.runs', 'scipy', 'torch', 'polars', 'pandas'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_a_fit_outside_its_draws_is_said(draws: Draws) -> None:
    far = dataclasses.replace(
        draws, fit=dataclasses.replace(draws.fit, law=dataclasses.replace(draws.fit.law, A=5000.0))
    )
    assert any("lies outside the interval" in note for note in plan(far, flops=1e20).notes)
    assert not any("lies outside" in note for note in plan(draws, flops=1e20).notes)


def test_the_best_bet_wastes_least_and_says_what_other_sizes_waste(draws: Draws) -> None:
    bet = best_bet(draws, 1e20)

    def wasted(n: float) -> float:
        """The mean excess by its definition, each draw on its own."""
        found = []
        for i in range(len(draws)):
            values = {k: float(np.asarray(v)[i]) for k, v in draws.law.coefficients().items()}
            law = Chinchilla(**values)
            target = float(allocate(law, 1e20).loss)
            left = target - law.E - law.A / n**law.alpha
            needed = 6 * n * (law.B / left) ** (1 / law.beta) if left > 0 else math.inf
            found.append(min(needed / 1e20 - 1, 10.0))
        return float(np.mean(found))

    assert bet.excess == pytest.approx(wasted(bet.n), rel=1e-6)
    for factor in (0.9, 0.97, 1.03, 1.1):
        assert wasted(factor * bet.n) > bet.excess
    assert bet.at(2 * bet.n) == pytest.approx(wasted(2 * bet.n), rel=0.02)
    found = plan(draws, flops=1e20)
    assert found.expected_excess == bet.excess
    assert [n / bet.n for n, _ in found.elsewhere] == pytest.approx([0.25, 0.5, 2, 4])
    assert all(excess > bet.excess for _, excess in found.elsewhere)
    # A loss 0.5 % above the least is reached by more sizes than 5 % more compute pays for here.
    assert found.near_loss is not None
    assert found.near_optimal is not None
    assert found.near_loss[0] < found.near_optimal[0] < found.near_optimal[1] < found.near_loss[1]


def test_a_skewed_doubt_moves_the_bet_away_from_the_median() -> None:
    # Too small a model may never reach the loss, so with a long tail of large optima one hedges up.
    runs = make_runs()
    loss = np.asarray(runs.loss) * np.exp(
        0.02 * np.random.default_rng(3).standard_normal(len(runs))
    )
    uncertain = bootstrap(fit(Chinchilla, runs.replace(loss=loss)), draws=400, seed=0)
    each = np.asarray(allocate(uncertain, 1e21).n)
    bet = best_bet(uncertain, 1e21)
    assert bet.n > 1.05 * np.median(each)
    assert bet.excess < bet.at(float(np.median(each)))


def test_one_law_states_what_other_sizes_waste() -> None:
    found = plan(TRUE, flops=2e20)
    assert found.expected_excess is None
    smaller, half, twice, larger = (excess for _, excess in found.elsewhere)
    assert smaller > half > 0.05
    assert larger > twice > 0.05
    low, high = near_optimal(TRUE, 2e20, excess=0.0, worse=0.005)
    assert found.near_loss == (low, high)
    best = allocate(TRUE, 2e20)
    for n in (low, high):
        assert TRUE(n, 2e20 / 6 / n) == pytest.approx(1.005 * float(best.loss), rel=1e-9)
    # Kaplan's are those of Eq. B.16.
    twofold = published.KAPLAN_2020.compute_ratio(2.0) - 1
    assert plan_kaplan(1e21).elsewhere[2][1] == pytest.approx(twofold)
    with pytest.raises(InputError, match="worse is -1"):
        near_optimal(TRUE, 2e20, worse=-1)
    with pytest.raises(InputError, match="excess is 0"):
        near_optimal(TRUE, 2e20, excess=0.0)
