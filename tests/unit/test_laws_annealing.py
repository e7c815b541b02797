"""The annealing law: its sums against the recursion of the paper, for every schedule."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.laws import Annealing, annealing_sums
from isoloss.runs import Schedule, scheduled_rate, scheduled_rates, warmup_steps


def recursion(rates: np.ndarray, memory: float) -> tuple[list[float], list[float]]:
    """S1 and S2 term by term, the momentum starting at the peak."""
    first, second, spent, momentum, given = [], [], 0.0, 0.0, 0.0
    peak = int(np.argmax(rates))
    for step, rate in enumerate(rates):
        spent += rate
        momentum = memory * momentum + (rates[step - 1] - rate if step > peak else 0.0)
        given += momentum
        first.append(spent)
        second.append(given)
    return first, second


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd", "wsd_sqrt"])
@pytest.mark.parametrize("memory", [0.0, 0.99, 0.999])
def test_the_sums_are_those_of_the_recursion(kind: str, memory: float) -> None:
    rates = scheduled_rates(Schedule(kind, warmup=0.04, final=0.1), 613, 0.003)  # type: ignore[arg-type]
    spent, given = annealing_sums(rates, memory)
    first, second = recursion(rates, memory)
    np.testing.assert_allclose(spent, first, rtol=1e-12)
    np.testing.assert_allclose(given, second, rtol=1e-10, atol=1e-15)


def test_a_fall_far_back_has_given_all_it_has() -> None:
    rates = np.r_[np.full(50, 2.0), np.full(5000, 0.5)]
    _, given = annealing_sums(rates, 0.99)
    assert given[49] == 0.0
    assert given[-1] == pytest.approx(1.5 / (1 - 0.99), rel=1e-9)
    # The fall acts on: one step after it a hundredth of it is there.
    assert given[50] == pytest.approx(1.5)


def test_a_fall_at_the_end_of_a_run_gains_what_the_law_says() -> None:
    law = Annealing(L0=2.5, A=0.4, C=0.011, alpha=0.6)
    flat, cooled = (
        annealing_sums(scheduled_rates(Schedule(kind, warmup=0.0, final=0.0), 400))
        for kind in ("constant", "wsd")
    )
    gained = law(flat[0][-1], flat[1][-1]) - law(cooled[0][-1], cooled[1][-1])
    by_hand = 0.011 * cooled[1][-1] - 0.4 * (cooled[0][-1] ** -0.6 - 400.0**-0.6)
    assert gained == pytest.approx(by_hand, rel=1e-9)
    assert gained > 0


@pytest.mark.parametrize(
    ("rates", "memory"),
    [([], 0.9), ([0.0, 1.0], 0.9), ([1.0, -1.0], 0.9), ([1.0, math.nan], 0.9), ([1.0], 1.0)],
)
def test_wrong_schedules_are_refused(rates: list[float], memory: float) -> None:
    with pytest.raises(InputError):
        annealing_sums(rates, memory)


def test_the_rate_rises_to_the_peak_and_ends_where_the_schedule_says() -> None:
    schedule = Schedule("cosine", warmup=0.05, final=0.2)
    rates = scheduled_rates(schedule, 240, 0.7)
    assert warmup_steps(schedule, 240) == 12
    assert rates[11] == rates.max() == pytest.approx(0.7)
    assert rates[0] == pytest.approx(0.7 / 12)
    assert rates[-1] == pytest.approx(0.14)
    with pytest.raises(InputError, match="one step"):
        scheduled_rates(schedule, 0)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd", "wsd_sqrt"])
@pytest.mark.parametrize(("warmup", "final", "steps"), [(0.0, 0.0, 1), (0.05, 0.1, 613), (1, 1, 9)])
def test_the_row_of_rates_is_that_of_each_step(
    kind: str, warmup: float, final: float, steps: int
) -> None:
    decay = min(0.3, 1.0 - warmup)
    schedule = Schedule(kind, warmup=warmup, final=final, decay=decay)  # type: ignore[arg-type]
    each = [scheduled_rate(schedule, 0.003, steps, step) for step in range(steps)]
    found = scheduled_rates(schedule, steps, 0.003)
    np.testing.assert_allclose(found, each, rtol=1e-12, atol=1e-18)


def test_a_million_rates_take_no_loop_over_steps() -> None:
    begun = time.process_time()
    rates = scheduled_rates(Schedule("cosine"), 1_000_000)
    assert time.process_time() - begun < 0.5
    assert rates.shape == (1_000_000,)
