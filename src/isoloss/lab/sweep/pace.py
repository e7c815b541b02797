"""How long a run will take, learned from the runs that are done or under way.

A step costs a fixed overhead per layer (launching kernels, the optimizer) and a time per FLOP:

    seconds = a * (steps * n_layer) + b * flops

At the sizes of a small sweep the first term rules the small models and the second the large, so
FLOPs alone would put a small model's time wrong by an order of magnitude. FLOPs include the
evaluations, a third of a training FLOP count per token (the forward pass alone).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from isoloss.runs import RunSpec


@dataclass(frozen=True)
class Work:
    """What a run, or a part of one, asks of a worker."""

    layer_steps: float
    flops: float

    def part(self, fraction: float) -> Work:
        """The given fraction of this work."""
        return Work(fraction * self.layer_steps, fraction * self.flops)


@dataclass(frozen=True)
class Pace:
    """Seconds per layer and step, and seconds per FLOP, of one worker on this machine."""

    layer_step: float
    flop: float

    def seconds(self, work: Work) -> float:
        """The expected time for this work, in seconds."""
        return self.layer_step * work.layer_steps + self.flop * work.flops


TYPICAL = Pace(layer_step=1.0e-3, flop=1 / 50e9)
"""One core of a common server; only its ratio matters, and only until the first run tells."""


def work_of(spec: RunSpec) -> Work:
    """The work of a whole run, its evaluations included."""
    per_token = spec.flops("exact") / spec.tokens_seen
    evaluated = spec.eval_points * spec.eval_block + spec.eval_final
    return Work(
        layer_steps=float(spec.steps * spec.shape.n_layer),
        flops=spec.flops("exact") + per_token / 3 * evaluated,
    )


def learn_pace(seen: Iterable[tuple[Work, float]]) -> Pace:
    """Fit the pace to (work, seconds) pairs by least squares of the relative error.

    Each coefficient is also pulled, weakly, to the typical one, scaled to the times seen: one
    size alone cannot tell the two apart.
    """
    pairs = [(work, seconds) for work, seconds in seen if seconds > 0]
    if not pairs:
        return TYPICAL
    ratios = sorted(seconds / TYPICAL.seconds(work) for work, seconds in pairs)
    scale = ratios[len(ratios) // 2]
    # Unknowns are multiples of scale * TYPICAL; the prior says both are one.
    weight = 0.05
    uu = vv = weight
    uv = 0.0
    u1 = v1 = weight
    for work, seconds in pairs:
        u = scale * TYPICAL.layer_step * work.layer_steps / seconds
        v = scale * TYPICAL.flop * work.flops / seconds
        uu, uv, vv = uu + u * u, uv + u * v, vv + v * v
        u1, v1 = u1 + u, v1 + v
    det = uu * vv - uv * uv
    first, second = (u1 * vv - v1 * uv) / det, (v1 * uu - u1 * uv) / det
    if first < 0:
        first, second = 0.0, v1 / vv
    elif second < 0:
        first, second = u1 / uu, 0.0
    return Pace(scale * TYPICAL.layer_step * first, scale * TYPICAL.flop * second)


def time_left(running: Sequence[float], waiting: Sequence[float], workers: int) -> float:
    """Wall time until the last run ends, when free workers take waiting runs in the order given.

    running: seconds left of the runs under way; waiting: seconds of the others; all in seconds.
    """
    free = [*running, *[0.0] * (workers - len(running))]
    heapq.heapify(free)
    for seconds in waiting:
        heapq.heappush(free, heapq.heappop(free) + seconds)
    return max(free, default=0.0)
