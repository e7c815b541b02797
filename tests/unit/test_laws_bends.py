"""The laws that bend: their formulas, limits, golden values, and slopes by a complex step."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import M3, M4, BrokenPowerLaw, PowerLaw, SaturatingPowerLaw
from isoloss.laws.forms import log_sum

X = np.array([3e3, 4.1e5, 7.7e6, 2.9e8, 5.3e10])


def test_the_formulas_are_those_of_the_papers() -> None:
    assert M3(31.0, 2e-8, 0.23)(X) == pytest.approx(31.0 * (1 / X + 2e-8) ** 0.23, rel=1e-13)
    law = BrokenPowerLaw(0.4, 21.0, 0.11, 0.47, 6e6, 0.35)
    expected = 0.4 + 21.0 * X**-0.11 * (1 + (X / 6e6) ** (1 / 0.35)) ** (-0.47 * 0.35)
    assert law(X) == pytest.approx(expected, rel=1e-13)
    assert BrokenPowerLaw(0.1, 2.0, 0.3, 0.5, 50.0, 0.2)(100.0) == pytest.approx(
        0.4541429509, rel=1e-9
    )


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0, 2.7, 10.0])
@pytest.mark.parametrize("c", [0.05, 0.4, 3.0])
def test_m4_solves_its_implicit_equation(alpha: float, c: float) -> None:
    law = M4(1.3, 4.2, alpha, 8e6, c)
    above, below = law(X) - 1.3, 1.3 + 4.2 - law(X)
    seen = (above > 1e-6) & (below > 1e-6)  # elsewhere the differences hold no digits
    assert seen.any()
    left = np.log(above[seen]) - alpha * np.log(below[seen])
    right = np.log(law.beta) - c * np.log(X[seen])
    assert left == pytest.approx(right, rel=1e-7, abs=1e-7)


def test_m4_with_a_small_alpha_is_a_saturating_power_law_and_with_one_a_ratio() -> None:
    law = M4(1.3, 4.2, 1e-9, 20.0, 0.3)
    assert law(X) == pytest.approx(SaturatingPowerLaw(1.3, 4.2 * 20.0**0.3, 0.3)(X), rel=1e-7)
    t = (8e6 / X) ** 0.7
    assert M4(1.3, 4.2, 1.0, 8e6, 0.7)(X) == pytest.approx(1.3 + 4.2 * t / (1 + t), rel=1e-13)


def test_the_bends_have_their_limits() -> None:
    assert M3(31.0, 0.0, 0.23)(X) == pytest.approx(PowerLaw(31.0 ** (1 / 0.23), 0.23)(X))
    assert M3(31.0, 2e-8, 0.23)(np.inf) == pytest.approx(31.0 * 2e-8**0.23)
    assert M4(1.3, 4.2, 2.0, 8e6, 0.7)([1e-30, np.inf]) == pytest.approx([5.5, 1.3])
    sharp = BrokenPowerLaw(0.0, 5.0, 0.1, 0.4, 1e6, 1e-3)
    assert sharp([1e5, 1e8]) == pytest.approx([5 * 1e5**-0.1, 5 * 1e8**-0.1 * 100**-0.4])


def test_array_coefficients_are_many_laws() -> None:
    many = M4(np.array([1.1, 1.3]), 4.2, np.array([0.5, 2.0]), 8e6, 0.3)
    assert many.column()(X).shape == (2, 5)
    assert many.column()(X)[1] == pytest.approx(M4(1.3, 4.2, 2.0, 8e6, 0.3)(X), rel=1e-14)
    with pytest.raises(InputError, match="G must not be negative"):
        M4(1.3, -4.2, 2.0, 8e6, 0.3)


@pytest.mark.parametrize(
    "law",
    [
        M3(31.0, 2e-8, 0.23),
        M4(1.3, 4.2, 0.2, 8e6, 0.3),
        M4(1.3, 4.2, 3.1, 8e6, 0.9),
        BrokenPowerLaw(0.4, 21.0, 0.11, -0.05, 6e6, 0.35),
    ],
)
def test_a_complex_step_gives_the_slopes(law) -> None:
    for name, value in law.coefficients().items():
        size = 1e-5 * abs(value)
        others = {k: v for k, v in law.coefficients().items() if k != name}
        ends = [type(law)(**others, **{name: value + sign * size})(X) for sign in (-1, 1)]
        slope = (ends[1] - ends[0]) / (2 * size)
        step = type(law)(**others, **{name: value + 1e-30j})(X)
        assert step.imag / 1e-30 == pytest.approx(slope, rel=1e-6, abs=1e-8 * np.abs(slope).max())


def test_the_logarithm_of_a_sum_neither_overflows_nor_vanishes() -> None:
    assert log_sum(900.0, 0.0) == 900.0
    assert log_sum(-900.0, -900.0) == pytest.approx(-900.0 + np.log(2))
    assert log_sum(3.0, -np.inf) == 3.0
    assert log_sum(0.0, 1.0 + 1e-30j).imag / 1e-30 == pytest.approx(np.e / (1 + np.e))


@pytest.mark.parametrize("alpha", [0.0, -0.5, np.array([0.5, 0.0])])
def test_m4_is_refused_without_a_positive_alpha(alpha) -> None:
    with pytest.raises(InputError, match="alpha must be positive"):
        M4(1.3, 4.2, alpha, 20.0, 0.3)


@pytest.mark.filterwarnings("error")
def test_m4_tends_to_a_saturating_power_law_beyond_xc_and_to_a_level_before() -> None:
    law = M4(1.3, 4.2, 1e-6, 20.0, 0.3)
    assert law([40.0, 1e5]) == pytest.approx(
        1.3 + 4.2 * (20.0 / np.array([40.0, 1e5])) ** 0.3, rel=1e-5
    )
    assert law([1e-3, 10.0]) == pytest.approx([5.5, 5.5])
