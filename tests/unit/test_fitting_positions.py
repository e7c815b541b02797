"""Loss along the context: a + b T^-c, its coefficients and how sure they are."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError, UnidentifiedError
from isoloss.fitting import fit_positions

A, B, C = 2.3, 4.1, 0.62
POSITIONS = np.arange(1.0, 65.0)
CURVE = A + B * POSITIONS**-C


def documents(count: int, seed: int) -> np.ndarray:
    """Documents are harder or easier as a whole, and their tokens scatter."""
    random = np.random.default_rng(seed)
    hard = np.exp(0.15 * random.standard_normal((count, 1)) - 0.5 * 0.15**2)
    return CURVE * hard * np.exp(0.3 * random.standard_normal((count, 64)) - 0.5 * 0.3**2)


def test_without_noise_the_coefficients_come_back() -> None:
    found = fit_positions(CURVE)
    assert float(found.a.mid) == pytest.approx(A, rel=1e-6)
    assert float(found.b.mid) == pytest.approx(B, rel=1e-6)
    assert float(found.c.mid) == pytest.approx(C, rel=1e-6)
    assert found([1.0, 10.0]) == pytest.approx(A + B * np.array([1.0, 10.0]) ** -C)
    assert found.documents == 0
    some = fit_positions(CURVE[3::5], POSITIONS[3::5])
    assert float(some.c.mid) == pytest.approx(C, rel=1e-6)


@pytest.mark.parametrize("studies", [30, pytest.param(200, marks=pytest.mark.full)])
def test_intervals_cover(studies: int) -> None:
    """Both kinds, within three binomial errors of 90 %: means with noise, and documents."""
    inside = np.zeros(6)
    for seed in range(studies):
        random = np.random.default_rng([seed, 9])
        mean = fit_positions(CURVE * np.exp(0.01 * random.standard_normal(64)))
        drawn = fit_positions(documents(60, seed), draws=150, seed=seed)
        assert drawn.documents == 60
        inside += [
            bool(each.low <= true <= each.high)
            for found in (mean, drawn)
            for each, true in ((found.a, A), (found.b, B), (found.c, C))
        ]
    error = 3 * np.sqrt(0.9 * 0.1 / studies)
    assert (inside / studies > 0.9 - error - 0.03).all(), inside / studies
    assert (inside / studies <= 0.9 + error + 1e-9).all() or studies < 100


def test_few_documents_count_as_means() -> None:
    assert fit_positions(documents(9, 1)).documents == 0
    assert fit_positions(documents(10, 1), draws=100).documents == 10


def test_wrong_input_is_refused() -> None:
    for loss in (CURVE, documents(12, 1)):
        with pytest.raises(InputError, match="level is a share"):
            fit_positions(loss, level=2)
        with pytest.raises(InputError, match="draws is a whole number from 2"):
            fit_positions(loss, draws=0)
    for nothing in ([], [[]]):
        with pytest.raises(InputError, match="there are no losses"):
            fit_positions(nothing)
    with pytest.raises(InputError, match="positions"):
        fit_positions(CURVE, POSITIONS[:5])
    with pytest.raises(InputError, match="positive"):
        fit_positions(-CURVE)
    with pytest.raises(UnidentifiedError):
        fit_positions(CURVE[:2])
    with pytest.raises(UnidentifiedError, match="same loss"):
        fit_positions(np.full(10, 3.0))
