"""The learning rate at every step of a run: the one formula, for training and for analysis."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.runs.checks import number_of, refuse_unknown, require, whole_of

ScheduleKind = Literal["cosine", "linear", "constant", "wsd", "wsd_sqrt", "power", "exponential"]
COOLING = ("wsd", "wsd_sqrt")
"""Kinds that hold the rate and lower it at the end: what a trunk can be cooled by."""

_LATER: dict[str, Any] = {"warmup_steps": 0, "cycle": 1.0, "power": 1.0}
"""Fields of a later date, left out of the plain form at these values: see `RunSpec.run_id`."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate moves: linear warm-up to the peak, then one of seven shapes.

    kind: cosine, linear, exponential or power fall over all that follows the warm-up; constant;
    wsd, which is constant and then falls linearly over the last `decay` of the steps; or wsd_sqrt,
    which falls there as one minus a square root, fast at first.
    warmup, decay: fractions of all steps. final: learning rate at the end over its peak.
    warmup_steps: the warm-up in steps, where it is not 0, in place of the fraction.
    cycle: of a cosine, how many times as long as the run its fall is, 1 or more; the run ends
    before `final` is reached. power: of a power, 1 for linear, more for a faster fall.
    Raises InputError naming the field, its value and the rule.
    """

    kind: ScheduleKind = "cosine"
    warmup: float = 0.02
    final: float = 0.1
    decay: float = 0.2
    warmup_steps: int = 0
    cycle: float = 1.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(ScheduleKind):
            raise InputError(
                f"schedule kind is {self.kind!r}; use one of {', '.join(get_args(ScheduleKind))}"
            )
        for name in ("warmup", "final", "decay"):
            value = number_of(getattr(self, name), f"schedule {name}")
            require(0 <= value <= 1, f"schedule {name}", value, "lie between 0 and 1")
            object.__setattr__(self, name, value)
        for name in ("cycle", "power"):
            value = number_of(getattr(self, name), f"schedule {name}")
            object.__setattr__(self, name, value)
        warmup = whole_of(self.warmup_steps, "schedule warmup_steps")
        object.__setattr__(self, "warmup_steps", warmup)
        require(warmup >= 0, "schedule warmup_steps", warmup, "be zero or more")
        require(self.cycle >= 1, "schedule cycle", self.cycle, "be at least 1")
        require(self.power > 0, "schedule power", self.power, "be positive")
        for name, kind in (("cycle", "cosine"), ("power", "power")):
            value = getattr(self, name)
            require(value == 1 or self.kind == kind, f"schedule {name}", value, f"be of a {kind}")
        if self.kind == "exponential":
            require(self.final > 0, "schedule final", self.final, "be positive: it is a ratio")
        if self.kind in COOLING and not self.warmup_steps:
            total = self.warmup + self.decay
            require(total <= 1, "schedule warmup + decay", total, "be at most 1")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a plain JSON dict, but for late ones at their defaults."""
        return {name: value for name, value in asdict(self).items() if value != _LATER.get(name)}

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

    Warm-up: peak (step + 1) / w over the first w updates, warmup_steps or warmup * steps (at
    least one). After it, with u in (0, 1] the part of the remaining updates done and f = final:
    cosine       peak (f + (1 - f) (1 + cos(pi u / cycle)) / 2)
    linear       peak (1 - (1 - f) u)
    power        peak (f + (1 - f) (1 - u)^power)
    exponential  peak f^u
    constant     peak
    wsd          peak, then linearly to f peak over the last `decay` of all updates
    wsd_sqrt     peak, then over those peak (1 - (1 - f) sqrt(v)), v in (0, 1] the part of them done
    Source: Kaplan et al. 2020 D.6 (cosine, linear, faster and slower falls), Hoffmann et al. 2022
    appendix B (cycle), Hu et al. 2024 (warm-up, stable, decay), Hagele et al. 2024 (the square
    root, best of the cool-downs they tried).
    """
    warmup = warmup_steps(schedule, steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule.kind in COOLING:
        decay = decay_steps(schedule, steps)
        part = max(0.0, (step + 1 - (steps - decay)) / decay)
    else:
        part = (step + 1 - warmup) / max(1, steps - warmup)
    return float(peak * _share(schedule, part, math))


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Return the updates of linear warm-up, at least one: as stated, or a share of all updates."""
    return max(1, schedule.warmup_steps or round(schedule.warmup * steps))


def decay_steps(schedule: Schedule, steps: int) -> int:
    """Return the updates of the cool-down of a wsd: a share of all updates, at least one."""
    return max(1, round(schedule.decay * steps))


def scheduled_rates(schedule: Schedule, steps: int, peak: float = 1.0) -> npt.NDArray[np.float64]:
    """Return `scheduled_rate` of every update, (steps,).

    Raises InputError if steps is below one.
    """
    if steps < 1:
        raise InputError(f"a run has one step or more, not {steps}")
    warmup = warmup_steps(schedule, steps)
    done = np.arange(1.0, steps + 1.0)
    if schedule.kind in COOLING:
        decay = decay_steps(schedule, steps)
        part = np.maximum(0.0, (done - (steps - decay)) / decay)
    else:
        part = np.maximum(0.0, (done - warmup) / max(1, steps - warmup))
    share = _share(schedule, part, np)
    return np.asarray(peak * np.where(done <= warmup, done / warmup, share))


def rate_sum(schedule: Schedule, steps: int, peak: float = 1.0) -> float:
    """Return the learning rate summed over all updates, what Kaplan's Fig. 22 holds losses against.

    Source: Kaplan et al. 2020 D.6: the loss follows it more than the shape of the schedule.
    """
    return float(scheduled_rates(schedule, steps, peak).sum())


def _share(schedule: Schedule, part: Any, lib: Any) -> Any:
    """The rate over its peak where `part` of the fall is done; lib is math, or numpy for arrays."""
    final, kind = schedule.final, schedule.kind
    if kind == "cosine":
        return final + (1.0 - final) * 0.5 * (1.0 + lib.cos(lib.pi * part / schedule.cycle))
    if kind == "exponential":
        return final**part
    if kind == "constant":
        gone = 0.0 * part
    elif kind == "wsd_sqrt":
        gone = lib.sqrt(part)
    else:
        gone = 1.0 - (1.0 - part) ** schedule.power if kind == "power" else part
    return 1.0 - (1.0 - final) * gone


KAPLAN_SCHEDULES = (
    *(Schedule(kind, final=0.1) for kind in ("cosine", "linear", "constant", "wsd")),
    *(Schedule("power", final=0.1, power=power) for power in (0.5, 2.0, 4.0)),
    Schedule("exponential", final=0.1),
    *(Schedule("cosine", final=0.1, warmup=warmup) for warmup in (0.0, 0.1)),
)
"""What Kaplan et al. 2020 scan in D.6 and Fig. 22, none of which falls to zero: cosine, linear,
faster and slower falls, a constant rate, with a final decay and without, several warm-ups. The
powers and warm-ups are ours: the figure has no labels."""

HOFFMANN_CYCLES = tuple(
    Schedule("cosine", final=0.1, cycle=cycle) for cycle in (1.0, 1.1, 1.25, 1.5, 2.0, 5.0)
)
"""A cosine that is planned longer than the run, ten times lower at its end: Hoffmann et al. 2022,
appendix B. Planned more than a quarter too long, it costs loss."""
