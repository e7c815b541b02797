"""Noise-free curves that bend, and joint laws, give back their parameters over a stated grid.

Laws of up to five parameters to 1e-6; the broken power law, of six, to 1e-4 with its predictions
to 1e-8, on 25 points over seven decades.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from isoloss.errors import UnidentifiedError
from isoloss.fitting import fit
from isoloss.laws import (
    M3,
    M4,
    BrokenPowerLaw,
    ChinchillaTied,
    DataConstrained,
    KaplanNS,
    Law,
    Overtraining,
    published,
)
from isoloss.runs import Runs

RANDOM = np.random.default_rng(3)
X = np.exp(np.linspace(np.log(1e4), np.log(1e11), 25) + RANDOM.uniform(-0.1, 0.1, 25))
SIZES, TOKENS = np.meshgrid(np.logspace(6.1, 8.4, 5), np.logspace(7.3, 9.8, 5))
N = SIZES.ravel() * np.exp(RANDOM.uniform(-0.1, 0.1, 25))
D = TOKENS.ravel() * np.exp(RANDOM.uniform(-0.1, 0.1, 25))

M3S = [M3(30.0, g, c) for g, c in product((1e-6, 1e-8, 3e-10), (0.1, 0.3, 0.9, 2.0))]
M4S = [
    M4(floor, 4.0, alpha, xc, c)
    for floor, alpha, xc, c in product(
        (0.0, 0.5, 1.7, 3.0), (0.5, 1.0, 2.5), (3e4, 1e6), (0.2, 0.5)
    )
]
BROKEN = [
    BrokenPowerLaw(a, 2.0 * 1e7**0.2, 0.2, c1, d1, f1)
    for a, c1, d1, f1 in product((0.0, 1.2), (-0.1, 0.15, 0.6, 2.0), (1e6, 3e8), (0.2, 1.0))
]


def fitted(law: Law, x: str | None, runs: Runs, **options: object) -> Law:
    try:
        return fit(type(law), runs, x=x, **options).law
    except UnidentifiedError as error:  # the law of the partial fit is judged all the same
        return error.partial.law


def recovered(law: Law, tolerance: float = 1e-6) -> None:
    found = fitted(law, "n", Runs(n=X, d=X, loss=law(X)))
    assert found(X) == pytest.approx(law(X), rel=1e-8)
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("law", [*M3S[::5], *M4S[::11]], ids=str)
def test_some_of_the_bends(law: Law) -> None:
    recovered(law)


@pytest.mark.parametrize("law", BROKEN[1::11], ids=str)
def test_some_of_the_breaks(law: Law) -> None:
    recovered(law, 1e-4)


@pytest.mark.full
@pytest.mark.parametrize("law", [*M3S, *M4S], ids=str)
def test_every_bend(law: Law) -> None:
    recovered(law)


@pytest.mark.full
@pytest.mark.parametrize("law", BROKEN, ids=str)
def test_every_break(law: Law) -> None:
    recovered(law, 1e-4)


JOINT = [
    *(
        ChinchillaTied(floor, 0.5 * 10 ** (6.9 * alpha), 0.3 * 10 ** (8.2 * alpha), alpha)
        for floor, alpha in product((0.0, 1.7, 3.0), (0.1, 0.35, 1.0))
    ),
    *(
        Overtraining(floor, 2.0 * 10 ** (14 * eta), 1.5 * 10 ** (15 * eta), eta)
        for floor, eta in product((0.0, 1.5), (0.05, 0.12, 0.4))
    ),
    *(
        KaplanNS(6.5e13, 2.1e3, alpha_n, alpha_s)
        for alpha_n, alpha_s in ((0.077, 0.76), (0.2, 0.3))
    ),
]


@pytest.mark.parametrize("law", JOINT, ids=str)
def test_joint_laws(law: Law) -> None:
    steps = D / 3e4
    at = {"c": 6 * N * D, "m": D / N, "n": N, "d": D, "s_min": steps}
    loss = law(*(at[name] for name in law.variables))
    given = {"s_min": steps} if "s_min" in law.variables else None
    found = fitted(law, None, Runs(n=N, d=D, loss=loss), given=given)
    for name, value in law.coefficients().items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("rd", "rn"), [(15.387756, 5.309743), (3.0, 1.2), (60.0, 0.4), (8.0, 30.0)]
)
def test_what_repeats_are_worth(rd: float, rn: float) -> None:
    base = {
        name: value
        for name, value in published.MUENNIGHOFF_2023.coefficients().items()
        if name in DataConstrained.base
    }
    law = DataConstrained(**base, Rd=rd, Rn=rn)
    unique = D / np.exp(RANDOM.uniform(0, 4, 25))
    runs = Runs(n=N, d=D, loss=law(N, D, unique), unique_tokens=unique)
    found = fit(DataConstrained, runs, fixed=base).law
    assert (found.Rd, found.Rn) == pytest.approx((rd, rn), rel=1e-6)
