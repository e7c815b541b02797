"""Kaplan's appendix B against the values recomputed from the printed constants."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from isoloss.errors import InputError
from isoloss.laws import CriticalBatch, KaplanNS, PowerLaw, PowerRelation, published
from isoloss.laws.kaplan import KaplanFrontier, contradiction, trade_off
from isoloss.units import PF_DAY

KAPLAN = published.KAPLAN_2020
TABLE_3 = KaplanFrontier(KAPLAN.loss_ns.law, KAPLAN.critical_batch.law)
TABLE_5 = KaplanFrontier(
    KaplanNS(Nc=8.8e13, Sc=2.1e3, alpha_n=0.076, alpha_s=0.76), CriticalBatch(2.1e8, 0.21)
)


def test_the_frontier_is_that_of_appendix_b() -> None:
    assert TABLE_3.scale / PF_DAY == pytest.approx(1.533e8, rel=5e-4)
    assert TABLE_3.n(PF_DAY) == pytest.approx(6.042e8, rel=5e-4)
    assert TABLE_3.steps(PF_DAY) == pytest.approx(1.3205e4, rel=5e-4)
    assert TABLE_3.loss(PF_DAY) == pytest.approx(2.6876, abs=5e-5)
    assert TABLE_3.batch(PF_DAY) == pytest.approx(1.805e6, rel=5e-4)
    assert TABLE_5.scale / PF_DAY == pytest.approx(2.215e8, rel=5e-4)
    assert TABLE_5.n(PF_DAY) == pytest.approx(6.033e8, rel=5e-4)
    assert TABLE_5.steps(PF_DAY) == pytest.approx(1.3232e4, rel=5e-4)
    assert TABLE_5.loss(PF_DAY) == pytest.approx(2.7155, abs=5e-5)
    assert TABLE_3.excess == pytest.approx(0.1013, abs=5e-5)


def test_the_printed_constants_imply_other_exponents_than_the_paper_fits() -> None:
    assert TABLE_5.exponent == pytest.approx(0.0520, abs=5e-5)
    assert TABLE_3.exponent == pytest.approx(0.0525, abs=5e-5)
    implied = TABLE_5.exponents
    assert implied["n"] == pytest.approx(0.684, abs=5e-4)
    assert implied["batch"] == pytest.approx(0.248, abs=5e-4)
    assert implied["steps"] == pytest.approx(0.068, abs=5e-4)
    assert sum((implied["n"], implied["d"])) == pytest.approx(1.0)
    fitted = KAPLAN.allocation
    assert (fitted.n.law.exponent, fitted.steps.law.exponent) == (0.73, 0.03)
    # Twice the parameters in half the steps: the two differences offset each other.
    assert fitted.n(1.0) / TABLE_3.n(PF_DAY) == pytest.approx(2.15, abs=0.01)
    assert fitted.steps(1.0) / TABLE_3.steps(PF_DAY) == pytest.approx(0.41, abs=0.01)


def test_the_frontier_minimises_the_loss_that_stands_on_both_sides() -> None:
    for c in (1e18, 1e22):
        best = minimize_scalar(
            lambda u, c=c: float(TABLE_3.loss_of(np.exp(u), c)),
            bounds=(np.log(1e6), np.log(1e12)),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert np.exp(best.x) == pytest.approx(float(TABLE_3.n(c)), rel=1e-4)
        assert best.fun == pytest.approx(float(TABLE_3.loss(c)), rel=1e-10)


def test_the_loss_of_a_size_and_the_compute_it_takes_are_inverse() -> None:
    n, c = np.meshgrid([1e7, 1e9, 1e11], [1e18, 1e21, 1e24])
    np.testing.assert_allclose(TABLE_3.compute(n, TABLE_3.loss_of(n, c)), c, rtol=1e-9)
    assert TABLE_3.compute(1e6, 2.0) == np.inf


def test_other_sizes_than_the_best_cost_what_b_16_and_b_17_say() -> None:
    np.testing.assert_allclose(TABLE_3.compute_ratio([0.6, 2.2]), [1.165, 1.204], atol=5e-4)
    assert TABLE_3.steps_ratio(2.2) == pytest.approx(0.547, abs=5e-4)
    assert TABLE_3.compute_ratio(1e-3) == np.inf
    loss = TABLE_3.loss(1e21)
    direct = TABLE_3.compute(2.2 * TABLE_3.n(1e21), loss) / 1e21
    assert TABLE_3.compute_ratio(2.2) == pytest.approx(float(direct), rel=1e-9)


def test_stopping_early_saves_what_b_12_to_b_14_say() -> None:
    np.testing.assert_allclose(TABLE_5.early_stop(), [2.701, 0.1329, 0.3589], atol=5e-4)
    assert TABLE_3.early_stop(0.02) == (1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="positive fractions"):
        TABLE_3.early_stop(-0.1)


def test_the_contradiction_lies_where_the_paper_says_but_for_its_tokens() -> None:
    found = contradiction(
        KAPLAN.loss_c_min.law, KAPLAN.loss_d.law, KAPLAN.allocation.d.law, KAPLAN.allocation.n.law
    )
    assert found.c == pytest.approx(1.12e4, rel=5e-3)
    assert found.n == pytest.approx(1.17e12, rel=5e-3)
    assert found.d == pytest.approx(2.5e11, rel=2e-2)
    assert found.loss == pytest.approx(1.668, abs=5e-4)
    other = contradiction(
        KAPLAN.loss_c_min.law,
        KAPLAN.loss_d.law,
        PowerRelation(4e10, 0.26),  # Eq. 6.7 as printed
        KAPLAN.allocation.n.law,
    )
    np.testing.assert_allclose(other, [1.06e5, 6.1e12, 8.1e11, 1.49], rtol=6e-3)
    assert KAPLAN.loss_d.law(other.d) == pytest.approx(other.loss)
    with pytest.raises(InputError, match="must fall faster"):
        contradiction(PowerLaw(1e8, 0.01), KAPLAN.loss_d.law, PowerRelation(2e10, 0.27), TREND)


TREND = PowerRelation(1.3e9, 0.73)


def test_the_critical_batch_takes_twice_the_steps_and_twice_the_tokens() -> None:
    assert trade_off(1e6, 1e6) == (2.0, 2.0)
    steps, tokens = trade_off([1e4, 1e6, 1e8], 1e6)
    np.testing.assert_allclose((steps - 1) * (tokens - 1), 1.0)
    # Kaplan's own run: 2.5e5 steps of 2**19 tokens at a loss of 2.5.
    b_crit = float(KAPLAN.critical_batch(2.5))
    assert 2.5e5 / trade_off(2.0**19, b_crit).steps == pytest.approx(42672.59518)
    assert 9.102222222 / trade_off(2.0**19, b_crit).tokens == pytest.approx(7.548560446)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="alpha_b is"):
        KaplanFrontier(KaplanNS(1e13, 1e3, 0.07, 0.7), CriticalBatch(2e8, -0.2))
    with pytest.raises(InputError, match="Nc is"):
        KaplanFrontier(KaplanNS(np.ones(3), 1e3, 0.07, 0.7), CriticalBatch(2e8, 0.2))
    with pytest.raises(InputError, match="c must be positive"):
        TABLE_3.loss(-1.0)
    with pytest.raises(InputError, match="batch must be positive"):
        trade_off(0.0, 1e6)


def test_a_fixed_batch_moves_the_compute_of_a_loss_and_not_its_size() -> None:
    assert TABLE_3.c(TABLE_3.n(3e20)) == pytest.approx(3e20)
    for c, batch in ((1e17, 2.0**19), (1e21, 2.0**19), (1e19, 2e6)):
        paid = float(TABLE_3.at_batch(c, batch))
        loss = float(TABLE_3.loss(c))

        def compute(u: float, loss: float = loss, batch: float = batch) -> float:
            s_min = float(TABLE_3.compute(np.exp(u), loss)) / float(TABLE_3.critical_batch(loss))
            return s_min * (batch + float(TABLE_3.critical_batch(loss)))

        best = minimize_scalar(
            compute,
            bounds=(np.log(float(TABLE_3.n(c)) / 3), np.log(float(TABLE_3.n(c)) * 20)),
            method="bounded",
            options={"xatol": 1e-9},
        )
        assert best.fun == pytest.approx(paid, rel=1e-9)
        assert np.exp(best.x) == pytest.approx(float(TABLE_3.n(c)), rel=1e-4)
    # Far above the critical batch it is the exponent of least steps, alpha_s / (alpha_n + alpha_s).
    low, high = TABLE_3.at_batch([1e15, 1e16], 1e15)
    far = np.log(float(TABLE_3.n(1e16) / TABLE_3.n(1e15))) / np.log(high / low)
    assert far == pytest.approx(0.76 / 0.837, rel=1e-6)
