"""The critical batch at the command line: a law given by its numbers, or fitted to your runs."""

from __future__ import annotations

from json import loads as from_json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isoloss.cli.options import Reading, critical_batch_law
from isoloss.cli.output import doubts, emit_json, interval, plain, say, show, table, write_json
from isoloss.cli.replacing import check_output, is_figure, is_fit
from isoloss.errors import InputError, UsageError
from isoloss.units import format_number, parse_number, percent, plural

if TYPE_CHECKING:
    from isoloss.fitting import CriticalBatchFit, Crossings
    from isoloss.laws import CriticalBatch


def law_or_runs(text: str, *, level: float) -> CriticalBatch | CriticalBatchFit:
    """What --critical-batch of a plan names: b_star=...,alpha_b=..., runs, or a fit of them."""
    path = Path(text)
    if "=" in text and not path.exists():
        return critical_batch_law(text)
    from isoloss.fitting import critical_batch

    rows = _written(path)
    data = Reading().read(path, evaluations=True) if rows is None else rows
    return critical_batch(data, level=level)


def _written(path: Path) -> Crossings | None:
    """The rows of a fit that `fit --out` wrote, of which any level can be had; None for no fit."""
    if path.suffix.lower() != ".json" or not path.is_file() or not is_fit(path):
        return None
    from isoloss.fitting import Crossings

    content = from_json(path.read_text(encoding="utf-8"))
    try:
        return Crossings.of(**content["rows"])
    except (InputError, KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: holds a fit without the rows that a critical batch was fitted to; write it "
            "anew with `isoloss fit RUNS --form critical-batch --out`, or give the runs"
        ) from None


def fit_critical_batch(
    runs: Path,
    reading: Reading | None,
    *,
    targets: str | None,
    level: float,
    figure: Path | None,
    out: Path | None,
    json: bool,
) -> int:
    """Fit the critical batch to the curves of runs of several batches, and print it."""
    from isoloss.fitting import critical_batch

    if figure is not None:
        check_output(figure, runs, is_figure)
    losses = None if targets is None else _losses(targets)
    curves = (reading or Reading()).read(runs, evaluations=True)
    found = critical_batch(curves, losses, level=level)
    if figure is not None:
        from isoloss.figures import save_figure, steps_against_batch

        save_figure(steps_against_batch(found), figure)
        say(f"drawn to {figure}")
    rows = plain(found.crossings)  # `plan --critical-batch` fits them again, at its own level
    content = {**plain(found), "crossings": len(found.crossings)}
    content |= {"zhang": plain(found.zhang()), "rows": rows}
    if out is not None:
        write_json(out, content)
        say(f"written to {out}")
    if json:
        emit_json(content)
    else:
        show(_targets(found), *_lines(found))
    return 0


def _losses(targets: str) -> list[float]:
    try:
        return [parse_number(one) for one in targets.split(",")]
    except InputError:
        raise UsageError(
            f"--targets {targets!r} is not of the form 3.2,3.0,2.8: losses in nats"
        ) from None


def _targets(found: CriticalBatchFit) -> object:
    several = len(np.unique(found.n)) > 1
    zhang = found.zhang()
    rows = []
    for i, target in enumerate(found.target):
        ends = (float(end[i]) for end in (found.b_crit.low, found.b_crit.high))
        rows.append(
            (
                f"{target:.4g}",
                *([format_number(float(found.n[i]))] if several else []),
                *(format_number(float(x.mid[i])) for x in (found.s_min, found.e_min, found.b_crit)),
                interval(*ends),
                format_number(float(zhang.mid[i])),
            )
        )
    return table(
        "loss",
        *([">n"] if several else []),
        ">S_min, steps",
        ">E_min, tokens",
        ">B_crit",
        f">{percent(found.level)} interval",
        ">Zhang's",
        rows=rows,
        title="The critical batch, in tokens",
    )


def _lines(found: CriticalBatchFit) -> list[str]:
    from isoloss.laws import published

    data, kaplan = found.crossings, published.KAPLAN_2020.critical_batch
    lines = ["one target loss gives a critical batch and no law of it: ask for two --targets"]
    if found.law is not None and found.b_star is not None and found.alpha_b is not None:
        b_star = interval(float(found.b_star.low), float(found.b_star.high))
        ends = [float(end) for end in (found.alpha_b.low, found.alpha_b.high)]
        lines = [
            f"B_crit = b_star / loss^(1/alpha_b): b_star {format_number(found.law.b_star)} "
            f"({b_star}), alpha_b {found.law.alpha_b:.3f} ({ends[0]:.3f} to {ends[1]:.3f})",
            f"Kaplan et al. 2020, on other text: b_star {format_number(float(kaplan.b_star))}, "
            f"alpha_b {float(kaplan.alpha_b):g}",
        ]
    low, high = float(data.batch.min()), float(data.batch.max())
    missed = int(data.censored.sum())
    return [
        *lines,
        "Zhang's: where steps are 20 % above linear scaling from the smallest batch, "
        f"{format_number(low)}",
        f"{plural(len(np.unique(data.run)), 'run')} at batches of {interval(low, high)} tokens; "
        f"{missed} of {len(data)} crossings not reached; steps scatter by {found.spread:.1%}",
        *doubts(found.status),
    ]
