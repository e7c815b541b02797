"""The best bits, held against a grid and a condition; what the paper prints, and what follows."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq

from isoloss.errors import InputError
from isoloss.laws import OffsetPrecision, Precision, published
from isoloss.planning.beyond.precision import allocate_bits, critical_tokens

KUMAR, OFFSETS = published.KUMAR_2024, published.KUMAR_2024_OFFSETS
POST = published.KUMAR_2024_POST


def one_scale(gamma: float) -> Precision:
    return Precision(2.76, 4299.0, 9060.0, 0.47, 0.53, gamma, gamma, gamma)


def test_what_the_published_constants_give_for_the_paper_s_7_to_8_bits() -> None:
    """The paper says 7-8: only the offsets of its own table come to that."""
    assert allocate_bits(OFFSETS, 1e20).bits == pytest.approx(7.002, abs=1e-3)
    assert allocate_bits(KUMAR, 1e20).bits == pytest.approx(3.469, abs=1e-3)
    weights = float(KUMAR.gamma_w)
    assert allocate_bits(one_scale(weights), 1e20).bits == pytest.approx(5.092, abs=1e-3)
    note = allocate_bits(OFFSETS, 1e20).note
    for words in ("7-8 bits", "7.0 with its offsets", "3.5 without", "5.1", "1.9038"):
        assert words in note


@pytest.mark.parametrize("gamma", [0.7, 2.6745])
def test_with_one_scale_the_best_bits_are_a_number_of_scales(gamma: float) -> None:
    """3 u exp(-u) = 1 - exp(-u), u* = 1.9038."""
    u = brentq(lambda u: 3 * u * np.exp(-u) - 1 + np.exp(-u), 0.5, 5)
    assert u == pytest.approx(1.9038, abs=1e-4)
    assert allocate_bits(one_scale(gamma), 3e19).bits == pytest.approx(u * gamma, rel=1e-7)


@pytest.mark.parametrize("law", [KUMAR, OFFSETS])
def test_no_other_bits_and_size_do_better(law) -> None:  # type: ignore[no-untyped-def]
    found = allocate_bits(law, 2e20)
    assert found.bits / 16 * 6 * found.n * found.d == pytest.approx(2e20, rel=1e-12)
    bits, n = np.meshgrid(np.geomspace(3.2, 24, 241), np.geomspace(found.n / 4, found.n * 4, 241))
    losses = law(n, 2e20 * 16 / (6 * n * bits), bits, bits, bits)
    at = np.unravel_index(losses.argmin(), losses.shape)
    assert found.loss <= losses.min()
    assert bits[at] == pytest.approx(found.bits, rel=2e-2)
    assert n[at] == pytest.approx(found.n, rel=2e-2)
    assert law(found.n, found.d, *(found.bits,) * 3) == pytest.approx(found.loss, rel=1e-12)


def test_the_best_bits_know_no_budget_and_sixteen_are_chinchilla_s() -> None:
    assert allocate_bits(OFFSETS, 1e17).bits == pytest.approx(allocate_bits(OFFSETS, 1e25).bits)
    held = allocate_bits(OFFSETS, 1e21, bits=16)
    assert held.bits == 16
    assert held.bits / 16 * 6 * held.n * held.d == pytest.approx(1e21)
    assert held.loss > allocate_bits(OFFSETS, 1e21).loss
    sizes = held.n * np.array([0.98, 1.02])
    assert np.all(OFFSETS(sizes, 1e21 / (6 * sizes), 16, 16, 16) > held.loss)


def test_at_a_fixed_size_the_bits_grow_with_the_logarithm_of_compute() -> None:
    """P* is about beta * gamma * ln C: its slope, with the next term, and a grid."""
    law = one_scale(2.0)
    found = [allocate_bits(law, c, n=1e8).bits for c in (1e30, 1e31)]
    middle = np.mean(found)
    # P / gamma = beta ln C + (1 - beta) ln P + const, far from where bits are scarce.
    slope = 0.53 * 2.0 / (1 - (1 - 0.53) * 2.0 / middle)
    assert (found[1] - found[0]) / np.log(10) == pytest.approx(slope, rel=2e-3)
    one = allocate_bits(KUMAR, 1e20, n=1e8)
    bits = np.geomspace(1, 60, 20001)
    losses = KUMAR(1e8, 16e20 / (6e8 * bits), bits, bits, bits)
    assert bits[losses.argmin()] == pytest.approx(one.bits, rel=1e-3)
    assert one.loss == pytest.approx(losses.min(), abs=1e-8)
    assert one.n == 1e8
    assert allocate_bits(KUMAR, 1e20, n=1e8, bits=8).loss > one.loss


def test_beyond_the_critical_tokens_rounding_costs_more_than_training_gives() -> None:
    n, bits = np.array([3e7, 1e8, 1.7e9]), np.array([3.0, 4.0, 6.0])
    d = critical_tokens(KUMAR, POST, n, bits)

    def whole(tokens):  # type: ignore[no-untyped-def]
        return KUMAR.law.B / tokens**KUMAR.law.beta + POST(n, tokens, bits)

    assert np.all(whole(d) < whole(0.99 * d))
    assert np.all(whole(d) < whole(1.01 * d))
    step = 1e-4
    rise = whole(d * np.exp(step)) - whole(d * np.exp(-step))
    assert rise / (2 * step) == pytest.approx(np.zeros(3), abs=1e-9)
    assert critical_tokens(KUMAR, POST, 1e8, 4) == pytest.approx(1.338e11, rel=1e-3)


def test_nonsense_is_refused() -> None:
    with pytest.raises(InputError, match="Chinchilla says nothing of bits"):
        allocate_bits(published.HOFFMANN_2022, 1e20)
    with pytest.raises(InputError, match="leaves nothing of a model trained in 3 bits"):
        allocate_bits(OFFSETS, 1e20, bits=3)
    for wrong in ({"bits": 0.0}, {"n": -1.0}):
        with pytest.raises(InputError, match="must be positive"):
            allocate_bits(KUMAR, 1e20, **wrong)
    with pytest.raises(InputError, match="rounding must be"):
        critical_tokens(KUMAR, KUMAR, 1e8, 4)
    many = OffsetPrecision(**dict(OFFSETS.coefficients()) | {"E": np.array([2.7, 2.8])})
    with pytest.raises(InputError, match="holds many draws"):
        allocate_bits(many, 1e20)
