"""How the loss changes by one step along the gradient of a batch, at held weights.

The loss is that of a large fixed set of examples, and the rates tried go up and down by factors of
sqrt(2) until the lowest mean loss lies among them. `fitting.fit_line_search` makes of it the best
step at each batch, to be held against eps_max / (1 + B_noise / B).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.batch_size.task import Examples, Learner, pieces
from isoloss.lab.noise_meter.adam import adam_scales

RATIO = math.sqrt(2.0)
_MOST_RATES = 60
_BESIDE = 2  # rates tried on each side of the best


@dataclass(frozen=True, eq=False)
class LineSearch:
    """Changes of the loss after one step: (repeats, k), for k rates that rise."""

    batch: int
    eps: NDArray[np.float64]
    change: NDArray[np.float64]


def search_line(
    learner: Learner, *, batch: int, repeats: int, evaluation: Examples, eps: float
) -> LineSearch:
    """Try steps from the learner's weights, which are afterwards as they were.

    batch: examples of each gradient. repeats: gradients, each tried at every rate. evaluation: what
    the loss is the mean over. eps: the rate to begin with. A learner of Adam steps along P g, as
    its optimizer would without momentum (`noise_meter.adam`).
    Raises InputError for numbers that are not positive, and an Adam that has no state of a
    parameter that learns.
    """
    if batch < 1 or repeats < 1 or not 0 < eps < math.inf:
        raise InputError(f"batch {batch}, repeats {repeats} and eps {eps} must all be above 0")
    steps = [learner.gradient(learner.draw(batch)) for _ in range(repeats)]
    if learner.task.optimizer == "adam":
        scales = adam_scales(learner.optimizer, dict(learner.model.named_parameters()), steps[0])
        steps = [tuple(g * p for g, p in zip(one, scales, strict=True)) for one in steps]
    own = list(learner.model.parameters())
    start = [one.detach().clone() for one in own]
    before = _loss(learner, evaluation)
    found: dict[int, NDArray[np.float64]] = {}

    def tried(power: int) -> float:
        """The mean change at eps * RATIO ** power."""
        if power not in found:
            losses = []
            for step in steps:
                _move(own, start, step, eps * RATIO**power)
                losses.append(_loss(learner, evaluation) - before)
            found[power] = np.array(losses)
        mean = float(found[power].mean())
        return mean if math.isfinite(mean) else math.inf

    try:
        _surround_lowest(tried, found)
    finally:
        _restore(own, start)
    powers = [power for power in sorted(found) if np.isfinite(found[power]).all()]
    return LineSearch(
        batch,
        eps * RATIO ** np.array(powers, dtype=np.float64),
        np.array([found[power] for power in powers]).reshape(-1, repeats).T,
    )


def _surround_lowest(tried: Callable[[int], float], found: dict[int, NDArray[np.float64]]) -> None:
    """Try rates until `_BESIDE` on each side of the lowest are there."""
    tried(0)
    while len(found) < _MOST_RATES:
        best = min(found, key=tried)
        missing = [best + by for by in range(-_BESIDE, _BESIDE + 1) if best + by not in found]
        if not missing:
            return
        for power in missing:
            tried(power)


@torch.no_grad()
def _move(
    own: list[nn.Parameter], start: list[Tensor], step: tuple[Tensor, ...], eps: float
) -> None:
    for parameter, at, by in zip(own, start, step, strict=True):
        parameter.copy_(at - eps * by)


@torch.no_grad()
def _restore(own: list[nn.Parameter], start: list[Tensor]) -> None:
    for parameter, at in zip(own, start, strict=True):
        parameter.copy_(at)


@torch.no_grad()
def _loss(learner: Learner, evaluation: Examples) -> float:
    """The mean loss, added up in 64 bits: changes are small."""
    learner.model.eval()
    losses = [learner.task.losses(learner.model, piece).double() for piece in pieces(evaluation)]
    learner.model.train()
    return float(torch.cat(losses).mean())
