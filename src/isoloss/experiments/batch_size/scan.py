"""A scan over batch sizes: a task trained at every batch, with the rate tuned at each.

The rates of a batch are tried outwards from a guess, each a factor from the next, until the steps
to every target rise on both sides of their fewest. A run that is much slower than the best so far
is cut short: that it was slower is all that is asked of it. Runs are made by processes of one
thread each, and kept in a folder, a small file for each: a scan that was stopped goes on from what
is there, and makes the same runs as one that was not.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from isoloss.errors import InputError
from isoloss.experiments.batch_size.workers import Workers
from isoloss.files import make_folder, write_whole
from isoloss.fitting.tuned_steps import TunedSteps, tuned_steps
from isoloss.lab.batch_size.curve import HOPELESS, Curve, train_curve
from isoloss.lab.batch_size.task import Task
from isoloss.runs import Runs

MakeTask: TypeAlias = Callable[[], Task]
"""A task made anew in another process: a function of a module, perhaps with `partial`."""

Tell: TypeAlias = Callable[[str, float, float | None, str], None]
"""What is done, how much of it, of how much, and a note."""

_ByRate: TypeAlias = dict[float, list[Curve]]

_PLAN = "scan.json"
_MOST_RATES = 9  # of one batch
_MOST_BLIND = 5  # of one at which nothing was reached yet
_SLOWER = 3.0  # times the fewest steps so far: a run that is slower is cut short there


@dataclass(frozen=True)
class ScanPlan:
    """What a scan trains; losses are the task's, batches are in examples.

    batches: rising. targets: held-out losses. most_examples, most_steps: what one run may take.
    factor: from one rate to the next. seeds: runs at every batch and rate.
    warmup: steps to the full rate.
    rate_grows: the power of the batch by which the guess of a rate goes from one batch to the next.
    """

    batches: tuple[int, ...]
    targets: tuple[float, ...]
    most_examples: int
    most_steps: int
    factor: float = 2.0
    seeds: int = 1
    warmup: int = 10
    rate_grows: float = 0.5

    def __post_init__(self) -> None:
        if len(set(self.batches)) < 2 or min(self.batches) < 1:
            raise InputError(f"batches are {self.batches}; a scan needs two or more, each above 0")
        if not self.targets or not all(math.isfinite(one) and one > 0 for one in self.targets):
            raise InputError(f"targets are {self.targets}; they are losses above 0")
        if self.factor <= 1 or self.seeds < 1:
            raise InputError("a scan needs a factor above 1 between rates, and one seed or more")

    def limit(self, batch: int) -> int:
        """The steps that a run at this batch may make."""
        return max(1, min(self.most_steps, self.most_examples // batch))


@dataclass(frozen=True, eq=False)
class Scan:
    """What a scan found. curves: of all runs, by batch and rate. tuned: steps at the best rates."""

    curves: tuple[Curve, ...]
    tuned: TunedSteps


def scan(
    make_task: MakeTask,
    plan: ScanPlan,
    folder: Path,
    *,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Scan:
    """Train a task at every batch of a plan, at as many rates as it takes to find the best.

    folder: holds the runs; what is there already is not run again. workers: processes, as many as
    there are cores by default. tell: is told of every run that ends.
    Returns a Scan; batches in its tuned steps are in the task's unit.
    Raises InputError where the folder holds another scan, or no run reaches any target.
    """
    task = make_task()
    _claim(folder, task, plan)
    ahead = _Ahead(tell, len(plan.batches))
    curves: list[Curve] = []
    seeds = range(plan.seeds)
    batches = sorted(plan.batches)
    guess = task.rate * (batches[0] / task.rate_batch) ** plan.rate_grows
    with _pool(make_task, workers or os.cpu_count() or 1) as pool:
        for number, batch in enumerate(batches):
            ahead.begin(number, batch)
            found: _ByRate = {}
            tuned: TunedSteps | None = None
            while rates := _next_rates(found, tuned, guess, plan.factor):
                limit = _limit(tuned, plan, batch)
                for curve in _made(
                    pool, folder, plan, [(batch, *one, limit) for one in product(rates, seeds)]
                ):
                    found.setdefault(curve.rate, []).append(curve)
                    ahead.ran(curve)
                tuned = _tuned(task, found, plan)
            curves += [one for _, one in _sorted(found)]
            if number + 1 < len(batches):
                guess = _best(found, tuned) * (batches[number + 1] / batch) ** plan.rate_grows
    return Scan(tuple(curves), tuned_steps(as_runs(task, curves), plan.targets))


def as_runs(task: Task, curves: Sequence[Curve]) -> Runs:
    """Curves as evaluations along runs, batches and amounts of data in the task's unit.

    The loss before the first step is left out; a run that diverged ends at one far above it.
    """
    rows = []
    for one in curves:
        about = one.batch * task.units, one.rate, f"{one.batch} {one.rate:.6g} {one.seed}"
        points = list(zip(one.steps, one.loss, strict=True))[1:]
        if one.diverged:
            points.append((one.steps[-1] + 1, HOPELESS * one.loss[0]))
        rows += [(*point, *about) for point in points]
    steps, losses, batches, rates, names = zip(*rows, strict=True)
    size = sum(parameter.numel() for parameter in task.model().parameters())
    return Runs(
        n=np.full(len(rows), float(size)),
        d=np.multiply(steps, batches).astype(np.float64),
        loss=np.array(losses),
        steps=np.array(steps, dtype=np.float64),
        batch=np.array(batches, dtype=np.float64),
        lr=np.array(rates),
        run=np.array(names),
        n_convention="total",
    )


# ---- which rates -----------------------------------------------------------------------------


def _tuned(task: Task, found: _ByRate, plan: ScanPlan) -> TunedSteps | None:
    """Steps at the best rate of one batch so far; None where no target was reached."""
    try:
        return tuned_steps(as_runs(task, [one for _, one in _sorted(found)]), plan.targets)
    except InputError:
        return None


def _next_rates(
    found: _ByRate, tuned: TunedSteps | None, guess: float, factor: float
) -> list[float]:
    """The rates to try now: none when every target that is reached has its best between others."""
    rates = sorted(found)
    if not rates:
        return [guess]
    if len(rates) == 1:
        return [guess / factor, guess * factor]
    if len(rates) >= _MOST_RATES:
        return []
    if tuned is None:
        return _blind(found, factor)
    open_ended = tuned.rate[~tuned.crossings.censored & ~tuned.bracketed]
    middle = math.sqrt(rates[0] * rates[-1])
    low = [rates[0] / factor] if (open_ended < middle).any() else []
    return low + ([rates[-1] * factor] if (open_ended >= middle).any() else [])


def _blind(found: _ByRate, factor: float) -> list[float]:
    """Where no rate reached a target: on towards the side whose runs came closest."""
    rates = sorted(found)
    if len(rates) >= _MOST_BLIND:
        return []
    lowest = dict.fromkeys(rates, 0.0)
    for rate, one in _sorted(found):
        lowest[rate] += math.inf if one.diverged else min(one.loss)
    best = min(rates, key=lambda rate: lowest[rate])
    if math.isinf(lowest[best]):
        return [rates[0] / factor**2]
    if best == rates[0]:
        return [rates[0] / factor]
    return [rates[-1] * factor] if best == rates[-1] else []


def _best(found: _ByRate, tuned: TunedSteps | None) -> float:
    """The best rate for the lowest target that any rate reached; the middle one where none was."""
    if tuned is None:
        return sorted(found)[len(found) // 2]
    reached = np.flatnonzero(~tuned.crossings.censored)
    return float(tuned.rate[reached[np.argmin(tuned.crossings.target[reached])]])


def _limit(tuned: TunedSteps | None, plan: ScanPlan, batch: int) -> int:
    """Steps for the next runs of a batch: those that may be slower than what is known, no more."""
    limit = plan.limit(batch)
    if tuned is None:
        return limit
    last = (tuned.crossings.target == min(plan.targets)) & ~tuned.crossings.censored
    return min(limit, math.ceil(_SLOWER * tuned.crossings.steps[last][0])) if last.any() else limit


def _sorted(found: _ByRate) -> list[tuple[float, Curve]]:
    return [(rate, one) for rate in sorted(found) for one in found[rate]]


# ---- making and keeping runs -----------------------------------------------------------------

_Asked: TypeAlias = tuple[int, float, int, int]
"""Batch, rate, seed, and the steps it may make."""

_task: Task | None = None  # of a worker


def _made(pool: Executor, folder: Path, plan: ScanPlan, asked: Sequence[_Asked]) -> Iterator[Curve]:
    """The curves asked for, from the folder or trained now, in order."""
    paths = [folder / f"b{batch}-r{rate:.9g}-s{seed}.json" for batch, rate, seed, _ in asked]
    kept = [_read(path) for path in paths]
    until = min(plan.targets)
    started = [
        pool.submit(_train, *one, until, plan.warmup) if curve is None else None
        for one, curve in zip(asked, kept, strict=True)
    ]
    for path, curve, future in zip(paths, kept, started, strict=True):
        if future is not None:
            curve = future.result()
            write_whole(path, json.dumps(asdict(curve)) + "\n")
        assert curve is not None
        yield curve


def _train(batch: int, rate: float, seed: int, limit: int, until: float, warmup: int) -> Curve:
    assert _task is not None
    return train_curve(
        _task, batch=batch, rate=rate, seed=seed, most_steps=limit, until=until, warmup=warmup
    )


def _begin(make_task: MakeTask) -> None:
    """Make the task of a worker, which has one thread: small models gain nothing from more."""
    global _task
    import torch

    torch.set_num_threads(1)
    _task = make_task()


@contextmanager
def _pool(make_task: MakeTask, workers: int) -> Iterator[Executor]:
    pool = Workers(workers, _begin, make_task)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _read(path: Path) -> Curve | None:
    if not path.exists():
        return None
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        steps, loss = tuple(map(int, kept.pop("steps"))), tuple(map(float, kept.pop("loss")))
        if len(steps) != len(loss) or not steps:
            raise ValueError("as many steps as losses")
        return Curve(steps=steps, loss=loss, **kept)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: is no curve of a scan; remove it, and it is run again") from None


def _claim(folder: Path, task: Task, plan: ScanPlan) -> None:
    """Write down what the folder holds; raises InputError where it holds something else."""
    about: dict[str, Any] = {"task": task.name, "optimizer": task.optimizer, "rate": task.rate}
    about |= {"rate_batch": task.rate_batch, "units": task.units, "data": task.data}
    about |= asdict(plan)
    text = json.dumps(about, indent=1) + "\n"
    make_folder(folder)
    path = folder / _PLAN
    if path.exists() and (kept := path.read_text(encoding="utf-8")) != text:
        raise InputError(
            f"{folder} holds the runs of another scan{_first_apart(kept, text)}; name another "
            "folder"
        )
    if not path.exists() and any(folder.glob("b*-r*-s*.json")):
        raise InputError(f"{folder} holds runs and no {_PLAN}; name another folder")
    write_whole(path, text)


def _first_apart(kept: str, asked: str) -> str:
    """The first field of a plan that is another, as the end of a sentence."""
    try:
        before, now = json.loads(kept), json.loads(asked)
        name = next(one for one in now if before.get(one) != now[one])
    except (ValueError, AttributeError, StopIteration):
        return ""
    return f" ({name} was {before.get(name)!r} and is {now[name]!r})"


class _Ahead:
    """Tells how far a scan is: batches done, of how many, and the last run."""

    def __init__(self, tell: Tell | None, total: int) -> None:
        self._tell, self._total, self._at, self._batch = tell, total, 0, 0

    def begin(self, number: int, batch: int) -> None:
        self._at, self._batch = number, batch
        self._say("")

    def ran(self, curve: Curve) -> None:
        end = "diverged" if curve.diverged else f"loss {curve.loss[-1]:.3g}"
        self._say(f"rate {curve.rate:.3g}, {curve.steps[-1]:,} steps, {end}")

    def _say(self, note: str) -> None:
        if self._tell is not None:
            self._tell(f"batch {self._batch}", self._at, self._total, note)
