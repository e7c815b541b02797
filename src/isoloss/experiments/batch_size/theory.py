"""The checks of what the theory of the noise scale says, on any task.

A scan over batches with tuned rates gives the critical batch and the rule of the rate; at held
weights line searches stand beside the Hessian; from one checkpoint batches branch off; a batch that
follows the noise scale runs beside a fixed one; a run 16 times colder is as far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isoloss.distributions import student_quantile
from isoloss.errors import FitError, InputError
from isoloss.experiments.batch_size.scan import MakeTask, Scan, ScanPlan, Tell, scan
from isoloss.experiments.batch_size.study import fit_or_refusal
from isoloss.fitting import (
    BatchRateFit,
    CriticalBatchFit,
    LineSearchFit,
    batch_rate_rule,
    fit_line_search,
)
from isoloss.fitting.crossings import falling
from isoloss.lab.batch_size.adaptive import AdaptiveRun, train_adaptive
from isoloss.lab.batch_size.branches import BranchedBatch, branched_batch
from isoloss.lab.batch_size.curve import WARMUP, train_curve
from isoloss.lab.batch_size.hessian import Curvature, measure_curvature
from isoloss.lab.batch_size.line_search import search_line
from isoloss.lab.batch_size.task import Examples, Learner, Task, ramp
from isoloss.lab.batch_size.temperature import Temperature, temperature_effect
from isoloss.laws.forms import Array
from isoloss.laws.relations import BatchRate

LEVEL = 0.9


@dataclass(frozen=True)
class ChecksPlan:
    """What is trained and measured; batches are in examples, losses held out.

    scan: its lowest target is where the critical batch, the rule of the rate and the saving are of.
    held: losses at which weights are held still, the last of them that of the checkpoint; train:
    the batch that leads there. line_batches, line_gradients: of the searches. hessian_repeats: of
    batches of 64. branch_batch, branch_examples, factors, tolerance, branches: as `branched_batch`.
    saving_seeds: runs of either kind. cold_batch, cold_loss, cold_seeds: of the temperature.
    """

    scan: ScanPlan
    held: tuple[float, ...] = (1.0, 0.4)
    train: int = 32
    line_batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    line_gradients: int = 32
    hessian_repeats: int = 200
    branch_batch: int = 4
    branch_examples: int = 8192
    factors: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    tolerance: float = 0.02
    branches: int = 6
    saving_seeds: int = 10
    cold_batch: int = 16
    cold_loss: float = 0.4
    cold_seeds: int = 8


@dataclass(frozen=True, eq=False)
class Held:
    """Weights held still at a loss: the Hessian's word, and that of the line searches.

    line: None where the searches do not say, and refusal says why.
    """

    loss: float
    curvature: Curvature
    line: LineSearchFit | None
    refusal: str = ""


@dataclass(frozen=True, eq=False)
class Saving:
    """Adaptive runs beside fixed ones, at `exchange` examples to the step, by E + exchange S.

    fixed, adaptive: (seeds, 2) steps and examples to the target. gamma: what theory makes of the
    noise scales that the adaptive runs read, for product: their (S/S_min - 1)(E/E_min - 1) over
    that of the fixed runs. predicted: the saving by gamma; neither is a number where all runs end
    before two readings. measured: the saving of E + exchange S. Both measured ones are (low,
    middle, high).
    """

    exchange: float
    batch: int
    fixed: Array
    adaptive: Array
    runs: tuple[AdaptiveRun, ...]
    gamma: float
    product: tuple[float, float, float]
    predicted: float
    measured: tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Checks:
    """All that was found for one optimizer. fit, rule: of the scan; cell: the lowest target's."""

    task: Task
    plan: ChecksPlan
    scan: Scan
    fit: CriticalBatchFit
    refusal: str
    rule: BatchRateFit
    held: tuple[Held, ...]
    branches: BranchedBatch
    saving: Saving
    temperature: Temperature

    @property
    def cell(self) -> int:
        return int(np.argmin(self.fit.target))


def check(
    make_task: MakeTask,
    plan: ChecksPlan,
    evaluation: Examples,
    folder: Path,
    *,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Checks:
    """Make all checks of one task.

    evaluation: examples whose mean loss the line searches lower. folder: keeps the scan's runs.
    Raises InputError where the scan does not fix the critical batch or the rates of its batches.
    """
    task = make_task()

    def say(what: str) -> None:
        if tell is not None:
            tell(f"{task.optimizer}: {what}", 0, None, "")

    found = scan(make_task, plan.scan, folder, workers=workers, tell=tell)
    fit, refusal = fit_or_refusal(found.tuned.crossings, task.unit)
    if fit is None:
        raise InputError(f"{task.name}: {refusal}")
    rule = _rule(found)
    cell = int(np.argmin(fit.target))
    say("line searches and the Hessian")
    learner = Learner(task, seed=plan.scan.seeds)
    held = tuple(_hold(learner, plan, rule.law, loss, evaluation) for loss in plan.held)
    say("branches")
    branches = branched_batch(
        learner,
        batch=plan.branch_batch,
        rate=float(rule.law(plan.branch_batch)),
        examples=plan.branch_examples,
        tolerance=plan.tolerance,
        factors=plan.factors,
        repeats=plan.branches,
        seed=plan.scan.seeds + 1,
    )
    say("fixed and adaptive batches")
    saving = _saving(task, plan, rule.law, fit, cell)
    say("hot and cold runs")
    temperature = temperature_effect(
        task,
        batch=plan.cold_batch,
        rate=float(rule.law(plan.cold_batch)),
        until=plan.cold_loss,
        most_steps=plan.scan.limit(plan.cold_batch),
        seeds=plan.cold_seeds,
    )
    return Checks(task, plan, found, fit, refusal, rule, held, branches, saving, temperature)


def _rule(found: Scan) -> BatchRateFit:
    """The rule of the rate, from the rates that were best for the lowest target."""
    tuned = found.tuned
    rows = ~tuned.crossings.censored & tuned.bracketed
    rows &= tuned.crossings.target == tuned.crossings.target[rows].min(initial=math.inf)
    return batch_rate_rule(tuned.crossings.batch[rows], tuned.rate[rows], level=LEVEL)


def _hold(
    learner: Learner, plan: ChecksPlan, rate: BatchRate, loss: float, evaluation: Examples
) -> Held:
    """Train on to a loss, and measure there."""
    while learner.held_out() > loss:
        for _ in range(5):
            learner.update(plan.train, float(rate(plan.train)) * ramp(learner.steps, WARMUP))
        if learner.steps > plan.scan.most_steps:
            raise InputError(
                f"the loss {loss:.4g} is not reached; hold the weights at a higher one"
            )
    optimizer = learner.optimizer if learner.task.optimizer == "adam" else None
    curvature = measure_curvature(
        learner.model,
        learner.task.losses,
        learner.draw,
        batch=64,
        repeats=plan.hessian_repeats,
        hessian_batch=256,
        optimizer=optimizer,
        level=LEVEL,
    )
    start = curvature.eps_max if curvature.eps_max > 0 else float(rate(plan.train))
    b_noise = curvature.noise.b_noise  # not a number where the loss curves down
    b_noise = b_noise if 0 < b_noise < math.inf else 0.0
    lines = [
        search_line(
            learner,
            batch=batch,
            repeats=plan.line_gradients,
            evaluation=evaluation,
            eps=start / (1 + b_noise / batch),
        )
        for batch in plan.line_batches
    ]
    eps, change = [one.eps for one in lines], [one.change for one in lines]
    try:
        line = fit_line_search(plan.line_batches, eps, change, level=LEVEL)
    except FitError as error:
        return Held(learner.held_out(), curvature, None, str(error))
    return Held(learner.held_out(), curvature, line)


def _saving(
    task: Task, plan: ChecksPlan, rate: BatchRate, fit: CriticalBatchFit, cell: int
) -> Saving:
    """Fixed runs at the critical batch, which is best at this exchange, beside adaptive ones."""
    target, limit = float(fit.target[cell]), plan.scan.most_steps
    exchange = float(fit.b_crit.mid[cell])
    batch = max(2, round(exchange))
    fixed, adaptive, runs = [], [], []
    for seed in range(plan.scan.seeds, plan.scan.seeds + plan.saving_seeds):
        curve = train_curve(
            task, batch=batch, rate=float(rate(batch)), seed=seed, most_steps=limit, until=target
        )
        steps = _crossing(curve.steps, curve.loss, target)
        fixed.append((steps, steps * batch))
        run = train_adaptive(
            task,
            exchange=exchange,
            rate=rate,
            first=batch,
            most_batch=max(plan.scan.batches),
            most_steps=limit,
            seed=seed,
            until=target,
        )
        moments = run.moments
        steps = _crossing([m.steps for m in moments], [m.loss for m in moments], target)
        seen = np.interp(steps, [m.steps for m in moments], [m.seen for m in moments])
        adaptive.append((steps, float(seen)))
        runs.append(run)
    price = np.array([exchange, 1.0])
    one, other = np.array(fixed), np.array(adaptive)
    cost = _ratio(other @ price, one @ price)
    s_min, e_min = float(fit.s_min.mid[cell]), float(fit.e_min.mid[cell])
    products = [(x[:, 0] / s_min - 1) * (x[:, 1] / e_min - 1) for x in (other, one)]
    gammas = [run.gamma for run in runs if not math.isnan(run.gamma)]
    gamma = float(np.mean(gammas)) if gammas else math.nan
    return Saving(
        exchange=exchange,
        batch=batch,
        fixed=one,
        adaptive=other,
        runs=tuple(runs),
        gamma=gamma,
        product=_ratio(*products),
        predicted=(1 - math.sqrt(gamma)) / 2,
        measured=(1 - cost[2], 1 - cost[1], 1 - cost[0]),
    )


def _crossing(steps: Sequence[int], loss: Sequence[float], target: float) -> float:
    """Steps to a loss along one run, smoothed as for the critical batch."""
    log_steps, log_loss = falling(np.array(steps[1:], float), np.array(loss[1:], float))
    if not log_loss[-1] <= math.log(target):
        raise InputError(f"a run did not reach {target:.4g} at its rate; allow more steps")
    return float(np.exp(np.interp(-math.log(target), -log_loss, log_steps)))


def _ratio(above: Array, below: Array) -> tuple[float, float, float]:
    """Low, middle and high of the ratio of two means of runs, by their logarithms."""
    if not (np.all(above > 0) and np.all(below > 0)):  # runs that beat S_min or E_min as fitted
        return 0.0, math.nan, math.inf
    logs = [np.log(above), np.log(below)]
    middle = float(logs[0].mean() - logs[1].mean())
    se = math.sqrt(sum(float(one.var(ddof=1)) / one.size for one in logs))
    half = student_quantile(0.5 + 0.5 * LEVEL, above.size - 1) * se
    return math.exp(middle - half), math.exp(middle), math.exp(middle + half)
