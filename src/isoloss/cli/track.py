"""`isoloss track`: is this run on the course that your law set for it?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import Json, Level
from isoloss.cli.output import emit_json, plain, say, show, table
from isoloss.units import format_number, percent

if TYPE_CHECKING:
    from isoloss.trust import Course, Interval

EXIT_CODES = {"on course": 0, "above": 4, "below": 5, "cannot tell": 3}
_METHODS = {
    "forecast model": "the forecast model",
    "plain": "the plain law, without its misfit beyond the runs",
}


def track(
    run: Annotated[Path, Parameter(help="The record of a run in progress (.jsonl).")],
    *,
    law: Annotated[Path, Parameter(help="The law, as isoloss fit --out wrote it.")],
    sisters: Annotated[
        Path | None, Parameter(help="A directory of finished runs of the same kind.")
    ] = None,
    level: Level = 0.9,
    json: Json = False,
) -> int:
    """Say whether a run will end where the law says: on course, above or below.

    Its curve is forecast to its last step and held against the law's loss there; the gap is
    turned into compute. The verdict is printed first, and is `verdict` in --json.
    Exit code 0 on course, 4 above the law, 5 below it; 3 if it cannot tell (the gap may be worth
    more than four times the compute) or the run has shown too little to say anything.
    """
    from isoloss.runs import read_record, read_runs
    from isoloss.trust import read_fit
    from isoloss.trust import track as follow

    fitted = read_fit(law)
    family = None
    if sisters is not None:
        convention = fitted.n_convention
        family = read_runs(sisters, n=None if convention == "unknown" else convention)
        for note in family.notes:
            say(f"note: {note}")
    record = read_record(run)
    course = follow(record, fitted, sisters=family, level=level)
    for note in course.notes:
        say(f"note: {note}")
    if json:
        curve = course.curve
        content = {**plain(course), "run": record.run_id, "seen": curve.seen, "form": curve.form}
        ahead = curve.steps[np.unique(np.linspace(0, len(curve.steps) - 1, 9).astype(int))]
        content["curve"] = [
            {"step": step, **dict(zip(("low", "mid", "high"), curve.at(step), strict=True))}
            for step in ahead.tolist()
        ]
        emit_json(content)
    else:
        show(*_lines(course))
    return EXIT_CODES[course.verdict]


def _lines(course: Course) -> list[object]:
    curve = course.curve
    rows = [
        ("expected by the law", *_row(course.expected)),
        ("forecast of the run", *_row(course.forecast)),
    ]
    lines = [f"{course.verdict}: {_sentence(course)}"]
    if course.verdict == "cannot tell":
        lines.append(_mend(course))
    return [
        *lines,
        f"run {curve.run}: {format_number(course.n)} parameters, "
        f"{format_number(course.d)} tokens, seen to step {curve.seen} of {curve.steps[-1]:.0f}",
        table("", ">low", ">loss", ">high", rows=rows),
        f"{percent(course.level)} intervals; expected by {_METHODS[course.method]}; forecast by "
        f"the {curve.form} form with {curve.sisters} sisters",
    ]


def _mend(course: Course) -> str:
    """What would narrow the wider of the two intervals."""
    from isoloss.trust.tracking import WITHIN

    expected, forecast = (
        math.log(float(part.high) / float(part.low)) for part in (course.expected, course.forecast)
    )
    if expected > forecast:
        mend = "what the law expects is the less sure: fit it to runs nearer this one in compute"
    else:
        mend = "the forecast of the run is the less sure: wait for more steps"
        mend += "" if course.curve.sisters else ", or give finished runs of its kind by --sisters"
    return f"the interval reaches beyond a factor of {WITHIN:g}; {mend}"


def _row(part: Interval) -> tuple[str, ...]:
    return tuple(f"{float(value):.4f}" for value in part)


def _sentence(course: Course) -> str:
    low, mid, high = (float(value) for value in course.compute_factor)
    if mid == 0:
        return "the law gives so high a loss at no compute"
    if math.isinf(mid):
        return "the law gives so low a loss at no compute"
    return (
        f"the loss of {mid:.2f} times its compute by the law ({low:.2f} to "
        f"{'no end' if math.isinf(high) else f'{high:.2f}'})"
    )
