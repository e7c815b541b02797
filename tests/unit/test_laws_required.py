"""The compute that a loss takes, held against the optimum it inverts."""

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, KaplanND, allocate, published
from isoloss.laws.required import compute_at_size, compute_for_loss

LAW = published.BESIROGLU_2024.law
assert isinstance(LAW, Chinchilla)
KAPLAN = published.KAPLAN_2020.loss_nd.law
COST = lambda n: 6.0 * n * (1.0 + 1e4 / n**0.5)  # noqa: E731


@pytest.mark.parametrize("law", [LAW, KAPLAN, lambda n, d: 1.7 + 300 / n**0.3 + 900 / d**0.35])
@pytest.mark.parametrize("cost", [None, COST])
def test_a_loss_takes_the_budget_whose_best_loss_it_is(law, cost) -> None:  # type: ignore[no-untyped-def]
    for c in (1e18, 3e21, 1e25):
        best = allocate(law, c, cost=cost)
        assert compute_for_loss(law, float(best.loss), cost=cost) == pytest.approx(c, rel=1e-8)
        needed = compute_at_size(law, float(best.n), float(best.loss), cost=cost)
        assert needed == pytest.approx(c, rel=1e-8)


def test_another_size_needs_more_and_far_too_small_a_one_never_gets_there() -> None:
    best = allocate(LAW, 1e21)
    needed = compute_at_size(LAW, float(best.n) * np.array([0.02, 0.5, 1.0, 2.0]), best.loss)
    assert needed[0] == np.inf
    assert needed[2] == pytest.approx(1e21)
    assert np.all(needed[[1, 3]] > 1.02e21)
    # The tokens it buys give the loss it was asked for.
    n = 2.0 * float(best.n)
    assert LAW(n, needed[3] / (6 * n)) == pytest.approx(float(best.loss), rel=1e-12)


def test_draws_are_solved_each_for_itself() -> None:
    random = np.random.default_rng(0)
    alphas, betas = 0.34 + 0.01 * random.random(5), 0.36 + 0.01 * random.random(5)
    laws = Chinchilla(np.full(5, 1.8), np.full(5, 482.0), np.full(5, 2085.0), alphas, betas)
    losses = np.linspace(2.1, 2.3, 5)
    sizes = np.array([1e9, 1e10])
    found = compute_at_size(laws, sizes, losses)
    assert found.shape == (5, 2)
    best = compute_for_loss(laws, 2.2)
    for i in range(5):
        one = Chinchilla(1.8, 482.0, 2085.0, float(alphas[i]), float(betas[i]))
        np.testing.assert_allclose(found[i], compute_at_size(one, sizes, losses[i]))
        assert best[i] == pytest.approx(float(compute_for_loss(one, 2.2)), rel=1e-9)
    many = KAPLAN_DRAWS
    assert compute_for_loss(many, 2.5).shape == (3,)


KAPLAN_DRAWS = KaplanND(*(np.full(3, value) for value in (6.4e13, 1.8e13, 0.076, 0.103)))


def test_a_loss_below_the_irreducible_one_takes_forever_and_nonsense_is_refused() -> None:
    assert compute_for_loss(LAW, 1.5) == np.inf
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="loss must be positive"):
            compute_for_loss(LAW, wrong)
    with pytest.raises(InputError, match="n must be positive"):
        compute_at_size(LAW, 0.0, 2.0)
