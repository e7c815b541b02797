"""Values within 1 % are one, wherever they lie, and for every part that counts values."""

from __future__ import annotations

import numpy as np
import pytest

from isoloss.fitting import frontier, isoflop
from isoloss.fitting.levels import levels
from isoloss.fitting.tuning.arms import Arms
from isoloss.laws import Chinchilla
from isoloss.runs import Runs

LAW = Chinchilla(1.69, 406.4, 410.7, 0.34, 0.28)
EDGE = float(np.exp(1599.5 * 0.01))  # the edge between two bins of 1 % in the logarithm
TWO = EDGE * np.array([0.999, 1.001])


def test_a_level_holds_what_is_within_a_percent_above_its_lowest_value() -> None:
    logs = np.log([5.0, 1.0, 1.009, 5.04, 1.0109, 0.9999])
    assert levels(logs).tolist() == [2, 0, 0, 2, 1, 0]
    assert levels(np.zeros(0)).tolist() == []
    assert levels(np.log([3.0, 3.0])).tolist() == [0, 0]


@pytest.mark.parametrize("shift", np.linspace(0, 0.01, 7))
def test_where_the_values_lie_does_not_matter(shift: float) -> None:
    random = np.random.default_rng(4)
    logs = np.repeat(np.arange(6) * 0.7, 5) + random.uniform(0, 0.009, 30)
    assert levels(logs + shift).tolist() == np.repeat(np.arange(6), 5).tolist()


def test_three_sizes_written_twice_are_no_budget() -> None:
    n = np.array([*TWO, *(4 * EDGE * np.array([0.999, 1.001])), 16 * EDGE])
    d = 1e20 / (6 * n)
    assert isoflop(Runs(n=n, d=d, loss=LAW(n, d))).budgets == ()


def test_the_ends_of_one_size_make_one_curve() -> None:
    sizes = np.exp(0.01 * (np.round(np.log(1e7 * 1.5 ** np.arange(12)) / 0.01) + 0.5))
    multiples = 5 * 2.0 ** np.arange(7)
    n, m = (column.ravel() for column in np.meshgrid(sizes, multiples))
    d = n * m
    whole = frontier(Runs(n=n, d=d, loss=LAW(n, d)))
    wobble = np.where(np.repeat(np.arange(7), 12) % 2, 1.0005, 0.9995)
    written = frontier(Runs(n=n * wobble, d=d, loss=LAW(n, d)))
    assert len(written.c) == len(whole.c)
    assert written.n_trend.exponent == pytest.approx(whole.n_trend.exponent, abs=1e-3)


def test_runs_at_one_setting_are_averaged_before_the_best_is_chosen() -> None:
    x = np.log([*TWO, 3 * EDGE])[:, None]
    arms = Arms(np.arange(3), x, np.array([1.0, 1.4, 1.1]), np.ones(3, dtype=bool))
    assert arms.best == 2
    assert arms.at_best.tolist() == [False, False, True]
    assert len(arms.values(0)) == 2
