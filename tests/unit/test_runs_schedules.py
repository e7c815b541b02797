"""Schedules: what each shape is at its ends and between, and how many rates a run adds up."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isoloss.errors import InputError
from isoloss.runs import (
    HOFFMANN_CYCLES,
    KAPLAN_SCHEDULES,
    Schedule,
    rate_sum,
    scheduled_rate,
    scheduled_rates,
    warmup_steps,
)


def test_a_power_of_one_is_linear_and_more_falls_faster() -> None:
    linear = scheduled_rates(Schedule("linear", warmup=0.05, final=0.1), 400)
    one = scheduled_rates(Schedule("power", warmup=0.05, final=0.1, power=1), 400)
    slow, fast = (
        scheduled_rates(Schedule("power", warmup=0.05, final=0.1, power=power), 400)
        for power in (0.5, 3)
    )
    np.testing.assert_allclose(one, linear, rtol=1e-12)
    assert (slow[20:-1] > linear[20:-1]).all()
    assert (fast[20:-1] < linear[20:-1]).all()
    assert slow[-1] == fast[-1] == pytest.approx(0.1)
    # Half way, with 380 updates after the warm-up, a cube leaves an eighth of what can fall.
    assert fast[209] == pytest.approx(0.1 + 0.9 / 8)


def test_an_exponential_falls_by_the_same_factor_every_step() -> None:
    rates = scheduled_rates(Schedule("exponential", warmup=0.0, final=0.01), 101)
    factors = rates[2:] / rates[1:-1]
    np.testing.assert_allclose(factors, 0.01**0.01, rtol=1e-12)
    assert rates[-1] == pytest.approx(0.01)


def test_a_cosine_planned_longer_than_the_run_is_the_start_of_the_longer_one() -> None:
    # With the warm-up in steps the two have the same updates, but for one of them at the ends.
    longer = scheduled_rates(Schedule("cosine", warmup_steps=20), 20 + 1500)
    cut = scheduled_rates(Schedule("cosine", warmup_steps=20, cycle=1.5), 20 + 1000)
    np.testing.assert_allclose(cut, longer[:1020], rtol=1e-12)
    ends = [scheduled_rate(schedule, 1.0, 1000, 999) for schedule in HOFFMANN_CYCLES]
    assert [schedule.cycle for schedule in HOFFMANN_CYCLES] == [1, 1.1, 1.25, 1.5, 2, 5]
    assert ends[0] == pytest.approx(0.1)
    assert ends[4] == pytest.approx(0.55)
    assert ends == sorted(ends)


def test_a_warm_up_in_steps_is_the_same_at_every_length() -> None:
    schedule = Schedule("wsd_sqrt", warmup_steps=30, final=0)
    assert warmup_steps(schedule, 100) == warmup_steps(schedule, 10_000) == 30
    short, long = (scheduled_rates(schedule, steps, 0.3) for steps in (100, 200))
    np.testing.assert_array_equal(short[:80], long[:80])
    assert short[29] == long[29] == 0.3
    assert short[14] == pytest.approx(0.15)


def test_what_kaplan_scans_differs_in_the_rates_it_adds_up() -> None:
    sums = [rate_sum(schedule, 1000, 0.002) for schedule in KAPLAN_SCHEDULES]
    assert len(set(KAPLAN_SCHEDULES)) == 10
    assert sums[0] == pytest.approx(sums[1])  # a cosine adds up to what a line does
    assert len({round(one, 9) for one in sums}) == 9
    # A constant rate adds up to the most; a linear fall to a tenth to about 0.55 of it.
    assert max(sums) == rate_sum(Schedule("constant"), 1000, 0.002)
    assert rate_sum(Schedule("linear", warmup=0.0), 1000, 1.0) == pytest.approx(550, rel=2e-3)
    fall = (1 - math.exp(-math.log(10))) / math.log(10)
    assert rate_sum(Schedule("exponential", warmup=0.0), 10_000, 1.0) == pytest.approx(
        10_000 * fall, rel=2e-3
    )


@pytest.mark.parametrize("schedule", [*KAPLAN_SCHEDULES, *HOFFMANN_CYCLES])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (613, 0), (613, 40), (20, 30)])
def test_the_row_of_rates_is_that_of_each_step(schedule: Schedule, steps: int, warmup: int) -> None:
    schedule = replace(schedule, warmup_steps=warmup)
    each = [scheduled_rate(schedule, 0.003, steps, step) for step in range(steps)]
    np.testing.assert_allclose(scheduled_rates(schedule, steps, 0.003), each, rtol=1e-12)
    assert max(each) <= 0.003 * (1 + 1e-12)


def test_what_came_later_is_written_only_where_it_says_something() -> None:
    assert set(Schedule().to_dict()) == {"kind", "warmup", "final", "decay"}
    for schedule in (*HOFFMANN_CYCLES, *KAPLAN_SCHEDULES, Schedule(warmup_steps=7)):
        assert Schedule.from_dict(schedule.to_dict()) == schedule


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"cycle": 0.5}, "schedule cycle is 0.5; it must be at least 1"),
        ({"kind": "linear", "cycle": 2}, "schedule cycle is 2.0; it must be of a cosine"),
        ({"power": 2}, "schedule power is 2.0; it must be of a power"),
        ({"kind": "power", "power": 0}, "schedule power is 0.0; it must be positive"),
        ({"kind": "exponential", "final": 0}, "schedule final is 0.0; it must be positive"),
        ({"warmup_steps": -1}, "schedule warmup_steps is -1; it must be zero or more"),
        ({"warmup_steps": 1.5}, "schedule warmup_steps is 1.5; it must be a whole number"),
        ({"cycle": "long"}, "schedule cycle: 'long' is not a number"),
    ],
)
def test_wrong_schedules_are_named(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Schedule(**given)
    assert words in str(caught.value)
