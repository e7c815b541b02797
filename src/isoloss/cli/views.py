"""Two more views of one table of runs for `isoloss fit`: the three approaches, the conventions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isoloss.cli.output import doubts, plain, table
from isoloss.units import format_number, percent

if TYPE_CHECKING:
    from isoloss.laws.forms import Law
    from isoloss.runs import Runs
    from isoloss.trust import Approaches, Conventions, Interval

NOT_IDENTIFIED = 3


@dataclass(frozen=True)
class View:
    """A result as JSON holds it, as people read it, and the exit code that it deserves."""

    content: dict[str, Any]
    parts: tuple[object, ...]
    code: int


def approaches_view(
    runs: Runs, form: type[Law], flops: float | None, level: float, draws: int, seed: int
) -> View:
    """Set Chinchilla's three approaches side by side."""
    from isoloss.trust import approaches

    found = approaches(runs, flops, form=form, level=level, draws=draws, seed=seed)
    measures = {"disagreement": plain(found.disagreement), "compatible": found.compatible}
    told = doubts(found.status, found.findings)
    parts = (_approaches(found), *_approach_lines(found), *told)
    return View({**plain(found), **measures}, parts, 0 if found.answered else NOT_IDENTIFIED)


def conventions_view(
    runs: Runs, form: type[Law], flops: float | None, level: float, draws: int, seed: int
) -> View:
    """Set the best size under every way of counting side by side."""
    from isoloss.trust import conventions

    found = conventions(form, runs, flops, level=level, draws=draws, seed=seed)
    told = doubts(found.status, found.findings)
    parts = (*_conventions(found), *_convention_lines(found), *told)
    good = any(row.n is not None for row in found.rows)
    content = {**plain(found), "movement": plain(found.movement)}
    return View(content, parts, 0 if good else NOT_IDENTIFIED)


def _approaches(found: Approaches) -> object:
    rows = [
        (
            approach.name,
            _exponent(approach.a),
            _exponent(approach.b),
            _size(approach.n),
            _size(approach.d),
        )
        for approach in found.approaches
    ]
    title = f"Best n and d at {found.flops:.3g} FLOPs, {percent(found.level)} intervals"
    return table("approach", "n ~ c^", "d ~ c^", "n", "d", rows=rows, title=title)


def _approach_lines(found: Approaches) -> list[str]:
    names = "; ".join(f"{approach.name}: {approach.how}" for approach in found.approaches)
    lines = [names]
    if not math.isnan(found.disagreement):
        agree = "one size lies in every interval" if found.compatible else "no size lies in all"
        lines.append(f"their best sizes differ by a factor of {found.disagreement:.3g}; {agree}")
    if not math.isnan(found.isoflop_bias[0]):
        n, d = found.isoflop_bias
        lines.append(
            f"the parabolas of approach 2 are off by {n:+.1%} in n and {d:+.1%} in d at these "
            "sizes and exponents, as the law of approach 3 has it"
        )
    refused = dict.fromkeys(a.refusal for a in found.approaches if a.refusal)
    return lines + [f"refused: {reason}" for reason in refused]


def _conventions(found: Conventions) -> list[object]:
    """A table for each count of n: with the counts of c beside them one would be too wide."""
    tables: list[object] = [
        f"Best n and d of {found.form.__name__} at {found.flops:.3g} FLOPs, "
        f"{percent(found.level)} intervals; last, the same n counted as {found.given}"
    ]
    for convention in dict.fromkeys(row.n_convention for row in found.rows):
        rows = [
            (row.c_convention, _exponent(row.a), *map(_size, (row.n, row.d, row.n_as_given)))
            for row in found.rows
            if row.n_convention == convention
        ]
        names = ("c counted as", "n ~ c^", "n", "d", "n as given")
        tables.append(table(*names, rows=rows, title=f"n counted as {convention}"))
    return tables


def _convention_lines(found: Conventions) -> list[str]:
    reasons = dict.fromkeys(row.refusal for row in found.rows if row.refusal)
    lines = [f"refused: {reason}" for reason in reasons]
    if not math.isnan(found.movement):
        lines.insert(0, f"counted alike, the best size moves by a factor of {found.movement:.3g}")
    return lines


def _exponent(value: Interval | None) -> str:
    return "-" if value is None else _written(value, "{:.3f}".format)


def _size(value: Interval | None) -> str:
    return "-" if value is None else _written(value, format_number)


def _written(value: Interval, write: Callable[[float], str]) -> str:
    """A value above its interval: side by side they would make a table too wide."""
    low, mid, high = (float(end) for end in value)
    return write(mid) if math.isnan(low) else f"{write(mid)}\n{write(low)} - {write(high)}"
