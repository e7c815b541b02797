"""A run whose batch follows the noise scale: B(s) = sqrt(r B_noise(s)), at the rate that it wants.

r is what a step is worth in examples: of all schedules that reach a loss, this one has the least
E + r S. The noise scale is B_simple as a meter finds it in the run's own steps, each made in parts,
averaged over the later part of the steps so far (for Adam, of gradients as it weighs them).

Source: McCandlish et al. 2018, appendix D. Left out: what the Hessian would make of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from isoloss.errors import InputError
from isoloss.lab.batch_size.curve import HOPELESS, SPACING, WARMUP, next_step
from isoloss.lab.batch_size.task import Learner, Task, ramp
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.laws.relations import BatchRate
from isoloss.noise import adaptive_gain, noise_scale

_PARTS = 8  # of a step; each is the small batch beside the whole
_LATER = 3  # a reading is of the last third of the steps
_FEWEST = 24  # steps in a reading


@dataclass(frozen=True)
class Moment:
    """An adaptive run at one of its evaluations; batches are in examples.

    steps, seen: updates and examples so far. loss: held out. batch: in use from here on. b_noise:
    as measured, or as assumed before the first reading. ideal: steps of very large batches that
    would have made the same progress, each step counted 1 / (1 + b_noise / batch).
    """

    steps: int
    seen: int
    loss: float
    batch: int
    b_noise: float
    measured: bool
    ideal: float


@dataclass(frozen=True)
class AdaptiveRun:
    """An adaptive run at its evaluations; diverged as in `Curve`."""

    seed: int
    moments: tuple[Moment, ...]
    diverged: bool

    @property
    def gamma(self) -> float:
        """`adaptive_gain` from the first reading on; not a number for fewer than two."""
        told = [one for one in self.moments if one.measured]
        if len(told) < 2:
            return math.nan
        return adaptive_gain([one.b_noise for one in told], [one.ideal for one in told])


def train_adaptive(
    task: Task,
    *,
    exchange: float,
    rate: BatchRate,
    first: int,
    most_batch: int,
    most_steps: int,
    seed: int,
    until: float,
    warmup: int = WARMUP,
) -> AdaptiveRun:
    """Train until the held-out loss is below `until`, for `most_steps` at most.

    exchange: r, examples that a step is worth. rate: that of each batch, in examples. first: the
    batch until the noise scale is known. most_batch: no step is larger, and none smaller than 2.
    until, warmup: as in `train_curve`.
    Raises InputError for an exchange or batches that are not in order.
    """
    if not (0 < exchange < math.inf and 2 <= first <= most_batch):
        raise InputError(
            f"exchange {exchange} must be above 0, and first {first} from 2 to most_batch "
            f"{most_batch}"
        )
    learner = Learner(task, seed=seed)
    weigher = learner.optimizer if task.optimizer == "adam" else None
    b_noise, batch, ideal, below, due = first**2 / exchange, first, 0.0, 0, 1
    start = learner.held_out()
    moments = [Moment(0, 0, start, batch, b_noise, measured=False, ideal=0.0)]
    measured = diverged = False
    with NoiseMeter(learner.model, window=None, optimizer=weigher) as meter:
        while learner.steps < most_steps and below < 3 and not diverged:
            _step(learner, meter, batch, float(rate(batch)) * ramp(learner.steps, warmup))
            ideal += 1.0 / (1.0 + b_noise / batch)
            if learner.steps < due and learner.steps < most_steps:
                continue
            due = next_step(learner.steps, SPACING)
            loss = learner.held_out()
            diverged = not loss < HOPELESS * start
            if not diverged:
                reading = _reading(meter, learner.steps)
                if reading is not None:
                    b_noise, measured = reading, True
                batch = round(min(max(math.sqrt(exchange * b_noise), 2.0), most_batch))
                at = (learner.steps, learner.seen, loss, batch, b_noise, measured, ideal)
                moments.append(Moment(*at))
                below = below + 1 if loss <= until else 0
    return AdaptiveRun(seed, tuple(moments), diverged)


def _step(learner: Learner, meter: NoiseMeter, batch: int, rate: float) -> None:
    """As `Learner.update`, in parts that the meter sees."""
    for group in learner.optimizer.param_groups:
        group["lr"] = rate

    def loss_of(*examples: Tensor) -> Tensor:
        return learner.task.losses(learner.model, examples).mean()

    meter.split(loss_of, *learner.draw(batch), parts=min(_PARTS, batch))
    meter.step()
    learner.optimizer.step()
    learner.optimizer.zero_grad(set_to_none=True)
    learner.steps += 1
    learner.seen += batch


def _reading(meter: NoiseMeter, steps: int) -> float | None:
    """B_simple of the last third of the steps; None where that has no number."""
    if steps < _FEWEST:
        return None
    small, big, sq_small, sq_big = meter.norms()[-max(_FEWEST, steps // _LATER) :].T
    if not np.isfinite(sq_small + sq_big).any():
        return None
    found = noise_scale(sq_small, sq_big, small=small, big=big).b_simple
    return found if 0 < found < math.inf else None
