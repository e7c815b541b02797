"""Values recomputed from published constants that no golden line holds.

Rules of allocation, mixtures of experts, and numbers that a paper prints but that its constants do
not give. Those of Kaplan's and Hoffmann's tables are in test_laws_printed, of Muennighoff, Sardana,
Kumar, Krajewski and Hagele in unit/planning, of Pearce and Porian there and in
test_laws_chinchilla.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.laws import (
    Chinchilla,
    ChinchillaFrontier,
    PowerRelation,
    allocate,
    contradiction,
    published,
)
from isoloss.laws.published_tuning import (
    KAPLAN_LR,
    STEP_LAW_BATCH,
    STEP_LAW_LR,
    ZHANG_CRITICAL_BATCH,
)

K = published.KAPLAN_2020


@pytest.mark.parametrize(
    ("n", "rate"),
    [(1e3, 2.275e-3), (1e6, 1.312e-3), (1e8, 6.69e-4), (1e9, 3.48e-4), (1e10, 2.7e-5)],
)
def test_kaplan_s_learning_rates(n: float, rate: float) -> None:
    assert float(KAPLAN_LR(n=n)) == pytest.approx(rate, abs=5e-7)


def test_a_tenth_more_tokens_moves_kaplan_s_crossing_by_half() -> None:
    """Eq. 6.7 by its own formula: 2.2e10 tokens at one PF-day, not Table 6's 2e10."""
    found = contradiction(
        K.loss_c_min.law, K.loss_d.law, PowerRelation(2.2e10, 0.27), K.allocation.n.law
    )
    assert found.c == pytest.approx(1.6e4, rel=0.02)


def test_rounding_one_exponent_of_hoffmann_s_biases_the_data_term() -> None:
    """0.2849 for 0.28 is about 13 % of it at 1e11 tokens."""
    exact, rounded = published.HOFFMANN_2022.law, published.HOFFMANN_2022_ROUNDED.law
    assert 1e11 ** (exact.beta - rounded.beta) - 1 == pytest.approx(0.13, abs=5e-3)


@pytest.mark.parametrize(
    ("law", "best", "unscaled"),
    [
        (published.GADRE_2024_C4, 3.4, 113.69),
        (published.GADRE_2024_RPJ, 7.4, 166.21),
        (published.GADRE_2024_RW, 5.8, 125.10),
    ],
)
def test_gadre_s_best_ratios_are_far_below_20(
    law: published.PublishedLaw, best: float, unscaled: float
) -> None:
    """(b / a) ** (1 / (2 eta)); and a without the factor 6 ** eta, as their code has it."""
    tied = law.law.tied()
    assert pytest.approx(unscaled, abs=5e-3) == tied.A
    found = allocate(tied, 1e21)
    assert found.d / found.n == pytest.approx(best, abs=0.051)
    assert (law.b / law.a) ** (1 / (2 * law.eta)) == pytest.approx(found.d / found.n, rel=1e-6)


@pytest.mark.parametrize("c", [1e17, 3e20, 1e24])
def test_deepseek_s_model_and_data_multiply_to_the_compute(c: float) -> None:
    product = float(published.DEEPSEEK_2024_MODEL(c)) * float(published.DEEPSEEK_2024_DATA(c))
    assert product / c == pytest.approx(1.0001, abs=5e-5)


def test_llama_s_rounded_pair_does_not_give_llama_s_model() -> None:
    """10.46e12 tokens and 605e9 parameters, for 16.55e12 and 402e9; the label comes nearer."""
    tokens = float(published.LLAMA_3_2024(3.8e25))
    assert tokens == pytest.approx(10.46e12, abs=5e9)
    assert 3.8e25 / (6 * tokens) == pytest.approx(605e9, abs=1e9)
    label = float(PowerRelation(0.299, 0.537)(3.8e25))
    assert label == pytest.approx(16.3e12, abs=5e10)
    assert 3.8e25 / (6 * label) == pytest.approx(389e9, abs=1e9)
    for number in ("10.5e12", "605e9", "16.55e12", "402e9", "16.3e12"):
        assert number in published.LLAMA_3_2024.note


def test_step_law_s_printed_coefficients_are_the_means_of_its_resamplings() -> None:
    assert STEP_LAW_LR.law.coefficient == pytest.approx(math.exp(0.5863), rel=5e-3)
    assert STEP_LAW_BATCH.law.coefficient == pytest.approx(math.exp(-0.5435), rel=2e-3)


def test_zhang_s_critical_batch_is_a_rule_of_the_tokens() -> None:
    """93.20 N^0.468 in millions at 20 tokens per parameter: in tokens its coefficient is 22.94.

    22.92 is quoted too: it takes half a digit more of the exponent.
    """
    coefficient = float(ZHANG_CRITICAL_BATCH(d=1e6))
    assert coefficient == pytest.approx(22.937, abs=5e-4)
    assert 93.20 / 20**0.4685 < 22.92 < coefficient
    measured = {85e6: 745, 151e6: 955, 302e6: 1394, 604e6: 1889, 1200e6: 2533}
    for n, batch in measured.items():
        assert float(ZHANG_CRITICAL_BATCH(d=20 * n)) == pytest.approx(batch, rel=0.04)


def test_clark_s_cutoffs_need_more_digits_than_are_printed() -> None:
    laws = (published.CLARK_2022_S_BASE, published.CLARK_2022_RL_R, published.CLARK_2022_HASH)
    found = [law.law.cutoff for law in laws]
    assert found == pytest.approx([1e12, 3.2e10, 2.1e11], rel=0.03)
    for law, stated in zip(laws, ("937e9", "85e9", "83e9"), strict=True):
        assert stated in law.note
        assert float(law(1e9, 64)) < float(law(1e9, 1))
    # Half a digit of c spans what the paper states.
    b, c = -0.126, 0.012
    assert 10 ** (-b / (c + 5e-4)) < 85e9 < 10 ** (-b / (c - 5e-4))


# Ludziejewski et al. 2025, Table 4: experts, then m, mu, n, nu of m n^mu + n d^nu + c.
REDUCED = (
    (1, 30.3640, -0.1817, 53.9838, -0.1965),
    (2, 27.7982, -0.1780, 66.8401, -0.2065),
    (4, 24.8462, -0.1731, 87.7022, -0.2192),
    (8, 21.8330, -0.1676, 119.9126, -0.2338),
    (16, 19.0159, -0.1617, 167.5073, -0.2494),
    (32, 16.5424, -0.1557, 234.6726, -0.2652),
)
# Table 1: experts, then parameters and tokens at 1e20, 1e21 and 1e22 FLOPs.
OPTIMAL = (
    (1, (1.7e9, 9.7e9), (5.7e9, 29.3e9), (18.8e9, 88.6e9)),
    (2, (1.5e9, 11.4e9), (5.0e9, 33.0e9), (17.4e9, 96.0e9)),
    (4, (1.2e9, 13.9e9), (4.4e9, 38.0e9), (15.8e9, 105.4e9)),
    (8, (990e6, 17.0e9), (3.8e9, 44.3e9), (14.4e9, 115.8e9)),
    (16, (810e6, 20.7e9), (3.3e9, 51.2e9), (13.2e9, 126.5e9)),
    (32, (669e6, 24.9e9), (2.85e9, 58.4e9), (12.2e9, 136.9e9)),
)


@pytest.mark.parametrize(("experts", "m", "mu", "n", "nu"), REDUCED)
def test_the_joint_law_reduces_to_its_table_4(
    experts: int, m: float, mu: float, n: float, nu: float
) -> None:
    """This settles the signs: delta is negative and omega positive, as its Table 3 has them."""
    law = published.LUDZIEJEWSKI_2025.law
    size, tokens = law.log_terms(np.log([1.0, 1e9]), np.log([1.0, 1e9]), np.log(experts))[:2]
    assert np.exp([size[0], tokens[0]]) == pytest.approx([m, n], rel=3e-3)
    slopes = (np.diff([size, tokens]) / math.log(1e9)).ravel()
    assert slopes == pytest.approx([mu, nu], abs=1.5e-4)


@pytest.mark.parametrize(("experts", "at"), [(row[0], row[1:]) for row in OPTIMAL])
def test_the_joint_law_gives_its_compute_optimal_table(
    experts: int, at: tuple[tuple[float, float], ...]
) -> None:
    """Table 1 within 3 %: its own constants have four digits."""
    law = published.LUDZIEJEWSKI_2025
    for flops, (n, d) in zip((1e20, 1e21, 1e22), at, strict=True):
        found = allocate(lambda size, tokens: law(size, tokens, experts), flops)
        assert (found.n, found.d) == pytest.approx((n, d), rel=0.03)


@pytest.mark.parametrize(
    ("law", "tokens", "intercept", "biased", "of_intercept", "of_tokens"),
    [
        ((406.4, 410.7, 0.34, 0.28), 4.04e12, -0.555357, -0.578092, 0.041, -0.0510),
        ((406.4, 410.7, 0.465, 0.155), 4.51e16, -1.345791, -1.459957, 0.085, -0.2312),
    ],
    ids=["Chinchilla", "asymmetric"],
)
def test_czech_s_percentages_are_of_the_intercept(
    law: tuple[float, ...],
    tokens: float,
    intercept: float,
    biased: float,
    of_intercept: float,
    of_tokens: float,
) -> None:
    """His 4.1 % and 8.5 % are of the log10 intercept; of the tokens it is 5 % and 23 %."""
    frontier = ChinchillaFrontier(Chinchilla(1.69, *law))
    assert float(frontier.d(1e24)) == pytest.approx(tokens, rel=2e-3)
    assert math.log10(float(frontier.d(1.0))) == pytest.approx(intercept, abs=1e-6)
    assert biased / intercept - 1 == pytest.approx(of_intercept, abs=5e-4)
    assert 10 ** (biased - intercept) - 1 == pytest.approx(of_tokens, abs=5e-5)


@pytest.mark.parametrize(
    ("alpha", "beta", "printed"), [(0.34, 0.28, 1.21), (0.684, 0.439, 1.56), (0.710, 0.372, 1.91)]
)
def test_czech_s_ratios_of_exponents_are_upside_down(
    alpha: float, beta: float, printed: float
) -> None:
    """Printed as beta / alpha where the surfaces' is alpha / beta: tokens grow faster than size."""
    found = ChinchillaFrontier(Chinchilla(2.0, 1e3, 1e3, alpha, beta)).exponents
    assert found["d"] / found["n"] == pytest.approx(printed, abs=5e-3)
