"""The best size and epochs for a stock of text, and how little bounds them."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, DataConstrained, allocate, published
from isoloss.planning.beyond.repetition import (
    RIVALS,
    allocate_repeated,
    worth_of_epochs,
    worth_of_next_epoch,
)

MUENNIGHOFF = published.MUENNIGHOFF_2023
OWN = DataConstrained(1.87, 521.0, 1488.0, 0.33, 0.37, Rd=6.0, Rn=2.5)


def test_muennighoff_s_example_and_what_bounds_it() -> None:
    """1e22 FLOPs with 25e9 unique tokens; theirs is a grid, so only its step is matched."""
    found = allocate_repeated(MUENNIGHOFF, 1e22, 25e9)
    assert found.n == pytest.approx(7.0224e9, rel=2e-3)
    assert found.d == pytest.approx(237.337e9, rel=2e-3)
    assert found.epochs == pytest.approx(9.493, rel=2e-3)
    assert found.worth == pytest.approx(float(worth_of_epochs(MUENNIGHOFF, found.epochs)))
    # The range is wide, and is that of constants which fit the same runs as well.
    for (low, high), value in (
        (found.n_range, found.n),
        (found.epochs_range, found.epochs),
        (found.loss_range, found.loss),
    ):
        assert low <= value <= high
    assert found.n_range[1] / found.n_range[0] > 2.5
    assert found.epochs_range == pytest.approx((7.78, 20.16), rel=1e-3)
    assert "bound" in found.note
    rival = DataConstrained(**MUENNIGHOFF.law.coefficients() | {"Rd": 200.0, "Rn": 1.393})
    other = allocate_repeated(rival, 1e22, 25e9)
    assert other.n == pytest.approx(found.n_range[0], rel=1e-6)
    assert other.n_range is None
    assert (200.0, 1.393) in RIVALS


def test_the_worth_of_epochs_as_tabulated() -> None:
    epochs = [2, 4, 8, 16, 40, 100]
    shares = [0.984, 0.931, 0.828, 0.661, 0.379, 0.164]
    assert worth_of_epochs(MUENNIGHOFF, epochs) == pytest.approx(shares, abs=6e-4)
    assert worth_of_next_epoch(MUENNIGHOFF, [4, 16, 40]) == pytest.approx(
        [0.823, 0.377, 0.079], abs=6e-4
    )
    assert worth_of_epochs(MUENNIGHOFF, 1) == 1.0
    # All the repeats together are worth 16.39 times the text.
    assert 1e6 * worth_of_epochs(MUENNIGHOFF, 1e6) == pytest.approx(16.387756)
    # The worth of the next is the slope of the worth of all.
    at, step = np.array([1.7, 5.0, 31.0]), 1e-6
    ends = [(at + s) * worth_of_epochs(OWN, at + s) for s in (-step, step)]
    assert (ends[1] - ends[0]) / (2 * step) == pytest.approx(worth_of_next_epoch(OWN, at), rel=1e-7)


def test_what_tokens_are_worth_is_what_the_law_makes_of_them() -> None:
    unique, epochs = 3e9, 7.0
    fresh = Chinchilla(OWN.E, OWN.A, OWN.B, OWN.alpha, OWN.beta)
    d = float(worth_of_epochs(OWN, epochs)) * epochs * unique
    assert OWN(1e6, epochs * unique, unique) == pytest.approx(fresh(1e6, d), rel=1e-13)


@pytest.mark.parametrize("cost", [None, lambda n: 6.0 * n * (1.0 + 3e3 / n**0.4)])
def test_no_other_size_does_better(cost) -> None:  # type: ignore[no-untyped-def]
    found = allocate_repeated(OWN, 4e20, 2e9, cost=cost)
    sizes = np.geomspace(found.n / 30, found.n * 30, 40001)
    price = 6.0 * sizes if cost is None else cost(sizes)
    losses = OWN(sizes, 4e20 / price, 2e9)
    assert found.loss <= losses.min() + 1e-13
    assert np.log(sizes[losses.argmin()]) == pytest.approx(np.log(found.n), abs=4e-4)
    assert found.epochs == pytest.approx(found.d / 2e9)
    assert found.n_range is None


def test_ample_text_is_chinchilla_s_best() -> None:
    fresh = allocate(Chinchilla(OWN.E, OWN.A, OWN.B, OWN.alpha, OWN.beta), 4e20)
    found = allocate_repeated(OWN, 4e20, 1e13)
    assert (found.n, found.d) == pytest.approx((fresh.n, fresh.d), rel=1e-4)
    assert found.worth == 1.0
    assert found.epochs < 0.1
    short = [allocate_repeated(OWN, 4e20, u).loss for u in (1e8, 1e9, 1e10)]
    assert short[0] > short[1] > short[2] > found.loss


def test_draws_are_solved_each_for_itself() -> None:
    decays = np.array([3.0, 15.0, 80.0])
    laws = DataConstrained(1.87, 521.0, 1488.0, 0.33, 0.37, Rd=decays, Rn=2.5)
    found = allocate_repeated(laws, 4e20, 2e9)
    for i, decay in enumerate(decays):
        one = DataConstrained(1.87, 521.0, 1488.0, 0.33, 0.37, Rd=float(decay), Rn=2.5)
        alone = allocate_repeated(one, 4e20, 2e9)
        assert (found.n[i], found.worth[i]) == pytest.approx((alone.n, alone.worth), rel=1e-6)
    assert found.epochs[0] < found.epochs[1] < found.epochs[2]


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="Chinchilla does not say what repeats are worth"):
        allocate_repeated(published.HOFFMANN_2022, 1e22, 25e9)
    for wrong in (0.0, -1e9, np.nan, True):
        with pytest.raises(InputError, match="unique is"):
            allocate_repeated(MUENNIGHOFF, 1e22, wrong)
    with pytest.raises(InputError, match="epochs must be 1 or more"):
        worth_of_epochs(MUENNIGHOFF, 0.5)
    with pytest.raises(InputError, match="flops is"):
        allocate_repeated(MUENNIGHOFF, -1.0, 25e9)
