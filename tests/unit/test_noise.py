"""The noise scale against simulated gradients of which the answer is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from _noise_records import norms, study
from hypothesis import given
from hypothesis import strategies as st

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, Status
from isoloss.noise import (
    adaptive_gain,
    effective_small,
    hessian_noise_scale,
    noise_scale,
)


def test_without_noise_both_terms_are_exact() -> None:
    small, big = np.array([4.0, 8.0, 4.0]), np.array([64.0, 64.0, 100.0])
    found = noise_scale(3.0 + 50.0 / small, 3.0 + 50.0 / big, small=small, big=big)
    assert (found.g2, found.tr_sigma) == (pytest.approx(3.0), pytest.approx(50.0))
    assert found.b_simple == pytest.approx(50.0 / 3.0)
    assert (found.low, found.high, found.steps) == (0.0, math.inf, 3)  # three steps bound nothing
    assert Status.FEW_STEPS in found.status


@pytest.mark.parametrize(("truth", "small", "big"), [(16, 4, 16), (256, 8, 64), (4096, 64, 512)])
def test_the_interval_holds_the_truth_as_often_as_it_says(truth: int, small: int, big: int) -> None:
    found = study(truth, small, big, 400, 16, 120)
    assert np.median([one.b_simple for one in found]) == pytest.approx(truth, rel=0.05)
    held = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.83 <= held <= 0.97  # 120 trials at 90 %: three standard errors are 8 %
    assert all(math.isfinite(one.high) for one in found)


@pytest.mark.parametrize("dimensions", [1, 2, 4])
def test_a_short_record_bounds_the_noise_scale_from_below(dimensions: int) -> None:
    found = study(4096, 8, 512, 50, dimensions, 120)
    assert all(one.low > 0 for one in found)
    assert np.mean([one.low <= 4096 for one in found]) >= 0.95
    assert np.mean([one.high == math.inf for one in found]) > 0.6
    for one in found:
        assert (Status.NOT_MEASURABLE in one.status) == (one.high == math.inf)
        assert (one.b_simple == math.inf) == (one.g2 <= 0)


def test_steps_that_resemble_each_other_count_for_fewer() -> None:
    rng = np.random.default_rng(11)
    truth, held, blocks = 50.0, [], []
    for _ in range(120):
        slow = np.zeros((2, 600))
        shock = rng.normal(0.0, 1.0, slow.shape)
        for t in range(1, 600):
            slow[:, t] = 0.8 * slow[:, t - 1] + shock[:, t]
        g2, tr_sigma = 2.0 + 0.5 * slow[0], 100.0 + 20.0 * slow[1]
        found = noise_scale(g2 + tr_sigma / 4, g2 + tr_sigma / 32, small=4, big=32)
        held.append(found.low <= truth <= found.high)
        blocks.append(found.block)
    assert np.mean(held) >= 0.82  # of steps taken as independent, 0.43
    assert np.median(blocks) > 9  # the time is (1 + 0.8) / (1 - 0.8) = 9 steps


def test_the_interval_is_the_set_that_fieller_describes() -> None:
    rng = np.random.default_rng(3)
    sq_small, sq_big = norms(rng, 64, 8, 64, 400, 8)
    found = noise_scale(sq_small, sq_big, small=8, big=64, level=0.8)
    assert found.block == 1
    above, below = (sq_small - sq_big) / (1 / 8 - 1 / 64), (64 * sq_big - 8 * sq_small) / 56
    quantile = student_quantile(0.9, 399)
    ratios = np.linspace(0.5 * found.low, 2.0 * found.high, 20_001)
    apart = above[:, None] - ratios * below[:, None]
    t = apart.mean(axis=0) / (apart.std(axis=0, ddof=1) / 20)
    inside = ratios[np.abs(t) <= quantile]
    assert [found.low, found.high] == pytest.approx([inside[0], inside[-1]], rel=1e-3)


def test_parts_of_unequal_size_stand_for_one_of_their_mean() -> None:
    rng = np.random.default_rng(7)
    sizes, truth, steps, dimensions = np.array([2, 6, 3, 13]), 40.0, 3000, 16
    small = effective_small(sizes)
    assert small == 6.0
    spread = np.sqrt(truth / dimensions / sizes)[:, None]
    parts = rng.normal(0.0, 1.0, (steps, 4, dimensions)) * spread
    parts[:, :, 0] += 1.0
    share = sizes / sizes.sum()
    sq_small = ((parts**2).sum(axis=2) * share).sum(axis=1)
    sq_big = ((parts * share[:, None]).sum(axis=1) ** 2).sum(axis=1)
    found = noise_scale(sq_small, sq_big, small=small, big=float(sizes.sum()))
    assert found.low < truth < found.high
    assert found.g2 == pytest.approx(1.0, abs=5 * found.g2_se)
    assert found.tr_sigma == pytest.approx(truth, abs=5 * found.tr_sigma_se)


def test_steps_count_by_their_batch() -> None:
    big = np.array([16.0] * 10 + [48.0] * 10)
    g2 = np.array([1.0] * 10 + [5.0] * 10)
    found = noise_scale(g2 + 8.0 / 4, g2 + 8.0 / big, small=4, big=big)
    assert found.g2 == pytest.approx((16 * 1.0 + 48 * 5.0) / 64)


@given(scale=st.floats(1e-6, 1e6), unit=st.sampled_from([1, 32, 1024]), seed=st.integers(0, 10_000))
def test_the_answer_has_the_unit_of_the_sizes_and_not_of_the_gradients(
    scale: float, unit: int, seed: int
) -> None:
    sq_small, sq_big = norms(np.random.default_rng(seed), 30, 4, 32, 40, 4)
    plain = noise_scale(sq_small, sq_big, small=4, big=32)
    other = noise_scale(scale * sq_small, scale * sq_big, small=4 * unit, big=32 * unit)
    for name in ("b_simple", "low", "high"):
        assert getattr(other, name) == pytest.approx(unit * getattr(plain, name), rel=1e-6)
    assert other.g2 == pytest.approx(scale * plain.g2)
    assert plain.low <= plain.b_simple <= plain.high or plain.g2 <= 0


@given(
    seed=st.integers(0, 10_000), steps=st.integers(1, 30), scale=st.sampled_from([0.0, 1e-3, 1e9])
)
def test_weak_data_never_raise(seed: int, steps: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    found = noise_scale(*(scale * rng.exponential(1.0, (2, steps))), small=8, big=512)
    assert 0 <= found.low <= found.high
    assert not math.isnan(found.b_simple)


def test_norms_that_are_not_finite_are_left_out() -> None:
    sq_small, sq_big = norms(np.random.default_rng(1), 20, 4, 32, 60, 8)
    whole = noise_scale(sq_small, sq_big, small=4, big=32)
    torn = noise_scale(
        np.append(sq_small, [np.nan, np.inf, 1.0]),
        np.append(sq_big, [1.0, 1.0, np.nan]),
        small=4,
        big=32,
    )
    assert torn == whole


@pytest.mark.parametrize(
    ("norms", "sizes", "says"),
    [
        (([1.0], [1.0, 2.0]), (1, 2), "one length"),
        (([], []), (1, 2), "no step"),
        (([1.0, 2.0], [1.0, 2.0]), (2, 2), "0 < small < big"),
        (([1.0, 2.0], [1.0, 2.0]), (0, 2), "0 < small < big"),
        (([1.0, 2.0], [1.0, 2.0]), (1, [2, 3, 4]), "each of the 2 steps"),
        (([math.nan], [1.0]), (1, 2), "no step has finite"),
    ],
)
def test_wrong_calls_get_one_line(norms: Any, sizes: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        noise_scale(*norms, small=sizes[0], big=sizes[1])


def test_sizes_of_parts_are_above_zero() -> None:
    with pytest.raises(InputError, match="above 0"):
        effective_small([4, 0])


def products(
    rng: np.random.Generator, hessian: Any, gradient: Any, spread: Any, batch: int, steps: int
) -> tuple[Any, Any]:
    """g'Hg2 of two batches, and g'Hg of one, averaged over both."""
    one, other = gradient + spread / math.sqrt(batch) * rng.normal(0, 1, (2, steps, gradient.size))
    same = 0.5 * sum(((x @ hessian) * x).sum(axis=1) for x in (one, other))
    return ((one @ hessian) * other).sum(axis=1), same


def test_the_hessian_weighs_both_terms() -> None:
    rng = np.random.default_rng(5)
    root = rng.normal(0, 1, (6, 6))
    hessian, gradient, spread = root @ root.T, rng.normal(0, 1, 6), np.linspace(1.0, 4.0, 6)
    ghg = gradient @ hessian @ gradient
    tr_h_sigma = float(np.sum(np.diag(hessian) * spread**2))
    held = []
    for _ in range(100):
        cross, same = products(rng, hessian, gradient, spread, 32, 300)
        found = hessian_noise_scale(cross, same, batch=32)
        held.append(found.low <= tr_h_sigma / ghg <= found.high)
    assert found.ghg == pytest.approx(ghg, abs=5 * found.ghg_se)
    assert found.tr_h_sigma == pytest.approx(tr_h_sigma, abs=5 * found.tr_h_sigma_se)
    assert np.mean(held) >= 0.81
    # One batch alone is too large by tr(H Sigma) / batch, by far more than its error.
    assert same.mean() - ghg > 5 * found.ghg_se


def test_where_the_loss_does_not_curve_upwards_there_is_no_answer() -> None:
    rng = np.random.default_rng(6)
    hessian, gradient = np.diag([-2.0, 1.0, 1.0]), np.array([1.0, 0.2, 0.0])
    cross, same = products(rng, hessian, gradient, np.ones(3), 64, 200)
    found = hessian_noise_scale(cross, same, batch=64)
    assert math.isnan(found.b_noise)
    assert found.high == math.inf
    assert Status.NOT_MEASURABLE in found.status


# A batch that follows the noise scale ------------------------------------------------------------


def test_the_gain_of_a_batch_that_follows_the_noise_scale_is_the_paper_s() -> None:
    s = np.linspace(0.0, 900.0, 4001)
    assert adaptive_gain(10.0 * np.sqrt(s), s) == pytest.approx(24 / 25, abs=1e-4)
    assert adaptive_gain(10.0 * s, s) == pytest.approx((4 / 9) / (1 / 2), rel=1e-12)
    assert adaptive_gain(np.full(5, 7.0), [1, 2, 4, 8, 9]) == pytest.approx(1.0)
    rng = np.random.default_rng(0)
    some = rng.exponential(1.0, 20) * np.geomspace(1, 50, 20)
    assert adaptive_gain(3.0 * some, np.arange(20)) == pytest.approx(
        adaptive_gain(some, 5.0 * np.arange(20) + 11.0), rel=1e-12
    )
    assert adaptive_gain(some, np.arange(20)) < 1


def test_following_the_noise_scale_makes_the_product_that_gain_says() -> None:
    """The loss falls by 1 / (1 + B / b) of what a very large batch would, B a function of it."""

    def noise(loss: float) -> float:
        return 4.0 / loss**2

    def run(batch_at: Any) -> tuple[float, float, list[float], list[float]]:
        loss, steps, seen, ideal, scales, at = 2.0, 0.0, 0.0, 0.0, [], []
        while loss > 0.1:
            b, size = noise(loss), batch_at(noise(loss))
            scales.append(b)
            at.append(ideal)
            share = 1.0 / (1.0 + b / size)
            loss -= 3e-3 * loss * share
            steps, seen, ideal = steps + 1, seen + size, ideal + share
        return steps, seen, scales, at

    s_min, _, scales, at = run(lambda b: 1e9)
    e_min = run(lambda b: 0.05 * b)[1] / 1.05
    fixed = run(lambda b: 30.0)
    adaptive = run(lambda b: math.sqrt(30.0 * b))
    products = [(one[0] / s_min - 1) * (one[1] / e_min - 1) for one in (fixed, adaptive)]
    assert products[0] == pytest.approx(1.0, rel=0.02)
    assert products[1] == pytest.approx(adaptive_gain(scales, at), rel=0.02)
    assert adaptive_gain(scales, at) < 0.8
    assert adaptive_gain(*adaptive[2:]) == pytest.approx(adaptive_gain(scales, at), rel=0.02)


def test_wrong_gains_are_refused() -> None:
    for b, s, says in (
        ([1.0], [1.0], "two or more"),
        ([1.0, 2.0], [1.0], "one length"),
        ([1.0, -2.0], [1.0, 2.0], "below zero"),
        ([0.0, 0.0], [1.0, 2.0], "above it"),
        ([1.0, 2.0], [2.0, 2.0], "rise"),
    ):
        with pytest.raises(InputError, match=says):
            adaptive_gain(b, s)


def test_noise_below_zero_is_doubted() -> None:
    rng = np.random.default_rng(4)
    small, big = 5.0 + rng.normal(0, 0.1, 40), 2.0 + rng.normal(0, 0.1, 40)
    assert Status.NEGATIVE_NOISE not in noise_scale(small, big, small=8, big=64).status
    exchanged = noise_scale(big, small, small=8, big=64)
    assert exchanged.tr_sigma < 0
    assert Status.NEGATIVE_NOISE in exchanged.status
    # Noise that is small beside its error is bad luck, and no mistake.
    unlucky = noise_scale([2.0, 2.4, 1.5] * 8, [2.1, 2.3, 1.7] * 8, small=8, big=64)
    assert unlucky.tr_sigma < 0
    assert Status.NEGATIVE_NOISE not in unlucky.status
