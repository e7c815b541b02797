"""`isoloss compare`: which of two ways to train needs less compute for the same loss?"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from isoloss.cli.options import Json, Level, Number, Reading, Seed
from isoloss.cli.output import doubts, emit_json, plain, show
from isoloss.units import percent

if TYPE_CHECKING:
    from isoloss.trust import Comparison


def compare(
    runs_a: Annotated[Path, Parameter(help="A table or directory of runs of the first arm.")],
    runs_b: Annotated[Path, Parameter(help="The same of the second arm.")],
    *,
    asymptote: Annotated[
        Literal["shared", "free"], Parameter(help="Whether the arms share the loss at no end.")
    ] = "shared",
    law: Annotated[
        Literal["nd", "c"] | None,
        Parameter(help="Losses of parameters and tokens, or of compute; chosen without it."),
    ] = None,
    at: Annotated[
        Number | None, Parameter(help="FLOPs at which a free asymptote's multiplier is wanted.")
    ] = None,
    level: Annotated[Level, Parameter(help="Level of the intervals and of the verdict.")] = 0.95,
    seed: Seed = 0,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Compare two arms of runs at matched loss, in compute.

    Runs with equal n, d and seed are compared as twins. The answer is how many times more compute
    the first arm needs for the loss of the second, or that they are not distinguishable.
    What is wrong with the runs of an arm is said below it: doubts, and where they were seen.
    Exit code 0 either way, 3 if the runs cannot be compared at all.
    """
    from isoloss.trust import compare as compare_arms

    how = reading or Reading()
    found = compare_arms(
        how.read(runs_a),
        how.read(runs_b),
        asymptote=asymptote,
        law=law,
        at=at,
        level=level,
        seed=seed,
    )
    if json:
        emit_json(plain(found))
        return
    show(*_lines(found, *_names(runs_a, runs_b)))


def _names(first: Path, second: Path) -> tuple[str, str]:
    """The arms by the shortest ends of their paths that tell them apart; a and b for one path."""
    parts = [path.absolute().parts for path in (first, second)]
    for count in range(1, max(len(one) for one in parts) + 1):
        ends = [Path(*one[-count:]).as_posix() for one in parts]
        if ends[0] != ends[1]:
            return ends[0], ends[1]
    return f"{first.name} (a)", f"{second.name} (b)"


def _lines(found: Comparison, first: str, second: str) -> list[str]:
    low, mid, high = (float(value) for value in found.multiplier)
    span = f"{_times(low)} to {_times(high)}"
    where = "at every budget" if found.asymptote == "shared" else f"at {found.at:.3g} FLOPs"
    verdict = {
        "a": f"{first} needs less compute",
        "b": f"{second} needs less compute",
        "not distinguishable": "not distinguishable",
    }[found.verdict]
    lines = [
        f"{verdict}: {first} needs {_times(mid)} the compute of {second} for the same loss "
        f"({span} at {percent(found.level)}), {where}",
        f"{found.asymptote} asymptote; losses of "
        f"{'parameters and tokens' if found.law == 'nd' else 'compute'}; "
        f"reducible loss falls as compute to the power {-found.exponent:.3f}",
        f"{len(found.runs_a)} and {len(found.runs_b)} runs, {found.pairs} pairs of twins; "
        f"a run's log loss varies by {found.sd:.2%}",
    ]
    if found.asymptotes_differ < 1 - found.level and found.asymptote == "shared":
        lines.append(
            f"doubt: asymptotes of their own fit better (p = {found.asymptotes_differ:.3f}); "
            "look at --asymptote free too"
        )
    if found.status:
        lines.append(f"arm a is {first}, arm b is {second}")
    return [*lines, *doubts(found.status, found.findings)]


def _times(value: float) -> str:
    return "endlessly often" if math.isinf(value) else f"{value:.3g}x"
