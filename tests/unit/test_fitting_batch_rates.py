"""The rule of the best rate at a batch, from pairs that were made by it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.errors import InputError, Status
from isoloss.fitting.batch_rates import batch_rate_rule
from isoloss.laws.relations import BatchRate

BATCHES = np.array([2.0, 8.0, 32.0, 128.0, 512.0, 2048.0])


def test_the_rate_of_svhn_is_the_one_the_paper_prints() -> None:
    law = BatchRate(0.27, 96.0)
    assert law([96, 9600]) == pytest.approx([0.27 * 96 / 192, 0.27 * 9600 / 9696])
    assert BatchRate(1.0, 50.0, 0.5)(1e-4 * 50) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("truth", [BatchRate(0.27, 96.0, 1.0), BatchRate(0.003, 20.0, 0.6)])
@pytest.mark.parametrize("fixed", [False, True])
def test_exact_rates_give_the_rule_back(truth: BatchRate, fixed: bool) -> None:
    found = batch_rate_rule(BATCHES, truth(BATCHES), alpha=truth.alpha if fixed else None)
    assert found.law.b_star == pytest.approx(truth.b_star, rel=1e-3)
    assert found.law.rate_max == pytest.approx(truth.rate_max, rel=1e-3)
    assert found.law.alpha == pytest.approx(truth.alpha, abs=5e-3)
    assert found.spread < 1e-3
    assert not found.status


def test_units_of_batch_and_rate_are_the_caller_s() -> None:
    rng = np.random.default_rng(2)
    rates = BatchRate(0.1, 60.0, 0.8)(BATCHES) * np.exp(0.1 * rng.normal(size=6))
    one = batch_rate_rule(BATCHES, rates)
    other = batch_rate_rule((1000 * BATCHES)[::-1], (7 * rates)[::-1])
    assert other.law.b_star == pytest.approx(1000 * one.law.b_star, rel=1e-3)
    assert other.law.rate_max == pytest.approx(7 * one.law.rate_max, rel=1e-3)
    assert [float(end) for end in other.alpha] == [float(end) for end in one.alpha]
    ends = [float(end) for end in one.b_star]
    assert [float(end) for end in other.b_star] == pytest.approx([1000 * e for e in ends], rel=0.03)


@pytest.mark.parametrize("known", [False, True])
def test_intervals_hold_the_truth_as_often_as_they_say(known: bool) -> None:
    truth, rng = BatchRate(0.27, 96.0, 0.75), np.random.default_rng(5)
    held = []
    for _ in range(100):
        rates = truth(BATCHES) * np.exp(0.1 * rng.normal(size=BATCHES.size))
        found = batch_rate_rule(BATCHES, rates, np.full(6, 0.1) if known else None)
        held.append(
            [
                span.low <= value <= span.high
                for span, value in (
                    (found.b_star, 96.0),
                    (found.rate_max, 0.27),
                    (found.alpha, 0.75),
                )
            ]
        )
    low, high = (0.85, 1.0) if known else (0.80, 1.0)  # a misfit never narrows what se says
    assert ((low <= np.mean(held, axis=0)) & (np.mean(held, axis=0) <= high)).all()


def test_batches_far_below_do_not_tell_where_the_rate_stops_growing() -> None:
    rng = np.random.default_rng(1)
    rates = BatchRate(5.0, 1e5)(BATCHES) * np.exp(0.1 * rng.normal(size=6))
    found = batch_rate_rule(BATCHES, rates, alpha=1.0)
    assert found.b_star.high == math.inf
    assert found.rate_max.high == math.inf
    assert found.b_star.low > 0
    doubts = {Status.WIDE_EXPONENT, Status.AT_BOUND}
    assert doubts & set(batch_rate_rule(BATCHES, np.exp(rng.normal(size=6))).status)


def test_level_rates_bound_the_rate_from_below() -> None:
    rates = 0.3 * np.exp(0.1 * np.random.default_rng(3).normal(size=6))
    found = batch_rate_rule(BATCHES, rates, alpha=1.0)
    assert found.b_star.low == 0.0
    assert 0.5 * rates.min() < found.rate_max.low < found.rate_max.mid
    assert found.rate_max.low < 0.3 < found.rate_max.high


def test_weights_count() -> None:
    rates = BatchRate(0.1, 60.0)(BATCHES)
    rates[2] *= 3.0
    trusted = batch_rate_rule(BATCHES, rates, np.array([0.01, 0.01, 5.0, 0.01, 0.01, 0.01]))
    assert trusted.law.b_star == pytest.approx(60.0, rel=0.05)
    assert batch_rate_rule(BATCHES, rates).law.b_star < 50


@pytest.mark.parametrize(
    ("batch", "rate", "says"),
    [
        ([1, 2, 4], [1, 2, 3], "4 or more"),
        ([1, 2, 4, 8], [1, 2, 3, -1], "rate must be 4 positive"),
        ([1, 2, 4, 8], [1, 2, 3], "one for each batch"),
    ],
)
def test_wrong_calls_get_one_line(batch: list[float], rate: list[float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        batch_rate_rule(batch, rate)
