"""The noise scale at a rate and at one many times lower, where training is as far.

A run is at a temperature T = rate / batch: as hot as that, the weights are shaken along the steep
directions of the loss, whose gradient is then the larger part of |G|^2. So the noise scale is in
proportion to 1/T as long as they are most of it, and a rate that is too low makes it look large.

Source: McCandlish et al. 2018, appendix C.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isoloss.distributions import student_quantile
from isoloss.errors import InputError
from isoloss.lab.batch_size.curve import WARMUP, next_step
from isoloss.lab.batch_size.noise import learner_noise
from isoloss.lab.batch_size.task import Learner, Task, ramp
from isoloss.noise import NoiseScale

_SPACING = 1.02  # from one evaluation to the next: the runs must stop at one loss


@dataclass(frozen=True)
class Reading:
    """The noise scale where a run reached the loss; `adam` as in `NoisePoint`."""

    seed: int
    rate: float
    steps: int
    loss: float
    scale: NoiseScale
    adam: NoiseScale | None

    @property
    def weighed(self) -> float:
        """B_simple of gradients as the run's optimizer weighs them."""
        return (self.adam or self.scale).b_simple


@dataclass(frozen=True)
class Temperature:
    """Readings of hot and of cold runs, in pairs, and the ratio of their noise scales as weighed.

    factor: of the temperatures. ratio: cold over hot, the geometric mean of the pairs with a number
    in both, with its interval (low, high); not a number where fewer than two pairs have one.
    """

    factor: float
    hot: tuple[Reading, ...]
    cold: tuple[Reading, ...]
    ratio: float
    low: float
    high: float


def temperature_effect(
    task: Task,
    *,
    batch: int,
    rate: float,
    until: float,
    most_steps: int,
    factor: float = 16.0,
    seeds: int = 4,
    examples: int = 16_384,
    level: float = 0.9,
) -> Temperature:
    """Train at a rate and at rate / factor to the same held-out loss, and measure B_simple there.

    batch: examples, of both. until: the loss. most_steps: of a hot run; a cold one gets `factor`
    times as many. seeds: pairs of runs. examples: of every reading.
    Returns Temperature. Raises InputError where a run does not reach the loss, or for fewer than
    two seeds or a factor that is not above 1.
    """
    if seeds < 2 or not 1 < factor < math.inf:
        raise InputError(f"seeds {seeds} must be 2 or more, and factor {factor} above 1")
    hot, cold = (
        tuple(_read(task, batch, r, seed, until, steps, examples) for seed in range(seeds))
        for r, steps in ((rate, most_steps), (rate / factor, round(most_steps * factor)))
    )
    logs = [
        math.log(c.weighed / h.weighed)
        for c, h in zip(cold, hot, strict=True)
        if 0 < c.weighed < math.inf and 0 < h.weighed < math.inf
    ]
    if len(logs) < 2:
        return Temperature(factor, hot, cold, math.nan, 0.0, math.inf)
    middle, spread = float(np.mean(logs)), float(np.std(logs, ddof=1))
    half = student_quantile(0.5 + 0.5 * level, len(logs) - 1) * spread / math.sqrt(len(logs))
    ends = [math.exp(middle + by) for by in (0.0, -half, half)]
    return Temperature(factor, hot, cold, *ends)


def _read(
    task: Task, batch: int, rate: float, seed: int, until: float, most_steps: int, examples: int
) -> Reading:
    learner, due, loss = Learner(task, seed=seed), 1, math.inf
    while learner.steps < most_steps:
        learner.update(batch, rate * ramp(learner.steps, WARMUP))
        if learner.steps >= due:
            due = next_step(learner.steps, _SPACING)
            loss = learner.held_out()
            if loss <= until:
                scale, adam = learner_noise(learner, examples=examples)
                return Reading(seed, rate, learner.steps, loss, scale, adam)
    raise InputError(
        f"at a rate of {rate:.3g} the loss {until:.4g} is not reached in {most_steps} steps (it is "
        f"{loss:.4g}): name a higher loss, or allow more steps"
    )
