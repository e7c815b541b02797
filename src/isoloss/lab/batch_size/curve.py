"""One run of a task at a constant rate after warm-up: its curve of held-out loss against steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isoloss.lab.batch_size.task import Learner, Task, ramp

WARMUP = 10  # steps
SPACING = 1.06  # from one evaluation to the next, in steps
HOPELESS = 3.0  # times the first loss: a run that is there has diverged


@dataclass(frozen=True)
class Curve:
    """Held-out losses of one run: steps and loss are (points,), batch in examples.

    diverged: whether its loss stopped being finite or left for good; its last points are not there.
    """

    batch: int
    rate: float
    seed: int
    steps: tuple[int, ...]
    loss: tuple[float, ...]
    diverged: bool


def train_curve(
    task: Task,
    *,
    batch: int,
    rate: float,
    seed: int,
    most_steps: int,
    until: float,
    warmup: int = WARMUP,
) -> Curve:
    """Train until the held-out loss is below `until`, for `most_steps` at most.

    batch: examples. rate: reached by a linear warm-up over `warmup` steps, then constant. until:
    three evaluations in turn must be below it, for one may be by luck.
    """
    learner = Learner(task, seed=seed)
    steps, losses, below, due = [0], [learner.held_out()], 0, 1
    while learner.steps < most_steps and below < 3:
        trained = learner.update(batch, rate * ramp(learner.steps, warmup))
        if learner.steps < due and learner.steps < most_steps:
            if not math.isfinite(trained):
                return Curve(batch, rate, seed, tuple(steps), tuple(losses), True)
            continue
        due = next_step(learner.steps, SPACING)
        loss = learner.held_out()
        if not loss < HOPELESS * losses[0]:
            return Curve(batch, rate, seed, tuple(steps), tuple(losses), True)
        steps.append(learner.steps)
        losses.append(loss)
        below = below + 1 if loss <= until else 0
    return Curve(batch, rate, seed, tuple(steps), tuple(losses), False)


def next_step(steps: int, factor: float) -> int:
    """The step to look at next: a factor on, and one step at least."""
    return max(steps + 1, math.ceil(steps * factor))
