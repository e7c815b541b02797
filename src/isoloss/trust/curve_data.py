"""Learning curves as the forecast of a run sees them: points, traits, and the schedule's clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from isoloss.errors import InputError, UnidentifiedError
from isoloss.laws.annealing import annealing_sums
from isoloss.laws.forms import Array
from isoloss.runs import Run, Runs, RunSpec, Schedule, scheduled_rates, warmup_steps

TRAITS = ("n", "lr", "batch")
"""What a run's curve may depend on; the logarithms of these are a curve's traits."""
_CLOCKS = 4


@dataclass(frozen=True)
class Planned:
    """The schedule of curves that bring no spec: shape, warm-up in steps, length of the run."""

    schedule: Schedule | None = None
    warmup: int | None = None
    steps: int | None = None

    def at(self, steps: int) -> Schedule | None:
        """Return the schedule of a run of that many steps, with the warm-up stated in steps."""
        if self.schedule is None or self.warmup is None:
            return self.schedule
        return replace(self.schedule, warmup=min(1.0, self.warmup / steps))


def clock_of(schedule: Schedule, planned: int, memory: float) -> tuple[Array, Array]:
    """Return the clock and the cooling after every step of a schedule, (planned,) each."""
    spent, fallen = annealing_sums(scheduled_rates(schedule, planned), memory)
    return spent, fallen * (1.0 - memory)


Clocks = Callable[[Schedule, int, float], tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class Curve:
    """The evaluations of one run.

    step, loss: (m,), steps rising, in the loss's own unit. traits: (3,) logarithms of `TRAITS`, NaN
    where unknown. warmup: steps of warm-up. schedule, planned: of the whole run and how many steps
    it has, None where that is not known. clocks: `clock_of`, or the same remembered.
    """

    name: str
    step: Array
    loss: Array
    traits: Array
    warmup: int = 0
    schedule: Schedule | None = None
    planned: int | None = None
    clocks: Clocks = field(default=clock_of, repr=False)

    def clock(self, steps: Array, memory: float | None) -> tuple[Array, Array]:
        """Return the clock x and the cooling z at `steps`.

        With a memory x is the learning rate spent over its peak, in steps, and z the share of the
        peak that the rate has lost, as far as the run has felt it, in [0, 1]; without one, or
        without a schedule, x is the steps themselves and z zero.
        """
        if memory is None or self.schedule is None or self.planned is None:
            return np.asarray(steps, dtype=np.float64), np.zeros(np.shape(steps))
        at = np.asarray(steps).astype(np.intp) - 1
        spent, cooled = self.clocks(self.schedule, self.planned, memory)
        return spent[at], cooled[at]

    def until(self, step: float) -> Curve:
        """Return the curve with its evaluations up to `step` only."""
        kept = self.step <= step
        return replace(self, step=self.step[kept], loss=self.loss[kept])


def gather(
    runs: Runs | None, run: str | Run, to_step: int, plan: Planned
) -> tuple[Curve, tuple[Curve, ...]]:
    """Return the curve of a run and those of its sisters, points of the warm-up left out.

    Raises UnidentifiedError if the run has no usable evaluation yet; InputError if steps cannot be
    had, or its schedule ends before `to_step`.
    """
    table = None if runs is None else (runs if runs.curves is None else runs.curves)
    if table is not None and table.loss_unit == "bits per byte" and isinstance(run, Run):
        raise InputError("the record's losses are in nats, the sisters' in bits per byte")
    specs = {} if runs is None else {**(table.specs if table is not None else {}), **runs.specs}
    name = run if isinstance(run, str) else run.run_id
    curves = {} if table is None or not len(table) else _curves(table, specs, plan, name, to_step)
    if isinstance(run, Run):
        own = _of_record(run, "" if table is None else table.n_convention)
    elif name not in curves:
        known = ", ".join(sorted(curves)[:4])
        raise InputError(f"there is no curve of a run {name!r}; there are {known or 'none'}, ...")
    else:
        own = curves[name]
    if own.planned is not None and to_step > own.planned:
        raise InputError(
            f"run {name!r} is planned to end at step {own.planned}, before step {to_step}; "
            "ask for an earlier step"
        )
    if not own.step.size:
        raise UnidentifiedError(
            f"run {name!r} has no evaluation after its warm-up ({own.warmup} steps); wait for one"
        )
    if to_step <= own.step[-1]:
        raise InputError(
            f"run {name!r} was evaluated at step {own.step[-1]:.0f}; ask for a later step than that"
        )
    # Remembered for one forecast only: a clock is as long as its run, and sweeps share schedules.
    clocks = lru_cache(maxsize=_CLOCKS)(clock_of)
    others = (curve for other, curve in curves.items() if other != name)
    sisters = tuple(replace(curve, clocks=clocks) for curve in others if curve.step.size)
    return replace(own, clocks=clocks), sisters


def _curves(
    table: Runs, specs: Mapping[str, RunSpec], plan: Planned, own: str, to_step: int
) -> dict[str, Curve]:
    steps = _steps(table)
    columns = [getattr(table, trait) for trait in TRAITS]
    blank = np.full(len(table), np.nan)
    traits = np.log(np.column_stack([blank if one is None else one for one in columns]))
    names, number = np.unique(table.run, return_inverse=True)
    order = np.lexsort((steps, number))
    found = {}
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        name = str(names[number[rows[0]]])
        spec = specs.get(name)
        length = (plan.steps or to_step) if name == own else int(steps[rows[-1]])
        length = max(length, int(steps[rows[-1]]))
        schedule = plan.at(length) if spec is None else spec.schedule
        found[name] = _curve(
            name,
            steps[rows],
            table.loss[rows],
            traits[rows[0]],
            schedule,
            length if spec is None else spec.steps,
        )
    return found


def _steps(table: Runs) -> Array:
    """The step of every row: tokens over the batch, else the column of steps."""
    if table.batch is not None and np.all(np.isfinite(table.batch)):
        return np.maximum(np.round(table.d / table.batch), 1.0)
    if table.steps is not None and np.all(np.isfinite(table.steps) & (table.steps >= 1)):
        return np.asarray(table.steps, dtype=np.float64)
    raise InputError(
        "the curves do not say at which step they were evaluated; give a batch in tokens or steps"
    )


def spec_of(run: Run) -> RunSpec:
    """Return what a record says its run is.

    Raises InputError naming the record if it does not say, or says what is not known.
    """
    if not run.spec:
        raise InputError(f"record {run.run_id!r} is torn in its first line; nothing is known of it")
    try:
        return RunSpec.from_dict(run.spec)
    except InputError as error:
        raise InputError(f"record {run.run_id!r}: {error}") from None


def _of_record(run: Run, convention: str) -> Curve:
    spec = spec_of(run)
    size = run.n.get(convention, run.n["non_embedding_plus_head"])
    points = [p for p in run.points if np.isfinite(p.loss) and p.loss > 0]
    return _curve(
        run.run_id,
        np.array([p.step for p in points], dtype=np.float64),
        np.array([p.loss for p in points], dtype=np.float64),
        np.log([float(size), spec.lr, float(spec.batch)]),
        spec.schedule,
        spec.steps,
    )


def _curve(
    name: str, step: Array, loss: Array, traits: Array, schedule: Schedule | None, planned: int
) -> Curve:
    # Of evaluations at one step the last counts; np.unique keeps the first.
    step, first = np.unique(step[::-1], return_index=True)
    loss = loss[::-1][first]
    if schedule is None:
        return Curve(name, step, loss, traits)
    warmup = warmup_steps(schedule, planned)
    kept = (step > warmup) & (step <= planned)
    return Curve(name, step[kept], loss[kept], traits, warmup, schedule, planned)
