"""Which ends of a coefficient's interval the runs set."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.fitting import fit
from isoloss.laws import BrokenPowerLaw, Chinchilla
from isoloss.runs import Runs
from isoloss.trust import Draws, Interval, bootstrap
from isoloss.trust.limits import coefficient_interval

LAW = Chinchilla(1.8, 480.0, 2100.0, 0.35, 0.37)


def drawn(noise: float, seed: int) -> Draws:
    random = np.random.default_rng(seed)
    n, d = (x.ravel() for x in np.meshgrid([3e7, 1e8, 3e8, 9e8], [1e9, 4e9, 1.6e10, 6e10]))
    loss = LAW(n, d) * np.exp(noise * random.standard_normal(n.size))
    return bootstrap(fit(Chinchilla, Runs(n=n, d=d, loss=loss)), draws=200)


def plain(draws: Draws, name: str) -> Interval:
    return draws.interval(lambda law: law.coefficients()[name])


def test_sharp_runs_set_every_end() -> None:
    draws = drawn(0.002, 1)
    for name in draws.fit.coefficients:
        found = coefficient_interval(draws, name, 0.9)
        np.testing.assert_array_equal(found, plain(draws, name))


def test_an_end_of_the_range_is_no_end_of_the_interval() -> None:
    draws = drawn(0.2, 4)
    drawn_alpha = plain(draws, "alpha")
    least, most = Chinchilla.exponents["alpha"]
    assert float(drawn_alpha.high) == pytest.approx(most)
    alpha = coefficient_interval(draws, "alpha", 0.9)
    assert float(alpha.high) == np.inf
    assert np.isfinite(alpha.low) == (float(drawn_alpha.low) > least * 1.001)
    assert float(coefficient_interval(draws, "A", 0.9).high) == np.inf
    assert np.isfinite(coefficient_interval(draws, "E", 0.9)).all()


def test_a_place_on_the_axis_has_a_range_too() -> None:
    random = np.random.default_rng(2)
    n = np.geomspace(1e6, 1e10, 14)
    runs = Runs(n=n, d=20 * n, loss=40 * n**-0.15 * np.exp(0.02 * random.standard_normal(14)))
    draws = bootstrap(fit(BrokenPowerLaw, runs, x="n"), draws=100)
    place, drawn_place = coefficient_interval(draws, "d1", 0.9), plain(draws, "d1")
    assert float(drawn_place.high) == pytest.approx(3.0 * n.max())  # the end of where it is sought
    assert float(place.high) == np.inf
    assert (place.low, place.mid) == (drawn_place.low, drawn_place.mid)
    assert np.isfinite(coefficient_interval(draws, "c0", 0.9)).all()
