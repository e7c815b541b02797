"""What other sizes and other tokens per parameter cost, held against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, ChinchillaTied, Overtraining, allocate, published
from isoloss.planning.beyond.overheads import (
    chinchilla_token_ratio,
    least_size_ratio,
    overhead,
    overtraining,
)

HOFFMANN, KAPLAN = published.HOFFMANN_2022.law, published.KAPLAN_2020.loss_nd.law
GADRE = published.GADRE_2024_RPJ
TIED = ChinchillaTied(1.7, 400.0, 900.0, 0.33)


def cost(n):  # type: ignore[no-untyped-def]
    return 6.0 * n * (1.0 + 3e3 / n**0.4)


@pytest.mark.parametrize(
    "law", [HOFFMANN, KAPLAN, lambda n, d: 1.7 + 310 / n**0.31 + 870 / d**0.36]
)
@pytest.mark.parametrize("price", [None, cost])
def test_an_overhead_is_what_the_same_loss_takes(law, price) -> None:  # type: ignore[no-untyped-def]
    ratios = np.array([0.6, 0.8, 1.0, 1.9, 7.0])
    best = allocate(law, 3e21, cost=price)
    found = overhead(law, 3e21, ratios, cost=price)
    assert found.n == pytest.approx(ratios * best.n)
    assert law(found.n, found.d) == pytest.approx(np.full(5, best.loss), rel=1e-12)
    spent = (6.0 * found.n if price is None else price(found.n)) * found.d
    assert found.excess == pytest.approx(spent / 3e21 - 1, rel=1e-12, abs=1e-12)
    assert found.token_ratio == pytest.approx(found.d / best.d)
    assert found.excess[2] == pytest.approx(0, abs=1e-9)
    assert np.all(found.excess[[0, 1, 3, 4]] > 1e-3)


@pytest.mark.parametrize("flops", [1e18, 4e23])
@pytest.mark.parametrize("law", [HOFFMANN, published.BESIROGLU_2024, TIED])
def test_chinchilla_s_curve_has_a_closed_form_whatever_the_budget(law, flops) -> None:  # type: ignore[no-untyped-def]
    ratios = np.array([0.05, 0.3, 0.5, 0.75, 1.0, 1.6, 5.0])
    closed = chinchilla_token_ratio(law, ratios)
    found = overhead(law, flops, ratios)
    assert closed == pytest.approx(found.token_ratio, rel=1e-7)
    assert closed[0] == np.inf
    finite = closed < np.inf
    assert (ratios * closed - 1)[finite] == pytest.approx(found.excess[finite], rel=1e-7, abs=1e-8)
    least = least_size_ratio(law)
    assert np.isinf(overhead(law, flops, 0.999 * least).d)
    assert overhead(law, flops, 1.01 * least).excess > 5
    assert np.isinf(chinchilla_token_ratio(law, 0.999999 * least))


def test_half_the_best_size_costs_a_fifth_more_by_chinchilla_s_law() -> None:
    assert overhead(HOFFMANN, 1e22, 0.5).excess == pytest.approx(0.2102, abs=1e-4)
    assert overhead(HOFFMANN, 1e22, 0.3).excess == pytest.approx(1.0753, abs=1e-4)
    assert least_size_ratio(HOFFMANN) == pytest.approx(0.0991, abs=1e-4)


@pytest.mark.parametrize("law", [HOFFMANN, KAPLAN])
@pytest.mark.parametrize("price", [None, cost])
def test_overtraining_is_the_budget_at_its_ratio(law, price) -> None:  # type: ignore[no-untyped-def]
    ratios = np.array([3.0, 40.0, 900.0])
    best = allocate(law, 3e21, cost=price)
    found = overtraining(law, 3e21, ratios, cost=price)
    per_token = 6.0 * found.n if price is None else price(found.n)
    assert per_token * found.d == pytest.approx(np.full(3, 3e21), rel=1e-12)
    assert found.d / found.n == pytest.approx(ratios)
    assert law(found.n, found.d) == pytest.approx(found.loss, rel=1e-14)
    assert found.excess_loss == pytest.approx(found.loss - best.loss, rel=1e-12)
    # With so much more compute the ratio reaches the best loss.
    for i, ratio in enumerate(ratios):
        more = 3e21 * (1 + found.excess_compute[i])
        again = overtraining(law, more, ratio, cost=price)
        assert again.loss == pytest.approx(best.loss, rel=1e-11)
    at_best = overtraining(law, 3e21, float(best.d) / float(best.n), cost=price)
    assert at_best.excess_loss == pytest.approx(0, abs=1e-12)
    assert at_best.excess_compute == pytest.approx(0, abs=1e-8)


@pytest.mark.parametrize("flops", [1e18, 1e22])
def test_gadre_s_form_costs_the_same_at_every_budget(flops: float) -> None:
    """((a m ** eta + b m ** -eta) / (the same at m0)) ** (1 / eta) - 1."""
    ratios = np.array([5.0, 20.0, 100.0, 640.0])

    def spread(m):  # type: ignore[no-untyped-def]
        return GADRE.a * m**GADRE.eta + GADRE.b * m**-GADRE.eta

    least = 2 * np.sqrt(GADRE.a * GADRE.b)
    found = overtraining(GADRE, flops, ratios)
    assert found.excess_compute == pytest.approx((spread(ratios) / least) ** (1 / GADRE.eta) - 1)
    held = overtraining(GADRE, flops, ratios, against=20)
    expected = (spread(ratios) / spread(20.0)) ** (1 / GADRE.eta) - 1
    assert held.excess_compute == pytest.approx(expected, abs=1e-9)
    assert held.excess_compute[0] < 0  # its best ratio is 7.4: no law to share out compute by
    assert held.excess_loss == pytest.approx(
        GADRE(flops, ratios) - float(GADRE(flops, 20.0)), rel=1e-9, abs=1e-12
    )


def test_draws_are_solved_each_for_itself() -> None:
    floors, alphas = np.array([1.6, 1.75]), np.array([0.33, 0.36])
    laws = Chinchilla(floors, 406.4, 410.7, alphas, 0.283)
    sizes, ratios = np.array([0.5, 2.0, 4.0]), np.array([5.0, 200.0])
    over, trained = overhead(laws, 1e21, sizes), overtraining(laws, 1e21, ratios)
    assert over.excess.shape == (2, 3)
    assert trained.excess_loss.shape == (2, 2)
    for i in range(2):
        one = Chinchilla(float(floors[i]), 406.4, 410.7, float(alphas[i]), 0.283)
        assert over.excess[i] == pytest.approx(overhead(one, 1e21, sizes).excess)
        alone = overtraining(one, 1e21, ratios, against=20)
        held = overtraining(laws, 1e21, ratios, against=20)
        assert held.excess_compute[i] == pytest.approx(alone.excess_compute, abs=1e-9)
    assert np.shape(overtraining(laws, 1e21, 50.0).loss) == (2,)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="size_ratio must be positive"):
        overhead(HOFFMANN, 1e21, 0.0)
    with pytest.raises(InputError, match="ratio must be positive"):
        overtraining(HOFFMANN, 1e21, -20)
    with pytest.raises(InputError, match="against must be positive"):
        overtraining(HOFFMANN, 1e21, 20, against=np.nan)
    with pytest.raises(InputError, match="flops is"):
        overtraining(HOFFMANN, 0.0, 20, against=20)
    with pytest.raises(InputError, match="closed form is that of Chinchilla"):
        chinchilla_token_ratio(KAPLAN, 0.5)
    with pytest.raises(InputError, match="cannot share out compute"):
        overhead(published.KAPLAN_2020.loss_n, 1e21, 0.5)
    assert overhead(Overtraining(1.5, 141, 190, 0.12), 1e21, 1.0).excess == pytest.approx(
        0, abs=1e-9
    )
