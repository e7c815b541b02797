"""The model that is cheapest over its life, against its condition, an oracle and Sardana."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from isoloss.counting import Hardware, find_hardware
from isoloss.errors import InputError
from isoloss.laws import Chinchilla, allocate, compute_at_size, published
from isoloss.planning.beyond.lifetime import Traffic, best_tokens, least_dollars, least_lifetime
from isoloss.planning.budget import Machine
from isoloss.runs import Runs

SARDANA = Chinchilla(1.69, 406.4, 410.7, 0.336, 0.283)
KAPLAN = published.KAPLAN_2020.loss_nd.law


def cost(n):  # type: ignore[no-untyped-def]
    return 6.0 * n * (1.0 + 3e3 / n**0.4)


def quality(n: float) -> float:
    """The loss of the best model of n parameters."""
    return float(SARDANA(n, best_tokens(SARDANA, n)))


@pytest.mark.parametrize("law", [SARDANA, KAPLAN, lambda n, d: 1.7 + 310 / n**0.31 + 870 / d**0.36])
@pytest.mark.parametrize("price", [None, cost])
def test_a_size_is_the_best_for_its_best_tokens(law, price) -> None:  # type: ignore[no-untyped-def]
    for n in (2.3e7, 1.7e9, 4e11):
        d = best_tokens(law, n, cost=price)
        per_token = 6.0 * n if price is None else float(price(n))
        assert allocate(law, per_token * d, cost=price).n == pytest.approx(n, rel=1e-6)


@pytest.mark.parametrize(
    ("size", "served", "n", "d", "more", "saving"),
    [
        (7e9, 1e11, 6.00e9, None, 1.176, 0.008),
        (30e9, 1e13, 13.61e9, None, 2.845, 0.280),
        (70e9, 1e13, 41.55e9, 7.923e12, None, 0.119),
        (13e9, 2e12, 7e9, None, None, 0.174),
    ],
)
def test_sardana_s_examples(size, served, n, d, more, saving) -> None:  # type: ignore[no-untyped-def]
    found = least_lifetime(SARDANA, quality(size), served)
    assert found.n == pytest.approx(n, rel=5e-3)
    assert found.saving == pytest.approx(saving, abs=6e-4)
    if d is not None:
        assert found.d == pytest.approx(d, rel=1e-3)
    if more is not None:
        assert found.d / found.d_alone == pytest.approx(more, abs=6e-4)
    assert found.n_alone == pytest.approx(size, rel=1e-6)
    assert found.training == pytest.approx(6 * found.n * found.d, rel=1e-12)
    assert found.serving == pytest.approx(2 * found.n * served, rel=1e-12)
    assert SARDANA(found.n, found.d) == pytest.approx(quality(size), rel=1e-12)


def test_seven_billion_instead_of_thirteen_saves_what_they_say() -> None:
    loss, served = quality(13e9), 2e12
    small, best = (float(compute_at_size(SARDANA, n, loss)) + 2 * n * served for n in (7e9, 13e9))
    assert best - small == pytest.approx(1.7e22, rel=6e-3)


@pytest.mark.parametrize("served", [3e10, 2.7e12, 8e14])
def test_the_first_order_condition(served: float) -> None:
    """alpha A / n ** alpha over beta B / d ** beta is 1 + served / (3 d)."""
    for law in (SARDANA, published.BESIROGLU_2024.law, Chinchilla(2.1, 90.0, 3100.0, 0.27, 0.41)):
        found = least_lifetime(law, float(law(3e9, 4e10)), served)
        ratio = (law.alpha * law.A / found.n**law.alpha) / (law.beta * law.B / found.d**law.beta)
        assert ratio == pytest.approx(1 + served / (3 * found.d), rel=1e-6)


@pytest.mark.parametrize("law", [KAPLAN, SARDANA, lambda n, d: 1.7 + 310 / n**0.31 + 870 / d**0.36])
def test_any_law_and_cost_against_an_oracle(law) -> None:  # type: ignore[no-untyped-def]
    loss, served = float(law(6e8, 3e10)), 5e11

    def total(log_n: float) -> float:
        n = np.exp(log_n)
        whole = float(compute_at_size(law, n, loss, cost=cost)) + 2.6 * n * served
        return min(float(np.log(whole)), 1e3)

    inside = minimize_scalar(total, bounds=(np.log(1e8), np.log(5e9)), method="bounded",
                             options={"xatol": 1e-9})  # fmt: skip
    found = least_lifetime(law, loss, served, cost=cost, serving=lambda n: 2.6 * n)
    assert np.log(found.n) == pytest.approx(inside.x, abs=2e-6)
    assert np.log(found.training + found.serving) == pytest.approx(inside.fun, abs=1e-12)
    # The unit of the cost is of no account.
    twice = least_lifetime(law, loss, served, cost=lambda n: 2 * cost(n), serving=lambda n: 5.2 * n)
    assert twice.n == pytest.approx(found.n, rel=1e-7)
    assert twice.saving == pytest.approx(found.saving, rel=1e-7)


def test_nothing_served_is_the_budget_s_best_and_more_makes_it_smaller() -> None:
    best = allocate(SARDANA, 3e22)
    none = least_lifetime(SARDANA, float(best.loss), 0.0)
    assert (none.n, none.saving) == (pytest.approx(best.n, rel=1e-7), pytest.approx(0, abs=1e-12))
    sizes = [least_lifetime(SARDANA, float(best.loss), s).n for s in (1e10, 1e12, 1e14)]
    assert none.n > sizes[0] > sizes[1] > sizes[2]


def test_draws_are_solved_each_for_itself() -> None:
    from isoloss import bootstrap, fit

    n, d = np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(2e9, 1e11, 4))
    noise = np.exp(np.random.default_rng(5).normal(0, 3e-3, n.size))
    runs = Runs(n=n.ravel(), d=d.ravel(), loss=SARDANA(n, d).ravel() * noise)
    draws = bootstrap(fit(Chinchilla, runs), draws=12, seed=3)
    found = least_lifetime(draws, 2.4, 1e12)
    assert np.shape(found.n) == (len(draws),)
    each = {k: np.asarray(v) for k, v in draws.law.coefficients().items()}
    for i in (0, 7):
        one = least_lifetime(Chinchilla(**{k: float(v[i]) for k, v in each.items()}), 2.4, 1e12)
        assert (one.n, one.d, one.saving) == pytest.approx(
            (found.n[i], found.d[i], found.saving[i]), rel=1e-7
        )
    # A draw that cannot reach the loss says so, and does not stop the others.
    mixed = Chinchilla(np.array([1.69, 2.5]), 406.4, 410.7, 0.336, 0.283)
    some = least_lifetime(mixed, 2.2, 1e12)
    assert np.isfinite(some.n[0])
    assert (some.n[1], some.d[1], some.training[1]) == (np.inf, np.inf, np.inf)
    assert np.isnan(some.saving[1])


A100 = find_hardware("A100 80GB")
INT8 = Hardware("A100 int8", {"int8": 624e12}, A100.memory, A100.bandwidth, A100.source)
REQUESTS = 1.5e9
TRAFFIC = Traffic(read=70 * REQUESTS, written=215 * REQUESTS)
TRAINING = Machine(A100, 0.5, price=1.5)


def test_dollars_are_flops_at_the_prices_of_three_machines() -> None:
    """Eq. 6 by hand, and its own first-order condition."""
    reading = Machine(A100, 0.5, price=1.1)
    writing = Machine(A100, 0.01, price=1.1)
    loss = quality(30e9)
    found = least_dollars(
        SARDANA, loss, TRAFFIC, training=TRAINING, reading=reading, writing=writing
    )
    per_flop = np.array([1.5 / 0.5, 1.1 / 0.5, 1.1 / 0.01]) / (3600 * 312e12)
    assert found.training == pytest.approx(6 * found.n * found.d * per_flop[0], rel=1e-12)
    served = TRAFFIC.read * per_flop[1] + TRAFFIC.written * per_flop[2]
    assert found.serving == pytest.approx(2 * found.n * served, rel=1e-12)
    ratio = 0.336 * 406.4 / found.n**0.336 / (0.283 * 410.7 / found.d**0.283)
    assert ratio == pytest.approx(1 + served / per_flop[0] / (3 * found.d), rel=1e-7)
    assert found.unit == "dollars"
    same = least_dollars(
        SARDANA, loss, TRAFFIC, training=TRAINING, reading=TRAINING, writing=TRAINING
    )
    plain = least_lifetime(SARDANA, loss, TRAFFIC.read + TRAFFIC.written)
    assert (same.n, same.saving) == pytest.approx((plain.n, plain.saving), rel=1e-7)


def test_sardana_s_dollars_as_far_as_their_assumptions_give_them() -> None:
    """They print 16 B on 3.35 T tokens and 17 %; eight bits to infer come near, sixteen do not."""
    at = {"reading": 0.5, "writing": 0.01}
    found = least_dollars(
        SARDANA,
        quality(30e9),
        TRAFFIC,
        training=TRAINING,
        **{k: Machine(INT8, share, "int8", price=1.1) for k, share in at.items()},
    )
    assert (found.n, found.d, found.saving) == pytest.approx((15.67e9, 3.507e12, 0.190), rel=2e-3)
    assert found.n == pytest.approx(16e9, rel=0.03)
    assert found.d == pytest.approx(3.35e12, rel=0.05)
    wide = least_dollars(
        SARDANA,
        quality(30e9),
        TRAFFIC,
        training=TRAINING,
        **{k: Machine(A100, share, price=1.1) for k, share in at.items()},
    )
    assert (wide.n, wide.saving) == pytest.approx((12.99e9, 0.312), rel=2e-3)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="no size reaches"):
        least_lifetime(SARDANA, 1.6, 1e12)
    with pytest.raises(InputError, match="loss must be positive"):
        least_lifetime(SARDANA, -2.0, 1e12)
    for wrong in (-1.0, np.inf, True):
        with pytest.raises(InputError, match="served is"):
            least_lifetime(SARDANA, 2.2, wrong)
    with pytest.raises(InputError, match="written is"):
        Traffic(read=1e9, written=-1.0)
    free = Machine(A100, 0.5)
    with pytest.raises(InputError, match="writing has no price"):
        least_dollars(SARDANA, 2.2, TRAFFIC, training=TRAINING, reading=TRAINING, writing=free)
    with pytest.raises(InputError, match="no budget for which"):
        best_tokens(lambda n, d: 3.0 - 0.05 * np.log(n) + 0 * d, 1e9)
    with pytest.raises(InputError, match="cannot share out compute"):
        least_lifetime(published.KAPLAN_2020.loss_n, 2.2, 1e12)
