"""What a law that is not quite right does to the best size it names."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, allocate
from isoloss.planning.doubt.misfit import DRIFT, best_size, misfit, widening
from isoloss.runs import Runs
from isoloss.trust import Draws, bootstrap

TRUE = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
TARGET, NOISE = 3e21, 0.004


def places() -> tuple[np.ndarray, np.ndarray]:
    c = np.repeat(np.geomspace(3e17, 1e20, 5), 6)
    n = np.asarray(allocate(TRUE, c).n) * np.tile(np.geomspace(0.2, 4.0, 6), 5)
    return n, c / (6 * n)


@pytest.fixture(scope="module")
def draws() -> Draws:
    n, d = places()
    noise = np.random.default_rng(2).normal(0, NOISE, n.size)
    return bootstrap(fit(Chinchilla, Runs(n=n, d=d, loss=TRUE(n, d) * np.exp(noise))), draws=200)


def test_without_drift_the_interval_is_that_of_the_draws(draws: Draws) -> None:
    assert widening(draws, TARGET, 0.0) == 1.0
    sizes = np.asarray(allocate(draws, TARGET).n)
    plain = draws.interval(lambda _: sizes, level=0.9)
    assert best_size(draws, TARGET, drift=0.0) == pytest.approx([float(x) for x in plain])


def test_drift_spreads_the_interval_about_its_middle(draws: Draws) -> None:
    plain = np.log(best_size(draws, TARGET, drift=0.0))
    found = np.log(best_size(draws, TARGET))
    by = widening(draws, TARGET)
    assert by > 1.0
    assert np.diff(found) == pytest.approx(by * np.diff(plain))
    # Variances add: twice the drift, four times the excess over one.
    twice = widening(draws, TARGET, 2 * DRIFT)
    assert twice**2 - 1 == pytest.approx(4 * (by**2 - 1))


def test_the_misfit_is_nothing_at_the_target_and_shared_far_from_it(draws: Draws) -> None:
    best = allocate(draws.fit, TARGET)
    n, d = float(best.n), float(best.d)
    sizes = n * np.array([1.0, 0.1, 0.05, 2.0, 0.5])
    tokens = d * np.array([1.0, 0.1, 0.05, 0.5, 2.0])
    found = misfit(draws.fit, sizes, tokens, TARGET, 0.003)
    assert found[0] == pytest.approx(0.0, abs=1e-12)
    assert found[1, 1] == pytest.approx(0.003**2 * np.log(100))  # compute 100 times less
    assert found[1, 2] == pytest.approx(found[1, 1])  # on the way to the farther one
    assert found[3, 3] == pytest.approx(0.003**2 * np.log(4))  # the same compute, off balance
    assert found[3, 4] == pytest.approx(0.0, abs=1e-12)  # to the other side


def test_the_widening_is_what_refits_of_wrong_laws_show(draws: Draws) -> None:
    """The variance of ln n* over plain fits, with the misfit and without: simulated."""
    drift = 0.004
    n, d = places()
    covariance = misfit(draws.fit, n, d, TARGET, drift)
    random = np.random.default_rng(5)
    wrong = random.multivariate_normal(np.zeros(n.size), covariance, size=60, method="eigh")
    noise = random.normal(0, NOISE, (60, n.size))

    def spread(errors: np.ndarray) -> float:
        fits = (
            fit(Chinchilla, Runs(n=n, d=d, loss=TRUE(n, d) * np.exp(e)), delta=None) for e in errors
        )
        return float(np.std([np.log(float(allocate(one, TARGET).n)) for one in fits]))

    ratio = spread(wrong + noise) / spread(noise)
    assert ratio == pytest.approx(widening(draws, TARGET, drift), rel=0.3)
    assert ratio > 1.2
