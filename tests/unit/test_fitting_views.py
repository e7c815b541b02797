"""The views that need no law: IsoFLOP profiles, the envelope of curves, power trends."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import envelope, isoflop, power_trend
from isoloss.laws import Chinchilla, allocate
from isoloss.runs import Runs
from isoloss.units import parse_number

LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)
ASYMMETRIC = Chinchilla(1.69, 406.4, 410.7, 0.465, 0.155)
SYMMETRIC = Chinchilla(1.69, 400.0, 400.0, 0.31, 0.31)


def profile(law, c: float, spread: float, count: int = 15, centre: float = 1.0) -> Runs:
    """Runs of one budget, `spread` times below to `spread` times above the optimum."""
    n = allocate(law, c).n * centre * np.geomspace(1 / spread, spread, count)
    d = c / (6 * n)
    return Runs(n=n, d=d, loss=law(n, d))


def profiles(law, spread: float, centre: float = 1.0) -> Runs:
    budgets = np.geomspace(1e17, 1e21, 5)
    return Runs.concat([profile(law, c, spread, centre=centre) for c in budgets])


@pytest.mark.parametrize(
    ("law", "spread", "error"),
    [
        (SYMMETRIC, 4, 0.0),
        (LAW, 2, -0.33),
        (LAW, 4, -1.30),
        (LAW, 8, -2.90),
        (LAW, 16, -5.10),
        (ASYMMETRIC, 2, -1.67),
        (ASYMMETRIC, 4, -6.50),
        (ASYMMETRIC, 16, -23.12),
    ],
)
def test_the_bias_of_approach_two_is_that_of_czech(law, spread: float, error: float) -> None:
    """Errors of D* at 1e24 FLOPs, in percent: Czech et al. 2026, the centred rows."""
    found = isoflop(profiles(law, spread))
    assert found.status == ()
    true = allocate(law, 1e24).d
    assert 100 * (found.d_trend(1e24) / true - 1) == pytest.approx(error, abs=0.006)
    assert found.n_trend.exponent + found.d_trend.exponent == pytest.approx(1.0)


def test_a_budget_gives_the_vertex_of_its_parabola() -> None:
    runs = profile(SYMMETRIC, 3e19, 4, count=7)
    (budget,) = isoflop(runs).budgets
    assert budget.usable
    assert budget.runs == 7
    assert budget.n_opt == pytest.approx(allocate(SYMMETRIC, 3e19).n, rel=1e-9)
    assert budget.d_opt == pytest.approx(allocate(SYMMETRIC, 3e19).d, rel=1e-9)
    a, b, c = budget.parabola
    at = np.log(budget.n_opt)
    assert a + b * at + c * at**2 == pytest.approx(budget.loss_opt, rel=1e-9)
    assert b + 2 * c * at == pytest.approx(0.0, abs=1e-9)


def test_exact_flops_need_not_be_six_n_d() -> None:
    n = np.geomspace(1e5, 4e6, 9)
    per_token = 6 * n + 3e6
    runs = Runs(n=n, d=4e13 / per_token, c=np.full(9, 4e13), loss=SYMMETRIC(n, 4e13 / per_token))
    (budget,) = isoflop(runs).budgets
    assert budget.usable
    assert budget.d_opt * (6 * budget.n_opt + 3e6) == pytest.approx(4e13, rel=0.01)


def test_edge_minima_and_maxima_are_refused_with_the_run_that_mends_them() -> None:
    good = profile(LAW, 1e18, 4)
    small = profile(LAW, 1e19, 4, centre=8.0)
    large = profile(LAW, 1e20, 4, centre=1 / 8)
    n = np.geomspace(1e7, 1e9, 9)
    hill = Runs(n=n, d=1e21 / 6 / n, loss=3 - 0.02 * np.log(n / 1e8) ** 2 + 0.001 * np.log(n))
    found = isoflop(Runs.concat([good, small, large, hill]))
    assert [budget.usable for budget in found.budgets] == [True, False, False, False]
    assert found.status == (Status.EDGE_BUDGET, Status.FEW_BUDGETS)
    assert found.n_trend is None
    _, low, high, top = found.budgets
    assert "smallest size" in low.reason
    assert "largest size" in high.reason
    assert "lowest loss" in top.reason or "maximum" in top.reason
    assert np.isnan(low.n_opt)
    for budget, runs, smaller in ((low, small, True), (high, large, False)):
        assert budget.mend.startswith("at 1.00e+")
        words = budget.mend.split()
        size = parse_number(words[words.index("n") + 2])
        assert size < runs.n.min() if smaller else size > runs.n.max()
    with pytest.raises(UnidentifiedError, match=r"1 of 4 budgets.*run n = ") as caught:
        found.check()
    assert caught.value.partial is found


def test_the_runs_that_mend_a_budget_mend_it() -> None:
    runs = profile(LAW, 1e19, 4, centre=6.0, count=8)
    for _ in range(20):
        (budget,) = isoflop(runs).budgets
        if budget.usable:
            break
        n = runs.n.min() / (runs.n.max() / runs.n.min()) ** (1 / (len(np.unique(runs.n)) - 1))
        d = 1e19 / (6 * n)
        runs = Runs.concat([runs, Runs(n=[n], d=[d], loss=[float(LAW(n, d))])])
    assert budget.usable
    assert budget.n_low < allocate(LAW, 1e19).n < budget.n_high


def test_runs_outside_any_budget_are_left_out_and_none_is_no_error() -> None:
    ladder = Runs(n=np.full(5, 1e8), d=np.geomspace(1e9, 1e11, 5), loss=np.linspace(4, 3, 5))
    both = isoflop(Runs.concat([profile(LAW, 1e19, 4), profile(LAW, 1e20, 4), ladder]))
    assert len(both.budgets) == 2
    assert both.n_trend is not None
    assert np.isnan(both.n_trend.se)
    assert both.status == (Status.FEW_BUDGETS,)
    with pytest.raises(
        UnidentifiedError, match=r"trend needs three; run five .* at 1\.00e\+21 FLOPs"
    ):
        both.check()
    none = isoflop(ladder)
    assert none.budgets == ()
    with pytest.raises(UnidentifiedError, match="five or more sizes"):
        none.check()


def test_a_scattered_budget_is_one_budget() -> None:
    random = np.random.default_rng(2)
    n = np.geomspace(1e8, 1e9, 10)
    c = 1e19 * np.exp(random.uniform(-0.045, 0.045, 10))
    runs = Runs(n=n, d=c / (6 * n), c=c, loss=LAW(n, c / (6 * n)))
    assert [budget.runs for budget in isoflop(runs).budgets] == [10]
    with pytest.raises(InputError, match="tolerance"):
        isoflop(runs, tolerance=0.0)


def curve(name: str, n: float, steps: int, end: float) -> Runs:
    d = np.geomspace(end / 30, end, steps)
    return Runs(n=np.full(steps, n), d=d, loss=LAW(n, d), run=[name] * steps)


def test_the_envelope_takes_the_lowest_curve_at_each_compute() -> None:
    curves = Runs.concat(
        [curve("a", 2e7, 40, 4e9), curve("b", 1e8, 40, 4e9), curve("c", 5e8, 40, 4e9)]
    )
    found = envelope(curves, points=300)
    assert (np.diff(found.c) > 0).all()
    assert set(found.run) == {"a", "b", "c"}
    assert found.loss == pytest.approx(LAW(found.n, found.d), rel=1e-4)
    assert found.c == pytest.approx(6 * found.n * found.d, rel=1e-9)
    for n in (2e7, 1e8, 5e8):
        d = found.c / (6 * n)
        inside = (d <= 4e9) & (d >= 4e9 / 30)
        assert (found.loss[inside] <= LAW(n, d[inside]) * (1 + 1e-4)).all()


def test_the_envelope_needs_a_curve_and_does_not_bridge_gaps() -> None:
    short = curve("a", 2e7, 20, 1e8)
    long = curve("b", 2e8, 20, 4e12)
    found = envelope(Runs.concat([short, long]))
    gap = (found.c > short.c.max()) & (found.c < long.c.min())
    assert not gap.any()
    with pytest.raises(InputError, match="no curve"):
        envelope(Runs(n=[1e6], d=[1e7], loss=[4.0]))
    with pytest.raises(InputError, match="two or more points"):
        envelope(short, points=1)


def test_a_power_trend_is_a_line_in_the_logarithms() -> None:
    x = np.array([1.3, 4.0, 11.0, 57.0, 300.0])
    exact = power_trend(x, 2.7 * x**0.46)
    assert (exact.coefficient, exact.exponent) == pytest.approx((2.7, 0.46))
    assert exact.se == pytest.approx(0.0, abs=1e-12)
    assert exact([2.0, 9.0]) == pytest.approx(2.7 * np.array([2.0, 9.0]) ** 0.46)
    noise = np.exp(np.array([0.02, -0.03, 0.01, 0.04, -0.01]))
    noisy = power_trend(x, 2.7 * x**0.46 * noise)
    slope, cov = np.polyfit(np.log(x), np.log(2.7 * x**0.46 * noise), 1, cov=True)
    assert noisy.exponent == pytest.approx(slope[0])
    assert noisy.se == pytest.approx(np.sqrt(cov[0, 0]))
    heavy = power_trend(x, 2.7 * x**0.46 * noise, weights=[1e9, 1, 1, 1, 1e9])
    ends = np.log(300**0.46 * noise[4] / (1.3**0.46 * noise[0])) / np.log(300 / 1.3)
    assert heavy.exponent == pytest.approx(ends, rel=1e-6)


def test_a_power_trend_refuses_what_has_none() -> None:
    with pytest.raises(UnidentifiedError, match="two or more different x"):
        power_trend([2.0, 2.0], [1.0, 3.0])
    for x, y, w in (
        ([1.0, -2.0], [1.0, 2.0], None),
        ([1.0, 2.0], [1.0], None),
        ([1.0, 2.0], [1.0, 3.0], [1.0, -1.0]),
    ):
        with pytest.raises(InputError, match="power_trend"):
            power_trend(x, y, w)
