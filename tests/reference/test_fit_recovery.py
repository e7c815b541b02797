"""Noise-free surfaces give back their parameters, to 1e-6, over a published grid of laws."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isoloss.fitting import fit
from isoloss.laws import Chinchilla, KaplanND, PowerLaw, SaturatingPowerLaw
from isoloss.runs import Runs

RANDOM = np.random.default_rng(17)
# Off any symmetry: five sizes by five token counts, each pushed aside by up to a tenth.
SIZES, TOKENS = np.meshgrid(np.logspace(6.1, 8.4, 5), np.logspace(7.3, 9.8, 5))
N = SIZES.ravel() * np.exp(RANDOM.uniform(-0.1, 0.1, 25))
D = TOKENS.ravel() * np.exp(RANDOM.uniform(-0.1, 0.1, 25))
X = np.exp(RANDOM.uniform(13, 25, 9))

PUBLISHED = {
    "Hoffmann 2022, rounded": Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28),
    "Hoffmann 2022": Chinchilla(1.69337, 406.4010, 410.7228, 0.33917084, 0.2849083),
    "Besiroglu 2024": Chinchilla(1.8172, 482.01, 2085.43, 0.3478, 0.3658),
    "Besiroglu 2024, with outliers": Chinchilla(1.89, 463.3, 12530.0, 0.345, 0.452),
    "Muennighoff 2023": Chinchilla(1.8688, 520.9, 1487.7, 0.3526596, 0.3526596),
    "Gadre 2024, C4": Chinchilla(1.5083, 113.69, 152.5, 0.24248, 0.24248),
    "Czech 2026, symmetric": Chinchilla(1.69, 400.0, 400.0, 0.31, 0.31),
    "Czech 2026, asymmetric": Chinchilla(1.69, 406.4, 410.7, 0.465, 0.155),
    "Czech 2026, Llama 3": Chinchilla(0.6047, 59.1, 155.1, 0.31, 0.3136),
    "SODA": Chinchilla(3.169, 215886.0, 4750.0, 0.684, 0.439),
    "Sparse-NMM": Chinchilla(2.158, 381773.0, 4659.0, 0.71, 0.372),
    "(Mis)Fitting": Chinchilla(1.8081, 51.41, 4.675e5, 0.2003, 0.6357),
    "kyo-takano": Chinchilla(1.70024, 184.69, 1633.48, 0.28901, 0.35579),
}
EXPONENTS = (0.3, 0.37, 0.6, 1.1, 2.0, 3.0)
FLOORS = (0.0, 0.05, 0.6, 1.7, 3.0)


def recovered(law: Chinchilla, delta: float | None = 1e-3) -> None:
    found = fit(Chinchilla, Runs(n=N, d=D, loss=law(N, D)), delta=delta)
    for name, value in law.coefficients().items():
        assert getattr(found.law, name) == pytest.approx(value, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_surfaces(name: str) -> None:
    recovered(PUBLISHED[name])


@pytest.mark.parametrize(
    ("alpha", "beta", "floor"),
    [(0.3, 3.0, 0.0), (3.0, 0.3, 3.0), (0.3, 0.3, 0.0), (3.0, 3.0, 0.6), (1.1, 0.37, 0.05)],
)
def test_corners_of_the_grid(alpha: float, beta: float, floor: float) -> None:
    law = Chinchilla(floor, 0.5 * 10 ** (6.9 * alpha), 0.3 * 10 ** (8.2 * beta), alpha, beta)
    recovered(law)
    recovered(law, delta=None)


@pytest.mark.full
@pytest.mark.parametrize(("alpha", "beta"), list(product(EXPONENTS, EXPONENTS)))
def test_the_whole_grid(alpha: float, beta: float) -> None:
    for floor, delta in product(FLOORS, (1e-3, None)):
        recovered(
            Chinchilla(floor, 0.5 * 10 ** (6.9 * alpha), 0.3 * 10 ** (8.2 * beta), alpha, beta),
            delta,
        )


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3, 0.9, 3.0])
def test_laws_of_one_variable(alpha: float) -> None:
    for floor in (0.0, 0.1, 1.7, 3.0):
        law = SaturatingPowerLaw(floor, 0.7 * np.exp(19 * alpha), alpha)
        found = fit(SaturatingPowerLaw, Runs(n=X, d=X, loss=law(X)), x="n").law
        for name, value in law.coefficients().items():
            assert getattr(found, name) == pytest.approx(value, rel=1e-6, abs=1e-6)
    power = PowerLaw(np.exp(19 + 1 / alpha), alpha)
    found = fit(PowerLaw, Runs(n=X, d=X, loss=power(X)), x="n").law
    assert found.xc == pytest.approx(power.xc, rel=1e-6)
    assert found.alpha == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(
    ("alpha_n", "alpha_d"),
    [(0.076, 0.095), (0.076, 0.103), (0.05, 0.06), (0.2, 0.7), (0.6, 0.103), (1.5, 1.4)],
)
def test_kaplan_s_surface(alpha_n: float, alpha_d: float) -> None:
    law = KaplanND(10**7.5 * 3 ** (1 / alpha_n), 10**8.5 * 2 ** (1 / alpha_d), alpha_n, alpha_d)
    found = fit(KaplanND, Runs(n=N, d=D, loss=law(N, D))).law
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)


def test_kaplan_s_published_surface_at_its_own_scale() -> None:
    n, d = np.meshgrid(np.logspace(5.3, 9.2, 6), np.logspace(7.4, 10.3, 5))
    law = KaplanND(6.4e13, 1.8e13, 0.076, 0.103)
    found = fit(KaplanND, Runs(n=n.ravel(), d=d.ravel(), loss=law(n, d).ravel())).law
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6)
