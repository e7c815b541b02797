"""Adaptive batches and the temperature on noisy quadratics, whose noise scale is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from noisy_quadratic import quadratic  # noqa: E402

from isoloss.lab.batch_size.adaptive import train_adaptive  # noqa: E402
from isoloss.lab.batch_size.temperature import temperature_effect  # noqa: E402
from isoloss.laws.relations import BatchRate  # noqa: E402
from isoloss.noise import adaptive_gain  # noqa: E402

WIDTH, START, NOISE = 200, 3.0, 5.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_batch_follows_the_root_of_the_noise_scale(optimizer: str) -> None:
    task = quadratic([1.0] * WIDTH, [START] * WIDTH, NOISE, rate=0.01, optimizer=optimizer)
    rate = BatchRate(0.02, 5.0)
    run = train_adaptive(
        task, exchange=50.0, rate=rate, first=8, most_batch=64, most_steps=400, seed=1, until=60.0
    )
    assert not run.diverged
    assert run.moments[-1].loss < 60.0 < run.moments[-4].loss
    assert run.moments[-1].steps < 400
    late = [one for one in run.moments if one.steps >= 40]
    assert late
    for before, one in zip(run.moments, run.moments[1:], strict=False):
        assert one.batch == round(min(max(math.sqrt(50.0 * one.b_noise), 2), 64))
        made = one.steps - before.steps
        assert one.seen - before.seen == made * before.batch
        assert one.ideal - before.ideal == pytest.approx(made / (1 + before.b_noise / before.batch))
    for one in late:
        # NOISE^2 d / |G|^2, and |G|^2 is twice the loss; a reading looks back, where it was larger.
        truth = NOISE**2 * WIDTH / (2 * one.loss)
        assert 0.25 * truth < one.b_noise < 1.2 * truth
    told = [one for one in run.moments if one.measured]
    assert [one.steps for one in told] == [one.steps for one in run.moments if one.steps >= 24]
    assert {one.b_noise for one in run.moments if not one.measured} == {8**2 / 50.0}
    assert run.gamma == adaptive_gain([one.b_noise for one in told], [one.ideal for one in told])
    assert 0.5 < run.gamma <= 1
    assert math.isnan(replace(run, moments=run.moments[:5]).gamma)


def test_an_adaptive_run_that_diverges_says_so() -> None:
    task = quadratic([1.0] * 4, [3.0] * 4, 1.0, rate=0.01)
    options = {"exchange": 10.0, "first": 2, "most_batch": 8, "most_steps": 200, "seed": 0}
    run = train_adaptive(task, rate=BatchRate(50.0, 1.0), until=0.1, **options)
    assert run.diverged
    assert len(run.moments) < 30
    with pytest.raises(InputError, match="from 2 to most_batch"):
        train_adaptive(task, rate=BatchRate(0.1, 1.0), until=0.1, **{**options, "first": 1})


STEEP, FLAT, SHAKEN = 100, 0.05, math.sqrt(0.2)


def shaken(rate: float) -> float:
    """|G|^2 of the steep weights in balance: rate noise^2 / (2 - rate) each."""
    return STEEP * rate * SHAKEN**2 / (2 - rate)


def test_a_colder_run_has_the_larger_noise_scale_that_theory_says() -> None:
    task = quadratic([1.0] * STEEP + [FLAT], [0.0] * STEEP + [20.0], SHAKEN, rate=0.2)
    until, rate = 6.0, 0.4
    found = temperature_effect(
        task, batch=1, rate=rate, until=until, most_steps=400, seeds=3, examples=2048
    )
    expected = []
    for at in (rate, rate / 16):
        steep = shaken(at)  # with bends of one, twice their loss
        expected.append(steep + 2 * FLAT * (until - steep / 2))
    assert found.ratio == pytest.approx(expected[0] / expected[1], rel=0.25)
    assert 1.2 < found.low < found.ratio < found.high < 16
    for hot, cold in zip(found.hot, found.cold, strict=True):
        assert max(hot.loss, cold.loss) <= until
        assert (hot.rate, cold.rate, hot.adam) == (rate, rate / 16, None)
        assert cold.steps > 5 * hot.steps
    scales = [one.scale.b_simple for one in found.hot]
    assert np.mean(scales) == pytest.approx((STEEP + 1) * SHAKEN**2 / expected[0], rel=0.25)


def test_the_ratio_of_adam_is_of_gradients_as_it_weighs_them() -> None:
    task = quadratic(
        [1.0, 0.1] * 10, [3.0] * 20, 1.0, rate=0.01, optimizer="adam", betas=(0.9, 0.99)
    )
    found = temperature_effect(
        task, batch=4, rate=0.2, until=10.0, most_steps=400, factor=4.0, seeds=2, examples=2048
    )
    pairs = [
        (cold.adam.b_simple / hot.adam.b_simple, cold.scale.b_simple / hot.scale.b_simple)
        for cold, hot in zip(found.cold, found.hot, strict=True)
    ]
    weighed, plain = np.exp(np.log(pairs).mean(axis=0))
    assert found.ratio == pytest.approx(weighed)
    assert abs(weighed / plain - 1) > 0.05


def test_a_loss_that_is_not_reached_is_said() -> None:
    task = quadratic([1.0], [3.0], 1.0, rate=0.1)
    with pytest.raises(InputError, match="is not reached in 20 steps"):
        temperature_effect(task, batch=1, rate=0.01, until=0.01, most_steps=20)
    with pytest.raises(InputError, match="2 or more"):
        temperature_effect(task, batch=1, rate=0.01, until=0.01, most_steps=20, seeds=1)
