"""The statistics of the study of trunks: an equivalence test that is not shown by noise."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("scipy")

import trunk_cooldown as study


def test_equivalence_is_two_one_sided_tests_with_the_interval_that_goes_with_them() -> None:
    differences = np.array([0.001, 0.002, 0.0015])
    mean, low, high, p = study.equivalence(differences)
    assert mean == pytest.approx(0.0015)
    # Of 2 degrees of freedom P(T < t) = 1/2 + t / (2 sqrt(2 + t^2)), solved for t at 1 - LEVEL.
    a = 1 - 2 * study.LEVEL
    reach = a * np.sqrt(2 / (1 - a**2)) * 0.0005 / np.sqrt(3)
    assert [low, high] == pytest.approx([0.0015 - reach, 0.0015 + reach])
    t = (0.005 - 0.0015) / (0.0005 / np.sqrt(3))
    assert p == pytest.approx(0.5 - t / (2 * np.sqrt(2 + t**2)))  # the tail of t with 2 of them


@pytest.mark.parametrize("sign", [1, -1])
def test_a_noisy_or_a_distant_mean_is_not_equivalent(sign: int) -> None:
    noisy, distant = np.array([-0.006, 0.0, 0.006]), np.array([0.0061, 0.006, 0.0059])
    for differences in (sign * noisy, sign * distant):
        _, low, high, p = study.equivalence(differences)
        assert p > study.LEVEL
        assert low < -study.MARGIN or high > study.MARGIN


def test_the_verdict_is_whether_the_interval_lies_within_the_margin() -> None:
    rng = np.random.default_rng(5)
    shown = 0
    for _ in range(200):
        differences = rng.normal(0.002, 0.0025, 6)
        _, low, high, p = study.equivalence(differences)
        assert (p < study.LEVEL) == (low > -study.MARGIN and high < study.MARGIN)
        shown += p < study.LEVEL
    assert 20 < shown < 180


def test_the_rate_is_at_the_vertex_between_grid_points() -> None:
    scan = {k: 2.0 + 0.03 * (k - 1.3) ** 2 for k in range(4)}
    assert study.vertex(scan, 1) == pytest.approx(1.3)


def test_trunks_cost_half_of_the_runs_that_they_replace() -> None:
    spec = study.base("any")
    shared = study.branches(spec, study.COUNTS, 0.004)
    apart = study.cosines(spec, study.COUNTS, [0.008] * 6)
    paid = sum(run.tokens_paid for run in study.with_trunks(shared))
    assert paid <= 0.55 * sum(run.tokens_seen for run in apart)
    assert [run.tokens_seen for run in shared] == [run.tokens_seen for run in apart]
    assert len({run.schedule.warmup_steps for run in (*shared, *apart)}) == 1
    ratios = np.diff(np.log([run.tokens_seen for run in apart]))
    assert ratios == pytest.approx(np.log(1.5), abs=0.002)
