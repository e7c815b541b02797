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
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from isoloss.errors import InputError
from isoloss.files import make_folder, write_whole
from isoloss.fitting.tuned_steps import TunedSteps, tuned_steps
from isoloss.lab.batch_size.task import Task
from isoloss.lab.batch_size.training import Curve, train_curve
from isoloss.runs import Runs

MakeTask: TypeAlias = Callable[[], Task]
"""A task made anew in another process: a function of a module, perhaps with `partial`."""

Tell: TypeAlias = Callable[[str, float, float | None, str], None]
"""What is done, how much of it, of how much, and a note."""

_PLAN = "scan.json"
_MOST_RATES = 9  # of one batch
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
    done: dict[int, dict[float, list[Curve]]] = {}
    guess = task.rate * (plan.batches[0] / task.rate_batch) ** plan.rate_grows
    with _pool(make_task, workers or os.cpu_count() or 1) as pool:
        for number, batch in enumerate(sorted(plan.batches)):
            if number:
                before = sorted(plan.batches)[number - 1]
                guess = _best(done[before], plan) * (batch / before) ** plan.rate_grows
            found = done[batch] = {}
            ahead.begin(number, batch)
            while rates := _next_rates(found, guess, plan):
                limit = _limit(found, plan, batch)
                asked = [
                    (batch, rate, seed, limit) for rate, seed in product(rates, range(plan.seeds))
                ]
                for curve in _made(pool, folder, plan, asked):
                    found.setdefault(curve.rate, []).append(curve)
                    ahead.ran(curve)
    curves = tuple(c for by_rate in done.values() for _, cs in sorted(by_rate.items()) for c in cs)
    return Scan(curves, tuned_steps(as_runs(task, curves), plan.targets))


def as_runs(task: Task, curves: Sequence[Curve]) -> Runs:
    """Curves as evaluations along runs, batches and amounts of data in the task's unit."""
    rows = [
        (steps, loss, one.batch * task.units, one.rate, f"{one.batch} {one.rate:.6g} {one.seed}")
        for one in curves
        for steps, loss in zip(one.steps, one.loss, strict=True)
        if steps
    ]
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


def steps_to(curve: Curve, target: float) -> float:
    """Steps to a loss as the scan compares rates: the first three evaluations in turn below it."""
    below = np.array(curve.loss) <= target
    run = np.flatnonzero(below[:-2] & below[1:-1] & below[2:])
    return float(curve.steps[run[0]]) if run.size else math.inf


def _by_rate(found: dict[float, list[Curve]], target: float) -> dict[float, float]:
    return {
        rate: float(np.mean([math.log(steps_to(one, target)) for one in curves]))
        for rate, curves in sorted(found.items())
    }


def _next_rates(found: dict[float, list[Curve]], guess: float, plan: ScanPlan) -> list[float]:
    """The rates to try now: none when every target that is reached has its best between others."""
    if not found:
        return [guess]
    rates = sorted(found)
    if len(rates) >= _MOST_RATES:
        return []
    if len(rates) == 1:
        return [guess / plan.factor, guess * plan.factor]
    wanted: set[float] = set()
    for target in plan.targets:
        needed = _by_rate(found, target)
        best = min(needed, key=lambda rate: needed[rate])
        if math.isinf(needed[best]):
            continue
        if best == rates[0]:
            wanted.add(rates[0] / plan.factor)
        elif best == rates[-1]:
            wanted.add(rates[-1] * plan.factor)
    if not wanted and not any(
        math.isfinite(min(_by_rate(found, target).values())) for target in plan.targets
    ):
        return _blind(found, plan)
    return sorted(wanted)


def _blind(found: dict[float, list[Curve]], plan: ScanPlan) -> list[float]:
    """Where no rate reached a target: on towards the side whose runs came closest."""
    rates = sorted(found)
    if len(rates) >= 5:
        return []
    lowest = {
        rate: float(np.mean([math.inf if one.diverged else min(one.loss) for one in curves]))
        for rate, curves in found.items()
    }
    best = min(lowest, key=lambda rate: lowest[rate])
    if math.isinf(lowest[best]):
        return [rates[0] / plan.factor**2]
    if best == rates[0]:
        return [rates[0] / plan.factor]
    return [rates[-1] * plan.factor] if best == rates[-1] else []


def _best(found: dict[float, list[Curve]], plan: ScanPlan) -> float:
    """The best rate for the lowest target that any rate reached."""
    for target in sorted(plan.targets):
        needed = _by_rate(found, target)
        best = min(needed, key=lambda rate: needed[rate])
        if math.isfinite(needed[best]):
            return best
    return sorted(found)[len(found) // 2]


def _limit(found: dict[float, list[Curve]], plan: ScanPlan, batch: int) -> int:
    """Steps for the next runs of a batch: those that may be slower than what is known, no more."""
    fewest = min(
        (steps_to(one, min(plan.targets)) for curves in found.values() for one in curves),
        default=math.inf,
    )
    limit = plan.limit(batch)
    return min(limit, math.ceil(_SLOWER * fewest)) if math.isfinite(fewest) else limit


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
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (make_task,))
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
        return Curve(steps=steps, loss=loss, **kept)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(f"{path}: is no curve of a scan; remove it, and it is run again") from None


def _claim(folder: Path, task: Task, plan: ScanPlan) -> None:
    """Write down what the folder holds; raises InputError where it holds something else."""
    about: dict[str, Any] = {"task": task.name, "optimizer": task.optimizer, "rate": task.rate}
    about |= {"rate_batch": task.rate_batch, "units": task.units, **asdict(plan)}
    text = json.dumps(about, indent=1) + "\n"
    make_folder(folder)
    path = folder / _PLAN
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(f"{folder} holds the runs of another scan; name another folder")
    if not path.exists() and any(folder.glob("b*-r*-s*.json")):
        raise InputError(f"{folder} holds runs and no {_PLAN}; name another folder")
    write_whole(path, text)


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
