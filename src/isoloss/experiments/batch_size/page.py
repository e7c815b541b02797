"""The page of a study of one domain: numbers beside the paper's, as Markdown, JSON and figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoloss.experiments.batch_size.kept import write_json
from isoloss.experiments.batch_size.study import Study, StudyPlan, mean_noise
from isoloss.files import write_whole
from isoloss.fitting import CriticalBatchFit
from isoloss.lab.batch_size.noise import NoisePoint, noise_at_loss
from isoloss.noise import NoiseScale
from isoloss.runs import describe_machine
from isoloss.units import format_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from isoloss.figures import NoiseAlong


def write_page(found: Study, folder: Path) -> str:
    """Write study.md, study.json and the figures into a folder; returns the page."""
    page = as_markdown(found)
    write_json(folder / "study.json", as_json(found))
    draw(found, folder)
    write_whole(folder / "study.md", page)
    return page


def as_markdown(found: Study) -> str:
    """The page of a study: the paper's numbers and ours, targets, and what differs."""
    task, plan, fit = found.task, found.plan, found.fit
    unit = task.unit
    ours = [_first_and_last(found), _noise_words(found)]
    lines = [
        f"### {task.name}",
        "",
        f"| in {unit} | B_crit, start | B_crit, average | B_simple, start | B_simple, average |",
        "|---|---|---|---|---|",
        f"| here | {ours[0][0]} | {ours[0][1]} | {ours[1][0]} | {ours[1][1]} |",
        f"| McCandlish et al., {plan.paper.domain} | {plan.paper.b_crit_start} | "
        f"{plan.paper.b_crit_average} | {plan.paper.b_simple_start} | "
        f"{plan.paper.b_simple_average} |",
        "",
        f"Not a replication: {plan.differs}",
        "",
        f"Held-out loss {found.reached:.4g} reached, against {task.baseline:.4g} of "
        f"{task.trivial}. B_crit at the start is that of the first target, on average that of the "
        "last, with 90 % intervals; B_simple at the start is that of the weights before training, "
        f"on average over the steps of a run at {format_number(plan.noise_batch * task.units)} "
        f"{unit}, there around where that run reaches a loss, with the least and the most of the "
        f"readings. {_warmup_words(plan)}".rstrip(),
    ]
    if found.refusal:
        lines += ["", f"The critical batch is not identified: {found.refusal}."]
    if fit is not None:
        lines += ["", *_targets(found, fit)]
        if fit.law is not None and fit.alpha_b is not None and not found.refusal:
            lines += [
                "",
                f"Law: B_crit = {format_number(fit.law.b_star)} / L^(1/alpha_B), alpha_B "
                f"{float(fit.alpha_b.mid):.3g} ({float(fit.alpha_b.low):.3g} to "
                f"{float(fit.alpha_b.high):.3g}).",
            ]
    if task.optimizer == "adam":
        lines += [
            "",
            "B_simple of the gradients as Adam weighs them: "
            f"{format_number(mean_noise(found.noise, adam=True))} {unit} on average.",
        ]
    runs = len(found.scan.curves)
    data = f" Data: {task.data}." if task.data else ""
    lines += ["", f"{runs} runs at {len(plan.scan.batches)} batches.{data} {machine_line()}"]
    return "\n".join(lines) + "\n"


def _warmup_words(plan: StudyPlan) -> str:
    steps = plan.scan.warmup
    return f"S_min holds a warm-up of {steps} steps, half of them lost." if steps else ""


def _first_and_last(found: Study) -> tuple[str, str]:
    fit = found.fit
    if fit is None or found.refusal:
        return "not identified", "not identified"
    return _b_crit(fit, int(np.argmax(fit.target))), _b_crit(fit, int(np.argmin(fit.target)))


def _b_crit(fit: CriticalBatchFit, at: int) -> str:
    return words(*(float(end[at]) for end in fit.b_crit))


def words(low: float, mid: float, high: float) -> str:
    """A value with its interval."""
    return f"{format_number(mid)} ({format_number(low)} to {format_number(high)})"


def _noise_words(found: Study) -> tuple[str, str]:
    return noise_words(found.noise[0].scale), format_number(mean_noise(found.noise))


def _targets(found: Study, fit: CriticalBatchFit) -> list[str]:
    unit = found.task.unit
    lines = [
        f"| loss | S_min, steps | E_min, {unit} | B_crit, {unit} | B_simple there, {unit} |",
        "|---|---|---|---|---|",
    ]
    for i in np.argsort(-fit.target):
        cells = [
            f"{fit.target[i]:.4g}",
            format_number(float(fit.s_min.mid[i])),
            format_number(float(fit.e_min.mid[i])),
            _b_crit(fit, int(i)),
            noise_there(found.noise, float(fit.target[i])),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def noise_there(points: Sequence[NoisePoint], loss: float) -> str:
    """B_simple where a run reaches a loss, with the least and the most of its readings there."""
    found = noise_at_loss(points, loss)
    return "not reached" if found is None else words(*found)


def noise_words(scale: NoiseScale) -> str:
    """A noise scale with its interval, or the least that it is."""
    if math.isinf(scale.high):
        return f"at least {format_number(scale.low)}"
    return words(scale.low, scale.b_simple, scale.high)


def as_json(found: Study) -> dict[str, Any]:
    """All numbers of a study."""
    fit, tuned = found.fit, found.scan.tuned
    names = ("name", "unit", "units", "optimizer", "baseline", "trivial", "data")
    about = {name: getattr(found.task, name) for name in names}
    rows = {
        "target": tuned.crossings.target,
        "batch": tuned.crossings.batch,
        "steps": tuned.crossings.steps,
        "censored": tuned.crossings.censored,
        "rate": tuned.rate,
        "bracketed": tuned.bracketed,
    }
    return {
        "task": about,
        "plan": asdict(found.plan),
        "tuned": rows,
        "fit": None if fit is None else fit_numbers(fit),
        "refusal": found.refusal,
        "noise": [asdict(one) for one in found.noise],
        "b_simple_average": mean_noise(found.noise),
        "machine": describe_machine(),
    }


def fit_numbers(fit: CriticalBatchFit) -> dict[str, Any]:
    """The numbers of a fit: targets by size, and every interval."""
    kept = {"n": fit.n, "target": fit.target, "spread": fit.spread, "level": fit.level}
    for name in ("s_min", "e_min", "b_crit", "b_star", "alpha_b"):
        kept[name] = None if (ends := getattr(fit, name)) is None else ends._asdict()
    return kept


def machine_line() -> str:
    """The machine of a study, in a sentence."""
    about = describe_machine()
    return f"{about['cpu']}, {about['cores']} cores."


def draw(found: Study, folder: Path) -> None:
    """Draw the figures: steps against batch, time against compute, and both noise scales."""
    if found.fit is None:
        return
    from isoloss.figures import (
        critical_batch_against_loss,
        steps_against_batch,
        time_against_compute,
    )

    fit, unit = found.fit, found.task.unit
    measured = noise_lines(float(fit.n[0]), found.noise, 1.5 * float(fit.target.max()))
    save(steps_against_batch(fit, unit=unit), folder / "steps")
    save(time_against_compute(fit, unit=unit), folder / "bargain")
    save(critical_batch_against_loss(fit, measured=measured, unit=unit), folder / "noise")


def noise_lines(n: float, points: Sequence[NoisePoint], highest: float) -> list[NoiseAlong]:
    """The readings of a size at losses up to the highest, to be drawn; none where none is there."""
    from isoloss.figures import NoiseAlong

    scales = [(at.loss, at.scale) for at in points if at.loss <= highest]
    columns = [(loss, of.b_simple, of.low, of.high) for loss, of in scales]
    return [NoiseAlong(n, *np.array(columns).T)] if columns else []


def save(ax: Axes, path: Path) -> None:
    """Write a figure as .svg and .png; path: without either."""
    from isoloss.figures import save_figure

    for kind in ("svg", "png"):
        save_figure(ax, path.with_name(f"{path.name}.{kind}"))
