"""Laws of the number of experts, and Farseer's: formulas, limits, and calls that are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.fitting import fit
from isoloss.laws import (
    Chinchilla,
    Farseer,
    JointMoE,
    RoutedExperts,
    allocate,
    effective_experts,
    published,
)
from isoloss.runs import Runs

N, D = np.array([9.3e7, 6.1e8, 2.2e9]), np.array([3.1e9, 8.7e9, 6.4e10])
EXPERTS = np.array([1.0, 5.0, 29.0])
CLARK = RoutedExperts(a=-0.08, b=-0.11, c=0.01, d=1.1, E_start=1.7, E_max=320.0)
JOINT = JointMoE(
    a=31.0,
    alpha=-0.19,
    delta=-0.21,
    gamma=0.011,
    b=33.0,
    beta=-0.18,
    omega=0.47,
    zeta=-0.024,
    E_start=1.9,
    E_max=280.0,
    c=1.3,
)


def test_the_number_of_experts_bends_at_both_ends() -> None:
    assert effective_experts(1, 1.7, 320.0) == pytest.approx(1.7)
    assert effective_experts(1e9, 1.7, 320.0) == pytest.approx(320.0, rel=1e-6)
    assert effective_experts(40, 1.0, 1e15) == pytest.approx(40.0)
    assert np.all(np.diff(effective_experts(np.arange(1, 500), 1.7, 320.0)) > 0)


def test_clark_s_law_is_bilinear_in_logarithms_to_base_10() -> None:
    e = 1 / (1 / (EXPERTS - 1 + 1 / (1 / 1.7 - 1 / 320)) + 1 / 320)
    x, y = np.log10(N), np.log10(e)
    assert CLARK(N, EXPERTS) == pytest.approx(10 ** (-0.08 * x - 0.11 * y + 0.01 * x * y + 1.1))
    assert CLARK(N[:, None], EXPERTS).shape == (3, 3)


def test_experts_are_worth_a_larger_dense_model_up_to_the_cutoff() -> None:
    dense = CLARK.dense_size(N, EXPERTS)
    assert CLARK(dense, 1) == pytest.approx(CLARK(N, EXPERTS), rel=1e-12)
    assert dense[0] == pytest.approx(N[0])
    assert np.all(dense[1:] > N[1:])
    assert CLARK.cutoff == pytest.approx(1e11)
    assert CLARK.dense_size(1e11, 64) == pytest.approx(1e11)
    assert CLARK(1e10, 64) < CLARK(1e10, 1)
    assert CLARK(1e12, 64) > CLARK(1e12, 1)


def test_the_joint_law_is_chinchilla_s_for_any_number_of_experts() -> None:
    for experts in (1.0, 8.0, 32.0):
        e = float(effective_experts(experts, 1.9, 280.0))
        plain = Chinchilla(
            E=1.3,
            A=31.0 * e**-0.21,
            B=33.0 * e**0.47,
            alpha=0.19 - 0.011 * math.log(e),
            beta=0.18 + 0.024 * math.log(e),
        )
        assert JOINT(N, D, experts) == pytest.approx(plain(N, D), rel=1e-12)
        best = allocate(lambda n, d, experts=experts: JOINT(n, d, experts), 1e21)
        assert best.n == pytest.approx(allocate(plain, 1e21).n, rel=1e-9)


@pytest.mark.parametrize("name", JOINT.coefficients())
def test_a_complex_step_gives_the_slopes_of_the_joint_law(name: str) -> None:
    value = float(JOINT.coefficients()[name])
    others = {k: v for k, v in JOINT.coefficients().items() if k != name}
    size = 1e-5 * abs(value)
    ends = [JointMoE(**others, **{name: value + s * size})(N, D, EXPERTS) for s in (-1, 1)]
    slope = (ends[1] - ends[0]) / (2 * size)
    step = JointMoE(**others, **{name: value + 1e-30j})(N, D, EXPERTS)  # type: ignore[arg-type]
    assert step.imag / 1e-30 == pytest.approx(slope, rel=1e-6, abs=1e-8 * np.abs(slope).max())


def test_farseer_s_law_holds_for_the_sizes_it_was_fitted_to() -> None:
    law = Farseer(s=-0.06, q=0.13, S=0.13, B=230.0, b=-0.17, Q=-1.5, A=-1.7, a=0.05, E=3.1)
    expected = np.exp(-0.06 * N**0.13 + 0.13) + np.exp(230 * N**-0.17 - 1.5) * D ** -np.exp(
        -1.7 * N**0.05 + 3.1
    )
    assert law(N, D) == pytest.approx(expected, rel=1e-12)
    assert list(law.coefficients()) == ["s", "q", "S", "B", "b", "Q", "A", "a", "E"]
    # It has a best size among those measured, and none if one looks beyond them.
    n = np.geomspace(*published.FARSEER_2025.n_range, 1001)
    losses = published.FARSEER_2025(n, 1e21 / (6 * n))
    assert n[losses.argmin()] == pytest.approx(2.51e9, rel=0.01)
    assert published.FARSEER_2025(1e20, 1e21 / 6e20) < losses.min()
    with pytest.raises(InputError, match="has no best size"):
        allocate(published.FARSEER_2025, 1e21)


def test_wrong_calls_are_refused() -> None:
    for start, most in ((0.0, 300.0), (3.0, 3.0), (-1.0, 5.0)):
        with pytest.raises(InputError, match="E_start must be positive and below E_max"):
            RoutedExperts(-0.08, -0.11, 0.01, 1.1, start, most)
    coefficients = JOINT.coefficients()
    with pytest.raises(InputError, match="JointMoE: E_start must be positive"):
        JointMoE(**coefficients | {"E_max": 1.0})
    with pytest.raises(InputError, match="a must not be negative"):
        JointMoE(**coefficients | {"a": -1.0})
    with pytest.raises(InputError, match=r"called with \(n, d, experts\)"):
        JOINT(N, D)
    with pytest.raises(InputError, match="cannot share out compute"):
        allocate(published.CLARK_2022_S_BASE, 1e21)
    with pytest.raises(InputError, match="fit takes the class of a law"):
        fit(Farseer, Runs(n=N, d=D, loss=np.full(3, 2.0)))  # type: ignore[arg-type]
