"""`isoloss next`: which runs to buy next, to be surer of the size to train."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from isoloss.cli.options import Count, Json, Level, Number, Reading, Seed, SizeForm, enough, fitted
from isoloss.cli.output import emit_json, show, table
from isoloss.units import format_number, percent, plural

if TYPE_CHECKING:
    from isoloss.planning import Proposal


def next_runs(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    target: Annotated[Number, Parameter(help="FLOPs of the run whose size is to be decided.")],
    spend: Annotated[Number, Parameter(help="FLOPs for all proposed runs together.")],
    count: Annotated[
        Count | None, Parameter(help="How many runs; chosen without it, 4 to 32.")
    ] = None,
    largest: Annotated[
        Number | None, Parameter(help="Most FLOPs of one run; a quarter of --spend without it.")
    ] = None,
    smallest: Annotated[
        Number | None, Parameter(help="Least FLOPs of one run; a hundredth of the largest.")
    ] = None,
    ratio: Annotated[
        float,
        Parameter(
            help="How far d/n may be from the law's best, as a factor either way.",
            validator=validators.Number(gt=1),
        ),
    ] = 20.0,
    form: Annotated[SizeForm, Parameter(help="The law to fit.")] = "chinchilla",
    draws: Annotated[Count, Parameter(help="Resamplings behind the intervals.")] = 1000,
    level: Level = 0.9,
    seed: Seed = 0,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Propose the runs that narrow the choice of size at a target most for what they cost.

    Prints each run's parameters, tokens and FLOPs, and what they should do to the interval of the
    best size and to the compute the decision is expected to waste.
    Exit code 3 if the runs there are do not identify the law.
    """
    from isoloss.fitting.cost import paid_cost
    from isoloss.planning import propose_runs

    enough(draws, level)
    resampled = fitted(form, runs, reading, draws=draws, seed=seed)
    found = propose_runs(
        resampled,
        target=target,
        spend=spend,
        count=count,
        largest=largest,
        smallest=smallest,
        ratio=ratio,
        level=level,
        cost=paid_cost(resampled.fit.runs),
    )
    if json:
        emit_json(found)
        return
    show(_runs(found), *_lines(found))


def _runs(found: Proposal) -> object:
    rows = [
        (
            str(number),
            format_number(run.n),
            format_number(run.d),
            f"{run.flops:.3g}",
            format_number(run.d / run.n),
        )
        for number, run in enumerate(found.runs, 1)
    ]
    title = (
        f"{plural(len(found.runs), 'run')} for {found.flops:.3g} FLOPs, to decide on "
        f"{found.target:.3g} FLOPs"
    )
    return table("", ">parameters n", ">tokens d", ">FLOPs", ">d / n", rows=rows, title=title)


def _lines(found: Proposal) -> list[str]:
    return [
        f"the {percent(found.level)} interval of the best size, now a factor "
        f"{_factor(found.width)} from end to end, should become {_factor(found.expected_width)}",
        f"the compute the decision is expected to waste, now {found.excess:.2%} of the target, "
        f"should become {found.expected_excess:.2%}",
        *found.notes,
    ]


def _factor(width: float) -> str:
    return f"{math.exp(min(width, 50.0)):.3g}"
