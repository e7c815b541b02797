"""The learning rate at every step of a run: the one formula, for training and for analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.runs.checks import number_of, refuse_unknown, require

ScheduleKind = Literal["cosine", "linear", "constant", "wsd", "wsd_sqrt"]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves: linear warm-up to the peak, then one of five shapes.

    kind: cosine or linear fall over all that follows the warm-up; constant; wsd, which is
    constant and then falls linearly over the last `decay` of the steps; or wsd_sqrt, which falls
    there as one minus a square root, fast at first.
    warmup, decay: fractions of all steps. final: learning rate at the end over its peak.
    Raises InputError naming the field, its value and the rule.
    """

    kind: ScheduleKind = "cosine"
    warmup: float = 0.02
    final: float = 0.1
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            raise InputError(
                f"schedule kind is {self.kind!r}; use one of {', '.join(get_args(ScheduleKind))}"
            )
        for name in ("warmup", "final", "decay"):
            value = number_of(getattr(self, name), f"schedule {name}")
            require(0 <= value <= 1, f"schedule {name}", value, "lie between 0 and 1")
            object.__setattr__(self, name, value)
        if self.kind in ("wsd", "wsd_sqrt"):
            total = self.warmup + self.decay
            require(total <= 1, "schedule warmup + decay", total, "be at most 1")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain JSON dict."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any] | str) -> Schedule:
        """Build from a dict, or from a kind alone; unknown keys raise InputError."""
        if isinstance(data, str):
            return cls(kind=data)  # type: ignore[arg-type]
        if not isinstance(data, Mapping):
            raise InputError(f"schedule is {data!r}; give a kind, or a table of its fields")
        refuse_unknown(data, [f.name for f in fields(cls)], "schedule")
        return cls(**data)


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
