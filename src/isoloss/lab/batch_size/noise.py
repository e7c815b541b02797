"""The noise scale along a run: at weights held still, from as many examples as it takes.

A meter that reads while a model learns averages over weights that move. Here the run stops for each
reading, so that it belongs to one loss, and may use more examples than a step does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from isoloss.errors import InputError
from isoloss.lab.batch_size.curve import HOPELESS, WARMUP, next_step
from isoloss.lab.batch_size.task import Learner, Task, ramp
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.noise import NoiseScale

_PARTS = 8  # of a batch, whose own gradients are the small ones
_REPEATS = 64  # batches in a reading
SPACING = 1.12  # from one reading to the next, in steps
AROUND = 1.25  # times the steps to a loss, or as many times fewer: a reading there is one of it


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
    until: float,
    most_steps: int,
    warmup: int = WARMUP,
    examples: int = 16_384,
) -> tuple[NoisePoint, ...]:
    """Measure the noise scale along a run, from before its first step.

    batch: examples. rate: constant after warm-up. until: a held-out loss; the run goes on for a
    quarter of its steps after a reading at or below it. examples: of every reading. Readings are at
    steps that grow by a factor of 1.12, whatever the loss is: moments at which it is low by chance
    are those of a small gradient, and have too large a noise scale. A run that diverges ends.
    """
    learner, due, last = Learner(task, seed=seed), 0, float(most_steps)
    points: list[NoisePoint] = []
    while True:
        if learner.steps >= due:
            due = next_step(learner.steps, SPACING)
            loss = learner.held_out()
            if not loss < HOPELESS * (points[0].loss if points else math.inf):
                return tuple(points)
            scale, adam = learner_noise(learner, examples=examples)
            points.append(NoisePoint(learner.steps, learner.seen, loss, scale, adam))
            if loss <= until:
                last = min(last, AROUND * learner.steps)
        if learner.steps >= last:
            return tuple(points)
        if not math.isfinite(learner.update(batch, rate * ramp(learner.steps, warmup))):
            return tuple(points)


def noise_at_loss(points: Sequence[NoisePoint], loss: float) -> tuple[float, float, float] | None:
    """The noise scale where a run reaches a loss: lowest, mean and highest of the readings there.

    They are those from a fifth fewer steps than the first at or below the loss, which alone is
    chosen by it, to a quarter more; their mean is the ratio of the means of tr(Sigma) and |G|^2.
    None where the run did not get there, infinite where a gradient could not be told from zero.
    """
    first = next((one.step for one in points if one.loss <= loss), None)
    if first is None:
        return None
    there = [one.scale for one in points if first / AROUND <= one.step <= first * AROUND]
    told = [one.b_simple for one in there]
    g2 = sum(one.g2 for one in there)
    mean = sum(one.tr_sigma for one in there) / g2 if g2 > 0 else math.inf
    return min(told), mean, max(told)
