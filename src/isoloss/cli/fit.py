"""`isoloss fit`: a law through your runs, with an interval for every coefficient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from cyclopts import Parameter

from isoloss.cli.options import Form, Json, Reading, law_of
from isoloss.cli.output import check_output, emit_json, plain, say, show, table, write_json
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.fitting import Fit
    from isoloss.trust import Draws, Interval


def fit(
    runs: Annotated[Path, Parameter(help="A table (CSV, JSONL, Parquet) or directory of runs.")],
    *,
    form: Annotated[Form, Parameter(help="The law to fit.")] = "chinchilla",
    x: Annotated[
        Literal["n", "d", "c"] | None, Parameter(help="The variable of a law of one variable.")
    ] = None,
    residual: Annotated[
        Literal["log", "linear"], Parameter(help="Residuals of the log loss, or of the loss.")
    ] = "log",
    delta: Annotated[
        float, Parameter(help="Where the Huber loss turns linear; 0 for least squares.")
    ] = 1e-3,
    draws: Annotated[int, Parameter(help="Resamplings for the intervals; 0 for none.")] = 1000,
    level: Annotated[float, Parameter(help="Level of the intervals.")] = 0.9,
    seed: Annotated[int, Parameter(help="Seed of the resampling.")] = 0,
    out: Annotated[
        Path | None, Parameter(help="Write the result as JSON to this file too.")
    ] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Fit a law to runs.

    chinchilla: E + A/n^alpha + B/d^beta. kaplan-nd: ((Nc/n)^(alpha_n/alpha_d) + Dc/d)^alpha_d.
    power: (xc/x)^alpha. saturating-power: E + A/x^alpha; the last two need --x.
    Exit code 3 if the runs do not identify the answer, saying which runs would.
    """
    from isoloss.fitting import fit as fit_law

    if out is not None:
        check_output(out, runs)
    table_of_runs = (reading or Reading()).read(runs)
    found = fit_law(
        law_of(form), table_of_runs, x=x, residual=residual, delta=delta if delta else None
    ).check()
    resampled = None
    if draws:
        from isoloss.trust import bootstrap

        resampled = bootstrap(found, draws=draws, seed=seed)
    intervals = {} if resampled is None else coefficient_intervals(resampled, level)
    content = {
        **plain(found),
        "level": level,
        "draws": 0 if resampled is None else draws,
        "failed": 0 if resampled is None else resampled.failed,
        "intervals": plain(intervals),
    }
    if out is not None:
        write_json(out, content)
        say(f"written to {out}")
    if json:
        emit_json(content)
        return
    show(_coefficients(found, intervals, level), *_lines(found))


def coefficient_intervals(draws: Draws, level: float) -> dict[str, Interval]:
    """Return an interval for each coefficient of the law."""

    def interval(name: str) -> Interval:
        return draws.interval(lambda law: law.coefficients()[name], level)

    return {name: interval(name) for name in draws.fit.law.coefficients()}


def _coefficients(found: Fit, intervals: dict[str, Interval], level: float) -> object:
    rows = []
    for name, value in found.coefficients.items():
        row = [name, f"{float(value):.5g}"]
        if name in intervals:
            low, _, high = (float(end) for end in intervals[name])
            row.append(f"{low:.5g} to {high:.5g}")
        rows.append(row)
    columns = ["", ">value", *([f"{level:.0%} interval"] if intervals else [])]
    title = f"{found.form.__name__} through {len(found.runs)} runs"
    return table(*columns, rows=rows, title=title)


def _lines(found: Fit) -> list[str]:
    runs = found.runs
    size = np.abs(np.asarray(found.residuals))
    worst = int(size.argmax())
    return [
        f"objective {found.objective:.6e}; residuals: median {np.median(size):.2%}, largest "
        f"{size[worst]:.2%} (run {runs.run[worst]})",
        f"n counted as {runs.n_convention}, {_span(runs.n)}; d {_span(runs.d)}; "
        f"c as {runs.c_convention}, {_span(runs.c)}",
        *(f"doubt ({status.code}): {status.value}" for status in found.status),
    ]


def _span(values: object) -> str:
    array = np.asarray(values)
    return f"{format_number(float(array.min()))} to {format_number(float(array.max()))}"
