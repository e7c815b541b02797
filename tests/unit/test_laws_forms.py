"""The laws: their formulas, golden values, arrays and edges."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, SaturatingPowerLaw

KAPLAN = KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103)
ROUNDED = Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)
TEX = Chinchilla(
    E=np.exp(0.5267228),
    A=np.exp(6.0073404),
    B=np.exp(6.0179186),
    alpha=0.33917084,
    beta=0.2849083,
)


@pytest.mark.parametrize(
    ("law", "at", "loss"),
    [
        (PowerLaw(8.8e13, 0.076), (1e9,), 2.375640295),
        (PowerLaw(8.8e13, 0.076), (768,), 6.926171331),
        (PowerLaw(5.4e13, 0.095), (22e9,), 2.099168267),
        (PowerLaw(3.1e8, 0.050), (1e-3,), 3.754638116),
        (KAPLAN, (1e9, 22e9), 2.369316343),
        (KAPLAN, (1e6, 22e6), 4.293808434),
        (KAPLAN, (1e9, np.inf), 2.318834098),
        (ROUNDED, (70e9, 1.4e12), 1.936645471),
        (ROUNDED, (280e9, 3e11), 1.993258462),
        (TEX, (70e9, 1.4e12), 1.920846027),
        (TEX, (280e9, 3e11), 1.967243324),
    ],
)
def test_published_laws_give_their_golden_values(law, at, loss) -> None:
    assert law(*at) == pytest.approx(loss, rel=1e-7)


def test_the_formulas_are_those_of_the_docstrings() -> None:
    n, d = np.array([3.1e5, 7.7e8, 2.3e11]), np.array([1.9e7, 4.4e9, 8.1e11])
    expected = 1.3 + 95.0 / n**0.41 + 620.0 / d**0.27
    assert Chinchilla(1.3, 95.0, 620.0, 0.41, 0.27)(n, d) == pytest.approx(expected, rel=1e-13)
    expected = ((2.2e12 / n) ** (0.11 / 0.17) + 3.3e11 / d) ** 0.17
    assert KaplanND(2.2e12, 3.3e11, 0.11, 0.17)(n, d) == pytest.approx(expected, rel=1e-13)
    assert PowerLaw(4.4e12, 0.13)(d) == pytest.approx((4.4e12 / d) ** 0.13, rel=1e-13)
    expected = 0.7 + 33.0 / d**0.19
    assert SaturatingPowerLaw(0.7, 33.0, 0.19)(d) == pytest.approx(expected, rel=1e-13)


def test_array_coefficients_are_many_laws() -> None:
    many = Chinchilla(np.array([1.5, 1.7]), 400.0, np.array([900.0, 800.0]), 0.34, 0.31)
    assert many(1e9, 2e10).shape == (2,)
    table = many.column()([1e9, 3e9, 9e9], [2e10, 2e10, 4e10])
    assert table.shape == (2, 3)
    one = Chinchilla(1.7, 400.0, 800.0, 0.34, 0.31)
    assert table[1] == pytest.approx(one([1e9, 3e9, 9e9], [2e10, 2e10, 4e10]), rel=1e-14)


def test_a_term_may_be_zero_and_a_variable_infinite() -> None:
    law = Chinchilla(0.0, 400.0, 800.0, 0.34, 0.31)
    assert law(1e9, np.inf) == pytest.approx(400.0 / 1e9**0.34)


def test_large_integers_are_numbers() -> None:
    assert PowerLaw(1e24, 0.1)(10**21) == pytest.approx(10**0.3)


def test_a_negative_term_and_a_wrong_number_of_variables_are_refused() -> None:
    with pytest.raises(InputError, match="A must not be negative"):
        Chinchilla(1.7, -1.0, 800.0, 0.34, 0.31)
    with pytest.raises(InputError, match=r"Chinchilla is called with \(n, d\)"):
        ROUNDED(1e9)


def test_coefficients_go_by_the_names_of_the_paper() -> None:
    assert list(KAPLAN.coefficients()) == ["Nc", "Dc", "alpha_n", "alpha_d"]
    assert ROUNDED.coefficients()["alpha"] == 0.34
