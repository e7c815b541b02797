"""Branches of a noisy quadratic, whose loss after every branch is known in the mean."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isoloss.errors import InputError

torch = pytest.importorskip("torch", reason="the lab needs torch: install isoloss[lab]")

from noisy_quadratic import quadratic  # noqa: E402

from isoloss.lab.batch_size.branches import branched_batch  # noqa: E402
from isoloss.lab.batch_size.task import Learner  # noqa: E402

WIDTH, NOISE, RATE, EXAMPLES = 400, 3.0, 0.04, 256
FACTORS = (1, 4, 8, 16, 32)


def learner(optimizer: str = "sgd") -> Learner:
    """At the bottom of the bowl, from where noise alone drives it."""
    task = quadratic(
        [1.0] * WIDTH, [0.0] * WIDTH, NOISE, rate=RATE, optimizer=optimizer, betas=(0.9, 0.99)
    )
    return Learner(task, seed=0)


def expected(factor: int) -> float:
    """The mean loss at the last eighths of a branch: every weight shrinks by 1 - rate a step."""
    steps, rate, spread, losses = EXAMPLES // factor, RATE * factor, 0.0, []
    for _ in range(steps):
        spread = (1 - rate) ** 2 * spread + (rate * NOISE) ** 2 / factor
        losses.append(0.5 * WIDTH * spread)
    return float(np.mean([losses[steps * eighth // 8 - 1] for eighth in (6, 7, 8)]))


def test_losses_are_those_of_the_theory_and_the_batch_follows() -> None:
    start = learner()
    losses = np.array([expected(k) for k in FACTORS])
    excess = losses - losses[0]
    found = branched_batch(
        start,
        batch=1,
        rate=RATE,
        examples=EXAMPLES,
        tolerance=0.5 * float(excess[2] + excess[3]),
        seed=1,
        factors=FACTORS,
        repeats=3,
    )
    assert found.loss.mean(axis=1) == pytest.approx(losses, rel=0.12)
    assert found.excess == pytest.approx(excess, abs=0.12 * float(losses[3]))
    assert np.all(found.excess_low <= found.excess)
    assert (found.low, found.b_crit, found.high) == (8.0, 8.0, 16.0)
    assert not found.censored
    assert start.held_out() == 0.0  # the checkpoint stays
    assert start.steps == 0


def test_where_the_largest_batch_passes_the_answer_is_a_bound() -> None:
    found = branched_batch(
        learner(),
        batch=1,
        rate=RATE,
        examples=EXAMPLES,
        tolerance=1e3,
        seed=1,
        factors=(1, 4, 16),
        repeats=2,
    )
    assert (found.b_crit, found.high, found.censored) == (16.0, math.inf, True)


def test_a_branch_that_diverges_fails() -> None:
    found = branched_batch(
        learner(),
        batch=1,
        rate=RATE,
        examples=EXAMPLES,
        tolerance=8.0,
        seed=1,
        factors=(1, 4, 32),
        repeats=2,
        power=12.0,
    )
    assert np.isinf(found.loss[2]).all()
    assert (found.b_crit, found.high) == (1.0, 4.0)  # 0.04 times 4 ** 12 is no rate either


def test_adam_takes_the_square_root_of_the_factor() -> None:
    made = [
        branched_batch(
            learner("adam"),
            batch=2,
            rate=0.03,
            examples=128,
            tolerance=1.0,
            seed=1,
            factors=(1, 8),
            repeats=2,
            power=power,
        ).loss[1]
        for power in (None, 0.5, 1.0)
    ]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_wrong_calls_get_one_line() -> None:
    for options, says in (
        ({"factors": (2, 4)}, "1 included"),
        ({"repeats": 1}, "two or more"),
        ({"factors": (1, 128)}, "use a multiple of 1024"),
    ):
        with pytest.raises(InputError, match=says):
            branched_batch(
                learner(),
                batch=1,
                rate=RATE,
                examples=EXAMPLES,
                tolerance=1.0,
                seed=1,
                **options,
            )
