"""The learning rate at every step of a run: the one formula, for training and for analysis."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.runs.spec import Schedule


def scheduled_rate(schedule: Schedule, peak: float, steps: int, step: int) -> float:
    """Return the learning rate of update `step` (0-based) of `steps`.

    Warm-up: peak (step + 1) / w over the first w = warmup * steps updates (at least one). After
    it, with u in (0, 1] the part of the remaining updates done and f = final:
    cosine    peak (f + (1 - f) (1 + cos(pi u)) / 2)
    linear    peak (1 - (1 - f) u)
    constant  peak
    wsd       peak, then linearly to f peak over the last `decay` of all updates
    wsd_sqrt  peak, then over those peak (1 - (1 - f) sqrt(v)), v in (0, 1] the part of them done
    Source: Kaplan et al. 2020 D.6 (cosine, linear), Hu et al. 2024 (warm-up, stable, decay),
    Hagele et al. 2024 (the square root, best of the cool-downs they tried).
    """
    warmup = warmup_steps(schedule, steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.kind == "constant":
        return peak
    if schedule.kind in ("wsd", "wsd_sqrt"):
        decay = max(1, round(schedule.decay * steps))
        done = max(0.0, (step + 1 - (steps - decay)) / decay)
        done = math.sqrt(done) if schedule.kind == "wsd_sqrt" else done
        return peak * (1.0 - (1.0 - schedule.final) * done)
    done = (step + 1 - warmup) / max(1, steps - warmup)
    if schedule.kind == "linear":
        return peak * (1.0 - (1.0 - schedule.final) * done)
    return peak * (schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * done)))


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Return the updates of linear warm-up: a share of all updates, at least one."""
    return max(1, round(schedule.warmup * steps))


def scheduled_rates(schedule: Schedule, steps: int, peak: float = 1.0) -> npt.NDArray[np.float64]:
    """Return `scheduled_rate` of every update, (steps,).

    Raises InputError if steps is below one.
    """
    if steps < 1:
        raise InputError(f"a run has one step or more, not {steps}")
    warmup, fall = warmup_steps(schedule, steps), 1.0 - schedule.final
    done = np.arange(1.0, steps + 1.0)
    if schedule.kind in ("wsd", "wsd_sqrt"):
        decay = max(1, round(schedule.decay * steps))
        part = np.maximum(0.0, (done - (steps - decay)) / decay)
        part = np.sqrt(part) if schedule.kind == "wsd_sqrt" else part
    else:
        part = (done - warmup) / max(1, steps - warmup)
    if schedule.kind == "constant":
        share = np.ones(steps)
    elif schedule.kind == "cosine":
        share = schedule.final + fall * 0.5 * (1.0 + np.cos(np.pi * part))
    else:
        share = 1.0 - fall * part
    return np.asarray(peak * np.where(done <= warmup, done / warmup, share))
