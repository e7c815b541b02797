"""One domain of McCandlish et al.'s Table 1: its critical batch beside its noise scale.

A scan over batches with the rate tuned at each gives the critical batch at every target loss; a run
at a batch in between gives the noise scale along the way. Written to a folder: the scan's runs, the
noise, the whole as JSON, a page in Markdown, and figures.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.experiments.batch_size.kept import read_json, write_json
from isoloss.experiments.batch_size.scan import MakeTask, Scan, ScanPlan, Tell, scan
from isoloss.fitting import CriticalBatchFit, Crossings, critical_batch
from isoloss.lab.batch_size.noise import SPACING, NoisePoint, trace_noise
from isoloss.lab.batch_size.task import Task
from isoloss.noise import NoiseScale


@dataclass(frozen=True)
class PaperRow:
    """A row of McCandlish et al.'s Table 1, as printed, in units of examples."""

    domain: str
    b_crit_start: str
    b_crit_average: str
    b_simple_start: str
    b_simple_average: str


TABLE_1 = {
    row.domain: row
    for row in (
        PaperRow("MNIST", "20", "200", "50", "900"),
        PaperRow("SVHN", "50", "500", "300", "4,000"),
        PaperRow("CIFAR-10", "300", "900", "400", "2,000"),
        PaperRow("ImageNet", "1,000", "15,000", "4,000", "30,000"),
        PaperRow("SVHN autoencoder", "10", "40", "2", "2"),
        PaperRow("SVHN VAE", "10", "200", "10", "10"),
        PaperRow("Billion Word (tokens)", "700", "100,000", "1,000", "150,000"),
        PaperRow(
            "Atari (frames)", "100 to 1,000", "400 to 8,000", "100 to 1,000", "1,000 to 20,000"
        ),
        PaperRow("Dota 1v1", "50,000", "3,000,000", "100,000", "300,000"),
        PaperRow("Dota 5v5", "not measured", "> 8,000,000 (estimate)", "100,000", "24,000,000"),
    )
}
"""McCandlish et al. 2018, Table 1."""

_NOISE = "noise.json"
_MOST_SEEDS = 4  # of the run along which noise is measured, until one reaches the last target


@dataclass(frozen=True)
class StudyPlan:
    """What a study of one domain does.

    scan: its runs. paper: the row to print beside it. differs: what is unlike the paper's, in one
    sentence. noise_batch: examples of a step of the run along which noise is measured.
    noise_examples: those of every reading.
    """

    scan: ScanPlan
    paper: PaperRow
    differs: str
    noise_batch: int
    noise_examples: int = 16_384


@dataclass(frozen=True, eq=False)
class Study:
    """What a study found. fit: None where the runs do not say, and refusal says why."""

    task: Task
    plan: StudyPlan
    scan: Scan
    fit: CriticalBatchFit | None
    refusal: str
    noise: tuple[NoisePoint, ...]

    @property
    def reached(self) -> float:
        """The lowest target that any run got to; not a number where none was."""
        found = self.scan.tuned.crossings
        return float(found.target[~found.censored].min(initial=math.inf))


def study(
    make_task: MakeTask,
    plan: StudyPlan,
    folder: Path,
    *,
    workers: int | None = None,
    tell: Tell | None = None,
) -> Study:
    """Scan the batches of a task, fit the critical one, and measure the noise scale along a run.

    folder: gets all that is made; what is there already is not run again.
    Raises InputError for a folder of another study, and for a model that does not get below its
    task's baseline: of such a domain nothing counts.
    """
    task = make_task()
    if min(plan.scan.targets) >= task.baseline:
        raise InputError(
            f"the lowest target, {min(plan.scan.targets):.4g}, is not below {task.baseline:.4g}, "
            f"the loss of {task.trivial}; name lower targets"
        )
    _kept_noise(folder)  # another's file is found out before the scan, not after it
    found = scan(make_task, plan.scan, folder / "runs", workers=workers, tell=tell)
    fit, refusal = fit_or_refusal(found.tuned.crossings, task.unit)
    noise = _noise(task, plan, found, folder, tell)
    result = Study(task, plan, found, fit, refusal, noise)
    if not result.reached < task.baseline:
        raise InputError(
            f"{task.name}: no run got below {task.baseline:.4g}, the loss of {task.trivial}; the "
            "domain does not count"
        )
    return result


def fit_or_refusal(data: Crossings, unit: str) -> tuple[CriticalBatchFit | None, str]:
    """The critical batch; or what there is of it, and why it is not identified, in the unit."""
    try:
        return critical_batch(data), ""
    except UnidentifiedError as error:
        why = str(error).removeprefix("critical batch: ").replace("tokens", unit)
        return (error.partial if isinstance(error.partial, CriticalBatchFit) else None), why


def _noise(
    task: Task, plan: StudyPlan, found: Scan, folder: Path, tell: Tell | None
) -> tuple[NoisePoint, ...]:
    """The noise scale along a run at the batch asked for and its best rate, kept in the folder."""
    tuned = found.tuned
    rows = (tuned.crossings.batch == plan.noise_batch * task.units) & ~tuned.crossings.censored
    if not rows.any():
        raise InputError(
            f"no run at a batch of {plan.noise_batch}, along which noise is to be measured, "
            "reached a target; name another noise_batch"
        )
    last = np.flatnonzero(rows)[np.argmin(tuned.crossings.target[rows])]
    about = {"rate": float(tuned.rate[last]), "until": float(tuned.crossings.target[last])}
    about |= {"batch": plan.noise_batch, "examples": plan.noise_examples, "spacing": SPACING}
    kept = _kept_noise(folder)
    if kept is not None and kept["about"] == about:
        try:
            return tuple(_point(one) for one in kept["points"])
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _no_noise(folder / _NOISE) from None
    if tell is not None:
        tell("noise scale along a run", 0, None, "")
    # The best rate is near the largest that trains, and with new examples a run may not get there.
    for seed in range(plan.scan.seeds, plan.scan.seeds + _MOST_SEEDS):  # that the scan did not have
        points = trace_noise(
            task,
            batch=plan.noise_batch,
            rate=about["rate"],
            seed=seed,
            until=about["until"],
            most_steps=plan.scan.limit(plan.noise_batch),
            warmup=plan.scan.warmup,
            examples=plan.noise_examples,
        )
        if min(one.loss for one in points) <= about["until"]:
            break
    numbers = {"about": about, "points": [asdict(one) for one in points]}
    write_json(folder / _NOISE, numbers)
    return points


def _kept_noise(folder: Path) -> dict[str, Any] | None:
    """What was measured, and of which run; raises InputError for a file that is something else."""
    path = folder / _NOISE
    if not path.exists():
        return None
    kept = read_json(path)
    if not (isinstance(kept, dict) and kept.keys() == {"about", "points"}):
        raise _no_noise(path)
    return kept


def _no_noise(path: Path) -> InputError:
    return InputError(f"{path}: is no noise of a study; name another folder")


def _point(kept: dict[str, Any]) -> NoisePoint:
    """A reading as it was written."""
    loss = math.nan if kept["loss"] is None else kept["loss"]
    return NoisePoint(
        **kept | {"loss": loss, "scale": _scale(kept["scale"]), "adam": _scale(kept["adam"])}
    )


def _scale(kept: dict[str, Any] | None) -> Any:
    if kept is None:
        return None
    numbers: dict[str, Any] = {
        name: math.inf if value is None else value for name, value in kept.items()
    }
    return NoiseScale(**numbers | {"status": tuple(Status[name] for name in kept["status"])})


def mean_noise(points: tuple[NoisePoint, ...], adam: bool = False) -> float:
    """B_simple averaged over the steps of a run, straight between readings that have a number."""
    scales = [one.adam if adam else one.scale for one in points]
    told = [
        (one.step, scale.b_simple)
        for one, scale in zip(points, scales, strict=True)
        if scale is not None and math.isfinite(scale.b_simple)
    ]
    if len(told) < 2:
        return math.nan
    step, b_simple = np.array(told).T
    between = 0.5 * (b_simple[1:] + b_simple[:-1]) * np.diff(step)
    return float(between.sum() / (step[-1] - step[0]))
