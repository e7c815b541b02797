"""How long a run will take, learned from the runs that are done or under way.

A step costs a fixed overhead per layer (calls into the library), a time per number that is only
touched (activations, attention weights, logits), and a time per FLOP:

    seconds = a * layer_steps + b * elements + c * flops

At the sizes of a small sweep the first two rule the small models and the last the large, so FLOPs
alone would put a small model's time wrong by an order of magnitude. Elements and FLOPs include
evaluation, taken to cost a third of training on the same tokens (the forward pass alone).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from isoloss.runs import RunSpec

_PRIOR_WEIGHT = 0.003  # of one run seen, for each of the three


@dataclass(frozen=True)
class Work:
    """What a run, or a part of one, asks of a worker."""

    layer_steps: float
    elements: float
    flops: float

    def part(self, fraction: float) -> Work:
        """The given fraction of this work."""
        return Work(fraction * self.layer_steps, fraction * self.elements, fraction * self.flops)


@dataclass(frozen=True)
class Pace:
    """Seconds per layer and step, per element touched and per FLOP, of one worker here."""

    layer_step: float
    element: float
    flop: float

    def seconds(self, work: Work) -> float:
        """The expected time for this work, in seconds."""
        return (
            self.layer_step * work.layer_steps
            + self.element * work.elements
            + self.flop * work.flops
        )


TYPICAL = Pace(layer_step=1.2e-3, element=3e-9, flop=1 / 40e9)
"""One core of a common server; only its ratios matter, and only until the first runs tell."""


def work_of(spec: RunSpec) -> Work:
    """The work of a whole run, its evaluations included; of a branch, that after its trunk.

    Elements per token: 10 d_model + 3 n_heads n_ctx for each layer and 3 vocab at the head, a
    count of the tensors a forward pass writes, good for comparing sizes and nothing else. A layer
    that is used again counts again; an LSTM's is one call, as a transformer's is.
    """
    shape = spec.shape
    layers = shape.n_layer * shape.reuse
    per_layer = 10 * shape.d_model + 3 * shape.n_heads * shape.n_ctx
    # As the trainer does, which leaves out points until evaluation is a fifth of the run.
    evaluated = spec.eval_points * spec.eval_block + spec.eval_final
    evaluated *= 1 + len(spec.eval_corpora)
    tokens = spec.tokens_paid + min(evaluated / 3, spec.tokens_paid / 4)
    return Work(
        layer_steps=float((spec.steps - spec.branch_step) * layers),
        elements=tokens * (layers * per_layer + 3 * shape.vocab),
        flops=spec.flops("exact") / spec.tokens_seen * tokens,
    )


def learn_pace(seen: Iterable[tuple[Work, float]]) -> Pace:
    """Fit the pace to (work, seconds) pairs: non-negative least squares of the relative error.

    Each coefficient is also pulled, weakly, to the typical one, scaled to the times seen: one
    size alone cannot tell the three apart.
    """
    pairs = [(work, seconds) for work, seconds in seen if seconds > 0]
    if not pairs:
        return TYPICAL
    scale = float(np.median([seconds / TYPICAL.seconds(work) for work, seconds in pairs]))
    unit = scale * np.array([TYPICAL.layer_step, TYPICAL.element, TYPICAL.flop])
    # Unknowns are multiples of the unit; the prior says all are one.
    rows = [
        unit * [work.layer_steps, work.elements, work.flops] / seconds for work, seconds in pairs
    ]
    matrix = np.vstack([*rows, np.sqrt(_PRIOR_WEIGHT) * np.eye(3)])
    target = np.concatenate([np.ones(len(rows)), np.full(3, np.sqrt(_PRIOR_WEIGHT))])
    layer_step, element, flop = (unit * _non_negative(matrix, target)).tolist()
    return Pace(layer_step, element, flop)


def time_left(running: Sequence[float], waiting: Sequence[float], workers: int) -> float:
    """Wall time until the last run ends, when free workers take waiting runs in the order given.

    running: seconds left of the runs under way; waiting: seconds of the others; all in seconds.
    """
    free = [*running, *[0.0] * (workers - len(running))]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)


def _non_negative(matrix: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares with coefficients of zero or more, by trying every set of positive ones."""
    size = matrix.shape[1]
    best, least = np.zeros(size), np.inf
    for count in range(1, size + 1):
        for kept in map(list, combinations(range(size), count)):
            solved = np.zeros(size)
            solved[kept] = np.linalg.lstsq(matrix[:, kept], target, rcond=None)[0]
            error = float(np.sum((matrix @ solved - target) ** 2))
            if error < least and (solved >= 0).all():
                best, least = solved, error
    return best
