"""The closed form of Chinchilla's frontier, and how it looks without the embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Chinchilla, KaplanND, allocate, published
from isoloss.laws.chinchilla import PEARCE_OMEGA, ChinchillaFrontier, UncountedFrontier

UNROUNDED = published.HOFFMANN_2022.law
ROUNDED = published.HOFFMANN_2022_ROUNDED.law
REFIT = published.BESIROGLU_2024.law
SIZES = np.logspace(2.9, 9.2, 20)
BUDGETS, COUNTED = np.logspace(12.95, 20.7, 100), np.logspace(13.4, 20.7, 100)


@pytest.mark.parametrize(
    ("law", "a", "G", "gamma", "ratio"),
    [
        (ROUNDED, 0.4516129032, 1.344710643, 0.1535, (92.6, 139)),
        (UNROUNDED, 0.4565259143, 1.300046442, 0.1548, (58.9, 84.8)),
        (REFIT, 0.5126121076, 0.1196298498, 0.1783, (18.4, 16.5)),
        (Chinchilla(1.69, 406.4, 410.7, 0.336, 0.283), 0.4571890145, None, None, (55.2, 79)),
    ],
    ids=["rounded", "unrounded", "refit", "Sardana"],
)
def test_the_closed_form_is_that_of_the_paper(
    law: Chinchilla, a: float, G: float | None, gamma: float | None, ratio: tuple[float, float]
) -> None:
    found = ChinchillaFrontier(law)
    assert found.exponents["n"] == pytest.approx(a, abs=5e-11)
    assert found.exponents["n"] + found.exponents["d"] == pytest.approx(1.0)
    if G is not None:
        assert pytest.approx(G, rel=1e-9) == found.G
        assert found.gamma == pytest.approx(gamma, abs=5e-5)
    for c, per in zip((5.76e23, 3.8e25), ratio, strict=True):
        assert found.d(c) / found.n(c) == pytest.approx(per, rel=6e-3)


def test_the_frontier_is_the_optimum_that_allocate_finds() -> None:
    budgets = np.logspace(17, 27, 11)
    for law in (UNROUNDED, REFIT):
        found = ChinchillaFrontier(law)
        best = allocate(law, budgets)
        np.testing.assert_allclose(found.n(budgets), best.n, rtol=1e-11)
        np.testing.assert_allclose(found.d(budgets), best.d, rtol=1e-11)
        np.testing.assert_allclose(found.loss(budgets), best.loss, rtol=1e-12)
        np.testing.assert_allclose(found.loss_of_c(budgets) - law.E, best.loss - law.E, rtol=1e-11)


def test_a_law_of_draws_has_a_frontier_of_draws() -> None:
    draws = Chinchilla(
        *(np.array([x, 1.07 * x, 0.95 * x]) for x in UNROUNDED.coefficients().values())
    )
    found = ChinchillaFrontier(draws)
    np.testing.assert_allclose(found.loss(1e22), allocate(draws, 1e22).loss, rtol=1e-12)
    np.testing.assert_allclose(found.n(1e22), allocate(draws, 1e22).n, rtol=1e-11)


@pytest.mark.parametrize("law", [UNROUNDED, REFIT], ids=["Hoffmann", "Besiroglu"])
def test_the_formula_without_embeddings_is_the_optimum_found_by_search(law: Chinchilla) -> None:
    found = UncountedFrontier(law)
    for n in (1e3, 1.3e5, 2e7, 4e9, 3e12):
        c = float(found.c(n))
        best = allocate(lambda n, d: law(found.total(n), d), c)
        assert best.n == pytest.approx(n, rel=1e-9)
        assert best.loss == pytest.approx(float(found.loss(n)), rel=1e-12)
        assert found.n(c) == pytest.approx(n, rel=1e-12)
        step = 1.0 + 1e-5
        local = np.log(step) / np.log(found.c(n * step) / c)
        assert found.exponent(n) == pytest.approx(local, rel=1e-4)


@pytest.mark.parametrize(
    ("law", "formula", "frontier", "counted", "loss", "reducible"),
    [
        (REFIT, 0.785, 0.775, 0.51, -0.069, -0.178),
        (UNROUNDED, 0.748, 0.741, 0.46, -0.066, -0.155),
    ],
    ids=["Besiroglu", "Hoffmann"],
)
def test_over_kaplan_s_sizes_it_passes_for_pearce_s_power_law(
    law: Chinchilla, formula: float, frontier: float, counted: float, loss: float, reducible: float
) -> None:
    found = UncountedFrontier(law)
    assert found.lines(SIZES).n.exponent == pytest.approx(formula, abs=5e-4)
    seen = found.seen(SIZES, BUDGETS)
    assert seen.n.exponent == pytest.approx(frontier, abs=5e-4)
    assert seen.loss.exponent == pytest.approx(loss, abs=5e-4)
    everything = found.seen(SIZES, COUNTED, counted=True)
    assert everything.n.exponent == pytest.approx(counted, abs=5e-3)
    above = found.seen(SIZES, COUNTED, counted=True, above=float(law.E))
    assert above.loss.exponent == pytest.approx(reducible, abs=5e-4)


def test_the_exponent_has_its_limits_and_overshoots_between_them() -> None:
    found = UncountedFrontier(REFIT)
    small, large = found.limits
    assert found.exponent(1.0) == pytest.approx(small, abs=2e-3)
    assert found.exponent(1e16) == pytest.approx(large, abs=1e-3)
    assert large == pytest.approx(ChinchillaFrontier(REFIT).exponents["n"])
    assert 0.97 < float(found.exponent(np.logspace(3, 9, 200)).max()) < 1.0
    assert found.crossover == pytest.approx(1.035e7, rel=1e-3)
    assert found.total(found.crossover) == pytest.approx(2 * found.crossover)
    assert pytest.approx(32_000 * (39.2 / 12) ** (1 / 3), rel=3e-4) == PEARCE_OMEGA


def test_without_embeddings_to_leave_out_it_is_chinchilla_s_frontier() -> None:
    found, plain = UncountedFrontier(UNROUNDED, omega=0.0), ChinchillaFrontier(UNROUNDED)
    c = np.array([1e18, 1e21, 1e24])
    np.testing.assert_allclose(found.n(c), plain.n(c), rtol=1e-11)
    line = found.lines(SIZES)
    assert line.n.exponent == pytest.approx(plain.exponents["n"], abs=1e-12)
    np.testing.assert_allclose(line.n(c), plain.n(c), rtol=1e-9)


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="takes a Chinchilla law, not a KaplanND"):
        ChinchillaFrontier(KaplanND(1e13, 1e13, 0.07, 0.1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"see its \.law"):
        UncountedFrontier(published.HOFFMANN_2022)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="beta must be positive"):
        ChinchillaFrontier(Chinchilla(1.7, 400.0, 400.0, 0.3, 0.0))
    with pytest.raises(InputError, match="one law, not draws"):
        UncountedFrontier(Chinchilla(1.7, 400.0, 400.0, np.array([0.3, 0.4]), 0.3))
    with pytest.raises(InputError, match="omega is -1"):
        UncountedFrontier(REFIT, omega=-1.0)
    with pytest.raises(InputError, match="c must be positive"):
        ChinchillaFrontier(REFIT).n(-1.0)
    with pytest.raises(InputError, match="two sizes or budgets"):
        UncountedFrontier(REFIT).lines([1e6])
