"""The published constants against values recomputed from the papers."""

from __future__ import annotations

import csv
import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import allocate, published
from isoloss.laws.published import BESIROGLU_2024, HOFFMANN_2022, HOFFMANN_2022_ROUNDED, KAPLAN_2020
from isoloss.units import PF_DAY

K = KAPLAN_2020
GOPHER = 5.76e23


@pytest.mark.parametrize(
    ("fit", "at", "golden"),
    [
        (K.loss_n, (1e9,), 2.375640295),
        (K.loss_n, (1.5e9,), 2.303550552),
        (K.loss_n, (768,), 6.926171331),
        (K.loss_d, (22e9,), 2.099168267),
        (K.loss_d, (1e9,), 2.815641821),
        (K.loss_c_min, (1,), 2.658080226),
        (K.loss_c_min, (1e-3,), 3.754638116),
        (K.loss_c, (1,), 2.57415586),
        (K.loss_nd, (1e9, 22e9), 2.369316343),
        (K.loss_nd, (1e9, 1e9), 2.794337078),
        (K.loss_nd, (1e6, 22e6), 4.293808434),
        (K.loss_nd, (1e9, math.inf), 2.318834098),
        (K.loss_ns, (1e9, 1e5), 2.400513661),
        (K.loss_ns, (1e8, 1e4), 3.108226724),
        (K.critical_batch, (2.0,), 7371465.306),
        (K.critical_batch, (2.5,), 2547285.206),
        (K.critical_batch, (3.0,), 1069114.01),
        (K.critical_batch, (4.0,), 271692.5038),
        (K.allocation.n, (1,), 1.3e9),
        (K.allocation.n, (1e3,), 2.013461605e11),
        (K.allocation.d, (1e3,), 1.291308458e11),
        (K.allocation.steps, (1e3,), 6643.451362),
        (K.allocation.batch, (1e3,), 10496149.2),
        (K.data_threshold, (1e9,), 2.285440948e10),
    ],
)
def test_kaplan(fit: published.PublishedLaw, at: tuple[float, ...], golden: float) -> None:
    assert float(fit(*at)) == pytest.approx(golden, rel=2e-9)


def test_kaplan_overfitting_penalty() -> None:
    """Eq. 4.3 is the excess of Eq. 1.5 over its limit of infinite data."""
    excess = float(K.loss_nd(1e9, 22e9)) / float(K.loss_nd(1e9, math.inf)) - 1
    assert excess == pytest.approx(0.0217705289, rel=2e-9)


def test_kaplan_batch_corrections() -> None:
    """Eqs 5.4 and 5.5 for the base batch of 2**19 tokens and 2.5e5 steps at a loss of 2.5."""
    batch, steps = 2**19, 2.5e5
    crit = K.critical_batch.law
    assert isinstance(crit, published.CriticalBatch)
    assert float(crit.s_min(steps, batch, 2.5)) == pytest.approx(42672.59518, rel=1e-9)
    compute = 6 * 1e9 * batch * steps
    assert compute == pytest.approx(7.86432e20, rel=1e-12)
    assert compute / PF_DAY == pytest.approx(9.102222222, rel=1e-9)
    assert float(crit.c_min(compute / PF_DAY, batch, 2.5)) == pytest.approx(7.548560446, rel=1e-9)


def test_kaplan_early_stopping_bound() -> None:
    """Eq. 5.7: Table 3's steps with Table 2's losses, as the paper combines them."""
    gap = float(K.loss_nd(1e9, 1e9)) - float(K.loss_nd(1e9, math.inf))
    bound = K.loss_ns.Sc / gap ** (1 / K.loss_ns.alpha_s)
    assert bound == pytest.approx(5584.929048, rel=1e-9)


def test_kaplan_cost_of_other_sizes() -> None:
    """Eq. B.16: 0.6 to 2.2 times the best size costs at most about 20 % more compute."""
    assert K.compute_ratio(1.0) == 1.0
    assert K.compute_ratio(0.6) == pytest.approx(1.165, abs=5e-4)
    assert K.compute_ratio(2.2) == pytest.approx(1.204, abs=5e-4)
    low, high = K.near_optimal(0.2)
    assert low < 0.6 < 1 < high < 2.2
    for excess in (0.01, 0.05, 0.2, 3.0):
        for end in K.near_optimal(excess):
            assert K.compute_ratio(end) == pytest.approx(1 + excess, rel=1e-9)
    assert K.compute_ratio(1e-3) == math.inf


def test_kaplan_tables_are_not_mixed() -> None:
    tables = {name: fit.where.split(",")[0] for name, fit in K.fits.items()}
    assert tables == {
        "loss_n": "Table 5",
        "loss_d": "Table 5",
        "loss_c": "Table 5",
        "loss_c_min": "Table 5",
        "loss_nd": "Table 2",
        "loss_ns": "Table 3",
        "critical_batch": "Eq. 1.4",
        "critical_batch_table_5": "Table 5",
        "data_threshold": "Eq. 4.4",
        "allocation.n": "Table 6",
        "allocation.batch": "Table 6",
        "allocation.steps": "Table 6",
        "allocation.d": "Table 6",
    }
    assert (K.loss_n.xc, K.loss_nd.Nc, K.loss_ns.Nc) == (8.8e13, 6.4e13, 6.5e13)
    assert (K.loss_d.alpha, K.loss_nd.alpha_d) == (0.095, 0.103)
    assert (K.critical_batch.b_star, K.critical_batch_table_5.b_star) == (2e8, 2.1e8)
    assert {fit.n_convention for fit in K.fits.values()} == {"non_embedding"}


def test_kaplan_compute_is_in_pf_days() -> None:
    assert K.loss_c_min.units == K.allocation.n.units == ("PF-days",)
    # The trap: FLOPs in place of PF-days are off by 8.64e19 to the exponent.
    ratio = float(K.loss_c_min(1.0)) / float(K.loss_c_min(PF_DAY))
    assert ratio == pytest.approx(PF_DAY**0.05, rel=1e-12)


@pytest.mark.parametrize(
    ("law", "big", "gopher", "G", "a", "n", "d"),
    [
        (
            HOFFMANN_2022_ROUNDED,
            1.936645471,
            1.993258462,
            1.344710643,
            0.4516129032,
            3.218985915e10,
            2.982305687e12,
        ),
        (
            HOFFMANN_2022,
            1.920846027,
            1.967243324,
            1.300046442,
            0.4565259143,
            4.036093839e10,
            2.378537364e12,
        ),
        (
            BESIROGLU_2024,
            1.973881863,
            1.999607682,
            0.1196298498,
            0.5126121076,
            7.22487025e10,
            1.328743585e12,
        ),
    ],
)
def test_chinchilla(
    law: published.PublishedLaw,
    big: float,
    gopher: float,
    G: float,
    a: float,
    n: float,
    d: float,
) -> None:
    assert float(law(70e9, 1.4e12)) == pytest.approx(big, rel=1e-9)
    assert float(law(280e9, 3e11)) == pytest.approx(gopher, rel=1e-9)
    # At C = 6 the closed form of Eq. 4 is n = G, d = 1/G: read G off the slope from two budgets.
    best = allocate(law, np.array([GOPHER, 100 * GOPHER]))
    ns = np.asarray(best.n)
    exponent = math.log(ns[1] / ns[0]) / math.log(100)
    assert exponent == pytest.approx(a, rel=1e-9)
    assert ns[0] / (GOPHER / 6) ** exponent == pytest.approx(G, rel=1e-9)
    assert ns[0] == pytest.approx(n, rel=1e-9)
    assert np.asarray(best.d)[0] == pytest.approx(d, rel=1e-9)


def test_hoffmann_unrounded_constants() -> None:
    assert HOFFMANN_2022.coefficients() == pytest.approx(
        {"E": 1.69337, "A": 406.4010, "B": 410.7228, "alpha": 0.33917084, "beta": 0.2849083},
        rel=3e-6,
    )


def test_rounding_moves_the_optimum_by_a_fifth() -> None:
    rounded, exact = (allocate(law, GOPHER).n for law in (HOFFMANN_2022_ROUNDED, HOFFMANN_2022))
    assert rounded / exact == pytest.approx(0.80, abs=0.01)


@pytest.mark.parametrize(
    ("law", "ratio", "far"),
    [(HOFFMANN_2022_ROUNDED, 92.6, 139), (HOFFMANN_2022, 58.9, 84.8), (BESIROGLU_2024, 18.4, 16.5)],
)
def test_tokens_per_parameter(law: published.PublishedLaw, ratio: float, far: float) -> None:
    near, beyond = allocate(law, GOPHER), allocate(law, 3.8e25)
    assert near.d / near.n == pytest.approx(ratio, rel=5e-3)
    assert beyond.d / beyond.n == pytest.approx(far, rel=5e-3)


@pytest.mark.parametrize("law", published.PLANNED_WITH)
def test_frontier_loss_is_a_power_law_in_compute(law: published.PublishedLaw) -> None:
    """L_opt(C) = E + K C^-gamma, gamma = alpha beta / (alpha + beta)."""
    golden = {"Hoffmann 2022": 0.1548, "Hoffmann 2022, rounded": 0.1535, "Besiroglu 2024": 0.1783}
    golden["Sardana 2024"] = 0.1536
    reducible = np.asarray(allocate(law, [1e20, 1e22]).loss) - law.E
    gamma = -math.log(reducible[1] / reducible[0]) / math.log(100)
    assert gamma == pytest.approx(golden[law.name], abs=5e-5)


def test_besiroglu_range_is_that_of_its_points(shared_data: Path) -> None:
    with (shared_data / "epoch_chinchilla.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["in_published_fit"] == "1"]
    for key, measured in (
        ("N", BESIROGLU_2024.n_range),
        ("D", BESIROGLU_2024.d_range),
        ("C", BESIROGLU_2024.c_range),
    ):
        values = [float(row[key]) for row in rows]
        assert measured == pytest.approx((min(values), max(values)), rel=1e-3)


def test_every_published_law_says_what_it_is() -> None:
    named = [x for x in vars(published).values() if isinstance(x, published.PublishedLaw)]
    assert len(named) > 25
    for law in (*named, *K.fits.values()):
        assert law.name
        assert "arXiv" in law.citation
        assert law.where
        assert len(law.units) == len(law.variables)
        assert law.coefficients()
        assert law.n_range or law.note
        assert hash(law) == hash(pickle.loads(pickle.dumps(law)))
    assert all(law.n_range for law in (*published.PLANNED_WITH, *K.fits.values()))
    assert replace(HOFFMANN_2022, name="mine").alpha == HOFFMANN_2022.alpha


def test_a_published_law_refuses_wrong_use() -> None:
    with pytest.raises(InputError, match="c_min in PF-days"):
        K.loss_c_min(1, 2)
    with pytest.raises(AttributeError, match="gamma"):
        _ = HOFFMANN_2022.gamma
    for bad in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="excess"):
            K.near_optimal(bad)
    for bad in (0, -1, math.nan):
        with pytest.raises(InputError, match="size_ratio"):
            K.compute_ratio(bad)
