"""The noise scale along a run: at weights held still, from as many examples as it takes.

A meter that reads while a model learns averages over weights that move. Here the run stops for each
reading, so that it belongs to one loss, and may use more examples than a step does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from isoloss.errors import InputError
from isoloss.lab.batch_size.curve import SPACING, WARMUP, next_step
from isoloss.lab.batch_size.task import Learner, Task, ramp
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.noise import NoiseScale

_PARTS = 8  # of a batch, whose own gradients are the small ones
_REPEATS = 64  # batches in a reading
_BETWEEN = 1.6  # from one reading to the next, in steps


@dataclass(frozen=True)
class NoisePoint:
    """The noise scale at one moment of a run, in the task's unit.

    step, seen: updates and examples before it. loss: held out. scale: B_simple. adam: that of the
    gradients as Adam weighs them, None for another optimizer and before its first step.
    """

    step: int
    seen: int
    loss: float
    scale: NoiseScale
    adam: NoiseScale | None


def learner_noise(
    learner: Learner, *, examples: int = 16_384
) -> tuple[NoiseScale, NoiseScale | None]:
    """Measure B_simple at the weights a learner has now, and that of Adam's gradients.

    examples: new ones, in 64 batches of 8 parts each. Returns both in the task's unit; the second
    is None as in `NoisePoint`. Raises InputError for fewer than one example a part.
    Source: McCandlish et al. 2018, appendix A.1.
    """
    size = examples // (_REPEATS * _PARTS)
    if size < 1:
        raise InputError(f"examples is {examples}; a reading takes {_REPEATS * _PARTS} or more")
    model, units = learner.model, learner.task.units
    weighed = learner.task.optimizer == "adam" and learner.steps > 0
    with ExitStack() as stack:
        meters = [stack.enter_context(NoiseMeter(model, window=None))]
        if weighed:
            meter = NoiseMeter(model, window=None, optimizer=learner.optimizer)
            meters.append(stack.enter_context(meter))
        for _ in range(_REPEATS):
            model.zero_grad(set_to_none=True)
            drawn = learner.draw(size * _PARTS)
            for part in zip(*(torch.split(one, size) for one in drawn), strict=True):
                for meter in meters:
                    meter.part(size * units, size)
                loss = learner.task.losses(model, part).mean() / _PARTS
                loss.backward()  # type: ignore[no-untyped-call]
            for meter in meters:
                meter.step()
        model.zero_grad(set_to_none=True)
        scales = [meter.read().scale for meter in meters]
    return scales[0], scales[1] if weighed else None


def trace_noise(
    task: Task,
    *,
    batch: int,
    rate: float,
    seed: int,
    targets: Sequence[float],
    most_steps: int,
    warmup: int = WARMUP,
    examples: int = 16_384,
) -> tuple[NoisePoint, ...]:
    """Measure the noise scale before, along and at the end of a run, and at every target.

    batch: examples. rate: constant after warm-up. targets: held-out losses; the first evaluation
    at or below one has a reading, and that of the lowest ends the run. examples: of every reading.
    Other readings are at steps that grow by a factor of 1.6, evaluations by 1.06.
    """
    learner, points = Learner(task, seed=seed), []
    waiting, look, due = sorted(targets), 0, 0
    while True:
        last = learner.steps >= most_steps
        if learner.steps >= look or last:
            look = next_step(learner.steps, SPACING)
            loss = learner.held_out()
            reached = [one for one in waiting if loss <= one]
            waiting = [one for one in waiting if not loss <= one]
            last = last or not waiting
            if reached or last or learner.steps >= due:
                due = next_step(learner.steps, _BETWEEN)
                scale, adam = learner_noise(learner, examples=examples)
                points.append(NoisePoint(learner.steps, learner.seen, loss, scale, adam))
        if last:
            return tuple(points)
        learner.update(batch, rate * ramp(learner.steps, warmup))
