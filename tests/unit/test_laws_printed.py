"""What the papers print beside what follows: Kaplan's constants, Hoffmann's tables."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.laws import published
from isoloss.laws.hoffmann_printed import (
    HOFFMANN_TABLE_3,
    HOFFMANN_TABLE_A3_2,
    HOFFMANN_TABLE_A3_3,
    HOFFMANN_TABLES,
    OptimalModels,
    hoffmann_printed,
    third_approach,
)
from isoloss.laws.kaplan_printed import kaplan_printed
from isoloss.laws.printed import Printed, rounding

FOUND = {(one.what, one.where, one.how): one for one in kaplan_printed()}


def of(what: str, where: str, how: str = "") -> Printed:
    """The one record of a quantity and a place."""
    (one,) = (
        value
        for (a, b, c), value in FOUND.items()
        if a == what and b.startswith(where) and how in c
    )
    return one


@pytest.mark.parametrize(
    ("what", "where", "how", "follows", "agrees"),
    [
        ("exponent of loss", "Eq. 6.4", "", 0.0520, False),
        ("exponent of loss", "Eq. B.7", "", 0.0520, True),
        ("exponent of loss", "Table 5", "", 0.0520, False),
        ("exponent of size", "Eq. 6.5", "", 0.684, False),
        ("exponent of size", "Table 6", "", 0.684, False),
        ("exponent of batch", "Table 6", "", 0.248, True),
        ("exponent of steps", "Table 6", "", 0.068, False),
        ("exponent of tokens", "Table 6", "", 0.316, False),
        ("size", "Table 6", "", 6.042e8, False),
        ("least steps", "Table 6", "", 1.3205e4, False),
        ("critical batch", "Table 6", "", 1.805e6, True),
        ("loss", "Table 5", "", 2.6876, True),
        ("compute of a loss of 1 nat", "Table 5", "", 1.533e8, False),
        ("compute of a loss of 1 nat", "Figs 1", "", 3.1e8, False),
        ("6 N B S over C", "Table 6", "", 0.975, True),
        ("tokens at 1 PF-day", "Eq. 6.7", "", 2.2e10, False),
        ("tokens at 1 PF-day", "Table 6", "", 2.2e10, True),
        ("crossing, compute", "Eq. 6.8", "of Table 6", 1.12e4, True),
        ("crossing, compute", "Eq. 6.8", "of Eq. 6.7", 1.06e5, True),
        ("crossing, size", "Eq. 6.8", "", 1.17e12, True),
        ("crossing, tokens", "Eq. 6.8", "", 2.5e11, False),
        ("crossing, loss", "Eq. 6.8", "", 1.668, True),
        ("B_star", "Eq. 1.4", "", 2.1e8, True),
        ("loss above the converged one", "Eq. B.5", "", 0.1, True),
        ("size of an early stop over a late", "Eq. B.12", "", 2.701, True),
        ("steps of an early stop over a late", "Eq. B.13", "", 0.1329, True),
        ("compute of an early stop over a late", "Eq. B.14", "", 0.3589, True),
        ("compute at 0.6 of the best size", "Fig. 12", "", 1.165, True),
        ("compute at 2.2 of the best size", "Fig. 12", "", 1.204, True),
        ("steps at 2.2 of the best size", "Fig. 12", "", 0.547, True),
        ("exponent of the tokens needed", "Eq. 4.4", "", 0.738, True),
        ("fall of the loss that doubles B_crit", "Fig. 10", "", 0.135, True),
        ("size at which the learning rate ends", "Eq. D.1", "", 1.21e10, True),
    ],
)
def test_kaplan_s_numbers_follow_or_not(
    what: str, where: str, how: str, follows: float, agrees: bool
) -> None:
    one = of(what, where, how)
    assert one.follows == pytest.approx(follows, rel=1.2e-2 if follows > 1e9 else 7e-3)
    assert one.agrees is agrees
    assert one.ratio == pytest.approx(one.follows / float(one.text))


def test_the_tokens_against_overfitting_follow_exactly_and_to_first_order() -> None:
    exact, linear = (one for one in FOUND.values() if one.what == "tokens needed at one parameter")
    assert (exact.follows, linear.follows) == pytest.approx((5.5e3, 6.0e3), rel=6e-3)
    assert exact.agrees
    assert linear.agrees


def test_every_record_of_kaplan_is_tested_and_says_where_and_how() -> None:
    assert len(FOUND) == len(kaplan_printed()) == 35
    assert all(one.where and one.how for one in FOUND.values())
    assert sum(not one.agrees for one in FOUND.values()) == 12


def test_rounding_is_the_worst_case_of_the_last_digits() -> None:
    assert rounding(lambda x, y: x * y, (2.0, 0.5), (1, 1)) == pytest.approx(0.25 + 0.1)
    assert rounding(lambda x: x**2, (0.076,)) == pytest.approx((0.0765 / 0.076) ** 2 - 1)
    # The crossing hangs on the third digit of its exponents, which is not printed.
    assert of("crossing, compute", "Eq. 6.8", "of Table 6").rounding > 1


@pytest.mark.parametrize(
    ("text", "follows", "spread", "agrees"),
    [
        ("0.050", 0.0504, 0.0, True),
        ("0.050", 0.0506, 0.0, False),
        ("0.050", 0.0506, 0.01, True),
        ("1.3e9", 1.34e9, 0.0, True),
        ("1.3e9", 1.36e9, 0.0, False),
        ("4e10", 4.4e10, 0.0, True),
    ],
)
def test_a_record_agrees_within_what_is_printed(
    text: str, follows: float, spread: float, agrees: bool
) -> None:
    assert Printed("x", "Eq. 1", text, follows, "", spread).agrees is agrees


@pytest.mark.parametrize(
    ("table", "within", "exponent"),
    [(HOFFMANN_TABLE_3, 0.0122, 0.50), (HOFFMANN_TABLE_A3_2, 0.0317, 0.49)],
    ids=["approach 1", "approach 2"],
)
def test_a_power_law_reproduces_the_tables_of_approaches_1_and_2(
    table: OptimalModels, within: float, exponent: float
) -> None:
    error = table.column("n") / table.n_of_c(table.column("c")) - 1
    assert np.abs(error).max() == pytest.approx(within, abs=1e-4)
    assert table.rows[np.abs(error).argmax()].n == 67e9
    assert np.abs(np.delete(error, 3)).max() < 0.006
    assert table.n_of_c.exponent == pytest.approx(exponent, abs=5e-3)
    c = np.array([1e20, 1e23])
    np.testing.assert_allclose(6 * table.n_of_c(c) * table.d_of_c(c), c, rtol=1e-12)


def test_table_3_predicts_the_size_that_the_paper_predicts_from_approach_1() -> None:
    """Appendix D.4: 2.86e9 parameters at 1e21 FLOPs, where Kaplan predicts 4.68e9."""
    assert HOFFMANN_TABLE_3.n_of_c(1e21) == pytest.approx(2.86e9, rel=1e-3)


def test_no_printed_constants_give_the_column_of_approach_3() -> None:
    rows = third_approach()
    assert [row.printed for row in rows] == list(HOFFMANN_TABLE_A3_3.column("d"))
    (one,) = (row for row in rows if row.n == 1e9)
    assert (one.printed, one.unrounded, one.rounded) == pytest.approx(
        (27.1e9, 29.1e9, 44.0e9), rel=2e-3
    )
    unrounded = np.array([row.unrounded / row.printed for row in rows])
    rounded = np.array([row.rounded / row.printed for row in rows])
    assert (unrounded.min(), unrounded.max()) == pytest.approx((1.06, 1.19), abs=5e-3)
    assert (rounded.min(), rounded.max()) == pytest.approx((1.57, 2.22), abs=5e-3)
    law = published.HOFFMANN_2022
    slope_n = law.alpha * law.A / one.n**law.alpha
    assert slope_n == pytest.approx(law.beta * law.B / one.unrounded**law.beta, rel=1e-9)


def test_hoffmann_s_misprints_are_found_and_no_others() -> None:
    wrong = {(one.where, one.what): one.ratio for one in hoffmann_printed() if not one.agrees}
    assert {key: round(ratio, 3) for key, ratio in wrong.items()} == {
        ("Table 3", "budget of 67B parameters"): 1.047,
        ("Table A3, approach 3", "budget of 67B parameters"): 0.964,
        ("Table A3, approach 3", "budget of 175B parameters"): 10.0,
        ("Table A3, approach 3", "budget of 280B parameters"): 0.959,
        ("text", "budget of 175B parameters"): 0.873,
        ("text", "tokens of 175B parameters"): 0.881,
        ("text", "tokens of 280B parameters"): 0.868,
    }
    assert "1.26e24" in HOFFMANN_TABLE_A3_3.misprint
    assert [table.approach for table in HOFFMANN_TABLES] == [1, 2, 3]


def test_twenty_tokens_per_parameter_is_what_table_3_holds_not_what_it_says() -> None:
    ratios = HOFFMANN_TABLE_3.column("d") / HOFFMANN_TABLE_3.column("n")
    assert (ratios.min(), ratios.max()) == pytest.approx((20.0, 22.4), abs=0.05)
