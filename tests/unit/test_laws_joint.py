"""The joint laws beside Chinchilla's: formulas, how they contain one another, published values."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import (
    Chinchilla,
    ChinchillaTied,
    DataConstrained,
    DownstreamError,
    FineGrainedMoE,
    KaplanNS,
    OffsetPrecision,
    Overtraining,
    Precision,
    allocate,
    published,
)

N = np.array([7.3e6, 1.9e8, 2.6e9])
D = np.array([4.1e9, 8.7e9, 3.3e11])


def test_tied_exponents_are_chinchilla_s_with_one() -> None:
    tied, free = (
        ChinchillaTied(1.7, 390.0, 1200.0, 0.35),
        Chinchilla(1.7, 390.0, 1200.0, 0.35, 0.35),
    )
    assert tied(N, D) == pytest.approx(free(N, D), rel=1e-14)
    assert allocate(tied, 1e21).n == pytest.approx(allocate(free, 1e21).n, rel=1e-4)


def test_over_training_is_the_tied_law_of_compute_and_ratio() -> None:
    law = Overtraining(1.51, 141.0, 190.0, 0.121)
    c, m = 6 * N * D, D / N
    expected = 1.51 + (141.0 * m**0.121 + 190.0 * m**-0.121) * c**-0.121
    assert law(c, m) == pytest.approx(expected, rel=1e-13)
    assert law.tied()(N, D) == pytest.approx(law(c, m), rel=1e-13)


def test_fresh_data_is_chinchilla() -> None:
    base = Chinchilla(1.87, 521.0, 1488.0, 0.35, 0.37)
    law = DataConstrained(**base.coefficients(), Rd=15.4, Rn=5.3)
    small = np.array([1e6, 5e6, 1e7])
    assert law(small, D, D) == pytest.approx(base(small, D), rel=1e-13)
    assert law(small, D, 9 * D) == pytest.approx(base(small, D), rel=1e-13)
    patient = DataConstrained(**base.coefficients(), Rd=1e9, Rn=5.3)
    assert patient(small, D, D / 8) == pytest.approx(base(small, D), rel=1e-6)


def test_repeated_data_are_worth_less_and_less() -> None:
    """D'/D by epochs, and what the next is worth, as the paper tabulates them."""
    law = published.MUENNIGHOFF_2023.law
    unique = 1e10
    for epochs, share in ((2, 0.984), (4, 0.931), (8, 0.828), (16, 0.661), (40, 0.379)):
        loss = law(1e8, epochs * unique, unique) - law(1e8, 1e40, 1e40)
        effective = (float(loss) / law.B) ** (-1 / law.beta)
        assert effective / (epochs * unique) == pytest.approx(share, abs=6e-4)


def test_unequal_exponents_find_the_size_that_the_data_call_for() -> None:
    base = Chinchilla(1.87, 521.0, 1488.0, 0.31, 0.37)
    law = DataConstrained(**base.coefficients(), Rd=15.4, Rn=1e-6)
    found = allocate(base, 3e20)
    # With no worth in excess parameters the loss stops falling at the size that d calls for.
    assert law(2 * found.n, found.d, found.d) == pytest.approx(found.loss, rel=1e-6)
    assert law(0.9 * found.n, found.d, found.d) > found.loss


def test_bits_and_grain_have_their_limits() -> None:
    law = Precision(2.76, 4299.0, 18060.0, 0.4965, 0.4965, 2.67, 2.21, 0.96)
    plain = Chinchilla(2.76, 4299.0, 18060.0, 0.4965, 0.4965)
    assert law(N, D, 500, 500, 500) == pytest.approx(plain(N, D), rel=1e-13)
    kept = (1 - np.exp(-4 / 2.67)) * (1 - np.exp(-8 / 2.21)) * (1 - np.exp(-3 / 0.96))
    assert law(N, D, 4, 8, 3) == pytest.approx(plain(kept * N, D), rel=1e-13)
    fine = FineGrainedMoE(0.47, 2.1, 18.1, 30.8, 0.115, 0.147, 0.58)
    expected = 0.47 + (2.1 / 8**0.58 + 18.1) / N**0.115 + 30.8 / D**0.147
    assert fine(N, D, 8) == pytest.approx(expected, rel=1e-13)


def test_offsets_shift_the_bits_that_a_model_needs() -> None:
    plain = Precision(2.76, 4299.0, 18060.0, 0.4965, 0.47, 2.67, 2.21, 0.96)
    none = OffsetPrecision(**plain.coefficients(), n_w=0.0, n_a=0.0, n_kv=0.0)
    assert none(N, D, 4, 8, 3) == pytest.approx(plain(N, D, 4, 8, 3), rel=1e-14)
    law = OffsetPrecision(**plain.coefficients(), n_w=0.3, n_a=1.4, n_kv=2.4)
    # An offset of n takes n * gamma bits away, each from its own.
    shifted = (4 + 0.3 * 2.67, 8 + 1.4 * 2.21, 3 + 2.4 * 0.96)
    assert law(N, D, *shifted) == pytest.approx(plain(N, D, 4, 8, 3), rel=1e-13)
    assert np.all(law(N, D, 8, 8, 2.4 * 0.96) == np.inf)
    assert law.kept(8.0, 8.0, 1.0) == 0.0


@pytest.mark.parametrize(
    ("law", "at", "value", "tolerance"),
    [
        ("MUENNIGHOFF_2023", (6.34e9, 242e9, 25e9), 2.2256440889984477, 1e-14),
        ("MUENNIGHOFF_2023", (8.67e9, 178e9, 25e9), 2.2269634075087867, 1e-14),
        ("GADRE_2024_C4", (6 * 1.44e9**2 * 20, 20), 2.636114609, 1e-5),
        ("GADRE_2024_RPJ", (6 * 1.44e9**2 * 20, 20), 2.765697912, 1e-5),
        ("GADRE_2024_RW", (6 * 1.44e9**2 * 20, 20), 2.74787207, 1e-5),
        ("KUMAR_2024", (1e8, 1e10, 4, 4, 4), 3.5333051, 1e-9),
        ("KUMAR_2024", (1e8, 1e10, 8, 8, 8), 3.437412086, 1e-9),
        ("KUMAR_2024", (1e8, 1e10, 16, 16, 16), 3.419826022, 1e-9),
        ("KUMAR_2024_POST", (1e8, 1e10, 4), 0.01421088075, 1e-9),
        ("KRAJEWSKI_2024", (4.3e9, 4.37e9, 8), 3.109717838, 1e-9),
        ("KRAJEWSKI_2024_DENSE", (1e9, 2e10), 2.98030515, 1e-9),
    ],
)
def test_published_laws_give_their_golden_values(law, at, value, tolerance) -> None:
    assert getattr(published, law)(*at) == pytest.approx(value, rel=tolerance)


def test_muennighoff_s_best_size_under_repeats() -> None:
    """At 1e22 FLOPs and 25e9 unique tokens; theirs is a grid, so only its step is matched."""
    law = published.MUENNIGHOFF_2023.law
    found = allocate(lambda n, d: law(n, d, 25e9), 1e22)
    assert found.n == pytest.approx(7.0224e9, rel=2e-3)
    assert found.d / 25e9 == pytest.approx(9.493, rel=2e-3)
    assert law(7.0224e9, 1e22 / 6 / 7.0224e9, 25e9) >= found.loss


def test_the_error_of_a_guess_is_where_loss_is_large() -> None:
    law = DownstreamError(0.85, 2.079, 0.756)
    assert law([2.5, 1e9]) == pytest.approx([0.85 - 2.079 * np.exp(-0.756 * 2.5), 0.85])
    assert published.GADRE_2024_C4_ERROR(3.0) < published.GADRE_2024_C4_ERROR(3.5)
    with pytest.raises(InputError, match="is called with"):
        published.GADRE_2024_C4(1e21)


@pytest.mark.filterwarnings("error")
def test_a_vanished_term_of_steps_is_zero_without_a_warning() -> None:
    assert KaplanNS(0.0, 2.1e3, 0.077, 0.76)(1e9, 2.1e3) == pytest.approx(1.0)
    assert KaplanNS(6.5e13, 0.0, 0.077, 0.76)(6.5e13, 1e4) == pytest.approx(1.0)
