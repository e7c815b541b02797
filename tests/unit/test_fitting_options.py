"""What `fit` can be told beside the law: places on an axis, derived variables, asymmetry, steps."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.fitting import fit
from isoloss.fitting.design import Design
from isoloss.fitting.projection import starts
from isoloss.laws import (
    M3,
    M4,
    BrokenPowerLaw,
    Chinchilla,
    ChinchillaTied,
    CriticalBatch,
    DataConstrained,
    KaplanNS,
    Overtraining,
    PowerLaw,
    SaturatingPowerLaw,
    published,
)
from isoloss.runs import Runs

RANDOM = np.random.default_rng(23)
X = np.exp(np.linspace(np.log(2e4), np.log(3e10), 23) + RANDOM.uniform(-0.1, 0.1, 23))
N = np.exp(RANDOM.uniform(14, 21, 30))
D = np.exp(RANDOM.uniform(18, 25, 30))


def along(law, x=X, noise: float = 0.0) -> Runs:
    return Runs(n=x, d=x, loss=law(x) * np.exp(noise * RANDOM.standard_normal(len(x))))


def test_a_place_ranges_over_the_data_whatever_their_unit() -> None:
    for scale in (1.0, 1e-9):
        design = Design.over(BrokenPowerLaw, (scale * X,), 3 / X**0.1, "log", {})
        low, high = (bound[len(design.scales) + 2] for bound in design.bounds)
        middle = design.places["d1"]
        assert np.exp(low + middle) == pytest.approx(0.3 * scale * X.min())
        assert np.exp(high + middle) == pytest.approx(3.0 * scale * X.max())
        begun = starts(design, np.ones(23), None)[:, len(design.scales) + 2]
        assert begun.min() < -0.5 * (high - low) / 2 < 0.5 * (high - low) / 2 < begun.max()
    part = design.take(np.arange(5))
    assert part.bounds[0] == pytest.approx(design.bounds[0])
    inverse = Design.over(M3, (X,), 3 / X**0.1, "log", {})
    low, high = (bound[1] + inverse.places["gamma"] for bound in inverse.bounds)
    assert np.exp(low) == pytest.approx(1e-3 / X.max())
    assert np.exp(high) == pytest.approx(1e3 / X.min())


@pytest.mark.parametrize(
    "law",
    [
        M3(31.0, 2e-8, 0.23),
        M4(1.3, 4.2, 1.8, 4e5, 0.4),
        BrokenPowerLaw(0.6, 21.0, 0.11, 0.4, 4e7, 0.5),
        BrokenPowerLaw(1.1, 51.0, 0.3, -0.2, 4e6, 0.3),
    ],
)
def test_laws_that_bend_are_recovered_and_a_unit_only_moves_the_place(law) -> None:
    found = fit(type(law), along(law), x="n")
    assert found.check() is found
    for name, value in law.coefficients().items():
        assert found.coefficients[name] == pytest.approx(value, rel=1e-6)


def test_a_break_outside_the_data_is_not_found() -> None:
    straight = along(PowerLaw(1e14, 0.09))
    with pytest.raises(UnidentifiedError) as caught:
        fit(BrokenPowerLaw, straight, x="n").check()
    assert caught.value.partial.law(X) == pytest.approx(straight.loss, rel=1e-6)
    level = fit(M3, straight, x="n")
    assert Status.AT_BOUND in level.status


def test_a_fixed_place_and_a_fixed_coefficient_below_zero() -> None:
    law = BrokenPowerLaw(1.1, 51.0, 0.3, -0.2, 4e6, 0.3)
    runs = along(law)
    for fixed in ({"d1": 4e6}, {"c1": -0.2, "f1": 0.3}):
        found = fit(BrokenPowerLaw, runs, x="n", fixed=fixed)
        for name, value in law.coefficients().items():
            assert found.coefficients[name] == pytest.approx(value, rel=1e-6)
    with pytest.raises(InputError, match="not possible"):
        fit(BrokenPowerLaw, runs, x="n", fixed={"c0": -0.2})


def test_asymmetry_lays_the_law_along_an_edge() -> None:
    law = SaturatingPowerLaw(1.4, 60.0, 0.25)
    random = np.random.default_rng(2)
    runs = Runs(n=X, d=X, loss=law(X) * np.exp(0.02 * random.exponential(size=23)))
    shares = []
    for asymmetry in (0.1, 1.0, 10.0):
        found = fit(
            SaturatingPowerLaw, runs, x="n", asymmetry=asymmetry, residual="linear", delta=1e-4
        )
        r = found.law(X) - runs.loss
        size = np.abs(r)
        huber = np.where(size <= 1e-4, r * r / 2, 1e-4 * (size - 5e-5))
        assert found.objective == pytest.approx(
            (huber * np.where(r > 0, asymmetry, 1)).sum(), rel=1e-9
        )
        shares.append(np.mean(r > 0))
    # The quantile of the runs that lies below: 1 / (1 + asymmetry), up to the three it touches.
    assert shares == pytest.approx([10 / 11, 1 / 2, 1 / 11], abs=3 / 23)


def test_an_asymmetric_optimum_is_a_linear_program_s() -> None:
    """For a given alpha, absolute errors are linear in E and A, so scipy solves them exactly."""
    optimize = pytest.importorskip("scipy.optimize")
    runs = along(SaturatingPowerLaw(1.4, 60.0, 0.25), noise=0.02)
    found = fit(
        SaturatingPowerLaw,
        runs,
        x="n",
        asymmetry=4.0,
        residual="linear",
        delta=1e-8,
        fixed={"alpha": 0.25},
    )
    r = found.law(X) - runs.loss
    mine = np.where(r > 0, 4 * r, -r).sum()
    count = len(X)
    columns = np.column_stack([np.ones(count), X**-0.25, -np.eye(count), np.eye(count)])
    costs = np.r_[0, 0, np.full(count, 4.0), np.ones(count)]
    exact = optimize.linprog(costs, A_eq=columns, b_eq=runs.loss, bounds=(0, None))
    assert mine == pytest.approx(exact.fun, rel=1e-5)
    assert mine >= exact.fun * (1 - 1e-9)


def test_the_ratio_of_tokens_to_parameters_is_derived() -> None:
    law = Overtraining(1.5, 141.0, 190.0, 0.121)
    runs = Runs(n=N, d=D, loss=law(6 * N * D, D / N))
    found = fit(Overtraining, runs)
    for name, value in law.coefficients().items():
        assert found.coefficients[name] == pytest.approx(value, rel=1e-6)
    tied = fit(ChinchillaTied, runs).law
    assert tied.alpha == pytest.approx(0.242, rel=1e-7)


def test_least_steps_come_from_a_critical_batch_or_a_column() -> None:
    law = KaplanNS(6.5e13, 2.1e3, 0.077, 0.76)
    s_min = np.exp(RANDOM.uniform(6, 11, 30))
    loss = law(N, s_min)
    critical = CriticalBatch(2e8, 0.21)
    batch = np.full(30, 2.0**19)
    steps = s_min * (1 + critical(loss) / batch)
    runs = Runs(n=N, d=steps * batch, loss=loss, steps=steps, batch=batch)
    for given in (critical, published.KAPLAN_2020.critical_batch, s_min):
        found = fit(KaplanNS, runs, given={"s_min": given})
        for name, value in law.coefficients().items():
            assert found.coefficients[name] == pytest.approx(value, rel=1e-6)
    lacking = Runs(n=N, d=D, loss=loss)
    bits = runs.replace(loss_unit="bits per byte")
    for call, message in (
        (lambda: fit(KaplanNS, bits, given={"s_min": critical}), "in bits per byte: convert"),
        (lambda: fit(KaplanNS, lacking), "needs 's_min'.*a CriticalBatch"),
        (lambda: fit(KaplanNS, lacking, given={"s_min": critical}), "needs 'steps'"),
        (lambda: fit(KaplanNS, lacking, given={"s_min": [1.0]}), "shape"),
        (lambda: fit(KaplanNS, lacking, given={"s": s_min}), "it has no 's'"),
        (lambda: fit(KaplanNS, lacking, given={"n": critical}), "gives 's_min'"),
        (lambda: fit(Chinchilla, lacking, asymmetry=0.0), "asymmetry must be"),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_a_law_of_two_steps_asks_for_the_first() -> None:
    base = Chinchilla(1.87, 521.0, 1488.0, 0.35, 0.37)
    law = DataConstrained(**base.coefficients(), Rd=12.0, Rn=4.0)
    unique = D / np.exp(RANDOM.uniform(0, 4, 30))
    runs = Runs(n=N, d=D, loss=law(N, D, unique), unique_tokens=unique)
    with pytest.raises(InputError, match="two steps: find A, B, alpha, beta first"):
        fit(DataConstrained, runs, fixed={"E": 1.87})
    found = fit(DataConstrained, runs, fixed=base.coefficients())
    assert (found.law.Rd, found.law.Rn) == pytest.approx((12.0, 4.0), rel=1e-6)
    with pytest.raises(InputError, match="needs 'unique_tokens'"):
        fit(DataConstrained, Runs(n=N, d=D, loss=runs.loss), fixed=base.coefficients())
