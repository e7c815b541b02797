"""Kaplan's B_crit(L): the critical batch of two sizes of language model as the loss falls.

    python -m isoloss.experiments.noise_kaplan --folder FOLDER

Both sizes are scanned at once, a process each, and fitted together: one B_crit(L) for both, a least
number of steps for each size and target. What each would be alone is put beside it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from isoloss.counting import Shape, count_params
from isoloss.experiments.batch_size.command import parser, print_page, tell_lines
from isoloss.experiments.batch_size.kept import write_json
from isoloss.experiments.batch_size.page import (
    fit_numbers,
    machine_line,
    noise_lines,
    noise_there,
    save,
    words,
    write_page,
)
from isoloss.experiments.batch_size.study import Study, StudyPlan, fit_or_refusal, study
from isoloss.experiments.batch_size.workers import Workers
from isoloss.experiments.noise_language import (
    LARGE,
    LARGE_SCAN,
    QUICK,
    SMALL,
    SMALL_SCAN,
    plan,
    task,
)
from isoloss.files import write_whole
from isoloss.fitting import CriticalBatchFit, Crossings
from isoloss.fitting.intervals import Interval
from isoloss.lab.batch_size.noise import noise_at_loss
from isoloss.laws.published import KAPLAN_2020
from isoloss.runs import describe_machine
from isoloss.units import format_number

PLANS = {SMALL: plan(SMALL_SCAN), LARGE: plan(LARGE_SCAN)}


@dataclass(frozen=True, eq=False)
class Sizes:
    """The critical batch of several sizes, together and apart.

    joint: one B_crit(L) for all; None where the runs are too few, and refusal says why they do not
    do. left_out: sizes and targets whose batches did not reach far enough. alone: the law of each
    size. apart: B_crit of each size and target by itself. refused: why a size, or (its target not
    None) one of its targets, has none.
    """

    joint: CriticalBatchFit | None
    refusal: str
    left_out: tuple[tuple[float, float], ...]
    alone: Mapping[float, CriticalBatchFit]
    apart: tuple[CriticalBatchFit, ...]
    refused: Mapping[tuple[float, float | None], str]


def fit_sizes(data: Crossings) -> Sizes:
    """Fit the critical batch to the crossings of several sizes, together and apart.

    Sizes and targets at which the batches do not span 8 times B_crit on both sides are left out,
    and named; where none is left, the fit of all stays refused.
    """
    left_out: list[tuple[float, float]] = []
    joint, refusal = fit_or_refusal(data, "tokens")
    while joint is not None and refusal and (short := joint.short):
        kept = np.array(
            [cell not in short for cell in zip(data.n.tolist(), data.target.tolist(), strict=True)]
        )
        again = fit_or_refusal(data.take(kept), "tokens")
        if again[0] is None or len(np.unique(again[0].target)) < 2:
            break
        left_out += sorted(short)
        data, (joint, refusal) = data.take(kept), again
    found: dict[tuple[float, float | None], CriticalBatchFit] = {}
    refused: dict[tuple[float, float | None], str] = {}
    for n in np.unique(data.n).tolist():
        own = data.take(data.n == n)
        for target in (None, *np.unique(own.target).tolist()):
            some = own if target is None else own.take(own.target == target)
            one, why = fit_or_refusal(some, "tokens")
            if one is None or why:
                refused[n, target] = why
            else:
                found[n, target] = one
    alone = {n: one for (n, target), one in found.items() if target is None}
    apart = tuple(one for (_, target), one in found.items() if target is not None)
    return Sizes(joint, refusal, tuple(left_out), alone, apart, refused)


def size_ratio(found: Sizes) -> tuple[float, Interval] | None:
    """B_crit of the largest size over that of the smallest, at the middle target of both.

    Returns that target and the ratio with its interval, of two fits that share no run; None where
    fewer than two sizes have a fit of their own or they share no target.
    """
    if len(found.alone) < 2:
        return None
    small, large = found.alone[min(found.alone)], found.alone[max(found.alone)]
    shared = np.intersect1d(small.target, large.target)
    if not shared.size or small.law is None or large.law is None:
        return None
    target = float(shared[len(shared) // 2])
    below, above = small.at(target), large.at(target)
    half = math.hypot(*(math.log(float(one.high / one.mid)) for one in (below, above)))
    ratio = float(above.mid / below.mid)
    ends = (np.asarray(ratio * math.exp(shift)) for shift in (-half, 0.0, half))
    return target, Interval(*ends)


def as_markdown(found: Sizes, studies: Mapping[float, Study]) -> str:
    """The page: targets of all sizes, the law, and how the sizes and the noise scale compare."""
    lines = [
        "### Kaplan's B_crit(L) on bytes",
        "",
        "| parameters | loss | S_min, steps | E_min, tokens | B_crit by itself | by the law "
        "| 20 % above linear | B_simple there |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own = {(float(one.n[0]), -float(one.target[0])): one for one in found.apart}
    missed = {(n, -target) for n, target in found.refused if target is not None}
    for n, negative in sorted(missed.union(own)):
        one, target = own.get((n, negative)), -negative
        law = _by_law(found, n, target)
        told = ["", "", "refused", law, ""]
        if one is not None:
            least = (format_number(float(value.mid[0])) for value in (one.s_min, one.e_min))
            told = [*least, _words(one.b_crit, 0), law, _words(one.zhang(), 0)]
        noise = noise_there(studies[n].noise, target) if n in studies else ""
        lines.append(f"| {' | '.join([f'{n:,.0f}', f'{target:.4g}', *told, noise])} |")
    lines += [
        "",
        "Parameters are those without embeddings, as Kaplan et al. count; batches are in tokens, "
        "with 90 % intervals. 20 % above linear: the critical batch as Zhang et al. define it."
        + (" Refused: the batches that reach that loss do not tell." if missed else ""),
        "",
    ]
    lines += [*_law_words(found), "", *_size_words(found), *_noise_words(found, studies)]
    runs = sum(len(one.scan.curves) for one in studies.values())
    lines += ["", f"{runs} runs. {machine_line()}"]
    return "\n".join(lines) + "\n"


def _by_law(found: Sizes, n: float, target: float) -> str:
    if found.joint is None or found.refusal:
        return ""
    at = np.flatnonzero((found.joint.n == n) & (found.joint.target == target))
    return _words(found.joint.b_crit, int(at[0])) if at.size else ""


def _law_words(found: Sizes) -> list[str]:
    lines = [
        f"Left out, for the batches do not span 8 times B_crit on both sides: {target:.4g} nats at "
        f"{n:,.0f} parameters."
        for n, target in found.left_out
    ]
    if found.refusal:
        lines.append(f"No law: {found.refusal}.")
    fit, paper = found.joint, KAPLAN_2020.frontier.critical_batch
    if fit is None or fit.law is None or fit.b_star is None or fit.alpha_b is None or found.refusal:
        return lines
    doubling, theirs = (100 * (1 - 2.0**-alpha) for alpha in (fit.law.alpha_b, paper.alpha_b))
    last = float(fit.target.min())
    lines.append(
        f"One law of both sizes: B_crit = B* / L^(1/alpha_B), B* {_words(fit.b_star)} tokens, "
        f"alpha_B {fit.alpha_b.mid:.3g} ({fit.alpha_b.low:.3g} to {fit.alpha_b.high:.3g}); "
        f"steps scatter by {100 * fit.spread:.2g} % about it. B_crit doubles as "
        f"the loss falls by {doubling:.2g} %. Kaplan et al. have {format_number(paper.b_star)}, "
        f"{paper.alpha_b:g} and {theirs:.2g} %, of tokens of about four bytes: at {last:.3g} nats "
        f"theirs is {format_number(float(paper(last) / fit.law(last)))} times as large."
    )
    return lines


def _size_words(found: Sizes) -> list[str]:
    """The law of each size by itself, and whether they are one."""
    lines = [
        f"* {n:,.0f} parameters alone: B* {_words(fit.b_star)}, alpha_B {fit.alpha_b.mid:.3g} "
        f"({fit.alpha_b.low:.3g} to {fit.alpha_b.high:.3g}), scatter {100 * fit.spread:.2g} %."
        for n, fit in found.alone.items()
        if fit.b_star is not None and fit.alpha_b is not None
    ]
    lines += [
        f"* {n:,.0f} parameters alone: no law: {why}."
        for (n, target), why in found.refused.items()
        if target is None
    ]
    measured = size_ratio(found)
    if measured is None:
        return lines
    target, ratio = measured
    apart = "may fall" if ratio.low <= 1 <= ratio.high else "do not fall"
    return [
        *lines,
        f"* At {target:.4g} nats B_crit of the larger is {ratio.mid:.3g} ({ratio.low:.3g} to "
        f"{ratio.high:.3g}) times that of the smaller: the sizes {apart} on one curve.",
    ]


def _noise_words(found: Sizes, studies: Mapping[float, Study]) -> list[str]:
    """How far the noise scale is from the critical batch at each target."""
    ratios = []
    for one in found.apart:
        n, target = float(one.n[0]), float(one.target[0])
        there = noise_at_loss(studies[n].noise, target) if n in studies else None
        if there is not None and math.isfinite(there[1]):
            ratios.append(there[1] / float(one.b_crit.mid[0]))
    if not ratios:
        return []
    middle = float(np.median(ratios))
    return [
        f"* B_simple at {len(ratios)} of {len(found.apart)} targets, where it is a number, is "
        f"{min(ratios):.2g} to {max(ratios):.2g} times B_crit by itself, {middle:.2g} times in the "
        "median."
    ]


def _words(value: Interval, at: int | None = None) -> str:
    return words(*(float(end if at is None else end[at]) for end in value))


def write(found: Sizes, studies: Mapping[float, Study], folder: Path) -> str:
    """Write kaplan.md, kaplan.json and the figures into a folder; returns the page."""
    page = as_markdown(found, studies)
    kept = {
        "joint": None if found.joint is None else fit_numbers(found.joint),
        "refusal": found.refusal,
        "left_out": found.left_out,
        "apart": [fit_numbers(one) for one in found.apart],
        "alone": [fit_numbers(one) for one in found.alone.values()],
        "refused": [[*at, why] for at, why in found.refused.items()],
        "machine": describe_machine(),
    }
    write_json(folder / "kaplan.json", kept)
    draw(found, studies, folder)
    write_whole(folder / "kaplan.md", page)
    return page


def together(by_size: Mapping[float, Crossings]) -> Crossings:
    """The crossings of several sizes as one; the keys are the parameters, as Kaplan counts them."""
    parts = [replace(one, n=np.full(len(one), n)) for n, one in by_size.items()]
    names = ("target", "batch", "steps", "censored", "n", "run")
    return Crossings(*(np.concatenate([getattr(one, name) for one in parts]) for name in names))


def draw(found: Sizes, studies: Mapping[float, Study], folder: Path) -> None:
    """Draw figures 10 and 18 of Kaplan et al., the latter with the fit of each size alone."""
    if found.joint is None or not found.alone:
        return
    from isoloss.figures import (
        NoiseAlong,
        critical_batch_against_loss,
        panels,
        steps_against_tokens,
    )

    highest = 1.3 * float(found.joint.target.max())
    measured: list[NoiseAlong] = []
    for n, one in studies.items():
        measured += noise_lines(n, one.noise, highest)
    scans = panels(len(found.alone))
    for (n, alone), ax in zip(found.alone.items(), scans, strict=True):
        steps_against_tokens(alone, n, ax=ax)
    pictures = {"scans": scans[0]}
    if not found.refusal:
        pictures["critical"] = critical_batch_against_loss(
            found.joint, apart=found.apart, measured=measured
        )
    for name, ax in pictures.items():
        save(ax, folder / f"kaplan_{name}")


def main(words: Sequence[str] | None = None) -> int:
    """Make both studies and print the page; returns the exit code."""
    options = parser("Kaplan's B_crit(L), at two small sizes.").parse_args(words)
    plans = dict.fromkeys(PLANS, QUICK) if options.quick else PLANS
    asked = [
        (shape, of, options.folder / str(count_params(shape, "non_embedding")))
        for shape, of in plans.items()
    ]

    def page() -> str:
        with Workers(options.workers) as pool:
            for waiting in [pool.submit(_study_alone, *one) for one in asked]:
                waiting.result()
        studies = {float(folder.name): _study(shape, of, folder) for shape, of, folder in asked}
        for one, (_, _, folder) in zip(studies.values(), asked, strict=True):
            write_page(one, folder)
        sizes = together({n: one.scan.tuned.crossings for n, one in studies.items()})
        return write(fit_sizes(sizes), studies, options.folder)

    return print_page(page, options.folder, "kaplan")


def _study(shape: Shape, of: StudyPlan, folder: Path) -> Study:
    return study(partial(task, shape), of, folder, workers=1, tell=tell_lines)


def _study_alone(shape: Shape, of: StudyPlan, folder: Path) -> None:
    """The study of a size, left in its folder, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    _study(shape, of, folder)


if __name__ == "__main__":
    sys.exit(main())
